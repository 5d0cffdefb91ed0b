"""The browser component of the page "Your data": one dataset's scores, a threshold to drag, and all that follows it."""

import base64
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from ui.components.declare import declare
from ui.components.threshold import pack

_mount = declare("kept_list")
_BINS = 48
_LOWEST = 0.005  # share of the images that may lie below the axis, in a slot of their own


@dataclass(frozen=True)
class ScoredImages:
    """What the browser counts and draws by itself; the same object while it is the same.

    Attributes:
        key: What tells these scores from others.
        title: Which they are, for a picture that travels alone.
        score: (N,) ascending.
        claims: (N,) positions in ``names`` of the claimed classes, in the same order.
        predicted: (M,) those of the network's own choice, for the M least likely images that can be shown.
        calibration: (n,) scores of trusted images, ascending.
        names: Of all classes.
        axis: What the score is, in words.
        in_nats: Its unit; none otherwise.
        spaced: Whether it is a log-likelihood, whose distance to the highest one is squared.
        rate: Share of clean images that ``start`` may remove.
        start: T for that.
        pictures: (M, C, H, W) uint8.
    """

    key: str
    title: str
    score: np.ndarray
    claims: np.ndarray
    predicted: np.ndarray
    calibration: np.ndarray
    names: tuple[str, ...]
    axis: str
    in_nats: bool
    spaced: bool
    rate: float
    start: float
    pictures: np.ndarray


def kept_list(images: ScoredImages, threshold: float, on_release: Callable[[float], None], *, key: str) -> None:
    """Draw the histogram with T, the classes and the images nearest to T.

    Args:
        images: All of them, scored.
        threshold: T, in the unit of the score.
        on_release: Called with T once it is let go.
        key: Identity of the component on its page.
    """

    def released() -> None:
        chosen = st.session_state[key].get("threshold")
        if isinstance(chosen, int | float) and math.isfinite(chosen):  # it comes from a browser
            on_release(float(chosen))

    _mount(key=key, data={**_packed(images), "threshold": threshold}, on_threshold_change=released)


@st.cache_resource(show_spinner=False, max_entries=4, hash_funcs={ScoredImages: lambda images: images.key})
def _packed(images: ScoredImages) -> dict[str, Any]:
    floor, low, high = axis_range(images)
    return {
        "id": images.key,
        "title": images.title,
        "scores": _encode(images.score, "<f8"),  # as they are: the browser counts with the numbers that Python has
        "claims": _encode(images.claims, "<u4"),
        "predicted": _encode(images.predicted, "<u4"),
        "calibration": _encode(images.calibration, "<f8"),
        "names": images.names,
        "nats": images.in_nats,
        "axis": images.axis,
        "spaced": images.spaced,
        "floor": floor,
        "low": low,
        "high": high,
        "bins": _BINS,
        "shape": images.pictures.shape[1:],
        "pictures": pack(images.pictures),
        "rate": images.rate,
        "start": images.start,
    }


def axis_range(images: ScoredImages) -> tuple[float, float, float]:
    """A T that removes nothing of finite score, the left end of the axis, and a T that removes everything."""
    every = np.concatenate([images.score, images.calibration])
    finite = every[np.isfinite(every)] if np.isfinite(every).any() else np.zeros(1)
    high = float(finite.max())
    low = min(float(np.quantile(finite, _LOWEST)), images.start if math.isfinite(images.start) else high)
    margin = max(high - low, abs(high) * 1e-6, 1e-6) / _BINS
    low, least = low - margin, float(finite.min())
    all_finite = len(finite) == len(every)
    if all_finite and least > low - 5 * margin:  # a slot for so little would only mislead
        low = least - margin
    return min(least - margin, low if all_finite else low - margin), low, high


def _encode(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values, kind).tobytes()).decode("ascii")
