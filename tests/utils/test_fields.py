from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest

from lgm.utils.fields import Bounds, Field, OneOf, check_fields, field_of, fields_of


@dataclass(frozen=True)
class Example:
    plain: tuple[int, ...] = ()
    share: Annotated[float, Bounds("a share in {}", ge=0, lt=1), "help"] = 0.5
    count: Annotated[int, Bounds("at least {ge}", ge=1)] | None = None
    several: int | str = 1
    flag: bool = False
    stop: Annotated[float, OneOf((0.0, 0.5))] = 0.5
    name: Annotated[Literal["a", "b"] | None, "either"] = None

    def __post_init__(self) -> None:
        check_fields(self)


def test_what_an_annotation_says():
    found = fields_of(Example)
    assert list(found) == ["plain", "share", "count", "several", "flag", "stop", "name"]
    kinds = {name: (field.kind, field.optional) for name, field in found.items()}
    assert kinds["share"] == (float, False)
    assert kinds["count"] == (int, True)
    assert kinds["name"] == (str, True)
    assert (found["share"].default, found["share"].doc) == (0.5, "help")
    assert (found["name"].choices, found["name"].doc) == (("a", "b"), "either")
    assert found["stop"].choices == (0.0, 0.5)
    assert found["count"].bounds is not None
    assert found["count"].bounds.ge == 1
    assert found["plain"].bounds is None


@pytest.mark.parametrize(
    "values",
    [{"plain": (1,)}, {"share": 0}, {"share": 0.999}, {"count": 1}, {"count": None}, {"several": "x"}, {"flag": True}],
)
def test_what_is_within_bounds_is_taken(values: dict[str, Any]):
    Example(**values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": 1}, r"^share: expected a share in \[0, 1\), got 1$"),
        ({"share": -0.1}, r"^share: expected a share in \[0, 1\), got -0.1$"),
        ({"share": float("nan")}, r"^share: expected a share in \[0, 1\), got nan$"),
        ({"share": "0.5"}, r"^share: expected a number, got '0.5'$"),
        ({"share": None}, r"^share: expected a number, got None$"),
        ({"count": 0}, r"^count: expected at least 1, got 0$"),
        ({"count": 1.5}, r"^count: expected an integer, got 1.5$"),
        ({"flag": 1}, r"^flag: expected True or False, got 1$"),
        ({"stop": 0.25}, r"^stop: expected 0.0 or 0.5, got 0.25$"),
        ({"name": "c"}, r"^name: expected a or b, got 'c'$"),
    ],
)
def test_what_is_not_is_refused_by_name(values: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=message):
        Example(**values)


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        (Bounds("x in {}", ge=0, le=1), "x in [0, 1]"),
        (Bounds("x in {}", gt=0, lt=1), "x in (0, 1)"),
        (Bounds("x in {}", gt=0, le=2.5), "x in (0, 2.5]"),
        (Bounds("at most {le:,}", le=10_000), "at most 10,000"),
    ],
)
def test_the_ends_stand_in_the_message(bounds: Bounds, expected: str):
    assert str(bounds) == expected


def test_bounds_hold_finite_numbers_only():
    anything = Bounds("a finite number")
    assert anything.holds(1e300)
    assert not any(anything.holds(float(text)) for text in ("nan", "inf", "-inf"))


def test_a_value_of_its_own_needs_no_dataclass():
    field = field_of("seed", Annotated[int, Bounds("a seed", ge=0)], 3)
    assert field == Field("seed", int, False, 3, (), (Bounds("a seed", ge=0),), "")
