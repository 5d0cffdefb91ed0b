"""Where a detail and a label go in a scatter plot, so that they cover as few of its points as can be."""

from dataclasses import dataclass

import numpy as np

_DETAIL = 0.42  # side of a detail, as a share of the side of the plot
_CLOSEST = 1 / 20  # side of what a detail shows, as a share of the plot: closer up, a grid of regions is too coarse
_WORTH = 0.3  # what already fills so much of the plot needs no detail
_PAD = 1.5  # side of what a detail shows, in widths of its points
_EDGE = 0.01  # between a detail and the edge of the plot
_AWAY = 0.2  # from a point to its label, as a share of the side of the plot
_LABEL = (0.17, 0.05)  # half the width and half the height of a label


@dataclass(frozen=True)
class Square:
    """An upright square with its centre at (x, y)."""

    x: float
    y: float
    half: float

    @staticmethod
    def of_extent(extent: tuple[float, float, float, float]) -> "Square":
        """From left, right, bottom, top."""
        left, right, bottom, top = extent
        return Square((left + right) / 2, (bottom + top) / 2, max(right - left, top - bottom) / 2)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top."""
        return self.x - self.half, self.x + self.half, self.y - self.half, self.y + self.half

    def contains(self, points: np.ndarray) -> np.ndarray:
        """(N,) bool of (N, 2) points."""
        return (np.abs(points - (self.x, self.y)) <= self.half).all(1)

    def unit(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points as shares of the square, (0, 0) at its lower left."""
        left, _, bottom, _ = self.extent
        return (points - (left, bottom)) / (2 * self.half)


def close_up(points: np.ndarray, plot: Square) -> Square | None:
    """What a detail shows of a plot to tell these (N, 2) points apart; None if the plot itself does."""
    low, high = points.min(0), points.max(0)
    half = max(_PAD * float((high - low).max()) / 2, _CLOSEST * plot.half)
    return Square(*((low + high) / 2).tolist(), half) if half < _WORTH * plot.half else None


def emptiest(points: np.ndarray) -> Square:
    """The corner, or the middle, in which a detail covers the fewest of these points (N, 2) of the unit square.

    Of several the one farthest from the first point.
    """
    half = _DETAIL / 2
    near, far = half + _EDGE, 1 - half - _EDGE
    places = [Square(x, y, half) for x in (near, far) for y in (near, far)] + [Square(0.5, 0.5, half)]
    x, y = points[0]
    return min(places, key=lambda place: (place.contains(points).sum(), -np.hypot(place.x - x, place.y - y)))


def label_offset(at: np.ndarray, points: np.ndarray, avoid: Square | None) -> tuple[float, float]:
    """Where the label of the point ``at`` (2,) goes: right and up from it, in shares of the unit square.

    It stays within, off the square ``avoid``, and covers as few of the ``points`` (N, 2) as can be.
    """
    size = np.array(_LABEL)
    offsets = [np.array((dx, dy)) for dx in (0.0, _AWAY, -_AWAY) for dy in (_AWAY, -_AWAY)]

    def cost(offset: np.ndarray) -> tuple[bool, bool, int]:
        centre = at + offset
        outside = bool((np.abs(centre - 0.5) + size > 0.5).any())
        overlaps = avoid is not None and bool((np.abs(centre - (avoid.x, avoid.y)) < size + avoid.half).all())
        return outside, overlaps, int((np.abs(points - centre) <= size).all(1).sum())

    dx, dy = min(offsets, key=cost)
    return float(dx), float(dy)
