"""Records to JSON and back, and what is refused."""

import json
import math
from dataclasses import dataclass, field
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np
import pytest

from lgm.utils.codec import NOT_STORED, DecodeError, Inline, Interval, Key, WithInterval, decode, encode
from lgm.utils.json import to_json

T = TypeVar("T")


class Share(NamedTuple):
    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Both(Generic[T]):
    one: T
    other: T


@dataclass(frozen=True)
class Setting:
    beta: float
    rate: WithInterval[Share]
    hidden: str | None = None


@dataclass(frozen=True)
class Record:
    name: str
    count: int | None
    flag: bool
    kind: Literal["a", "b"]
    share: WithInterval[Share]
    success: Annotated[Both[Share], Interval("interval")]
    at_rate: WithInterval[dict[float, Share | None]]
    difference: Share
    setting: Annotated[Setting, Inline(without=("hidden",))]
    rival: Annotated[Setting, Inline("_rival")]
    table: np.ndarray
    pair: tuple[int, int] | None
    nested: list[Both[float]]
    live: object = field(default=None, metadata=NOT_STORED)


HALF, NONE = Share(0.5, 0.25, 0.75), Share(math.nan, math.nan, math.nan)
RECORD = Record(
    name="β",
    count=None,
    flag=True,
    kind="b",
    share=HALF,
    success=Both(HALF, NONE),
    at_rate={0.01: HALF, 0.1: None},
    difference=HALF,
    setting=Setting(8e-3, HALF, "not stored"),
    rival=Setting(1.0, HALF),
    table=np.array([[1.0, math.nan], [3.0, math.inf]]),
    pair=(4, 9),
    nested=[Both(1.0, math.nan)],
    live=object(),
)
JSON = {
    "name": "β",
    "count": None,
    "flag": True,
    "kind": "b",
    "share": 0.5,
    "share_interval": [0.25, 0.75],
    "success": {"one": 0.5, "other": None},
    "interval": {"one": [0.25, 0.75], "other": [None, None]},
    "at_rate": {"0.01": 0.5, "0.1": None},
    "at_rate_interval": {"0.01": [0.25, 0.75], "0.1": None},
    "difference": [0.5, 0.25, 0.75],
    "beta": 8e-3,
    "rate": 0.5,
    "rate_interval": [0.25, 0.75],
    "beta_rival": 1.0,
    "rate_rival": 0.5,
    "rate_interval_rival": [0.25, 0.75],
    "hidden_rival": None,
    "table": [[1.0, None], [3.0, None]],
    "pair": [4, 9],
    "nested": [{"one": 1.0, "other": None}],
}


def test_a_record_is_an_object_with_its_fields_in_order():
    assert list(encode(RECORD).items()) == list(JSON.items())
    assert json.loads(to_json([RECORD, {"of": RECORD}])) == [JSON, {"of": JSON}]


def test_what_is_read_is_what_was_written():
    back = decode(Record, json.loads(to_json(RECORD)))
    assert to_json(back) == to_json(RECORD)
    assert (back.share, back.success.one, back.at_rate) == (HALF, HALF, {0.01: HALF, 0.1: None})
    assert isinstance(back.share, Share)
    assert (back.setting, back.rival) == (Setting(8e-3, HALF), Setting(1.0, HALF))
    assert (back.pair, back.count, back.live) == ((4, 9), None, None)
    assert math.isnan(back.success.other.value)
    assert math.isnan(back.nested[0].other)
    np.testing.assert_array_equal(back.table, [[1, math.nan], [3, math.nan]])


