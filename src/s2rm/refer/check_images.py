"""Checks that the image of each referent is usable: present, complete, and of the size on record.

Training decodes the images when it reads them; here only the doubtful ones are decoded. A file that ends as
its format requires counts as complete; any other file is decoded to the end to find out.
"""

import io

from PIL import Image as Pillow
from tqdm import tqdm

from s2rm.data.image_zip import ImageFiles, MissingFileError
from s2rm.data.images import MOST_PIXELS
from s2rm.refer.issues import Issues
from s2rm.refer.records import Image
from s2rm.refer.referents import Referent

FORMATS = ("JPEG", "PNG")  # of COCO, SAIAPR and RefShapes
ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
TAIL = 64  # bytes in which the end must be; cameras pad some files
ORIENTATION = 0x0112  # EXIF


def keep_readable(
    referents: list[Referent], files: ImageFiles, folder: str, issues: Issues
) -> list[Referent]:
    """Return the referents whose image is in `folder` and usable.

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
    readable = {
        image.id: _check(files, f"{folder}/{image.file_name}", image, issues)
        for image in tqdm(images.values(), desc="images", unit="image", disable=None)
    }
    return [referent for referent in referents if readable[referent.image.id]]


def _check(files: ImageFiles, path: str, image: Image, issues: Issues) -> bool:
    try:
        data = files.read(path)
        with Pillow.open(io.BytesIO(data), formats=FORMATS) as file:
            width, height = file.size
            grey_or_print, turned = file.mode != "RGB", file.getexif().get(ORIENTATION, 1) != 1
            if width * height > MOST_PIXELS:
                raise ValueError(f"{width} × {height} pixels are too many")
            if ENDS[file.format or ""] not in data[-TAIL:] and (width, height) == (image.width, image.height):
                file.load()
    except MissingFileError:
        issues.add("image_missing", image.id, image.file_name)
        return False
    except (OSError, ValueError, SyntaxError, Pillow.DecompressionBombError) as error:
        issues.add("image_unreadable", image.id, f"{image.file_name}: {error}")
        return False
    if (width, height) != (image.width, image.height):
        stated = f"{image.width}×{image.height}"
        issues.add("image_size", image.id, f"{image.file_name} is {width}×{height}, the record says {stated}")
        return False
    if grey_or_print:
        issues.add("image_converted", image.id)
    if turned:
        issues.add("image_not_turned", image.id)
    return True
