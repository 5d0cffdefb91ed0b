"""How sure is a ROC curve? Clean images and poisons drawn anew, the same ones for all detectors that are compared."""

import numpy as np

from lgm.intervals import Estimate, percentile_interval

_AT_A_TIME = 50  # resamples: bounds the memory, changes nothing


def weighted_rates(
    clean_score: np.ndarray, poison_score: np.ndarray, clean_times: np.ndarray, poison_times: np.ndarray, fpr: float
) -> tuple[np.ndarray, np.ndarray]:
    """AUC and TPR of samples in which each image occurs a number of times, without building the samples.

    Args:
        clean_score: (N,) higher is cleaner; ties with poisons count half in the AUC.
        poison_score: (M,).
        clean_times: (B, N) how often each clean image is in each of B samples.
        poison_times: (B, M) likewise.
        fpr: Share of the clean images that may be removed.

    Returns:
        (B,) chance that a poison scores lower than a clean image; (B,) share of the poisons that the best threshold
        removes which removes at most ``fpr`` of the clean images, as `lgm.detection.Roc.tpr_at`.
    """
    clean_order, poison_order = np.argsort(clean_score), np.argsort(poison_score)
    clean, poison = clean_score[clean_order], poison_score[poison_order]
    clean_up_to, poisons_up_to = _running(clean_times[:, clean_order]), _running(poison_times[:, poison_order])
    n, m = clean_up_to[:, -1], poisons_up_to[:, -1]
    lower = sum(clean_up_to[:, np.searchsorted(clean, poison, side)] for side in ("left", "right")) / 2
    auc = 1 - (poison_times[:, poison_order] * lower).sum(1) / (n * m)
    may_go = (clean_up_to[:, 1:] / n[:, None] <= fpr).sum(1)  # T lies below the first clean image that has to stay
    stays = np.append(clean, np.inf)[may_go]
    caught = poisons_up_to[np.arange(len(n)), np.searchsorted(poison, stays, "left")]
    return auc, caught / m


def _running(times: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2, ... columns, (B, N) -> (B, N + 1)."""
    return np.pad(times.cumsum(1), ((0, 0), (1, 0)))


def draw(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """How often each of ``size`` images is among as many draws with replacement: (count, size), a row a resample."""
    drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)


def resample(
    clean: dict[str, np.ndarray], poison: dict[str, np.ndarray], *, seed: int, resamples: int, fpr: float
) -> dict[str, np.ndarray]:
    """AUC and TPR at ``fpr`` of each detector on the same resamples, (2, resamples).

    Args:
        clean: (N,) scores by detector; drawn with replacement.
        poison: (M,) likewise; drawn by themselves.
        seed: The same seed gives the same resamples.
        resamples: How many.
        fpr: In [0, 1].
    """
    rng = np.random.default_rng(seed)
    n, m = (len(next(iter(scores.values()))) for scores in (clean, poison))
    parts: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {key: [] for key in clean}
    for start in range(0, resamples, _AT_A_TIME):
        count = min(_AT_A_TIME, resamples - start)
        times = draw(rng, n, count), draw(rng, m, count)
        for key, found in parts.items():
            found.append(weighted_rates(clean[key], poison[key], *times, fpr))
    return {key: np.concatenate(found, axis=1) for key, found in parts.items()}


def estimate(value: float, resampled: np.ndarray) -> Estimate:
    """The value with the percentile interval of what it is on resamples."""
    return Estimate(value, *percentile_interval(resampled))
