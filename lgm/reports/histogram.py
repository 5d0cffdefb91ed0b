"""A histogram of scores as SVG, for a page that needs no script."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from lgm.plots.theme import CLASS, ROLE

KEPT, REMOVED = ROLE["clean"], CLASS[5]
_WIDTH, _HEIGHT, _MARGIN = 760, 260, 30  # pixels
_LEFT, _TOP, _FLOOR = 66, 22, 220  # of where bars are
_BINS = 60
_TICKS = (0, 0.5, 1, 2, 5, 10, 30, 100, 1000, 10_000)  # distances from the highest score, in that of T
_APART = 52  # pixels between two ticks


@dataclass(frozen=True)
class _Axis:
    """Scores to pixels: the distance from the highest one on a logarithmic scale, so that long tails fit in."""

    low: float
    high: float
    unit: float

    @classmethod
    def of(cls, score: np.ndarray, threshold: float) -> "_Axis":
        low, high = float(score.min()), float(score.max())
        inside = math.isfinite(threshold) and threshold < high
        unit = high - threshold if inside else (high - low) / 10
        return cls(min(low, threshold) if inside else low, high, unit if unit > 0 else 1.0)

    def place(self, score: np.ndarray | float) -> np.ndarray:
        depth = np.log1p((self.high - np.asarray(score, np.float64)) / self.unit)
        return _WIDTH - (_WIDTH - _LEFT) * depth / max(math.log1p((self.high - self.low) / self.unit), 1e-9)


@dataclass(frozen=True)
class _Bar:
    left: float
    right: float
    count: int
    colour: str


def score_histogram(score: np.ndarray, threshold: float, title: str) -> Markup:
    """Kept and removed images by their score; T is the edge of a bar, so that each bar is one or the other.

    Args:
        score: (N,) finite; higher is cleaner.
        threshold: T; removed is score <= T. Infinite where all or nothing is removed.
        title: What the score is, for those who do not see the picture.
    """
    axis = _Axis.of(score, threshold)
    x, removed = axis.place(score), score <= threshold
    edge = float(axis.place(threshold)) if math.isfinite(threshold) and axis.low <= threshold <= axis.high else None
    bars = [*_bars(x[~removed], KEPT, edge, right=True), *_bars(x[removed], REMOVED, edge, right=False)]
    decades = max(1, math.ceil(math.log10(1 + max(bar.count for bar in bars))))
    drawn = [
        *_count_axis(decades),
        *(_drawn(bar, decades) for bar in bars),
        *_score_axis(axis),
        *([] if edge is None else [_threshold_line(edge, threshold)]),
    ]
    return Markup(
        f'<svg viewBox="0 0 {_WIDTH + _MARGIN} {_HEIGHT}" role="img" aria-label="{Markup.escape(title)}" '
        f'font-family="system-ui, sans-serif" font-size="12">{"".join(drawn)}</svg>'
    )


def _bars(x: np.ndarray, colour: str, edge: float | None, *, right: bool) -> list[_Bar]:
    """Bars of equal width, counted from T, whose sides rounding must not change; else from the left."""
    width = (_WIDTH - _LEFT) / _BINS
    start = _LEFT if edge is None else edge
    numbers = np.floor((x - start) / width).astype(int)
    if edge is not None:
        numbers = np.maximum(numbers, 0) if right else np.minimum(numbers, -1)
    counted = zip(*np.unique(numbers, return_counts=True), strict=True)
    return [_Bar(start + n * width, start + (n + 1) * width, int(count), colour) for n, count in counted]


def _drawn(bar: _Bar, decades: int) -> str:
    left, height = max(bar.left, _LEFT), _height(bar.count, decades)
    return (
        f'<rect x="{left:.1f}" y="{_FLOOR - height:.1f}" width="{max(bar.right - left - 0.7, 0.7):.1f}" '
        f'height="{height:.1f}" fill="{bar.colour}"><title>{bar.count:,} images</title></rect>'
    )


def _height(count: float, decades: int) -> float:
    return (_FLOOR - _TOP) * math.log10(1 + count) / decades


def _count_axis(decades: int) -> Iterator[str]:
    for count in [10**power for power in range(decades)]:
        y = _FLOOR - _height(count, decades)
        yield (
            f'<line x1="{_LEFT}" x2="{_WIDTH}" y1="{y:.1f}" y2="{y:.1f}" stroke="#e3e6ea"/>'
            f'<text x="{_LEFT - 5}" y="{y + 4:.1f}" text-anchor="end" fill="#50575f">{count:,}</text>'
        )


def _score_axis(axis: _Axis) -> Iterator[str]:
    last = math.inf
    for depth in _TICKS:
        score = axis.high - depth * axis.unit
        x = float(axis.place(score))
        if score < axis.low or last - x < _APART:
            continue
        yield (
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_FLOOR}" y2="{_FLOOR + 4}" stroke="#50575f"/>'
            f'<text x="{x:.1f}" y="{_FLOOR + 17}" text-anchor="middle" fill="#50575f">{score:.4g}</text>'
        )
        last = x


def _threshold_line(x: float, threshold: float) -> str:
    side, shift = ("end", -4) if x > _WIDTH / 2 else ("start", 4)
    return (
        f'<line x1="{x:.1f}" x2="{x:.1f}" y1="6" y2="{_FLOOR}" stroke="#1c1f23" stroke-width="1.5"/>'
        f'<text x="{x + shift:.1f}" y="15" text-anchor="{side}" fill="#1c1f23">T = {threshold:.5g}</text>'
    )
