"""Images and masks on their way to the model."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from s2rm.core.errors import UserError
from s2rm.data.images import read_image
from s2rm.data.transforms import resize_mask, to_tensor


@pytest.fixture
def picture() -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no\.jpg: there is no such image"):
        read_image(tmp_path / "no.jpg")


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.5])
def test_a_truncated_file(tmp_path: Path, picture: Image.Image, suffix: str, kept: float) -> None:
    path = tmp_path / f"image{suffix}"
    picture.save(path)
    path.write_bytes(path.read_bytes()[: int(kept * path.stat().st_size)])
    with pytest.raises(UserError, match="cannot be read as an image") as caught:
        read_image(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "page.jpg").write_text("<html>404</html>")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_image(tmp_path / "page.jpg")


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "1"])
def test_every_mode_becomes_rgb(tmp_path: Path, picture: Image.Image, mode: str) -> None:
    path = tmp_path / ("image.tif" if mode == "CMYK" else "image.png")
    picture.convert(mode).save(path)
    image = read_image(path)
    assert image.mode == "RGB"
    assert image.size == (60, 40)


def test_grey_of_sixteen_bits_keeps_its_shades(tmp_path: Path) -> None:
    grey = np.arange(0, 65536, 64, dtype=np.uint16).reshape(32, 32)
    Image.fromarray(grey).save(tmp_path / "deep.png")
    found = np.asarray(read_image(tmp_path / "deep.png"))
    np.testing.assert_array_equal(found[..., 0], grey // 256)


@pytest.mark.hostile
@pytest.mark.parametrize("side", [9_000, 20_000])
def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded(tmp_path: Path, side: int) -> None:
    Image.new("1", (side, side)).save(tmp_path / "large.png")
    tracemalloc.start()
    with pytest.raises(UserError, match=r"large\.png (has|cannot be read)"):
        read_image(tmp_path / "large.png")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20_000_000


@pytest.mark.hostile
def test_formats_that_start_other_programs_are_no_images(tmp_path: Path) -> None:
    (tmp_path / "page.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n")
    with pytest.raises(UserError, match="cannot be read as an image"):
        read_image(tmp_path / "page.eps")


@pytest.mark.parametrize("upright", [False, True])
def test_exif_turns_only_when_asked(tmp_path: Path, picture: Image.Image, upright: bool) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90°
    picture.save(tmp_path / "image.png", exif=exif)
    assert read_image(tmp_path / "image.png", upright=upright).size == ((40, 60) if upright else (60, 40))


def test_a_tensor_is_a_normalised_square() -> None:
    image = Image.new("RGB", (30, 10), (255, 0, 51))
    tensor = to_tensor(image, 16, mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.1))
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 16, 16)
    expected = torch.tensor([1.0, -1.0, 2.0])[:, None, None].expand(3, 16, 16)
    torch.testing.assert_close(tensor, expected)


def test_rows_and_columns_stay_what_they_are(picture: Image.Image) -> None:
    tensor = to_tensor(picture.resize((8, 8)), 8, mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.asarray(picture.resize((8, 8))) / 255
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), pixels, rtol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((40, 60), 16), ((7, 5), 32), ((33, 100), 33)])
def test_a_mask_is_resized_by_the_nearest_pixel(shape: tuple[int, int], size: int) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    rows, columns = ((np.arange(size) + 0.5) * length / size for length in shape)
    resized = resize_mask(mask, size)
    assert resized.dtype == bool
    np.testing.assert_array_equal(resized, mask[np.ix_(rows.astype(int), columns.astype(int))])
