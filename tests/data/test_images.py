"""Images and masks on their way to the model."""

import os
import tracemalloc
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms

from s2rm.core.errors import UserError
from s2rm.data.images import check_output, read_image, save_png, to_rgb
from s2rm.data.resize import resize_mask
from s2rm.data.transforms import normalise, to_pixels


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
    with pytest.raises(UserError, match=r"as an image: its content is none of JPEG, PNG, .*GIF$"):
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


RED = (200, 30, 40)


@pytest.mark.parametrize(
    "mode", ["RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV", "P", "PA", "L", "LA", "La", "1"]
)
def test_every_mode_keeps_what_is_seen(mode: str) -> None:
    image = Image.new("RGB", (8, 6), RED)
    steps = {"LA": ["L"], "La": ["L", "LA"], "PA": ["P"], "RGBa": ["RGBA"], "LAB": []}.get(mode, [])
    for step in steps:
        image = image.convert(step)
    if mode == "LAB":
        lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        image = ImageCms.profileToProfile(image, rgb, lab, outputMode="LAB")
    elif mode == "PA":
        image = image.convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE).convert("PA")
    else:
        image = image.convert(mode)
    converted = to_rgb(image)
    assert (converted.mode, converted.size) == ("RGB", (8, 6))
    grey = Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))
    expected = [grey] * 3 if mode in ("L", "LA", "La") else RED
    if mode != "1":
        np.testing.assert_allclose(np.asarray(converted).mean((0, 1)), expected, atol=6)


@pytest.mark.parametrize(
    ("name", "mode", "options"),
    [
        ("a.png", "RGBA", {}),
        ("a.png", "LA", {}),
        ("a.tif", "RGBA", {}),
        ("a.webp", "RGBA", {"lossless": True}),
        ("a.gif", "P", {"transparency": 0}),
        ("a.png", "P", {"transparency": 0}),
        ("a.png", "L", {"transparency": 0}),
        ("a.png", "RGB", {"transparency": (0, 0, 0)}),
        ("a.png", "1", {"transparency": 0}),
    ],
)
def test_what_is_transparent_becomes_white(
    tmp_path: Path, name: str, mode: str, options: dict[str, Any]
) -> None:
    Image.new(mode, (8, 6), 0).save(tmp_path / name, **options)
    assert np.asarray(read_image(tmp_path / name)).min() == 255


def test_half_transparent_is_half_white() -> None:
    np.testing.assert_allclose(np.asarray(to_rgb(Image.new("RGBA", (1, 1), (0, 0, 0, 128)))), 127, atol=1)


@pytest.mark.parametrize(
    ("values", "dtype", "expected"),
    [
        ([0, 32768, 65535], np.uint16, [0, 128, 255]),
        ([0, 2048, 4095], np.uint16, [0, 128, 255]),  # a camera of 12 bits
        ([0, 128, 255], np.uint16, [0, 128, 255]),  # 8 bits in a file of 16
        ([0, 32768, 65535], np.int32, [0, 128, 255]),
        ([0, 128, 255], np.int32, [0, 128, 255]),
        ([0.0, 0.5, 1.0], np.float32, [0, 128, 255]),
        ([0.0, 128.0, 255.0], np.float32, [0, 128, 255]),
        ([0.0, 32768.0, 65535.0], np.float32, [0, 128, 255]),
    ],
)
def test_deep_grey_is_neither_black_nor_white(
    tmp_path: Path, values: list[float], dtype: Any, expected: list[int]
) -> None:
    Image.fromarray(np.array([values], dtype)).save(tmp_path / "deep.tif")
    assert np.asarray(read_image(tmp_path / "deep.tif"))[0, :, 1].tolist() == expected


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([-1, 5], np.int32),
        ([0, 1 << 20], np.int32),
        ([0.0, float("nan")], np.float32),
        ([0.0, float("inf")], np.float32),
        ([-0.5, 0.5], np.float32),
    ],
)
def test_numbers_of_an_unknown_range_are_refused(tmp_path: Path, values: list[float], dtype: Any) -> None:
    Image.fromarray(np.array([values], dtype)).save(tmp_path / "deep.tif")
    with pytest.raises(UserError, match=r"deep\.tif has pixels from .* save it with 8 bits") as caught:
        read_image(tmp_path / "deep.tif")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "a.tif"])
