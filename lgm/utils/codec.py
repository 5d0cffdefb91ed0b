"""Records to and from JSON: how dataclasses of results are stored, printed and downloaded.

A record is a JSON object with a key a field, in the order of its fields. What a file's keys ask for beyond that is
declared in a field's annotation: `WithInterval`, `Interval`, `Inline` and `Key`.
"""

import math
from collections.abc import Iterator
from dataclasses import Field, dataclass, fields, is_dataclass
from functools import cache
from typing import Annotated, Any, NewType, TypeVar, get_args, get_origin, get_type_hints

import numpy as np
from cattrs import BaseValidationError, Converter, ForbiddenExtraKeysError, transform_error
from cattrs.cols import is_namedtuple, namedtuple_structure_factory
from cattrs.gen import make_dict_structure_fn, mapping_structure_factory, override

T = TypeVar("T")
NOT_STORED = {"stored": False}  # metadata of a field that JSON does not hold; it needs a default
_SHOWN = 3  # problems in one message


@dataclass(frozen=True)
class Interval:
    """Estimates whose values and intervals are under two keys: the field's name, and this one ({}: the name)."""

    key: str = "{}_interval"


WithInterval = Annotated[T, Interval()]


@dataclass(frozen=True)
class Key:
    """A field that is stored under another name than its own."""

    name: str


@dataclass(frozen=True)
class Inline:
    """A record whose keys, each with ``suffix`` added, are among those of the record that it is in."""

    suffix: str = ""
    without: tuple[str, ...] = ()


class DecodeError(ValueError):
    """JSON that is not the record that was expected; the message names each field, as in ``$.about.seed``."""


