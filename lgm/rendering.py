"""Templates, and how their numbers are written: one way for the report and for the documents."""

from pathlib import Path
from typing import Any

import jinja2

_MISSING = "–"


def environment(*, html: bool) -> jinja2.Environment:
    """The templates beside this module. An unknown name in one of them is an error, not an empty place."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=not html,
        lstrip_blocks=not html,
    )
    made.filters |= {"percent": percent, "number": number, "span": span}
    return made


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent; a dash for none."""
    return _MISSING if share is None else f"{100 * share:.{digits}f} %"


def number(value: float | None, digits: int = 2) -> str:
    """A number; a dash for none."""
    return _MISSING if value is None else f"{value:.{digits}f}"


def span(interval: Any, digits: int = 0) -> str:
    """An interval of shares in percent, in brackets; nothing for none."""
    if interval is None or None in interval:
        return ""
    low, high = interval
    return f"({100 * low:.{digits}f} to {100 * high:.{digits}f})"
