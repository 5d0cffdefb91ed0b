"""Templates, and how their numbers are written: one way for the report and for the documents."""

import math
from pathlib import Path

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
        "with_span": with_span,
    }
    return made


def percent(share: float | None, digits: int = 0) -> str:
    """A share in percent; a dash for none."""
    return percent_text(share, digits)


def number(value: float | None, digits: int = 2) -> str:
    """A number; a dash for none."""
    return "–" if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def ends(estimate: Estimate | None) -> str:
    """The interval of an AUC, in brackets; nothing for none."""
    return "" if estimate is None else "({} to {})".format(*outward(estimate.low, estimate.high, digits=4))


def span(estimate: Estimate | None, digits: int = 0) -> str:
    """The interval of a share in percent, in brackets; nothing for none."""
    if estimate is None or math.isnan(estimate.low):
        return ""
    return "({} to {})".format(*outward(100 * estimate.low, 100 * estimate.high, digits))


def with_span(estimate: Estimate | None, digits: int = 0) -> str:
    """A share in percent with its interval."""
    return f"{percent(estimate.value if estimate else None, digits)} {span(estimate, digits)}"
