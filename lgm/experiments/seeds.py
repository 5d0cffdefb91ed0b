"""Seeds: networks of one recipe that differ in their seed, and what each claim of the paper comes to over them.

A claim's readings are averaged over seeds; their intervals are over seeds, then trials, so that they hold what another
training would change. The data, pairs and trials are the same for all seeds.
"""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lgm.config import Loss
from lgm.experiments.claims import Claim, verdict_of
from lgm.experiments.effects import Effect, Reading, Verdict
from lgm.experiments.records import ByLoss, StudySize, read_record
from lgm.models.registry import SHIPPED
from lgm.stats.intervals import Estimate, hull, mean_interval

_SHOWN = 4  # readings of a claim in a table


@dataclass(frozen=True)
class SeedNetwork:
    """What is kept of a trained network.

    Attributes:
        name: Of its card.
        weights_sha256: Hash of its weights, which are not kept.
        accuracy: By split, in [0, 1].
        closest_centers: Smallest distance between class means, in sigmas; None for softmax.
        core_seconds: That its epochs took, summed over cores; without validation.
    """

    name: str
    weights_sha256: str
    accuracy: dict[str, float]
    closest_centers: float | None
    core_seconds: float


@dataclass(frozen=True)
class SeedClaim:
    """A claim of the paper as it came out for one seed; see `Claim`. Its readings have intervals within the seed."""

    section: str
    text: str
    verdict: Verdict
    readings: tuple[Reading, ...]

    @staticmethod
    def of(claim: Claim) -> "SeedClaim":
        """What is kept of a claim."""
        return SeedClaim(claim.section, claim.text, claim.verdict, claim.readings)


@dataclass(frozen=True)
class SeedRun:
    """The two networks of a seed, and the claims for them."""

    seed: int
    networks: ByLoss[SeedNetwork]
    claims: tuple[SeedClaim, ...]


@dataclass(frozen=True)
class ClaimOverSeeds:
    """A claim over all seeds.

    Attributes:
        section, text: See `Claim`.
        readings: Means over seeds, with 95 % intervals over seeds; see `over_seeds`.
        verdicts: How many seeds give each verdict, the most frequent first.
        verdict: By the claim's own rule, from ``readings``.
    """

    section: str
    text: str
    readings: tuple[Reading, ...]
    verdicts: dict[Verdict, int]
    verdict: Verdict

    @property
    def measured(self) -> str:
        """The readings in a sentence; of many, those that say most against the claim."""
        if not self.readings:
            return "not measured"
        shown = sorted(self.readings, key=lambda reading: _in_favour(reading.effect))[:_SHOWN]
        kept = [reading for reading in self.readings if reading in shown]  # in their own order
        of = (
            f"; the {_SHOWN} of {len(self.readings)} that say most against it" if len(kept) < len(self.readings) else ""
        )
        return "; ".join(f"{reading.name} {reading.text()}" for reading in kept) + of


@dataclass(frozen=True)
class Seeds:
    """What was measured of networks that differ in their seed.

    Attributes:
        dataset, split, split_sha256: Clean images that pairs and trials are drawn from.
        epochs: Of training.
        precision: Of training: float32 or bfloat16.
        poisons: Crafted on each network, of random pairs.
        extent: Of each pair's study.
        attack_revision: `lgm.config.ATTACK_REVISION` of the day.
        made, machine, versions: When, where and with what.
        runs: By ascending seed.
    """

    dataset: str
    split: str
    split_sha256: str
    epochs: int
    precision: str
    poisons: int
    extent: StudySize
    attack_revision: int
    made: str
    machine: str
    versions: dict[str, str]
    runs: tuple[SeedRun, ...]

    def accuracy(self, loss: Loss, split: str) -> Estimate:
        """Mean over seeds with its interval; NaN for the ends of a single seed's."""
        return self._mean(loss, lambda network: network.accuracy.get(split, math.nan))

    def core_seconds(self, loss: Loss) -> Estimate:
        """The same of the time that training takes."""
        return self._mean(loss, lambda network: network.core_seconds)

    def _mean(self, loss: Loss, value: Callable[[SeedNetwork], float]) -> Estimate:
        return Estimate(*mean_interval(np.array([value(run.networks.of(loss)) for run in self.runs])))

    @property
    def claims(self) -> list[ClaimOverSeeds]:
        """All claims, in the order of the paper."""
        return [claim_over_seeds(claims) for claims in zip(*(run.claims for run in self.runs), strict=True)]


def _in_favour(effect: Effect) -> float:
    """How far an estimate is on the claim's side of its bound."""
    distance = effect.value - effect.bound
    return distance if effect.side == "above" else -distance


def claim_over_seeds(claims: Sequence[SeedClaim]) -> ClaimOverSeeds:
    """One claim from all seeds. A reading that a seed lacks is left out; without readings the claim is open.

    Raises:
        ValueError: several claims.
    """
    if len({claim.text for claim in claims}) != 1:
        raise ValueError(f"claims: expected one of all seeds, got {', '.join({claim.text for claim in claims})}")
    found = [{reading.name: reading for reading in claim.readings} for claim in claims]
    shared = [name for name in found[0] if all(name in readings for readings in found)]
    means = tuple(_mean_reading([readings[name] for readings in found]) for name in shared)
    verdict = verdict_of(claims[0].text, [reading.effect for reading in means])
    counted = dict(Counter(claim.verdict for claim in claims).most_common())
    return ClaimOverSeeds(claims[0].section, claims[0].text, means, counted, verdict)


def _mean_reading(readings: Sequence[Reading]) -> Reading:
    effect = over_seeds([reading.effect for reading in readings])
    if readings[0].unit == "percent":  # Student's interval does not know that these are shares
        effect = replace(effect, low=max(effect.low, 0.0), high=min(effect.high, 1.0))
    return replace(readings[0], effect=effect)


def over_seeds(effects: Sequence[Effect]) -> Effect:
    """Mean of an effect over seeds with a 95 % interval, from what seeds and what pairs and trials leave open.

    Student's interval over seeds knows what another training would change; pairs and trials are the same for all seeds,
    so that what they leave open does not average out: it is as much as within a seed, on the average over those that
    have an interval. The mean's distances to both ends are the root of both squares' sum. Where all seeds have the same
    value, which says nothing of the spread, and for a single one, the interval is the hull of those within the seeds.
    """
    values = np.array([effect.value for effect in effects])
    if not np.isfinite(values).all():
        return replace(effects[0], value=float(values.mean()), low=math.nan, high=math.nan)
    mean, low, high = mean_interval(values)
    within = [(effect.low, effect.high) for effect in effects]
    if math.isnan(low):
        low, high = hull(*within)
    elif known := [effect for effect in effects if math.isfinite(effect.low + effect.high)]:
        below = float(np.mean([effect.value - effect.low for effect in known]))
        above = float(np.mean([effect.high - effect.value for effect in known]))
        low, high = mean - math.hypot(mean - low, below), mean + math.hypot(high - mean, above)
    return replace(effects[0], value=mean, low=low, high=high)


def read_seeds(dataset: str) -> Seeds | None:
    """What was measured of a dataset's networks over seeds, as shipped; None if nothing was.

    Raises:
        CheckpointError: the file does not read, or holds other fields than `Seeds` has.
    """
    return read_record(seeds_path(dataset), Seeds, "a record of seeds")


def seeds_path(dataset: str) -> Path:
    """Where that record lies."""
    return SHIPPED / f"{dataset}.seeds.json"
