"""Separability of classes in feature space, without a unit."""

from collections.abc import Callable

import numpy as np

from lgm.stats.intervals import resamples


def separability(z: np.ndarray, labels: np.ndarray) -> float:
    """Distance of the closest class means, over the spread within a class (root mean square a feature).

    Without a unit, so that networks of other feature scales compare. Classes without images do not count.

    Args:
        z: (N, D) features.
        labels: (N,) classes.
    """
    return float(_separabilities(z, labels, lambda n, _: np.arange(n)[None])[0])


def separability_bootstrap(z: np.ndarray, labels: np.ndarray, *, seed: int = 1, count: int = 500) -> np.ndarray:
    """(count,) values of `separability` on images resampled within each class.

    The same seed draws the same images of any network, so that differences between networks are paired.
    """
    return _separabilities(z, labels, lambda n, k: resamples(n, seed + k, count))


def _separabilities(z: np.ndarray, labels: np.ndarray, draw: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """(R,) values of R samples: ``draw`` gives the positions (R, n) among the n images of its k-th class."""
    size = z.size
    z = z - z.mean(axis=0, dtype=np.float64)  # about their mean, squares lose no digits
    moments = np.concatenate([z, np.square(z).sum(axis=1, keepdims=True)], axis=1)  # (N, D + 1)
    classes = [moments[labels == k] for k in np.unique(labels)]
    sums = np.stack([mine[draw(len(mine), k)].sum(axis=1) for k, mine in enumerate(classes)], axis=1)  # (R, K, D + 1)
    counts = np.array([len(mine) for mine in classes])
    means = sums[..., :-1] / counts[:, None]
    within = (sums[..., -1] - counts * np.square(means).sum(axis=-1)).sum(axis=-1)
    spread = np.sqrt(within / size)
    distance = np.linalg.norm(means[:, :, None] - means[:, None], axis=-1)
    return distance[:, ~np.eye(len(classes), dtype=bool)].min(axis=-1) / spread
