"""State worth sharing lives in the URL: a copied link opens the same picture.

`Link` is one frozen record in ``st.session_state``. `pull` fills it from the URL once a session, `push` writes what
differs from the defaults back; pages and fragments call `push` after a change. What may be in a link, and what a widget
offers, is said once, in the annotations of `Link`; what a configuration says already is taken from there.
"""

import math
from dataclasses import dataclass, replace
from typing import Annotated, Any

import streamlit as st

from lgm.config import BETA_GRID, FPR_GRID, GAMMA_GRID, DefenseConfig, Loss, Method, Nats, PoisonConfig, Task
from lgm.experiments.board.config import ATTACKERS, CHOICES, FILTERS, HEAD_TITLES, BoardConfig
from lgm.utils.fields import Bounds, Field, OneOf, fields_of


@dataclass(frozen=True)
class Nearest:
    """A number becomes the nearest of these stops, by ratio."""

    stops: tuple[float, ...]


_ATTACK, _DEFENSE, _BOARD = PoisonConfig(), DefenseConfig(), BoardConfig()
_WHOLE = "a whole number from {ge} to {le:,}"
Position = Annotated[int, Bounds(_WHOLE, ge=0, le=99_999)]  # in D_f, whose length is for `ui.links` to look up
Label = Annotated[int, Bounds(_WHOLE, ge=0, le=99)]
ShortSeed = Annotated[int, Bounds(_WHOLE, ge=0, le=99_999)]
TrialNumber = Annotated[int, Bounds(_WHOLE, ge=1, le=10_000)]  # whether there are so many is for `ui.links` to find out
Beta = Annotated[float, Bounds("a number from {ge:g} to {le:g}", ge=BETA_GRID[0], le=BETA_GRID[-1]), Nearest(BETA_GRID)]


