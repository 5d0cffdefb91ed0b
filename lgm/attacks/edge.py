"""The edge of what a filter passes, as features to aim at: for an attacker who knows network, filter and threshold.

A poison need not collide with its target to do harm: one that the filter just passes, on the target's side of its
class, moves the border of a new head as well.
"""

from collections.abc import Callable

import numpy as np

Score = Callable[
    [np.ndarray, np.ndarray], np.ndarray
]  # features (N, D), claimed labels (N,) -> (N,), higher is cleaner

_GRID = 64  # points of the way that are looked at first: what a filter passes need not be in one piece
_BISECTIONS = 20
_LEAST = 1e-6  # margin that is as good as none
MARGIN = 0.02  # share of the way by which the aim stays inside: what lies at T is removed, and crafting ends nearby


def edge_of(
    score: Score, centre: np.ndarray, target: np.ndarray, label: int, threshold: float, *, margin: float = MARGIN
) -> np.ndarray:
    """The last point that the filter passes on the straight way from the claimed class to the target.

    Where the filter is a Gaussian with an identity covariance, and the way begins at its mean, it is the nearest to the
    target of all points that pass; else there may be nearer ones beside the way.

    Args:
        score: The filter's; what it gives at most ``threshold`` is removed.
        centre: (D,) features in the middle of the claimed class, where the way begins.
        target: (D,) features of the target, where it ends.
        label: The claimed one.
        threshold: T, in the score's unit; -inf removes nothing.
        margin: Share of the whole way by which the point stays on the inner side of the edge.

    Returns:
        (D,) features: the target's own if the filter passes them, the centre if it passes nothing on the way.

    Source: in the spirit of Koh, Steinhardt, Liang 2018, *Stronger Data Poisoning Attacks Break Data Sanitization
    Defenses*, who put poisons where a sanitizer just passes them. Not in the paper.
    """

    def passes(share: np.ndarray) -> np.ndarray:
        points = centre + share[:, None] * (target - centre)
        return np.asarray(score(points.astype(np.float32), np.full(len(share), label)), np.float64) > threshold

    shares = np.linspace(0, 1, _GRID + 1)
    passed = np.flatnonzero(passes(shares))
    if not len(passed):
        return centre
    last = int(passed[-1])
    if last == _GRID:
        return target
    low, high = shares[last], shares[last + 1]
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if passes(np.array([middle]))[0] else (low, middle)
    while margin and not passes(np.array([max(low - margin, 0.0)]))[0]:  # what passes may be a thin piece
        margin = margin / 2 if margin > _LEAST else 0.0
    return centre + max(low - margin, 0.0) * (target - centre)