def test_of_several_frames_the_first_is_read_and_said(
    tmp_path: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    first, *others = [Image.new("RGB", (8, 6), colour) for colour in (RED, "blue", "green")]
    first.save(tmp_path / name, save_all=True, append_images=others)
    np.testing.assert_allclose(np.asarray(read_image(tmp_path / name))[0, 0], RED, atol=12)
    assert caplog.messages == [f"{tmp_path / name} has 3 frames: the first is used"]


def test_the_preview_that_a_phone_adds_to_a_photo_is_not_a_frame(
    tmp_path: Path, picture: Image.Image, caplog: pytest.LogCaptureFixture
) -> None:
    picture.save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=[picture.resize((6, 4))])
    assert read_image(tmp_path / "a.jpg").size == (60, 40)
    assert not caplog.messages


@pytest.mark.parametrize("mode", ["RGB", "1", "I;16", "RGBA"])
def test_a_single_pixel_is_an_image(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (1, 1)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png").size == (1, 1)


def test_a_png_is_written_completely_or_not_at_all(tmp_path: Path, picture: Image.Image) -> None:
    save_png(picture, tmp_path / "a.png")
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), np.asarray(picture))
    if Path("/dev/full").exists():
        (tmp_path / ".partial-b.png").symlink_to("/dev/full")
        with pytest.raises(UserError, match=r"b\.png cannot be written: No space left on device"):
            save_png(picture, tmp_path / "b.png")
    for name in ("folder.png", f"{300 * 'a'}.png"):
        with suppress(OSError):
            (tmp_path / name).mkdir()
        with pytest.raises(UserError, match=r"png cannot be written: "):
            save_png(picture, tmp_path / name)
    assert {path.name for path in tmp_path.iterdir()} == {"a.png", "folder.png"}


@pytest.mark.parametrize(
    "name", ["no/a.png", "file/a.png", "folder", f"{300 * 'a'}.png", "a\0.png", "read/a.png"]
)
def test_an_output_that_cannot_be_written_is_named_before_the_work(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "read").mkdir(mode=0o500)
    if name.startswith("read") and os.access(tmp_path / "read", os.W_OK):
        pytest.skip("this user may write everywhere")
    with pytest.raises(UserError, match="cannot be written: ") as caught:
        check_output(tmp_path / name)
    assert "\n" not in str(caught.value)
    check_output(tmp_path / "a.png")


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
    tensor = normalise(to_pixels(image, 16), mean=(0.5, 0.25, 0.0), std=(0.5, 0.25, 0.1))
    assert tensor.dtype == torch.float32
    assert tensor.shape == (3, 16, 16)
    expected = torch.tensor([1.0, -1.0, 2.0])[:, None, None].expand(3, 16, 16)
    torch.testing.assert_close(tensor, expected)


def test_rows_and_columns_stay_what_they_are(picture: Image.Image) -> None:
    tensor = normalise(to_pixels(picture.resize((8, 8)), 8), mean=(0, 0, 0), std=(1, 1, 1))
    pixels = np.asarray(picture.resize((8, 8))) / 255
    np.testing.assert_allclose(tensor.permute(1, 2, 0).numpy(), pixels, rtol=1e-6)


@pytest.mark.parametrize(("shape", "size"), [((40, 60), 16), ((7, 5), 32), ((33, 100), 33)])
def test_a_mask_is_resized_by_the_nearest_pixel(shape: tuple[int, int], size: int) -> None:
    mask = np.random.default_rng(0).random(shape) > 0.5
    rows, columns = ((np.arange(size) + 0.5) * length / size for length in shape)
    resized = resize_mask(mask, size)
    assert resized.dtype == bool
    np.testing.assert_array_equal(resized, mask[np.ix_(rows.astype(int), columns.astype(int))])
