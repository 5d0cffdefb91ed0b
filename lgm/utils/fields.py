"""Fields of a dataclass: bounds, choices, default and help, read from their annotations.

``beta: Annotated[float, Bounds("a number >= {ge}", ge=0), "weight of looking like the base"] = 8e-3`` says it once, for
the check at construction, the option of the command line, the parameter of a link and the widget.
"""

import dataclasses
import math
from dataclasses import KW_ONLY, MISSING, dataclass
from functools import cache
from numbers import Integral, Real
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

Extra = TypeVar("Extra")


@dataclass(frozen=True, slots=True)
class Bounds:
    """An interval of finite numbers: at least ``ge`` and more than ``gt``, at most ``le`` and less than ``lt``.

    ``expected`` names it in a message: "at least {ge}", or "a share in {}", which becomes "a share in [0, 1)".
    """

    expected: str
    _: KW_ONLY
    ge: float = -math.inf
    gt: float = -math.inf
    le: float = math.inf
    lt: float = math.inf

    def holds(self, value: Any) -> bool:
        """Whether a number lies within."""
        return self.ge <= value <= self.le and self.gt < value < self.lt  # NaN is neither

    def __str__(self) -> str:
        low = f"[{self.ge}" if self.gt < self.ge else f"({self.gt}"
        high = f"{self.le}]" if self.le < self.lt else f"{self.lt})"
        return self.expected.format(f"{low}, {high}", ge=self.ge, gt=self.gt, le=self.le, lt=self.lt)


@dataclass(frozen=True, slots=True)
class OneOf:
    """A few values that a ``Literal`` cannot list: floats, or names that are known elsewhere."""

    choices: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Field:
    """What is known of a field.

    Attributes:
        kind: int, float, bool, str, or what else it is, without None.
        optional: Whether it may be None.
        choices: All its values; () if they are not listed.
        extras: What stands in the annotation: `Bounds`, `OneOf`, whatever else a reader knows.
        doc: The string in the annotation: its help, or what people call it.
    """

    name: str
    kind: Any
    optional: bool
    default: Any
    choices: tuple[Any, ...]
    extras: tuple[Any, ...]
    doc: str

    @property
    def bounds(self) -> Bounds | None:
        """Of a number; None if it has none."""
        return self.extra(Bounds)

    def extra(self, kind: type[Extra]) -> Extra | None:
        """What stands in the annotation of this type; None if nothing does."""
        return next((extra for extra in self.extras if isinstance(extra, kind)), None)

    def check(self, value: Any) -> None:
        """Raise ValueError, "name: expected X, got Y", unless the field takes this value."""
        if value is None and self.optional:
            return
        if self.choices:
            require(value in self.choices, self.name, " or ".join(map(str, self.choices)), value)
        elif self.kind is bool:
            require(isinstance(value, bool), self.name, "True or False", value)
        elif self.kind is int:
            require(isinstance(value, Integral), self.name, "an integer", value)
        elif self.kind is float:
            require(isinstance(value, Real), self.name, "a number", value)
        if (bounds := self.bounds) is not None:
            require(bounds.holds(value), self.name, str(bounds), value)


def require(ok: bool, name: str, expected: str, got: object) -> None:
    """Raise ValueError, "name: expected X, got Y", unless ``ok``."""
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got!r}")


def check_fields(config: Any) -> None:
    """Raise ValueError unless each field of a dataclass takes its value; what they say together is for the caller."""
    for name, field in fields_of(type(config)).items():
        field.check(getattr(config, name))


@cache
def fields_of(config: type) -> dict[str, Field]:
    """The fields of a dataclass by name, in their order."""
    hints = get_type_hints(config, include_extras=True)
    return {each.name: field_of(each.name, hints[each.name], each.default) for each in dataclasses.fields(config)}


def field_of(name: str, annotation: Any, default: Any = MISSING) -> Field:
    """A field from its annotation: a type, ``Annotated``, ``Literal``, or any of these or None."""
    kind, optional, extras = annotation, False, []
    while get_origin(kind) in (Annotated, Union, UnionType):
        first, *others = get_args(kind)
        if get_origin(kind) is Annotated:
            extras += others
        elif others == [NoneType]:
            optional = True
        else:  # of several types: none of them is checked
            break
        kind = first
    choices = next((extra.choices for extra in extras if isinstance(extra, OneOf)), ())
    if get_origin(kind) is Literal:
        kind, choices = str, get_args(kind)
    doc = next((extra for extra in extras if isinstance(extra, str)), "")
    return Field(name, kind, optional, None if default is MISSING else default, choices, tuple(extras), doc)
