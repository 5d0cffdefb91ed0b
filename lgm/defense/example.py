"""One attack in full, for a picture: fine-tuning data, what the filter removes, decision regions.

Crafting takes seconds and does not depend on T; everything after it takes milliseconds.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

from lgm.config import DefenseConfig
from lgm.data.base import Split
from lgm.defense.experiment import Experiment
from lgm.defense.finetune import Examples, LinearHead, fine_tune, mix
from lgm.defense.report import ARMS, FILTERS, ArmReport, ByArm, ExampleReport, FalsePositiveRates
from lgm.defense.trials import Trial
from lgm.detection.thresholds import conformal_fpr, is_removed, nominal_fpr
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.utils.progress import OnStep

_CELLS = 160  # of the grid of decision regions, along each axis
_MARGIN = 0.08  # around what is drawn, as a share of its width


@dataclass(frozen=True)
class Arm:
    """A fine-tuned model.

    Attributes:
        predicted: Label that it gives the target.
        accuracy: Share of the held-out clean images that it classifies correctly; NaN if that was not asked.
        head: What was trained.
        regions: (G, G) uint8 label of each place of the grid, row = second feature; empty unless D = 2.
    """

    predicted: int
    accuracy: float
    head: LinearHead
    regions: np.ndarray


@dataclass(frozen=True)
class Demonstration:
    """What T does to one attack.

    Attributes:
        threshold: T in nats; NaN where something else than T decides.
        removed: (N,) bool, of D_t: the clean images and then the poisons.
        poisoned: (N,) bool.
        arms: By name, as in `lgm.defense.report.ARMS`; None where the filter has left nothing to fine-tune on.
    """

    threshold: float
    removed: np.ndarray
    poisoned: np.ndarray
    arms: dict[str, Arm | None]

    @property
    def poisons_removed(self) -> int:
        """Poisons caught."""
        return int((self.removed & self.poisoned).sum())

    @property
    def clean_removed(self) -> int:
        """Clean images wrongly removed."""
        return int((self.removed & ~self.poisoned).sum())


@dataclass(frozen=True)
class Scene:
    """Who plays which part in an attack, as features: what a picture of it is drawn from.

    Attributes:
        model: Name of the network.
        trial: Who plays which part.
        clean, poisons: D_f and D_p.
        target: One image.
        scale: (D,) what features are rescaled by.
    """

    model: str
    trial: Trial
    clean: Examples
    poisons: Examples
    target: Examples
    scale: np.ndarray

    @property
    def mixed(self) -> Examples:
        """D_t."""
        return mix(self.clean, self.poisons)

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom, top of a square round all, in features as the network makes them; for D = 2."""
        z = np.concatenate([self.mixed.z, self.target.z]) / self.scale
        low, high = z.min(0), z.max(0)
        (x, y), half = (low + high) / 2, (0.5 + _MARGIN) * float((high - low).max())
        return float(x - half), float(x + half), float(y - half), float(y + half)

    def grid(self, cells: int = _CELLS) -> tuple[np.ndarray, np.ndarray]:
        """Places of the decision regions along the first and the second feature, (G,) each; for D = 2."""
        left, right, bottom, top = self.extent
        return np.linspace(left, right, cells), np.linspace(bottom, top, cells)

    def arm(self, head: LinearHead, held_out: Examples | None = None) -> Arm:
        """What a head makes of the target, of ``held_out`` and of the plane."""
        accuracy = math.nan if held_out is None else float((head(held_out.z) == held_out.labels).mean())
        return Arm(int(head(self.target.z)[0]), accuracy, head, self._regions(head))

    def _regions(self, head: LinearHead) -> np.ndarray:
        if len(self.scale) != 2:
            return np.empty((0, 0), np.uint8)
        places = np.stack(np.meshgrid(*self.grid()), axis=-1)
        return head(places * self.scale).astype(np.uint8)


