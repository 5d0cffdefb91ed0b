"""State worth sharing lives in the URL: a copied link opens the same picture.

Widgets write to ``st.session_state`` under the names below. `pull` fills it from the URL once a session, `push` writes
what differs from the defaults back; pages and fragments call `push` after a change. What may be in a link, and what a
widget offers, is said once, in `FIELDS`.
"""

import math
from dataclasses import dataclass
from typing import Any, Protocol

import streamlit as st

from lgm.config import BETA_GRID, GAMMA_GRID, METHODS, PAPER_BETA


class Kind(Protocol):
    """Which values a field takes."""

    def __call__(self, text: str) -> Any:
        """Read a value from a link. Raises ValueError that says what was expected."""
        ...


@dataclass(frozen=True)
class Text:
    """A name; whether it is known here is for `ui.links` to find out."""

    def __call__(self, text: str) -> str:
        return text


@dataclass(frozen=True)
class Whole:
    """A whole number from ``low`` to ``high``."""

    low: int
    high: int

    def __call__(self, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = self.low - 1
        if not self.low <= value <= self.high:
            raise ValueError(f"a whole number from {self.low} to {self.high:,}")
        return value


@dataclass(frozen=True)
class Number:
    """A number from ``low`` to ``high``."""

    low: float
    high: float

    def __call__(self, text: str) -> float:
        value = _number(text)
        if not self.low <= value <= self.high:  # NaN is not either
            raise ValueError(f"a number from {self.low:g} to {self.high:g}")
        return value


@dataclass(frozen=True)
class OneOf:
    """One of a few names or numbers."""

    options: tuple[Any, ...]

    def __call__(self, text: str) -> Any:
        for option in self.options:
            if text == option or (not isinstance(option, str) and _number(text) == option):
                return option
        *most, last = (f"{option:g}" if isinstance(option, float) else str(option) for option in self.options)
        raise ValueError(f"{', '.join(most)} or {last}")


@dataclass(frozen=True)
class Nearest:
    """The nearest of these stops, by ratio."""

    stops: tuple[float, ...]

    def __call__(self, text: str) -> float:
        value = Number(self.stops[0], self.stops[-1])(text)
        return min(self.stops, key=lambda stop: abs(math.log(stop / value)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


@dataclass(frozen=True)
class Field:
    """What one name of a link may be, what it is where the link is silent, and what people call it."""

    kind: Kind
    default: Any
    title: str


_POSITION = Whole(0, 99_999)  # in D_f, whose length is for `ui.links` to look up
_CLASS = Whole(0, 99)
_SEED = Whole(0, 99_999)
_NATS = Number(-1e6, 1e6)
FIELDS: dict[str, Field] = {
    "dataset": Field(Text(), "mnist", "dataset"),
    "data": Field(Text(), None, "fine-tuning data"),  # D_f; None: the dataset's best that is at hand
    "lgm": Field(Text(), None, "LGM network"),  # None: the dataset's first
    "softmax": Field(Text(), None, "softmax network"),
    "base": Field(_POSITION, None, "base"),  # position in D_f; None: the page's own example
    "target": Field(_POSITION, None, "target"),
    "beta": Field(Nearest(BETA_GRID), PAPER_BETA, "β"),
    "method": Field(OneOf(tuple(METHODS)), "lm", "method"),
    "gamma": Field(OneOf(GAMMA_GRID), 0.0, "γ"),  # of the attacker who knows of the filter
    "threshold": Field(_NATS, None, "T"),  # in nats; None: the one for 1 % FPR
    "seed": Field(_SEED, 1, "seed"),
    "network": Field(OneOf(("lgm", "softmax")), "lgm", "kind of network"),  # the one that Defend shows
    "task": Field(OneOf(("two", "all")), "two", "task of the head"),
    "base_class": Field(_CLASS, None, "class of the base"),  # None: the page's own example
    "target_class": Field(_CLASS, None, "class of the target"),
    "poisons": Field(OneOf((0, 1, 2, 5, 10, 20)), 10, "number of poisons K"),  # so few are crafted while one waits
    "clean": Field(OneOf((2, 5, 10, 20, 50)), 10, "number of clean images a class"),
    "draw": Field(_SEED, 1, "draw"),
    "softmax_threshold": Field(_NATS, None, "T for softmax"),  # for the Gaussians fitted afterwards
}
_THRESHOLDS = ("threshold", "softmax_threshold")
# What a choice puts back to its default: positions and thresholds belong to the data and the network they were made on.
DEPENDENTS = {
    "dataset": ("data", "lgm", "softmax", "base", "target", "base_class", "target_class", *_THRESHOLDS),
    "data": ("base", "target", *_THRESHOLDS),
    "lgm": ("base", "target", *_THRESHOLDS),
    "softmax": ("base", "target", *_THRESHOLDS),
}


def pull() -> list[str] | None:
    """Adopt the URL's values at the start of a session; what cannot be read falls back to the default.

    Returns:
        Sentences about what could not be read; None if this is not the start of a session.
    """
    if st.session_state.get("_pulled"):
        return None
    st.session_state["_pulled"] = True
    said = []
    for name, field in FIELDS.items():
        value = field.default
        if name in st.query_params:
            text = st.query_params[name]
            try:
                value = field.kind(text)
            except ValueError as error:
                instead = "it is left out" if value is None else f"{written(value)} is used instead"
                said.append(f"The link's {field.title} is {quoted(text)}, not {error}: {instead}.")
            else:
                if isinstance(field.kind, Nearest) and value != _number(text):
                    said.append(f"The link's {field.title} is {quoted(text)}: {written(value)}, the nearest, is used.")
        put(name, value)
    return said


def quoted(text: str) -> str:
    """Text of a stranger as code: short, and nothing in it is markup."""
    short = text if len(text) <= 40 else text[:40] + "…"
    plain = "".join(sign if sign.isprintable() and sign != "`" else "?" for sign in short)
    return f"`{plain}`" if plain.strip() else "empty"


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


def bounds(name: str) -> tuple[int, int]:
    """The least and the greatest value of a whole number, for its widget."""
    kind = FIELDS[name].kind
    assert isinstance(kind, Whole), f"{name} has no bounds"
    return kind.low, kind.high


def options(name: str) -> tuple[Any, ...]:
    """All values of a field that has few, for its widget."""
    kind = FIELDS[name].kind
    assert isinstance(kind, OneOf), f"{name} has no options"
    return kind.options


def draw_next(name: str) -> int:
    """Advance a seed; after the last comes the first. Returns it."""
    low, high = bounds(name)
    value = get(name) + 1
    put(name, value if value <= high else low)
    return get(name)


def push() -> None:
    """Write everything that differs from its default to the URL."""
    wanted = {name: written(get(name)) for name in _changed()}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def written(value: Any) -> str:
    """A value as it stands in a link."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _changed() -> list[str]:
    return [name for name, field in FIELDS.items() if get(name) != field.default]
