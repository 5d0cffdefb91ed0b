"""Colours of roles and classes, and what all plots share."""

from contextlib import suppress
from typing import Any

import numpy as np

with suppress(ImportError):  # Plotly takes it where it finds it, also while another thread is still importing it
    import pandas as pd  # noqa: F401
import plotly.graph_objects as go

# Roles keep their colour on every page. Chosen from palettes made for colour-blind readers; each stands out by 3:1
# from both the light and the dark background.
ROLE = {
    "clean": "#3B82C4",
    "poison": "#D55E00",
    "base": "#009E73",
    "target": "#9467D8",
    "lgm": "#B87A00",
    "softmax": "#7A8594",
}
# Ten classes cannot be told apart by hue alone: plots also carry their names.
CLASS = ["#4477AA", "#EE6677", "#228833", "#B8A520", "#2FA7CE", "#AA3377", "#8C8C8C", "#E07B39", "#2BA084", "#9A6F3F"]


def _steps(colours: list[str]) -> list[list[Any]]:
    """A colour scale that gives each of these an equal part."""
    n = len(colours)
    return [[edge, colour] for k, colour in enumerate(colours) for edge in (k / n, (k + 1) / n)]


CLASS_SCALE = _steps(CLASS)
_REGIONS = _steps([*CLASS, "rgba(0,0,0,0)"])
# Told apart by their dashes as well, the reference by its width.
DETECTOR = {
    "likelihood": (ROLE["lgm"], "solid"),
    "gaussian": (CLASS[0], "dash"),
    "confidence": (CLASS[5], "dot"),
    "knn": (CLASS[2], "dashdot"),
    "centroid": (CLASS[1], "longdash"),
    "lof": (CLASS[4], "longdashdot"),
    "forest": (CLASS[7], "2px,6px"),
    "spectral": (CLASS[6], "12px,3px,2px,3px,2px,3px"),
}
LOSS_TITLES = {"lgm": "LGM", "softmax": "softmax"}
GREY = "rgba(128,128,128,0.28)"  # lines that must be seen on a light and on a dark page
LAYOUT: dict[str, Any] = {
    "height": 380,
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    "legend": {"orientation": "h", "y": -0.22, "yanchor": "top"},
}
# Of figures whose points are clicked. Streamlit adds these itself, but only after it has drawn the figure without: it
# draws it twice, and until then, which on a busy machine is seconds, a click is lost.
CLICKABLE = {"clickmode": "event+select", "hovermode": "closest", "dragmode": "pan"}
SPLIT_TITLES = {"train": "D_C, training", "test": "D_f, test set", "bundled": "D_f, bundled digits"}


def region_map(regions: np.ndarray, extent: tuple[float, float, float, float]) -> go.Heatmap:
    """Classes at the points of a grid that goes from edge to edge, in their colours; one more is a hole."""
    left, right, bottom, top = extent
    rows, columns = regions.shape
    return go.Heatmap(
        z=regions,
        x0=left,
        dx=(right - left) / (columns - 1),
        y0=bottom,
        dy=(top - bottom) / (rows - 1),
        zmin=-0.5,
        zmax=len(CLASS) + 0.5,
        colorscale=_REGIONS,
        opacity=0.22,
        showscale=False,
        hoverinfo="skip",
    )


def class_tag(x: float, y: float, k: int, classes: tuple[str, ...]) -> dict[str, object]:
    """An annotation with the name of class k, on its colour, at (x, y)."""
    return {
        "x": float(x),
        "y": float(y),
        "text": f"<b>{classes[k]}</b>",
        "showarrow": False,
        "font": {"size": 12, "color": "white"},
        "bgcolor": CLASS[k],
        "bordercolor": "white",
        "borderpad": 2,
    }


def present(examples: Any) -> list[int]:
    """The classes among these examples, ascending."""
    return [int(k) for k in np.unique(examples.labels)]


def square_axes(places: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom, top round all places, with a margin."""
    low, high = places.min(0), places.max(0)
    (x, y), half = (low + high) / 2, 0.58 * float((high - low).max())
    return float(x - half), float(x + half), float(y - half), float(y + half)
