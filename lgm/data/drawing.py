"""Drawings: strokes of a pen, as a browser sends them, and the picture that they make."""

import math
from typing import Any

from PIL import Image, ImageDraw

from lgm.data.base import DataError

SIDE = 280  # pixels of the sheet, in each direction
PEN = 22  # pixels: a stroke as wide as one of MNIST's, on a digit that fills the sheet as its digits do
_MOST_STROKES, _MOST_POINTS = 500, 20_000
_FINER = 2  # drawn so many times as large, so that edges come out smooth

Strokes = list[list[tuple[float, float]]]


def read_strokes(sent: Any) -> Strokes:
    """Check what comes from a browser: a list of strokes, each a list of points [x, y] on the sheet.

    Points outside the sheet, where a pen may have gone, come to lie on its edge.

    Raises:
        DataError: something else, or far more than a hand draws.
    """
    expected = f"a drawing: expected at most {_MOST_STROKES} strokes and {_MOST_POINTS:,} points [x, y]"
    if not isinstance(sent, list) or not all(isinstance(stroke, list) for stroke in sent):
        raise DataError(f"{expected}, got {type(sent).__name__}; clear it and draw anew")
    points = sum(map(len, sent))
    if len(sent) > _MOST_STROKES or points > _MOST_POINTS:
        raise DataError(f"{expected}, got {len(sent):,} and {points:,}; clear it and draw anew")
    return [[_point(point) for point in stroke] for stroke in sent if stroke]


def _point(sent: Any) -> tuple[float, float]:
    if isinstance(sent, list) and len(sent) == 2:
        x, y = sent
        if all(isinstance(v, int | float) and math.isfinite(v) for v in (x, y)):
            return min(max(x, 0), SIDE), min(max(y, 0), SIDE)
    raise DataError("a drawing: expected points of two finite numbers, got something else; clear it and draw anew")


def drawn(strokes: Strokes) -> Image.Image:
    """The strokes in white on black, with round ends and joints: "L", `SIDE` pixels square."""
    sheet = Image.new("L", (_FINER * SIDE, _FINER * SIDE))
    pen = ImageDraw.Draw(sheet)
    for stroke in strokes:
        points = [(_FINER * x, _FINER * y) for x, y in stroke]
        pen.line(points, fill=255, width=_FINER * PEN, joint="curve")
        for point in points:
            pen.circle(point, _FINER * PEN / 2, fill=255)
    return sheet.resize((SIDE, SIDE), Image.Resampling.BOX)
