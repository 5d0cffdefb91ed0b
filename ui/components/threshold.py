"""The browser component of the Detect page: one threshold to drag, and all that follows it.

The browser has the scores, so that it can draw histogram and ROC curve, and the images, so that it can show who is
caught, missed and wrongly thrown away. It needs nothing from here while T moves.
"""

import base64
import math
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from lgm.attacks.result import Poisons
from lgm.config import FPR_GRID
from lgm.detection.thresholds import nominal_fpr
from lgm.models.features import Features
from lgm.plots.theme import ROLE
from ui import load
from ui.components.declare import declare
from ui.detection_view import Case

RATES = FPR_GRID  # with a button of their own
_WIDEST = 100.0  # nats that the log-likelihood axis spans at most; poisons further down share a bin
_BIN = 0.2  # width of a bin, as a distance from the class mean in sigmas
_TABLE = 200  # points of the table of nominal false-positive rates
LEAST_LIKELY = 1000  # clean images that the browser can show: those that a sensible T throws away, and far more


_mount = declare("threshold")


def threshold_picture(
    case: Case, threshold: float, own: float | None, on_release: Callable[[float], None], *, key: str
) -> None:
    """Draw both plots, the numbers that go with T and the images nearest to it.

    Clean images are blank as long as `load.in_memory` says that they have to be read from disk.

    Args:
        case: The scores to draw.
        threshold: T in nats.
        own: Score of the user's own poison, or None.
        on_release: Called with T once it is let go.
        key: Identity of the component on its page.
    """

    def released() -> None:
        chosen = st.session_state[key].get("threshold")
        if isinstance(chosen, int | float) and math.isfinite(chosen):  # it comes from a browser
            on_release(float(chosen))

    pictures = {
        "poison": _poison_pictures(case),
        "clean": _clean_pictures(case) if load.in_memory(case.key[2]) else None,
    }
    data = {**_scores(case), "pictures": pictures, "threshold": threshold, "own": own}
    _mount(key=key, data=data, on_threshold_change=released)


@st.cache_resource(show_spinner=False, max_entries=8, hash_funcs={Case: lambda case: case.key})
def _scores(case: Case) -> dict[str, Any]:
    """What the browser needs to count and draw by itself; the same object while the scores are the same."""
    poison_order, clean_order = ascending(case.poisons.score), ascending(case.clean.score)
    clean, poison = case.clean.score[clean_order], case.poisons.score[poison_order]
    peak = float(case.features.peak.max())
    floor, low, high, bins = axis(clean, poison, peak)
    return {
        "id": "/".join(case.key),
        "title": case.title,
        "names": case.dataset.classes,
        "shape": case.poisons.images.shape[1:],
        "clean": _encode(clean, "<f4"),  # as it is, so that the browser counts with the numbers that Python counts with
        "poison": _encode(poison, "<f4"),
        "collided": _encode(np.sort(case.poisons.score[case.poisons.collided]), "<f4"),
        "classes": {
            "poison": _classes(case.poisons, poison_order),
            "clean": _classes(case.clean, clean_order[:LEAST_LIKELY]),
        },
        "peak": peak,
        "floor": floor,
        "low": low,
        "high": high,
        "bins": bins,
        "nominal": nominal_table(case.features.peak, case.n_dim, floor),
        "auc": case.report.auc.text(),
        "auc_collided": case.report.auc_collided and case.report.auc_collided.text(),
        "quick": quick_thresholds(case),
        "colors": {name: ROLE[name] for name in ("clean", "poison")},
    }


def nominal_table(peak: np.ndarray, n_dim: int, floor: float) -> dict[str, Any]:
    """Logarithms of the nominal false-positive rate at even steps of T, from ``start`` (nats) to the highest peak."""
    highest = float(peak.max())
    start = min(highest - 1, max(floor, highest - _WIDEST))
    rates = [nominal_fpr(t, peak, n_dim) for t in np.linspace(start, highest, _TABLE)]
    return {"start": start, "log": np.log(np.maximum(rates, 1e-300)).round(6).tolist()}


def ascending(score: np.ndarray) -> np.ndarray:
    """Positions, the lowest score first; of equal scores the earlier one."""
    return np.argsort(score, kind="stable")


def _classes(group: Features | Poisons, order: np.ndarray) -> dict[str, str]:
    """What the captions say beside the score, in this order."""
    return {"labels": _encode(group.labels[order], "u1"), "predicted": _encode(group.predicted[order], "u1")}


@st.cache_resource(show_spinner=False, max_entries=8, hash_funcs={Case: lambda case: case.key})
def _poison_pictures(case: Case) -> str:
    return pack(case.poisons.images[ascending(case.poisons.score)])


@st.cache_resource(show_spinner=False, max_entries=8, hash_funcs={Case: lambda case: case.key[:3]})
def _clean_pictures(case: Case) -> str:
    return pack(load.split(case.key[2]).images[ascending(case.clean.score)[:LEAST_LIKELY]])


def pack(images: np.ndarray) -> str:
    """Images as deflated bytes in base64, a third of their size. Floats are in [0, 1]; uint8 stays as it is."""
    pixels = images if images.dtype == np.uint8 else (images * 255).round().astype(np.uint8)
    return _encode(np.frombuffer(zlib.compress(pixels.tobytes()), np.uint8), "u1")


def _encode(values: np.ndarray, kind: str) -> str:
    return base64.b64encode(values.astype(kind).tobytes()).decode("ascii")


def axis(clean: np.ndarray, poison: np.ndarray, peak: float) -> tuple[float, float, float, int]:
    """Range of T and the log-likelihood axis, in nats, from ascending scores.

    Returns:
        floor: A T that removes nothing.
        low, high: Ends of the axis; ``high`` is a T that removes everything. Scores up to ``low`` share one bin.
        bins: Number of bins between them, of equal width in sqrt(2 (high - score)).
    """
    floor = math.floor(float(min(clean[0], poison[0])) * 1000) / 1000 - 0.001
    high = math.ceil(max(peak, float(clean[-1]), float(poison[-1])) * 1000) / 1000
    wanted = min(_WIDEST, high - min(float(np.quantile(poison, 0.01)), float(np.quantile(clean, 0.001))))
    bins = max(15, math.ceil(math.sqrt(2 * wanted) / _BIN))
    low = high - (bins * _BIN) ** 2 / 2
    return min(floor, low), low, high, bins


def quick_thresholds(case: Case) -> list[dict[str, float]]:
    """T for each of `RATES`: the T that goes by this name everywhere."""
    return [{"rate": rate, "threshold": case.report.threshold_at_fpr[rate]} for rate in RATES]
