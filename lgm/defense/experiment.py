"""Algorithm 1 end to end: attack success on models fine-tuned on poisoned and on filtered data.

A trial is one attack: a target, K poisons for it, and the few clean images that somebody fine-tunes on. Either the
network stays frozen and a new head is trained on its features, which is transfer learning as in Poison Frogs, or all of
its layers are trained. The filter always asks the network as it was before.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from lgm.attacks.cache import craft_cached
from lgm.config import FPR_GRID, GAMMA_GRID, DefenseConfig, PoisonConfig
from lgm.data.base import Split
from lgm.defense.finetune import Examples, fine_tune, fine_tune_layers, mix
from lgm.defense.report import DefenseReport
from lgm.defense.summary import FilteredTrial, FineTuned, TrialResult, summarize
from lgm.defense.trials import Trial, draw_trials
from lgm.detection.gaussian import Score, fit_density
from lgm.detection.thresholds import conformal_threshold, is_removed
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed, own_density, require_mixture
from lgm.utils.progress import OnStep, subprogress

Predict = Callable[[Examples], np.ndarray]  # N examples -> labels (N,)


def keep_likely(examples: Examples, threshold: float) -> Examples:
    """D_w: what scores above T. Source: algorithm 1, step 5."""
    return examples[~is_removed(examples.score, threshold)]


def defend(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig | None = None,
    on_step: OnStep | None = None,
    *,
    z: np.ndarray | None = None,
    cache: Path | None = None,
) -> DefenseReport:
    """Attack, filter, fine-tune, and compare with who did not filter and with who was not attacked.

    Args:
        model: Frozen, either loss; the attacker knows it. The poisons are crafted on it.
        card: Its card.
        split: Clean images that it was not trained on. In each trial a random share of its own calibrates T; what is
            attacked and fine-tuned on is drawn from the others.
        config: The setting.
        on_step: Called as (poison-iterations done, in all); returning False ends crafting with the points so far.
        z: Features of ``split`` (N, D) if they are known already.
        cache: Folder for crafted poisons: see `lgm.attacks.cache`.

    Raises:
        ValueError: see `draw_trials` and `craft_poisons`; a softmax network has no density of its own, and so no
            attacker who knows of it (gamma > 0).

    Source: algorithm 1. What the paper leaves open: T, which is a conformal quantile (`conformal_threshold`) of clean
    images, and fine-tuning and its success, which it does not measure.
    """
    config = config or DefenseConfig()
    settings = [(config.poisons, config.clean)]
    return sweep(model, card, split, config, settings, z=z, on_step=on_step, cache=cache)[0]


def sweep(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig,
    settings: Sequence[tuple[int, int]],
    *,
    z: np.ndarray | None = None,
    on_step: OnStep | None = None,
    cache: Path | None = None,
) -> list[DefenseReport]:
    """`defend` for several (poisons, clean images a class), with poisons crafted once: for the most of them.

    The setting of ``config`` itself is judged at all rates of `FPR_GRID`, the others at its own rate only.
    ``z``: features of ``split`` (N, D) if they are known already.

    Raises:
        ValueError: see `defend`; no settings.
    """
    if not settings:
        raise ValueError("settings: expected at least one (poisons, clean images a class), got none")
    configs = [replace(config, poisons=poisons, clean=clean) for poisons, clean in settings]
    most = replace(config, poisons=max(c.poisons for c in configs), clean=max(c.clean for c in configs))
    experiment = Experiment(model, card, split, most, z=z, cache=cache)
    poisons = experiment.craft(on_step)
    return [experiment.judge(each, poisons, FPR_GRID if each == config else ()) for each in configs]


def frontier(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig,
    gammas: Sequence[float] = GAMMA_GRID,
    *,
    z: np.ndarray | None = None,
    on_step: OnStep | None = None,
    cache: Path | None = None,
) -> list[DefenseReport]:
    """`defend` against attackers who know T and give another weight gamma to passing the filter, on the same trials.

    Raises:
        ValueError: see `defend`; no gammas.
    """
    if not gammas:
        raise ValueError("gammas: expected at least one weight, got none")
    configs = [replace(config, gamma=gamma) for gamma in gammas]
    experiment = Experiment(model, card, split, configs[0], z=z, cache=cache)
    return [
        experiment.judge(each, experiment.craft(subprogress(on_step, i, len(configs)), each.gamma))
        for i, each in enumerate(configs)
    ]


@dataclass(frozen=True)
class TrialFilter:
    """What a trial filters with: nothing in it was fitted or calibrated to an image that the trial uses.

    Attributes:
        score: Log-density of features under their claimed labels, nats.
        peak: (C,) its highest value for each class that D_f may have.
        calibration: (n,) scores that T is calibrated on.
    """

    score: Score
    peak: np.ndarray
    calibration: np.ndarray

    def threshold(self, fpr: float) -> float:
        """T in nats for this false-positive rate."""
        return conformal_threshold(self.calibration, fpr)

    def scored(self, examples: Examples) -> Examples:
        """The same images with what this filter says of them."""
        return replace(examples, score=self.score(examples.z, examples.labels))


@dataclass(frozen=True)
class CraftedTrials:
    """Poisons trial by trial, as many for each, and which of them (N,) the network takes for the target's class."""

    examples: Examples
    collided: np.ndarray

    def __getitem__(self, index: np.ndarray) -> "CraftedTrials":
        return CraftedTrials(self.examples[index], self.collided[index])


