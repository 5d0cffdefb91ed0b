"""95 % confidence intervals of shares, means and AUCs, and the percentile bootstrap."""

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

RESAMPLES = 2000


class Estimate(NamedTuple):
    """A number and its 95 % interval."""

    value: float
    low: float
    high: float

    def text(self) -> str:
        """The number alone, as a share; see `share_text`."""
        return share_text(self.value)

    def in_full(self, digits: int = 4) -> str:
        """A share with its interval, which is rounded outward: "0.9724 (0.9610 to 0.9851)"."""
        low, high = outward(self.low, self.high, digits)
        return f"{share_text(self.value, digits)} ({low} to {high})"

    def percent(self, digits: int = 1) -> str:
        """The same in percent: "97.2 % (96.1 to 98.6)"."""
        low, high = outward(100 * self.low, 100 * self.high, digits)
        return f"{percent_text(self.value, digits)} ({low} to {high})"

    def points(self, digits: int = 1) -> str:
        """A difference of shares in percentage points: "-1.2 (-3.4 to +0.8)"."""
        low, high = outward(100 * self.low, 100 * self.high, digits, sign="+")
        return f"{rounded(100 * self.value, digits):+.{digits}f} ({low} to {high})"


def rounded(value: float, digits: int) -> float:
    """To the nearest, halves up: as the browser's components do (`percent` in frontend/shared/format.ts)."""
    return math.floor(value * 10**digits + 0.5) / 10**digits


def share_text(share: float | None, digits: int = 4) -> str:
    """A share or an AUC for people: the one rule of rounding, for screen, command line and report.

    To the nearest; but what is not quite 1 does not read as 1, nor what is not quite 0 as 0. A dash for None and NaN.
    """
    return _never_quite(share, 1, digits, "")


def percent_text(share: float | None, digits: int = 1) -> str:
    """The same in percent: "97.3 %", "> 99.9 %"."""
    return _never_quite(None if share is None else 100 * share, 100, digits, " %")


def _never_quite(value: float | None, whole: int, digits: int, unit: str) -> str:
    if value is None or math.isnan(value):
        return "–"
    near, least = rounded(value, digits), 10**-digits
    if value < whole <= near:
        return f"> {whole - least:.{digits}f}{unit}"
    if near <= 0 < value:
        return f"< {least:.{digits}f}{unit}"
    return f"{near:.{digits}f}{unit}"


def outward(low: float, high: float, digits: int, sign: str = "") -> tuple[str, str]:
    """The ends of an interval for people, rounded so that it only grows. Dashes for NaN; an end may be infinite."""
    if math.isnan(low) or math.isnan(high):
        return "–", "–"
    down = low if math.isinf(low) else math.floor(low * 10**digits + 1e-9) / 10**digits
    up = high if math.isinf(high) else math.ceil(high * 10**digits - 1e-9) / 10**digits
    return f"{down + 0.0:{sign}.{digits}f}", f"{up + 0.0:{sign}.{digits}f}"  # + 0.0: no -0.0


def hull(*intervals: tuple[float, float]) -> tuple[float, float]:
    """The smallest interval that holds all of these: it covers at least as often as the best of them."""
    return min(low for low, _ in intervals), max(high for _, high in intervals)


