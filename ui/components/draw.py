"""A sheet to draw a figure on with mouse, pen or finger; the strokes are told when the pen is lifted."""

from collections.abc import Callable
from typing import Any

import streamlit as st

from lgm.data.drawing import PEN, SIDE, Strokes
from ui.components.declare import declare

_mount = declare("draw")


def draw_figure(title: str, strokes: Strokes, on_release: Callable[[Any], None], *, key: str) -> None:
    """Show the sheet.

    Args:
        title: What is being drawn, for screen readers.
        strokes: What is on the sheet when it comes to be shown; later the hand knows better.
        on_release: Called with all strokes, as the browser sends them (`lgm.data.drawing.read_strokes` checks), after
            each of them and after Undo and Clear, before the rerun.
        key: Identity of the component on its page.
    """
    data = {"title": title, "side": SIDE, "pen": PEN, "strokes": strokes}
    _mount(key=key, data=data, on_strokes_change=lambda: on_release(st.session_state[key].get("strokes")))