# Longer than other classes: what its steps share is large, and made once.
class Experiment:
    """A network and clean images as its features: what all trials and all settings of a sweep share.

    Attributes:
        density: Key of `FILTERS`.
        trials: As many as the setting asks for.
        images: The whole split, without scores: these are the trial's own.
    """

    def __init__(
        self,
        model: Classifier,
        card: Card,
        split: Split,
        config: DefenseConfig,
        *,
        z: np.ndarray | None = None,
        cache: Path | None = None,
        among: np.ndarray | None = None,
    ) -> None:
        """``z``: (N, D) features of the split, if they are known already. ``cache``: see `lgm.attacks.cache`.

        ``among``: see `draw_trials`; no pixels are looked at of other images, while all layers but the head are frozen.
        """
        self.model, self.card, self.split, self.config, self.cache = model, card, split, config, cache
        self.scale = model.feature_scale.cpu().numpy()
        self.density = config.density or ("fitted" if model.head.mixture is None else "own")
        self._own = own_density(model) if self.density == "own" else None
        self.trials = draw_trials(split.labels, config, among=among)
        pixels = split.pixels()
        z = (embed(model, pixels).numpy() if z is None else z) * self.scale
        self.images = _examples(z, split.labels, pixels.numpy(), poisoned=False)

    @cached_property
    def filters(self) -> list[TrialFilter]:
        """Of each trial."""
        return [self.filter_of(trial) for trial in self.trials]

    def filter_of(self, trial: Trial) -> TrialFilter:
        """The network's own Gaussians, or some fitted to one half of the calibration images: the other calibrates."""
        calibration, classes = self.images[trial.calibration], np.unique(self.split.labels[trial.calibration])
        score = self._own
        if score is not None:
            means = require_mixture(self.model).means.detach().cpu().numpy()[classes] * self.scale
        else:
            order = np.random.default_rng(self.config.seed).permutation(len(calibration))
            fit_on, rest = np.array_split(order, 2)
            fitted, calibration = calibration[fit_on], calibration[rest]
            score = fit_density(fitted.z, fitted.labels)
            means = np.stack([fitted.z[fitted.labels == k].mean(0) for k in classes])  # of the likeliest Gaussian
        return TrialFilter(score, score(means, classes), score(calibration.z, calibration.labels))

    def craft(
        self, on_step: OnStep | None = None, gamma: float | None = None, trials: int | None = None
    ) -> CraftedTrials:
        """All poisons of all trials, or of the first so many, at once; ``gamma`` in place of the setting's."""
        chosen = self.trials[:trials]
        bases = np.concatenate([trial.bases for trial in chosen])
        targets = np.repeat([trial.target for trial in chosen], self.config.poisons)
        if not len(bases):
            return CraftedTrials(self.images[:0], np.empty(0, bool))
        marked = watermark(self.split[bases], self.split[targets], self.config.watermark)
        config = PoisonConfig(beta=self.config.beta)
        gamma, threshold = self.config.gamma if gamma is None else gamma, None
        if gamma:
            each = np.array([self.filters[i].threshold(self.config.fpr) for i in range(len(chosen))])
            if np.isfinite(each).all():  # a filter that removes nothing needs no evasion
                config = replace(config, gamma=gamma, threshold=float(np.median(each)))
                threshold = each.repeat(self.config.poisons)
        found = craft_cached(
            self.model,
            marked,
            self.split[targets],
            config,
            threshold=threshold,
            folder=self.cache,
            on_step=on_step,
        )
        examples = _examples(found.z * self.scale, self.split.labels[bases], found.images, poisoned=True)
        return CraftedTrials(examples, found.collided)

    def judge(self, config: DefenseConfig, poisons: CraftedTrials, fprs: Sequence[float] = ()) -> DefenseReport:
        """Fine-tune in every arm of every trial, with the first ``config.poisons`` of each trial's poisons.

        ``fprs``: rates to judge the filter at beside the setting's own.
        """
        trials = draw_trials(self.split.labels, config)
        mine = np.arange(len(poisons.examples)).reshape(len(trials), -1)[:, : config.poisons]
        alone = config.gamma or config.layers == "all"  # one T is aimed at; a network for each rate takes long
        rates = (config.fpr,) if alone else tuple(sorted({*fprs, config.fpr}))
        results = [
            self._run(trial, own, poisons[index], rates)
            for trial, own, index in zip(trials, self.filters, mine, strict=True)
        ]
        return summarize(config, self.card, self.split, self.density, results)

    def _run(self, trial: Trial, own: TrialFilter, poisons: CraftedTrials, rates: Sequence[float]) -> TrialResult:
        clean, fresh = own.scored(self.images[trial.clean]), own.scored(self.images[trial.fresh]).score
        mixed, untouched = (mix(clean, own.scored(each)) for each in (poisons.examples, self.images[trial.bases]))
        return TrialResult(
            trial=trial,
            clean=self._evaluated(clean, trial),
            unfiltered=self._evaluated(mixed, trial),
            untouched=self._evaluated(untouched, trial),
            filtered={rate: self._filtered(trial, mixed, fresh, own.threshold(rate)) for rate in rates},
            poisoned=mixed.poisoned,
            collided=poisons.collided,
            calibration_images=len(own.calibration),
        )

    def _filtered(self, trial: Trial, mixed: Examples, fresh: np.ndarray, threshold: float) -> FilteredTrial:
        return FilteredTrial(
            model=self._evaluated(keep_likely(mixed, threshold), trial),
            threshold=threshold,
            removed=is_removed(mixed.score, threshold),
            fresh_removed=int(is_removed(fresh, threshold).sum()),
        )

    def _evaluated(self, examples: Examples, trial: Trial) -> FineTuned:
        predict, held_out = self._fine_tune(examples), self.images[trial.evaluation]
        accuracy = float((predict(held_out) == held_out.labels).mean())
        return FineTuned(int(predict(self.images[[trial.target]])[0]), accuracy)

    def _fine_tune(self, examples: Examples) -> Predict:
        head = fine_tune(examples, self.config.strength)
        if self.config.layers == "head":
            return lambda those: head(those.z)
        network = fine_tune_layers(self.model, examples, head)
        return lambda those: network(those.pixels)


def _examples(z: np.ndarray, labels: np.ndarray, pixels: np.ndarray, *, poisoned: bool) -> Examples:
    return Examples(z, labels, np.full(len(z), np.nan), np.full(len(z), poisoned), pixels)


def watermark(bases: Split, targets: Split, opacity: float) -> Split:
    """The bases with their targets laid over them, as 8-bit images. Source: Poison Frogs, section 4.1."""
    laid = (1 - opacity) * bases.images.astype(np.float32) + opacity * targets.images.astype(np.float32)
    return replace(bases, images=laid.round().astype(np.uint8))