@dataclass(frozen=True)
class Attack(Scene):
    """A trial with its poisons, before anybody filters; see `Scene` too.

    Attributes:
        config: The setting; the trial is the first of its seed.
        data: Name of the split.
        held_out: Images that measure accuracy.
        collided: (K,) bool, the network takes the poison for the target's class.
        density: Key of `lgm.defense.report.FILTERS`.
        peak: (C,) highest log-density of each class that D_f may have, nats.
        threshold: Calibrated T in nats.
        calibration: (n,) scores that it was calibrated on.
        fresh: (m,) scores of the clean images that had no part in that.
    """

    config: DefenseConfig
    data: str
    held_out: Examples
    collided: np.ndarray
    density: str
    peak: np.ndarray
    threshold: float
    calibration: np.ndarray
    fresh: np.ndarray

    def demonstrate(self, threshold: float | None = None) -> Demonstration:
        """Filter with this T (nats; None: the calibrated one) and fine-tune each arm."""
        threshold = self.threshold if threshold is None else threshold
        mixed = self.mixed
        removed = is_removed(mixed.score, threshold)
        sets = zip(ARMS, (self.clean, mixed, mixed[~removed]), strict=True)
        return Demonstration(threshold, removed, mixed.poisoned, {name: self._arm(those) for name, those in sets})

    def _arm(self, examples: Examples) -> Arm | None:
        return self.arm(fine_tune(examples, self.config.strength), self.held_out) if len(examples) else None

    def rates(self, threshold: float) -> FalsePositiveRates:
        """The share of clean images that T (nats) removes, by three ways of knowing it."""
        return FalsePositiveRates(
            nominal=nominal_fpr(threshold, self.peak, len(self.scale)),
            calibrated=conformal_fpr(threshold, self.calibration),
            empirical=float(is_removed(self.fresh, threshold).mean()),
        )

    def report(self, shown: Demonstration) -> ExampleReport:
        """The attack and what T does to it, in numbers."""
        config, trial = self.config, self.trial
        return ExampleReport(
            model=self.model,
            data=self.data,
            task=config.task,
            seed=config.seed,
            beta=config.beta,
            clean_per_class=config.clean,
            poisons=config.poisons,
            base_class=trial.base_class,
            target_class=trial.target_class,
            target=trial.target,
            bases=trial.bases,
            filter=FILTERS[self.density],
            threshold=shown.threshold,
            poisons_collided=int(self.collided.sum()),
            poisons_removed=shown.poisons_removed,
            clean_removed=shown.clean_removed,
            false_positive_rate=self.rates(shown.threshold),
            arms=ByArm(*(ArmReport(arm.predicted, arm.accuracy) if arm else None for arm in map(shown.arms.get, ARMS))),
        )


def stage(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig | None = None,
    *,
    z: np.ndarray | None = None,
    among: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> Attack:
    """Draw the first trial of a setting and craft its poisons.

    Args:
        model: Frozen, either loss.
        card: Its card.
        split: Clean images that it was not trained on.
        config: The setting; a new head on frozen features only.
        z: (N, D) features of the split, if they are known already.
        among: Positions that bases and target are drawn from, if only these images are known as pixels; then ``z`` must
            be given.
        on_step: See `craft_poisons`.

    Raises:
        ValueError: see `lgm.defend`; or all layers are to be fine-tuned: each model would have its own plane.
    """
    config = config or DefenseConfig()
    if config.layers != "head":
        raise ValueError(f"layers: expected head, as the picture is of frozen features, got {config.layers}")
    if among is not None and z is None:
        raise ValueError("z: expected the features of all images, as only some of them are known as pixels")
    # The first trial is the same for any number of them.
    experiment = Experiment(model, card, split, replace(config, trials=2), z=z, among=among)
    trial, images = experiment.trials[0], experiment.images
    own, poisons = experiment.filter_of(trial), experiment.craft(on_step, trials=1)
    return Attack(
        config=config,
        model=card.name,
        data=split.name,
        trial=trial,
        clean=own.scored(images[trial.clean]),
        poisons=own.scored(poisons.examples),
        target=own.scored(images[[trial.target]]),
        held_out=own.scored(images[trial.evaluation]),
        collided=poisons.collided,
        scale=experiment.scale,
        density=experiment.density,
        peak=own.peak,
        threshold=own.threshold(config.fpr),
        calibration=own.calibration,
        fresh=own.scored(images[trial.fresh]).score,
    )


def demonstrate(
    model: Classifier, card: Card, split: Split, config: DefenseConfig | None = None, *, threshold: float | None = None
) -> Demonstration:
    """`stage` an attack, filter with T (nats; None: the calibrated one), fine-tune on D_f, D_t and D_w.

    Raises:
        ValueError: see `stage`.

    Source: figure 7, which the paper takes from Poison Frogs.
    """
    return stage(model, card, split, config).demonstrate(threshold)