def encode(value: Any) -> Any:
    """As JSON has it: objects for records, lists for tuples and arrays, and None for what is not a finite number.

    Keys that are numbers become text of six digits: 0.01 becomes "0.01".
    """
    if is_dataclass(value) and not isinstance(value, type):
        return _encode_record(value)
    if isinstance(value, dict):
        return {f"{key:g}" if isinstance(key, float) else key: encode(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [encode(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return encode(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def decode(kind: type[T], values: Any) -> T:
    """The record that `encode` made these values of; None becomes NaN where a number is expected.

    Args:
        kind: A dataclass whose annotations name the types of all fields.
        values: What `json.loads` returned.

    Raises:
        DecodeError: unknown or missing fields, or values of another type.
    """
    try:
        return _converter.structure(values, kind)
    except (BaseValidationError, TypeError) as error:
        problems = transform_error(error, format_exception=_problem)
    more = f"; and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
    raise DecodeError("; ".join(problems[:_SHOWN]) + more)


@dataclass(frozen=True)
class _Stored:
    """How a field is stored: its name, its key, the key of its intervals, and the record that is inlined."""

    name: str
    key: str
    interval: str | None
    inline: Inline | None
    kind: Any

    def all_keys(self) -> Iterator[str]:
        if self.inline is None:
            yield self.key
            if self.interval is not None:
                yield self.interval
            return
        for inner in _stored(self.kind):
            if inner.name not in self.inline.without:
                yield from (key + self.inline.suffix for key in inner.all_keys())


def _is_stored(field: Field[Any]) -> bool:
    return field.metadata.get("stored", True)


@cache
def _stored(kind: type) -> tuple[_Stored, ...]:
    hints = get_type_hints(kind, include_extras=True)
    return tuple(_of_field(field.name, hints[field.name]) for field in fields(kind) if _is_stored(field))


def _of_field(name: str, hint: Any) -> _Stored:
    bare, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
    intervals = [mark.key.format(name) for mark in marks if isinstance(mark, Interval)]
    inlines = [mark for mark in marks if isinstance(mark, Inline)]
    keys = [mark.name for mark in marks if isinstance(mark, Key)]
    return _Stored(name, next(iter(keys), name), next(iter(intervals), None), next(iter(inlines), None), bare)


def _encode_record(record: Any) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for stored in _stored(type(record)):
        value = encode(getattr(record, stored.name))
        if stored.inline is not None:
            values |= {
                key + stored.inline.suffix: item for key, item in value.items() if key not in stored.inline.without
            }
        elif stored.interval is not None:
            values[stored.key], values[stored.interval] = _split(value)
        else:
            values[stored.key] = value
    return values


def _split(value: Any) -> tuple[Any, Any]:
    """Estimates [value, low, high], alone or in objects, as values and as intervals in objects of the same keys."""
    if isinstance(value, dict):
        halves = {key: _split(item) for key, item in value.items()}
        return {key: half[0] for key, half in halves.items()}, {key: half[1] for key, half in halves.items()}
    return (None, None) if value is None else (value[0], value[1:])


def _join(value: Any, interval: Any) -> Any:
    """What `_split` has split."""
    if isinstance(value, dict):
        if not isinstance(interval, dict) or set(interval) != set(value):
            raise TypeError(f"expected intervals of {', '.join(value)}, got {interval!r:.60}")
        return {key: _join(item, interval[key]) for key, item in value.items()}
    if value is None and interval is None:
        return None
    if not isinstance(interval, list):
        raise TypeError(f"expected an interval [low, high] beside {value!r:.40}, got {interval!r:.40}")
    return [value, *interval]


def _gather(values: dict[str, Any], kind: type) -> dict[str, Any]:
    """One key a field: values and intervals joined, inlined records in objects of their own."""
    gathered = dict(values)
    for stored in _stored(kind):
        if stored.inline is not None:
            suffix = stored.inline.suffix
            if stored.name in values:
                raise TypeError(f"unknown field {stored.name}")
            found = [key for key in stored.all_keys() if key in gathered]
            gathered[stored.name] = {key.removesuffix(suffix): gathered.pop(key) for key in found}
        elif stored.interval is not None and stored.name in gathered:
            if stored.interval not in gathered:
                raise TypeError(f"missing field {stored.interval}")
            gathered[stored.name] = _join(gathered[stored.name], gathered.pop(stored.interval))
    return gathered


def _record_hook(kind: Any) -> Any:
    record = get_origin(kind) or kind
    overrides = {field.name: override(omit=True) for field in fields(record) if not _is_stored(field)}
    overrides |= {stored.name: override(rename=stored.key) for stored in _stored(record) if stored.key != stored.name}
    structure: Any = make_dict_structure_fn
    structure = structure(kind, _converter, _cattrs_forbid_extra_keys=True, **overrides)

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, dict):
            raise TypeError(f"expected an object, got {values!r:.40}")
        return structure(_gather(values, record), kind)

    return read


def _estimate_hook(kind: Any) -> Any:
    structure, names = namedtuple_structure_factory(kind, _converter), ", ".join(kind._fields)

    def read(values: Any, _: Any) -> Any:
        if not isinstance(values, list) or len(values) != len(kind._fields):
            raise TypeError(f"expected [{names}], got {values!r:.40}")
        return structure(values, kind)

    return read


def _exactly(kind: type, expected: str) -> Any:
    def read(value: Any, _: Any) -> Any:
        if type(value) is not kind:
            raise TypeError(f"expected {expected}, got {value!r:.40}")
        return value

    return read


def _number(value: Any, _: Any) -> float:
    if value is None:
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"expected a number, got {value!r:.40}")
    return float(value)


def _array(value: Any, _: Any) -> np.ndarray:
    try:
        array = np.asarray(value)
        array = array.astype(np.float64) if array.dtype == object else array  # None becomes NaN
    except (TypeError, ValueError):
        array = np.empty(0, object)
    if not isinstance(value, list) or array.dtype.kind not in "bif":
        raise TypeError(f"expected an array of numbers, got {value!r:.40}")
    return array


def _problem(error: BaseException, _: Any) -> str:
    if isinstance(error, KeyError):  # its path names the field
        return "missing field"
    if isinstance(error, ForbiddenExtraKeysError):
        return f"unknown field {', '.join(sorted(error.extra_fields))}"
    return str(error)


_NumberKey = NewType("_NumberKey", float)
_converter = Converter(forbid_extra_keys=True)
_converter.register_structure_hook(int, _exactly(int, "a whole number"))
_converter.register_structure_hook(str, _exactly(str, "text"))
_converter.register_structure_hook(bool, _exactly(bool, "true or false"))
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(np.ndarray, _array)
_converter.register_structure_hook(_NumberKey, lambda key, _: float(key))
_converter.register_structure_hook_factory(is_namedtuple, _estimate_hook)
_converter.register_structure_hook_factory(lambda kind: is_dataclass(get_origin(kind) or kind), _record_hook)
_converter.register_structure_hook_factory(
    lambda kind: get_origin(kind) is dict and get_args(kind)[0] is float,
    lambda kind: mapping_structure_factory(kind, _converter, key_type=_NumberKey),
)
