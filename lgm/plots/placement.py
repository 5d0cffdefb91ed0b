"""Where a detail and a label go in a scatter plot, so that they cover as few of its points as can be."""

from dataclasses import dataclass
from itertools import combinations

import numpy as np

_DETAIL = (0.42, 0.36, 0.3, 0.25)  # sides that a detail may have, as shares of the side of the plot
_CLOSEST = 1 / 20  # side of what a detail shows, as a share of the plot: closer up, a grid of regions is too coarse
_WORTH = 0.3  # what already fills so much of the plot needs no detail
_PAD = 1.5  # side of what a detail shows, in widths of its points
_EDGE = 0.01  # between a detail and the edge of the plot
_PLACES = 9  # tried along each axis
_AWAY = 0.2  # from a point to its label, as a share of the side of the plot
_BESIDE = 0.08  # from a point to the near end of a label at its side, likewise
_LETTER = (0.025, 0.1)  # width and height of a letter of a label, likewise
_TOUCHING = 1e-6  # overlap that rounding leaves
_ROUNDS = 100  # of pushing labels apart; ten of them need fewer than twenty


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
        return np.abs(points - (self.x, self.y)).max(1) <= self.half

    def distance(self, points: np.ndarray) -> float:
        """From its centre to the nearest of these (N, 2)."""
        return float(np.hypot(*(points - (self.x, self.y)).T).min())

    def unit(self, points: np.ndarray) -> np.ndarray:
        """(N, 2) points as shares of the square, (0, 0) at its lower left."""
        left, _, bottom, _ = self.extent
        return (points - (left, bottom)) / (2 * self.half)

    def at(self, shares: np.ndarray) -> np.ndarray:
        """(N, 2) points from such shares."""
        left, _, bottom, _ = self.extent
        return np.array((left, bottom)) + shares * (2 * self.half)


def close_up(points: np.ndarray, plot: Square) -> Square | None:
    """What a detail shows of a plot to tell these (N, 2) points apart; None if the plot itself does."""
    low, high = points.min(0), points.max(0)
    (x, y), half = (low + high) / 2, max(_PAD * float((high - low).max()) / 2, _CLOSEST * plot.half)
    return Square(float(x), float(y), half) if half < _WORTH * plot.half else None


def emptiest(points: np.ndarray) -> Square:
    """Where a detail goes in the unit square: the largest that covers none of these points (N, 2), far from all.

    Where each covers some, the one of the smallest that covers the fewest.
    """
    best = [_clearest(points, side) for side in _DETAIL]
    return next((place for place in best if not place.contains(points).any()), best[-1])


def _clearest(points: np.ndarray, side: float) -> Square:
    ends = side / 2 + _EDGE
    centres = np.linspace(ends, 1 - ends, _PLACES)
    places = [Square(float(x), float(y), side / 2) for x in centres for y in centres]
    return max(places, key=lambda place: (-int(place.contains(points).sum()), place.distance(points)))


def label_offset(
    at: np.ndarray, points: np.ndarray, avoid: Square | None, letters: int, *, enlarged: float = 1.0
) -> tuple[float, float]:
    """Where the label of the point ``at`` (2,) goes: right and up from it, in shares of the unit square.

    It stays within, off the square ``avoid``, and covers as few of the ``points`` (N, 2) as can be. Letters are
    ``enlarged`` in a plot that is smaller than usual.
    """
    size = enlarged * np.array(_LETTER) * (letters, 1) / 2
    offsets = [np.array((dx, dy)) for dx in (0.0, _AWAY, -_AWAY) for dy in (_AWAY, -_AWAY)]
    offsets += [np.array((side * (size[0] + _BESIDE), 0.0)) for side in (1, -1)]

    def cost(offset: np.ndarray) -> tuple[bool, bool, int]:
        centre = at + offset
        outside = bool((np.abs(centre - 0.5) + size > 0.5).any())
        overlaps = avoid is not None and bool((np.abs(centre - (avoid.x, avoid.y)) < size + avoid.half).all())
        return outside, overlaps, int((np.abs(points - centre) <= size).all(1).sum())

    dx, dy = min(offsets, key=cost)
    return float(dx), float(dy)


def apart(centres: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """How far labels are moved so that none overlaps another: (N, 2), 0 for those that are free already.

    Centres and sizes are (N, 2), in the same units. Two that overlap are pushed apart, each by half, along the axis on
    which they overlap less, again and again.
    """
    placed, pairs = centres.astype(float), list(combinations(range(len(centres)), 2))
    for _ in range(_ROUNDS):
        free = True
        for i, j in pairs:
            apart_by = placed[j] - placed[i]
            overlap = (sizes[i] + sizes[j]) / 2 - np.abs(apart_by)
            if (overlap > _TOUCHING).all():
                free, axis = False, int(overlap.argmin())
                push = np.copysign(overlap[axis] / 2, apart_by[axis])
                placed[i, axis] -= push
                placed[j, axis] += push
        if free:
            break
    return placed - centres
