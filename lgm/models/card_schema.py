"""Schema of a card's JSON: each field is checked by name before anything is made of it."""

import math
from collections.abc import Callable
from typing import Any

FORMAT = 4  # of a card; goes up when an older version could not read it, or would misread it; lower ones still read


def is_number(value: Any) -> bool:
    """Whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_text_by_name(value: Any) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


def _are_shares(value: Any) -> bool:
    return isinstance(value, dict) and all(is_number(each) and 0 <= each <= 1 for each in value.values())


def _are_numbers(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_number, value))


def _are_records(value: Any) -> bool:
    return isinstance(value, list) and all(map(is_record, value))


def _are_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len(set(value)) == len(value)


def is_record(value: Any) -> bool:
    """Whether this is an epoch of a history that can be drawn."""
    return isinstance(value, dict) and all(is_number(value.get(name)) for name in ("epoch", "loss"))


def _is_recipe(value: Any) -> bool:
    """In the layout of either format; `lgm.models.recipe_json` looks further."""
    return isinstance(value, dict) and (isinstance(value.get("phases"), list) or isinstance(value.get("model"), dict))


_TEXT = (lambda value: isinstance(value, str)), "text"
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "format": ((lambda value: value in range(1, FORMAT + 1) and not isinstance(value, bool)), f"1 to {FORMAT}"),
    "name": _TEXT,
    "config": (_is_recipe, "a training recipe"),
    "weights_sha256": _TEXT,
    "data_sha256": (_is_text_by_name, "a hash by name of split"),
    "accuracy": (_are_shares, "a number in [0, 1] by name of split"),
    "feature_min": (_are_numbers, "a list of finite numbers"),
    "feature_max": (_are_numbers, "a list of finite numbers"),
    "closest_centers": ((lambda value: value is None or is_number(value)), "a finite number or null"),
    "history": (_are_records, "a list of records with epoch and loss"),
    "versions": (_is_text_by_name, "a version by name of package"),
    "note": _TEXT,
    "classes": (_are_names, "a list of different names"),
}
_REQUIRED = ("name", "config", "weights_sha256")


def newer_format(values: Any) -> int | None:
    """The format of a card that a newer version of this program has written; None for any other."""
    found = values.get("format") if isinstance(values, dict) else None
    return found if isinstance(found, int) and found > FORMAT else None


def check_card(values: Any) -> None:
    """Raise ValueError that names the first field that is missing, unknown, or of another type."""
    if not isinstance(values, dict):
        raise ValueError(f"{type(values).__name__} in place of an object")
    for name in _REQUIRED:
        if name not in values:
            raise ValueError(f"no field {name!r}")
    for name, value in values.items():
        if name not in _FIELDS:
            raise ValueError(f"the unknown field {name!r}")
        holds, expected = _FIELDS[name]
        if not holds(value):
            raise ValueError(f"{name}: {str(value)[:80]!r}, which is not {expected}")
