"""The one way from values to JSON."""

import json
import math
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
    """As JSON has it: lists for tuples and arrays, Python's numbers for NumPy's, and None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def to_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The only way from values to JSON: what is not a finite number is null, and all letters are ASCII."""
    return json.dumps(plain(value), allow_nan=False, indent=indent, sort_keys=sort_keys)
