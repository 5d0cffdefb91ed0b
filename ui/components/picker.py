"""A grid of images to pick one from: real buttons with images, so that mouse, touch and keyboard all work."""

import base64
from collections.abc import Callable

import numpy as np

from lgm.utils.images import png
from ui.components.declare import declare

_mount = declare("picker")


def pick_image(
    title: str, images: np.ndarray, positions: list[int], picked: int | None, color: str, *, key: str
) -> int | None:
    """Show the images; returns the position that was just clicked, or None.

    Args:
        title: What is being picked, for screen readers.
        images: (N, C, H, W) uint8.
        positions: What each stands for.
        picked: The current choice, which is outlined in ``color``; None if it is none of these.
        color: A role's colour.
        key: Identity of the component.
    """
    data = {
        "title": title,
        "images": [base64.b64encode(png(image)).decode() for image in images],
        "positions": positions,
        "picked": picked,
        "color": color,
    }
    nothing: Callable[[], None] = lambda: None  # noqa: E731 a trigger needs a callback to be reported
    return _mount(key=key, data=data, on_pick_change=nothing).pick