@lru_cache(maxsize=4096)  # SciPy takes a millisecond, and a board asks a thousand times
def wilson_interval(hits: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson score interval for a share ``hits / n``. Raises ValueError unless 0 <= hits <= n and n >= 1."""
    from scipy.stats import binomtest  # half a second to import

    interval = binomtest(hits, n).proportion_ci(confidence, method="wilson")
    return float(interval.low), float(interval.high)


def paired_interval(only_first: int, only_second: int, n: int) -> tuple[float, float]:
    """95 % interval of the difference of two shares of the same n things: the first's minus the second's.

    It has a width even where no thing tells the two apart.

    Args:
        only_first: How many things count for the first share only.
        only_second: For the second only.
        n: All things, at least one.

    Source: Bonett, Price 2012, *Adjusted Wald confidence interval for a difference of binomial proportions based on
    paired data*.
    """
    from scipy.special import ndtri

    first, second = (only_first + 1) / (n + 2), (only_second + 1) / (n + 2)
    half = float(ndtri(0.975)) * math.sqrt((first + second - (first - second) ** 2) / (n + 2))
    return max(first - second - half, -1.0), min(first - second + half, 1.0)


def mean_interval(values: np.ndarray) -> tuple[float, float, float]:
    """Mean, and its 95 % interval by Student's t: (mean, low, high). Needs at least two values.

    NaN for the ends where all values are equal: an interval of width zero would claim certainty.
    """
    if np.ptp(values) == 0:  # equal values say nothing of the spread
        return float(values[0]), math.nan, math.nan
    from scipy.stats import t  # half a second to import

    half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values)))
    mean = float(values.mean())
    return mean, mean - half, mean + half


def share_over_trials(hits: np.ndarray, sizes: np.ndarray, seed: int = 1) -> Estimate:
    """Share of all things that are hits, where things of one trial stand or fall together.

    Whole trials are drawn anew (a cluster bootstrap). Where all trials have the same share, that would say nothing of
    how sure it is: the interval is then Wilson's for as many independent trials, the most that clusters can be worth.

    Args:
        hits: (T,) of each trial.
        sizes: (T,) things in each trial.
        seed: Of the resamples.

    Returns:
        The share and its 95 % interval; NaN without things.
    """
    if not sizes.sum():
        return Estimate(math.nan, math.nan, math.nan)
    share = float(hits.sum() / sizes.sum())
    used = sizes > 0
    hits, sizes = hits[used], sizes[used]
    if np.ptp(hits / sizes) == 0:
        return Estimate(share, *wilson_interval(round(share * len(sizes)), len(sizes)))
    drawn = resamples(len(sizes), seed)
    return Estimate(share, *percentile_interval(hits[drawn].sum(1) / sizes[drawn].sum(1)))


def auc_interval(auc: float, clean: int, poisons: int) -> tuple[float, float]:
    """95 % interval of an AUC, from nothing but the numbers of images it was measured on.

    The one interval of an AUC in this package. A bootstrap would say that an AUC of 1 is certain, however few the
    poisons; this does not. All AUCs are in it from
    which the measured one is no more than 1.96 standard errors away, by the standard error that they themselves imply.

    Args:
        auc: Area under the ROC curve in [0, 1].
        clean: How many clean images were scored, at least one.
        poisons: How many poisons, at least one.

    Raises:
        ValueError: an AUC outside [0, 1], or no scores.

    Source: Newcombe 2006, *Confidence intervals for an effect size measure based on the Mann-Whitney statistic*, part
    2, method 5; the standard error is Hanley and McNeil's, 1982.
    """
    from scipy.optimize import root_scalar
    from scipy.special import ndtri

    if not (0 <= auc <= 1 and clean >= 1 and poisons >= 1):
        raise ValueError(
            f"auc: expected a share in [0, 1] of at least one clean image and one poison, got {auc}, {clean}, {poisons}"
        )
    z, others = float(ndtri(0.975)), (clean + poisons) / 2 - 1

    def variance(a: float) -> float:
        return a * (1 - a) * (1 + others * ((1 - a) / (2 - a) + a / (1 + a))) / (clean * poisons)

    def edge(sign: int, end: float) -> float:
        """Between the measured AUC and 0 or 1, where the two are 1.96 standard errors apart."""

        def excess(a: float) -> float:
            return sign * (a - auc) - z * math.sqrt(variance(a))

        start = min(max(auc, 1e-12), 1 - 1e-12)  # at 0 and 1 themselves there is no error, and no distance either
        return end if auc == end else float(root_scalar(excess, bracket=(start, end), method="brentq").root)

    return edge(-1, 0.0), edge(1, 1.0)


def resamples(n: int, seed: int, count: int = RESAMPLES) -> np.ndarray:
    """(count, n) positions drawn with replacement: the bootstrap's samples of n things."""
    return np.random.default_rng(seed).integers(n, size=(count, n))


def quantile(values: np.ndarray, share: float) -> np.ndarray:
    """The smallest value along the last axis that at least this share in (0, 1] does not exceed.

    Always one of the values, so that infinite ones are allowed, which interpolation would turn to NaN.
    """
    n = values.shape[-1]
    return np.sort(values, axis=-1)[..., max(math.ceil(share * n - 1e-9), 1) - 1]  # 0.07 * 100 is 7.000000000000001


def percentile_interval(estimates: np.ndarray) -> tuple[float, float]:
    """95 % interval from (R,) bootstrap estimates. Source: Efron 1979, the percentile method."""
    return float(quantile(estimates, 0.025)), float(quantile(estimates, 0.975))
