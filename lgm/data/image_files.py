"""Image files as people have them: what can be read of one, in one form, or why it cannot."""

import os
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from lgm.data.base import DataError
from lgm.utils.files import reason

LARGEST_FILE = 2**28  # bytes
LARGEST_IMAGE = Image.MAX_IMAGE_PIXELS or 2**26  # pixels, Pillow's own limit: a file of a kilobyte may declare billions
_DEEP = ("I;16", "I;16L", "I;16B", "I;16N", "I")  # how Pillow calls 16 bits a pixel


class ImageFileError(DataError):
    """A file that is no image, or not one that is read; the message is the reason, without the path."""


def read_image(content: bytes) -> Image.Image:
    """The picture that a file shows, in mode "L" where it is grey and "RGB" where it is not.

    Turned as EXIF says; 16 bits a pixel are rounded to 8; transparent parts lie on white; of an animation, the first
    frame. CMYK is converted without a colour profile, as torchvision's loader does.

    Args:
        content: Of the file; see `read_content`.

    Raises:
        ImageFileError: it is not an image, is damaged, or is larger than memory should bear.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            width, height = image.size
            if width * height > LARGEST_IMAGE:
                raise ImageFileError(f"declares {width:,} x {height:,} pixels (at most {LARGEST_IMAGE:,} are read)")
            image.load()
            return _in_8_bits(ImageOps.exif_transpose(image))
    except ImageFileError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageFileError(f"declares more than {LARGEST_IMAGE:,} pixels") from error
    except Image.UnidentifiedImageError as error:
        raise ImageFileError("not an image") from error
    # What Pillow's plugins raise at a damaged file is not documented: these and others were met.
    except (OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, ArithmeticError) as error:
        raise ImageFileError(f"damaged: {reason(error)}") from error


def read_content(source: Path) -> bytes:
    """All of a file that may be an image; ImageFileError with the reason if it cannot be one, or cannot be read."""
    if not source.is_file():  # reading from a pipe or a device might never end
        raise ImageFileError(_no_file(source))
    try:
        size = source.stat().st_size
        if size > LARGEST_FILE:
            raise ImageFileError(f"{size / 2**20:,.0f} MiB (files of at most {LARGEST_FILE / 2**20:,.0f} MiB are read)")
        if not size:
            raise ImageFileError("empty")
        return source.read_bytes()
    except OSError as error:
        raise ImageFileError(f"cannot be read: {reason(error)}") from error


def _no_file(source: Path) -> str:
    if os.path.exists(source):  # a folder, a pipe, a device
        return "not a regular file"
    return "a link to nothing" if source.is_symlink() else "there is no such file"


def _in_8_bits(image: Image.Image) -> Image.Image:
    if image.mode in _DEEP:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageFileError("32 bits a pixel: nobody says which of them are white")
        return Image.fromarray((values / 257).round().astype(np.uint8))
    if image.mode == "F":
        raise ImageFileError("floating point: nobody says which value is white")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    grey = image.mode in ("1", "L") or (image.mode in ("P", "RGB", "RGBA", "LA") and _is_grey(image.convert("RGB")))
    return image.convert("L" if grey else "RGB")


def _is_grey(image: Image.Image) -> bool:
    red, green, blue = (np.asarray(channel) for channel in image.split())
    return np.array_equal(red, green) and np.array_equal(green, blue)


def fit_to(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    """An image as a network takes it, (C, H, W) uint8: its middle, scaled so that all of the frame is filled.

    Args:
        image: "L" or "RGB", as `read_image` gives it.
        shape: (C, H, W), C = 1 for grey or 3 for colour. Pillow converts between them by Rec. 601's luma.
    """
    channels, height, width = shape
    image = image.convert("L" if channels == 1 else "RGB")
    if image.size != (width, height):
        image = ImageOps.fit(image, (width, height), Image.Resampling.BICUBIC)
    pixels = np.array(image)
    return pixels[None] if channels == 1 else np.ascontiguousarray(pixels.transpose(2, 0, 1))
