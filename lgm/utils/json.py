"""Values as JSON text."""

import json
from typing import Any

from lgm.utils.codec import encode


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The only way from values to JSON: what is not a finite number is null, and all letters are ASCII."""
    return json.dumps(encode(value), allow_nan=False, indent=indent, sort_keys=sort_keys)
