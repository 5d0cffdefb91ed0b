"""Pixels as pictures that other programs open."""

import base64
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
    return _png(picture(image))


def data_url(shown: Image.Image) -> str:
    """A picture as a URL that holds it, so that it can be shown and nothing has to be fetched."""
    return f"data:image/png;base64,{base64.b64encode(_png(shown)).decode()}"


def _png(shown: Image.Image) -> bytes:
    buffer = BytesIO()
    shown.save(buffer, "PNG")
    return buffer.getvalue()