def budget_text(budget: tuple[int, int]) -> str:
    """A budget of the board as it stands in a link: poisons, and clean images a class."""
    return "{}-to-{}".format(*budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """What a link holds, and what people call it. Whether a name is known here is for `ui.links` to find out."""

    dataset: Annotated[str, "dataset"] = "mnist"
    data: Annotated[str | None, "fine-tuning data"] = None  # D_f; None: the dataset's best that is at hand
    lgm: Annotated[str | None, "LGM network"] = None  # None: the dataset's first
    softmax: Annotated[str | None, "softmax network"] = None
    base: Annotated[Position | None, "base"] = None  # position in D_f; None: the page's own example
    target: Annotated[Position | None, "target"] = None
    beta: Annotated[Beta, "β"] = _ATTACK.beta
    method: Annotated[Method, "method"] = _ATTACK.method
    gamma: Annotated[float, OneOf(GAMMA_GRID), "γ"] = _ATTACK.gamma  # of the adaptive attacker
    threshold: Annotated[Nats | None, "T"] = None  # None: the one for 1 % FPR
    seed: Annotated[ShortSeed, "seed"] = 1
    network: Annotated[Loss, "kind of network"] = "lgm"  # the one that Defend shows
    task: Annotated[Task, "task of the head"] = _DEFENSE.task
    base_class: Annotated[Label | None, "class of the base"] = None  # None: the page's own example
    target_class: Annotated[Label | None, "class of the target"] = None
    # So few are crafted while one waits.
    poisons: Annotated[int, OneOf((0, 1, 2, 5, 10, 20)), "number of poisons K"] = _DEFENSE.poisons
    clean: Annotated[int, OneOf((2, 5, 10, 20, 50)), "number of clean images a class"] = _DEFENSE.clean
    draw: Annotated[ShortSeed, "draw"] = _DEFENSE.seed
    softmax_threshold: Annotated[Nats | None, "T for softmax"] = None  # for the Gaussians fitted afterwards
    # The map of Defend, and the cell of it that is open: as in `lgm.experiments.board.record.Cell`.
    budget: Annotated[str | None, "budget (poisons to clean images a class)"] = None  # None: the board's heaviest
    head: Annotated[str, OneOf(tuple(HEAD_TITLES)), "head"] = "logistic"
    fpr: Annotated[float, OneOf(FPR_GRID), "false-positive rate"] = _BOARD.aim
    attacker: Annotated[str | None, OneOf(tuple(ATTACKERS)), "attacker"] = None  # None: no cell is open
    choice: Annotated[str, OneOf(tuple(CHOICES)), "choice of target"] = "nearest"
    filter: Annotated[str | None, OneOf(tuple(FILTERS)), "filter"] = None  # None: the network's own density
    trial: Annotated[TrialNumber, "number of the attack"] = 1


FIELDS = fields_of(Link)
_THRESHOLDS = ("threshold", "softmax_threshold")
# What a choice puts back to its default: positions and thresholds belong to the data and the network they were made on.
DEPENDENTS = {
    "dataset": ("data", "lgm", "softmax", "base", "target", "base_class", "target_class", *_THRESHOLDS),
    "data": ("base", "target", *_THRESHOLDS),
    "lgm": ("base", "target", *_THRESHOLDS),
    "softmax": ("base", "target", *_THRESHOLDS),
}


def read(field: Field, text: str) -> Any:
    """The value of a field of `Link` as it stands in a link. Raises ValueError that says what was expected."""
    if field.choices:
        for choice in field.choices:
            if text == choice or (not isinstance(choice, str) and _number(text) == choice):
                return choice
        *most, last = map(written, field.choices)
        raise ValueError(f"{', '.join(most)} or {last}")
    if (bounds := field.bounds) is None:
        return text
    try:
        value = field.kind(text)
    except ValueError:
        value = math.nan
    if not bounds.holds(value):
        raise ValueError(str(bounds))
    nearest = field.extra(Nearest)
    return value if nearest is None else min(nearest.stops, key=lambda stop: abs(math.log(stop / value)))


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan


def link() -> Link:
    """What the link holds at present."""
    return st.session_state.get("link", Link())


def put(**changes: Any) -> None:
    """Set fields of `Link`; `push` makes them visible in the URL."""
    st.session_state["link"] = replace(link(), **changes)


def choose(name: str, value: Any) -> None:
    """Set a field that others depend on, and put these back."""
    put(**{other: FIELDS[other].default for other in DEPENDENTS[name]}, **{name: value})


def pull() -> list[str] | None:
    """Adopt the URL's values at the start of a session; what cannot be read falls back to the default.

    Returns:
        Sentences about what could not be read; None if this is not the start of a session.
    """
    if "link" in st.session_state:
        return None
    said, found = [], {}
    for name, field in FIELDS.items():
        if name not in st.query_params:
            continue
        text = st.query_params[name]
        try:
            value = found[name] = read(field, text)
        except ValueError as error:
            instead = "it is left out" if field.default is None else f"{written(field.default)} is used instead"
            said.append(f"The link's {field.doc} is {quoted(text)}, not {error}: {instead}.")
        else:
            if field.extra(Nearest) and value != _number(text):
                said.append(f"The link's {field.doc} is {quoted(text)}: {written(value)}, the nearest, is used.")
    put(**found)
    return said


def quoted(text: str) -> str:
    """Text of a stranger as code: short, and nothing in it is markup."""
    short = text if len(text) <= 40 else text[:40] + "…"
    plain = "".join(sign if sign.isprintable() and sign != "`" else "?" for sign in short)
    return f"`{plain}`" if plain.strip() else "empty"


def bounds(name: str) -> tuple[int, int]:
    """The least and the greatest value of a whole number, for its widget."""
    found = FIELDS[name].bounds
    assert found is not None, f"{name} has no bounds"
    return int(found.ge), int(found.le)


def options(name: str) -> tuple[Any, ...]:
    """All values of a field that has few, for its widget."""
    return FIELDS[name].choices


def draw_next(name: str) -> int:
    """Advance a seed; after the last comes the first. Returns it."""
    low, high = bounds(name)
    value = getattr(link(), name) + 1
    put(**{name: value if value <= high else low})
    return getattr(link(), name)


def push() -> None:
    """Write everything that differs from its default to the URL."""
    now = link()
    wanted = {name: written(value) for name in FIELDS if (value := getattr(now, name)) != FIELDS[name].default}
    if st.query_params.to_dict() != wanted:
        st.query_params.from_dict(wanted)


def written(value: Any) -> str:
    """A value as it stands in a link."""
    return f"{value:.6g}" if isinstance(value, float) else str(value)
