"""Templates, and how their numbers are written: one way for the report and for the documents."""

from pathlib import Path
from typing import Any

import jinja2

from lgm.stats.intervals import Estimate, outward, percent_text, share_text


def environment(*, html: bool) -> jinja2.Environment:
    """The templates beside this module. An unknown name in one of them is an error, not an empty place."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=html,
        undefined=jinja2.StrictUndefined,
        trim_blocks=not html,
        lstrip_blocks=not html,
    )
    made.filters |= {
        "percent": percent,
        "share": share_text,
        "number": number,
        "span": span,
        "ends": ends,
        "points": lambda difference: Estimate(*difference).points(),
    }
    return made


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent; a dash for none."""
    return percent_text(share, digits)


def number(value: float | None, digits: int = 2) -> str:
    """A number; a dash for none."""
    return "–" if value is None else f"{value:.{digits}f}"


def ends(interval: Any) -> str:
    """An interval of an AUC, in brackets; nothing for none."""
    return "" if interval is None else "({} to {})".format(*outward(*interval, digits=4))


def span(interval: Any, digits: int = 0) -> str:
    """An interval of shares in percent, in brackets; nothing for none."""
    if interval is None or None in interval:
        return ""
    low, high = interval
    return "({} to {})".format(*outward(100 * low, 100 * high, digits))