@pytest.mark.parametrize(("values", "kind"), [([[True, False]], "b"), ([1, 2], "i"), ([0.5], "f"), ([], "f")])
def test_an_array_has_the_type_of_its_numbers(values: list[Any], kind: str):
    assert decode(Record, {**JSON, "table": values}).table.dtype.kind == kind


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"extra": 1}, r"unknown field extra @ \$"),
        ({"live": 1}, r"unknown field live @ \$"),
        ({"hidden": "not stored"}, r"unknown field hidden @ \$"),
        ({"setting": {}}, r"unknown field setting @ \$"),
        ({"nested": [{"one": 1.0, "other": 2.0, "third": 3.0}]}, r"unknown field third @ \$\.nested\[0\]"),
        ({"nested": [{"one": 1.0}]}, r"missing field @ \$\.nested\[0\]\.other"),
        ({"name": 3}, r"expected text, got 3 @ \$\.name"),
        ({"name": None}, r"expected text, got None @ \$\.name"),
        ({"count": 3.0}, r"expected a whole number, got 3\.0 @ \$\.count"),
        ({"count": True}, r"expected a whole number, got True @ \$\.count"),
        ({"flag": 1}, r"expected true or false, got 1 @ \$\.flag"),
        ({"kind": "c"}, r"c not in literal .* @ \$\.kind"),
        ({"share": "0.5"}, r"expected a number, got '0\.5' @ \$\.share"),
        ({"share_interval": None}, r"expected an interval \[low, high\] beside 0\.5, got None"),
        ({"interval": {"one": [0.25, 0.75]}}, r"expected intervals of one, other, got \{'one': \[0\.25, 0\.75\]\}"),
        ({"interval": [0.25, 0.75]}, r"expected intervals of one, other, got \[0\.25, 0\.75\]"),
        ({"at_rate_interval": {"0.01": [0, 1], "0.1": None, "0.2": [0, 1]}}, r"expected intervals of 0\.01, 0\.1, got"),
        ({"success": {"one": 0.5, "other": None}, "interval": {"one": [0, 1], "other": None}}, r"got None @ .*other"),
        ({"at_rate": {"often": 0.5}, "at_rate_interval": {"often": [0.2, 0.8]}}, r"often.* @ \$\.at_rate"),
        ({"difference": [0.5, 0.25]}, r"expected \[value, low, high\], got \[0\.5, 0\.25\] @ \$\.difference"),
        ({"beta": "much"}, r"expected a number, got 'much' @ \$\.setting\.beta"),
        ({"table": "numbers"}, r"expected an array of numbers, got 'numbers' @ \$\.table"),
        ({"table": [["a"]]}, r"expected an array of numbers, .* @ \$\.table"),
        ({"table": [[1], [1, 2]]}, r"expected an array of numbers, .* @ \$\.table"),
        ({"pair": [4]}, r"@ \$\.pair"),
        ({"nested": 3}, r"@ \$\.nested"),
        ({"nested": ["x"]}, r"expected an object, got 'x' @ \$\.nested\[0\]"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_path(changes: dict[str, Any], problem: str):
    with pytest.raises(DecodeError, match=problem):
        decode(Record, {**JSON, **changes})


@pytest.mark.parametrize("key", JSON)
def test_every_missing_field_is_named(key: str):
    values = {name: value for name, value in JSON.items() if name != key}
    if key == "hidden_rival":
        assert decode(Record, values).rival.hidden is None, "it has a default"
        return
    with pytest.raises(DecodeError, match=rf"missing field .*{key.removesuffix('_rival')}"):
        decode(Record, values)


def test_of_many_problems_the_first_are_told():
    with pytest.raises(DecodeError) as refused:
        decode(Record, {**JSON, "name": 1, "flag": 2, "kind": 3, "pair": 4, "nested": 5})
    assert str(refused.value).count(" @ ") == 3
    assert str(refused.value).endswith("; and 2 more")


@pytest.mark.parametrize("values", [None, 3, [], "text"])
def test_no_object_is_no_record(values: Any):
    with pytest.raises(DecodeError, match="expected an object, got"):
        decode(Record, values)


def test_numpys_numbers_are_pythons_and_no_number_is_null():
    values = {"a": np.float32(0.5), "b": np.int64(3), "c": (np.nan, -math.inf), 0.1: [np.arange(2)]}
    assert to_json(values) == '{"a": 0.5, "b": 3, "c": [null, null], "0.1": [[0, 1]]}'


@dataclass(frozen=True)
class Renamed:
    trials: Annotated[int, Key("knowing")]


@dataclass(frozen=True)
class Around:
    inner: Annotated[Renamed, Inline("_of_it")]


def test_a_field_may_be_stored_under_another_name():
    assert encode(Renamed(3)) == {"knowing": 3}
    assert decode(Renamed, {"knowing": 3}) == Renamed(3)
    with pytest.raises(DecodeError, match="unknown field trials"):
        decode(Renamed, {"trials": 3})
    assert encode(Around(Renamed(3))) == {"knowing_of_it": 3}
    assert decode(Around, {"knowing_of_it": 3}) == Around(Renamed(3))
