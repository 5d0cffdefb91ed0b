"""State worth sharing lives in the URL: a copied link opens the same picture.

Widgets write to ``st.session_state`` under the names below. `pull` fills it from the URL once a session, `push` writes
what differs from the defaults back; pages and fragments call `push` after a change.
"""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lgm.config import GAMMA_GRID, METHODS


@dataclass(frozen=True)
class Field:
    """How one name is read from the URL and what it is where the URL is silent. ``parse`` raises ValueError."""

    parse: Callable[[str], Any]
    default: Any


def _index(text: str) -> int:
    value = int(text)
    if not 0 <= value < 100_000:
        raise ValueError(text)
    return value


def _positive(text: str) -> float:
    value = float(text)
    if not (math.isfinite(value) and 0 < value <= 1e3):
        raise ValueError(text)
    return value


def _weight(text: str) -> float:
    value = float(text)
    if value not in GAMMA_GRID:
        raise ValueError(text)
    return value


def _one_of(options: Collection[str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in options:
            raise ValueError(text)
        return text

    return parse


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(text)
    return value


FIELDS: dict[str, Field] = {
    "dataset": Field(str, "mnist"),
    "data": Field(str, None),  # D_f; None: the dataset's best that is at hand
    "lgm": Field(str, None),  # None: the dataset's first
    "softmax": Field(str, None),
    "base": Field(_index, None),  # position in D_f; None: the page's own example
    "target": Field(_index, None),
    "beta": Field(_positive, 8e-3),
    "method": Field(_one_of(METHODS), "lm"),
    "gamma": Field(_weight, 0.0),  # of the attacker who knows of the filter
    "threshold": Field(_finite, None),  # T in nats; None: the one for 1 % FPR
    "seed": Field(_index, 1),
    "network": Field(_one_of(("lgm", "softmax")), "lgm"),  # the one that Defend shows
    "task": Field(_one_of(("two", "all")), "two"),
    "base_class": Field(_index, None),  # None: the page's own example
    "target_class": Field(_index, None),
    "poisons": Field(_index, 10),  # K
    "clean": Field(_index, 10),  # images a class
    "draw": Field(_index, 1),
    "softmax_threshold": Field(_finite, None),  # as `threshold`, for the Gaussians fitted afterwards
}
_THRESHOLDS = ("threshold", "softmax_threshold")
# What a choice puts back to its default: positions and thresholds belong to the data and the network they were made on.
DEPENDENTS = {
    "dataset": ("data", "lgm", "softmax", "base", "target", "base_class", "target_class", *_THRESHOLDS),
    "data": ("base", "target", *_THRESHOLDS),
    "lgm": ("base", "target", *_THRESHOLDS),
    "softmax": ("base", "target", *_THRESHOLDS),
}


def pull() -> None:
    """Adopt the URL's values at the start of a session; what cannot be read falls back to the default."""
    if st.session_state.get("_pulled"):
        return
    st.session_state["_pulled"] = True
    for name, field in FIELDS.items():
        value = field.default
        if name in st.query_params:
            try:
                value = field.parse(st.query_params[name])
            except ValueError:
                st.toast(f"The link's {name} could not be read; using the default.", icon=":material/link_off:")
        st.session_state[f"s_{name}"] = value


def get(name: str) -> Any:
    """The current value of one of `FIELDS`."""
    return st.session_state.get(f"s_{name}", FIELDS[name].default)


def put(name: str, value: Any) -> None:
    """Set one of `FIELDS`; `push` makes it visible in the URL."""
    st.session_state[f"s_{name}"] = value


def choose(name: str, value: Any) -> None:
    """Set one of `FIELDS` that others depend on, and put these back."""
    put(name, value)
    for other in DEPENDENTS[name]:
        put(other, FIELDS[other].default)


def push() -> None:
    """Write everything that differs from its default to the URL."""
    wanted = {name: f"{get(name):.6g}" if isinstance(get(name), float) else str(get(name)) for name in _changed()}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def _changed() -> list[str]:
    return [name for name, field in FIELDS.items() if get(name) != field.default]
