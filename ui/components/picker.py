"""A grid of images to pick one from: real buttons with images, so that mouse, touch and keyboard all work."""

import base64
from collections.abc import Callable

import numpy as np
from streamlit.components.v2 import component

from lgm.utils.images import png

_HTML = '<div class="grid" role="group"></div>'
_CSS = """
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(44px, 1fr)); gap: 6px; }
button { padding: 0; border: 3px solid transparent; border-radius: 6px; background: none; cursor: pointer;
  line-height: 0; }
button:hover, button:focus-visible { border-color: var(--st-border-color); outline: none; }
button:focus-visible { outline: 2px solid var(--st-primary-color); }
button[aria-pressed="true"] { border-color: var(--picked); }
img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; border-radius: 3px; }
"""
_JS = """
export default function ({ data, parentElement, setTriggerValue }) {
  const grid = parentElement.querySelector(".grid");
  grid.style.setProperty("--picked", data.color);
  grid.setAttribute("aria-label", data.title);
  grid.replaceChildren(...data.images.map((image, i) => {
    const button = document.createElement("button"), picture = document.createElement("img");
    picture.src = "data:image/png;base64," + image;
    picture.alt = `${data.title}: number ${data.positions[i]}`;
    button.type = "button";
    button.setAttribute("aria-pressed", data.positions[i] === data.picked);
    button.onclick = () => setTriggerValue("pick", data.positions[i]);
    button.append(picture);
    return button;
  }));
}
"""
_grid = component("lgm_picker", html=_HTML, css=_CSS, js=_JS)


def pick_image(
    title: str, images: np.ndarray, positions: list[int], picked: int, color: str, *, key: str
) -> int | None:
    """Show the images; returns the position that was just clicked, or None.

    Args:
        title: What is being picked, for screen readers.
        images: (N, C, H, W) uint8.
        positions: What each stands for.
        picked: The current choice, which is outlined in ``color``.
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
    return _grid(key=key, data=data, on_pick_change=nothing).pick
