"""Pixels as pictures that other programs open."""

from io import BytesIO

import numpy as np
from PIL import Image


def picture(image: np.ndarray) -> Image.Image:
    """An image at its own size. ``image`` is (1, H, W) or (3, H, W), uint8 or float in [0, 1]."""
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def png(image: np.ndarray) -> bytes:
    """The same as PNG bytes."""
    buffer = BytesIO()
    picture(image).save(buffer, "PNG")
    return buffer.getvalue()
