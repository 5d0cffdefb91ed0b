"""Effects: estimates with intervals and bounds, and the verdict that follows from several of them.

A claim rests on readings: an estimate, its 95 % interval, and the side of a bound on which the claim has it. A reading
supports the claim if its whole interval lies on that side, contradicts it if on the other, and else says neither. No
number of supporting readings outvotes one that contradicts. An attack can refute a defence; none confirms one, so the
best verdict on what the filter withstands is "not refuted" by the attacks that are named.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lgm.stats.intervals import outward, percent_text

Verdict = Literal["holds", "holds under conditions", "not refuted", "does not hold", "open"]
SUCCESS = 0.05  # an attack that succeeds less often counts as prevented


@dataclass(frozen=True)
class Effect:
    """An estimate and its 95 % interval; the claim has it above the bound, or below."""

    value: float
    low: float
    high: float
    bound: float = 0.0
    side: Literal["above", "below"] = "above"

    @property
    def sign(self) -> int:
        """1 supports the claim, -1 contradicts it, 0 neither; as 0 counts an interval of no width, which is none."""
        if self.low == self.high and math.isfinite(self.low):
            return 0
        above = int(self.low > self.bound) - int(self.high < self.bound)
        return above if self.side == "above" else -above

    def text(self, digits: int = 2) -> str:
        """The number with its interval: "5.12 (4.90 to 5.31)".

        With more digits, to four, where the ends of the interval would be the same, or look like 0.
        """
        sizes = (self.high - self.low, abs(self.low), abs(self.high))
        least = min((size for size in sizes if 0 < size < math.inf), default=1.0)
        digits = max(digits, min(4, -math.floor(math.log10(least))))
        return "{:z.{}f} ({} to {})".format(self.value, digits, *outward(self.low, self.high, digits))

    def percent(self) -> str:
        """A share in percent: "97.2 % (96.1 to 98.6)"."""
        return "{} ({} to {})".format(percent_text(self.value), *outward(100 * self.low, 100 * self.high, 1))

    def points(self) -> str:
        """A difference of shares in percentage points; NaN for the ends stands for trials that all say the same."""
        if math.isnan(self.low):
            return f"{100 * self.value:.2f} (in every trial)"
        return Effect(100 * self.value, 100 * self.low, 100 * self.high).text()


@dataclass(frozen=True)
class Reading:
    """An effect by the name of what was measured.

    Attributes:
        name: In a few words.
        effect: The estimate.
        unit: Of the estimate when people read it: shares in percent or, if they are differences, in points.
    """

    name: str
    effect: Effect
    unit: Literal["", "percent", "points"] = ""

    def text(self) -> str:
        """The effect with its interval, in its unit."""
        texts = {"": self.effect.text, "percent": self.effect.percent, "points": self.effect.points}
        return texts[self.unit]()


def by_readings(readings: Sequence[Effect]) -> Verdict:
    """Does not hold if one contradicts; holds if all support, under conditions if only some do; else open."""
    signs = [reading.sign for reading in readings]
    if -1 in signs:
        return "does not hold"
    if 1 in signs:
        return "holds" if min(signs) > 0 else "holds under conditions"
    return "open"


def unless_refuted(readings: Sequence[Effect]) -> Verdict:
    """For "nothing does" and "no attack can": one that contradicts refutes it, and any number cannot confirm it."""
    signs = [reading.sign for reading in readings]
    if -1 in signs:
        return "does not hold"
    return "not refuted" if signs and min(signs) > 0 else "open"
