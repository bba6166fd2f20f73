"""Checks that the image of each referent is usable: present, complete, and of the size on record.

Training decodes the images when it reads them; here only the doubtful ones are decoded. A file that ends as
its format requires counts as complete; any other file is decoded to the end to find out.
"""

from dataclasses import replace

from tqdm import tqdm

from s2rm.core.errors import UserError
from s2rm.data.image_zip import ImageFiles, MissingFileError
from s2rm.data.images import count_frames, decode_image, is_turned, open_image
from s2rm.refer.issues import Issues
from s2rm.refer.records import Image
from s2rm.refer.referents import Referent

ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
TAIL = 64  # bytes in which the end must be; cameras pad some files


def keep_readable(
    referents: list[Referent], files: ImageFiles, folder: str, issues: Issues
) -> list[Referent]:
    """Return the referents whose image is in `folder` and usable, with the size of the image.

    The size is that of the stored pixels: EXIF orientation is not applied, as COCO's annotations ignore it.

    Args:
        referents: the referents to check.
        files: the files under the raw data folder.
        folder: the benchmark's image folder, relative to the raw data folder.
        issues: what is wrong with an image is added to it.

    Raises:
        UserError: an image zip is corrupt, or a file cannot be read.
    """
    images = {referent.image.id: referent.image for referent in referents}
    checked = {
        image.id: _check(files, f"{folder}/{image.file_name}", image, issues)
        for image in tqdm(images.values(), desc="images", unit="image", disable=None)
    }
    return [replace(referent, image=image) for referent in referents if (image := checked[referent.image.id])]


def _check(files: ImageFiles, path: str, image: Image, issues: Issues) -> Image | None:
    """Return the image with its size; None where it is unusable, which is reported."""
    place = f"image {image.id}, {path!r}"
    try:
        data = files.read(path)
    except MissingFileError:
        issues.add("image_missing", image.id, f"{place} does not exist")
        return None
    try:
        with open_image(data, path) as file:
            (width, height), mode, kind = file.size, file.mode, file.format or ""
            turned, frames = is_turned(file, path), count_frames(file)
        if not (kind in ENDS and ENDS[kind] in data[-TAIL:] and image.height in (0, height)):
            decode_image(data, path)
    except UserError as error:
        issues.add("image_unreadable", image.id, f"image {image.id}: {error}")
        return None
    if not image.height:
        issues.add("size_from_image", image.id, f"{place}: {width} × {height}")
    elif (width, height) != (image.width, image.height):
        why = ", as if turned by its EXIF data" if turned and width == image.height else ""
        stated = f"the record says {image.width} × {image.height}{why}"
        issues.add("image_size", image.id, f"{place} is {width} × {height}, {stated}")
        return None
    if mode != "RGB":
        issues.add("image_converted", image.id, f"{place}: mode {mode}")
    if frames > 1:
        issues.add("image_frames", image.id, f"{place}: {frames}")
    if turned:
        issues.add("image_not_turned", image.id, place)
    return replace(image, width=width, height=height)
