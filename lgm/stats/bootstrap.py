"""Bootstrap intervals of rates at a fixed FPR: clean images, which set the threshold, and poisons are resampled."""

from collections.abc import Sequence

import numpy as np

from lgm.stats.intervals import hull, percentile_interval, wilson_interval

_AT_A_TIME = 50  # resamples: bounds the memory, changes nothing
_DRAWS = 10_000  # of `tpr_interval`: they cost a millisecond


def may_go(clean: int, fpr: float) -> int:
    """How many of so many clean images may be removed: at most this share.

    Raises:
        ValueError: a rate outside [0, 1].
    """
    if not 0 <= fpr <= 1:
        raise ValueError(f"fpr: expected a rate in [0, 1], got {fpr}")
    return int(np.searchsorted(np.arange(1, clean + 1) / clean, fpr, side="right"))


def tpr_interval(clean_score: np.ndarray, poison_score: np.ndarray, fpr: float, seed: int = 1) -> tuple[float, float]:
    """95 % interval of the share of poisons that is caught where at most ``fpr`` of the clean images is removed.

    Two intervals, and the smallest one that holds both:

    - The bootstrap's percentiles. The threshold is drawn anew with the clean images, and the poisons with it. But where
      all poisons are caught, so they are in every resample: equal values, which say nothing, have no width.
    - Wilson's. It has a width where all are caught, but takes the threshold as given.

    Each errs where the other is right, so none is chosen by the result: both always count.

    Args:
        clean_score: (N,) higher is cleaner.
        poison_score: (M,).
        fpr: In [0, 1].
        seed: Of the draws.

    The bootstrap needs no samples that are built: with k clean images that may go, T lies below the (k + 1)-th smallest
    of N draws with replacement, whose rank in the sample at hand is ceil(N U), U ~ Beta(k + 1, N - k); and of M poisons
    drawn anew a binomial number lies below it.

    Source: Efron, Tibshirani 1993, *An Introduction to the Bootstrap*, chapters 5 and 13; order statistics of the
    uniform distribution: David, Nagaraja 2003, section 2.3.
    """
    clean, poison = np.sort(clean_score), np.sort(poison_score)
    n, m = len(clean), len(poison)
    k = may_go(n, fpr)
    stays = np.append(clean, np.inf)  # T lies below the first clean image that has to stay
    caught = int(np.searchsorted(poison, stays[k], side="left"))
    if k == n:
        return wilson_interval(caught, m)
    rng = np.random.default_rng(seed)
    rank = np.minimum((n * rng.beta(k + 1, n - k, _DRAWS)).astype(int), n - 1)
    share = np.searchsorted(poison, clean[rank], side="left") / m
    return hull(percentile_interval(rng.binomial(m, share) / m), wilson_interval(caught, m))


def weighted_rates(
    clean_score: np.ndarray,
    poison_score: np.ndarray,
    clean_times: np.ndarray,
    poison_times: np.ndarray,
    fprs: Sequence[float],
) -> np.ndarray:
    """AUC and TPRs of samples in which each image occurs a number of times, without building the samples.

    Args:
        clean_score: (N,) higher is cleaner; ties with poisons count half in the AUC.
        poison_score: (M,).
        clean_times: (B, N) how often each clean image is in each of B samples.
        poison_times: (B, M) likewise.
        fprs: Shares of the clean images that may be removed, F of them.

    Returns:
        (1 + F, B): chance that a poison scores lower than a clean image; and for each rate the share of the poisons
        that the best threshold removes which removes at most this share of the clean images.
    """
    clean_order, poison_order = np.argsort(clean_score), np.argsort(poison_score)
    clean, poison = clean_score[clean_order], poison_score[poison_order]
    clean_up_to, poisons_up_to = _running(clean_times[:, clean_order]), _running(poison_times[:, poison_order])
    n, m = clean_up_to[:, -1], poisons_up_to[:, -1]
    lower = sum(clean_up_to[:, np.searchsorted(clean, poison, side)] for side in ("left", "right")) / 2
    rates = [1 - (poison_times[:, poison_order] * lower).sum(1) / (n * m)]
    share, stays = clean_up_to[:, 1:] / n[:, None], np.append(clean, np.inf)
    for fpr in fprs:
        first = stays[(share <= fpr).sum(1)]  # T lies below the first clean image that has to stay
        rates.append(poisons_up_to[np.arange(len(n)), np.searchsorted(poison, first, "left")] / m)
    return np.stack(rates)


def _running(times: np.ndarray) -> np.ndarray:
    """Sums of the first 0, 1, 2, ... columns, (B, N) -> (B, N + 1)."""
    return np.pad(times.cumsum(1), ((0, 0), (1, 0)))


def draw(rng: np.random.Generator, size: int, count: int) -> np.ndarray:
    """How often each of ``size`` images is among as many draws with replacement: (count, size), a row a resample."""
    drawn = rng.integers(size, size=(count, size)) + size * np.arange(count)[:, None]
    return np.bincount(drawn.ravel(), minlength=count * size).reshape(count, size)


def resample(
    clean: dict[str, np.ndarray], poison: dict[str, np.ndarray], *, seed: int, resamples: int, fprs: Sequence[float]
) -> dict[str, np.ndarray]:
    """`weighted_rates` of each detector on the same resamples, (1 + F, resamples): for paired differences.

    Args:
        clean: (N,) scores by detector; drawn with replacement.
        poison: (M,) likewise; drawn by themselves.
        seed: The same seed gives the same resamples.
        resamples: How many.
        fprs: In [0, 1], F of them.
    """
    rng = np.random.default_rng(seed)
    n, m = (len(next(iter(scores.values()))) for scores in (clean, poison))
    parts: dict[str, list[np.ndarray]] = {key: [] for key in clean}
    for start in range(0, resamples, _AT_A_TIME):
        count = min(_AT_A_TIME, resamples - start)
        times = draw(rng, n, count), draw(rng, m, count)
        for key, found in parts.items():
            found.append(weighted_rates(clean[key], poison[key], *times, fprs))
    return {key: np.concatenate(found, axis=1) for key, found in parts.items()}
