"""Algorithm 1 end to end: attack success on models fine-tuned on poisoned and on filtered data.

A trial is one attack: a target, K poisons for it, and the few clean images that somebody fine-tunes on. Either the
network stays frozen and a new head is trained on its features, which is transfer learning as in Poison Frogs, or all of
its layers are trained. The filter always asks the network as it was before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from lgm.attacks.cache import craft_cached
from lgm.config import FPR_GRID, GAMMA_GRID, DefenseConfig, PoisonConfig
from lgm.data.base import Split
from lgm.defense.finetune import Examples, fine_tune, fine_tune_layers, mix
from lgm.defense.report import UNTOUCHED, DefenseReport, Filtered
from lgm.defense.trials import Trial, draw_trials
from lgm.detection.gaussian import Score, fit_density
from lgm.detection.thresholds import conformal_threshold, is_removed
from lgm.models.card import Card
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import embed, require_mixture
from lgm.stats.intervals import Estimate, mean_interval, share_over_trials
from lgm.utils.progress import OnStep, part

Predict = Callable[[Examples], np.ndarray]  # N examples -> labels (N,)


def keep_likely(examples: Examples, threshold: float) -> Examples:
    """D_w: what scores above T. Source: algorithm 1, step 5."""
    return examples[~is_removed(examples.score, threshold)]


def successes(predicted: np.ndarray, control: np.ndarray, base: np.ndarray, target: np.ndarray) -> tuple[int, int]:
    """How many attacks succeed, and of how many: see `ATTACK_SUCCESS`.

    Args:
        predicted: (N,) label that the fine-tuned model gives each target.
        control: (N,) label that the clean control gives it.
        base: (N,) the base's label.
        target: (N,) the true label.
    """
    counts = control == target
    return int((counts & (predicted == base)).sum()), int(counts.sum())


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
        experiment.judge(each, experiment.craft(part(on_step, i, len(configs)), each.gamma))
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


@dataclass(frozen=True)
class _Result:
    """Of one trial: what each model says of the target, its accuracy, and what the filter removes at each rate."""

    predicted: dict[str | float, int]  # by arm; of the filtered one, by rate
    accuracy: dict[str | float, float]
    removed: dict[float, np.ndarray]  # of D_t
    poisoned: np.ndarray
    thresholds: dict[float, float]
    fresh_removed: dict[float, int]


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
    ) -> None:
        """``z``: (N, D) features of the split, if they are known already. ``cache``: see `lgm.attacks.cache`."""
        self.model, self.card, self.split, self.config, self.cache = model, card, split, config, cache
        self.scale = model.feature_scale.cpu().numpy()
        self.density = config.density or ("fitted" if model.head.mixture is None else "own")
        self._own = own_density(model) if self.density == "own" else None
        self.trials = draw_trials(split.labels, config)
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
            self._run(trial, own, poisons.examples[index], rates)
            for trial, own, index in zip(trials, self.filters, mine, strict=True)
        ]
        base, target = (np.array([getattr(t, name) for t in trials]) for name in ("base_class", "target_class"))
        said = {arm: np.array([result.predicted[arm] for result in results]) for arm in results[0].predicted}
        right = {arm: np.array([result.accuracy[arm] for result in results]) for arm in results[0].accuracy}
        hits = {arm: successes(labels, said["clean"], base, target) for arm, labels in said.items()}
        arms = ("clean", "unfiltered")
        return DefenseReport(
            config=config,
            model=self.card.name,
            data=self.split.name,
            weights_sha256=self.card.weights_sha256,
            data_sha256=self.split.sha256,
            filter=self.density,
            calibration=float(np.mean([len(own.calibration) for own in self.filters])),
            n=hits["clean"][1],
            control_hits={arm: hits[arm][0] for arm in (*arms, UNTOUCHED)},
            control_accuracy={arm: float(right[arm].mean()) for arm in arms},
            unfiltered_lost=Estimate(*mean_interval(right["clean"] - right["unfiltered"])),
            collided=float(poisons.collided[mine].mean()) if mine.size else math.nan,
            poisons_total=mine.size,
            clean_total=sum(len(trial.clean) for trial in trials),
            by_fpr={rate: _filtered(rate, results, trials, right, hits[rate][0]) for rate in rates},
        )

    def _run(self, trial: Trial, own: TrialFilter, poisons: Examples, rates: Sequence[float]) -> _Result:
        clean, held_out = own.scored(self.images[trial.clean]), self.images[trial.evaluation]
        mixed = mix(clean, own.scored(poisons))
        thresholds = {rate: own.threshold(rate) for rate in rates}
        examples: dict[str | float, Examples] = {
            "clean": clean,
            "unfiltered": mixed,
            UNTOUCHED: mix(clean, own.scored(self.images[trial.bases])),
            **{rate: keep_likely(mixed, threshold) for rate, threshold in thresholds.items()},
        }
        fitted = {arm: self._fine_tune(those) for arm, those in examples.items()}
        target, fresh = self.images[[trial.target]], own.scored(self.images[trial.fresh]).score
        return _Result(
            predicted={arm: int(predict(target)[0]) for arm, predict in fitted.items()},
            accuracy={arm: float((predict(held_out) == held_out.labels).mean()) for arm, predict in fitted.items()},
            removed={rate: is_removed(mixed.score, threshold) for rate, threshold in thresholds.items()},
            poisoned=mixed.poisoned,
            thresholds=thresholds,
            fresh_removed={rate: int(is_removed(fresh, threshold).sum()) for rate, threshold in thresholds.items()},
        )

    def _fine_tune(self, examples: Examples) -> Predict:
        head = fine_tune(examples, self.config.strength)
        if self.config.layers == "head":
            return lambda those: head(those.z)
        network = fine_tune_layers(self.model, examples, head)
        return lambda those: network(those.pixels)


def _filtered(
    rate: float, results: Sequence[_Result], trials: Sequence[Trial], right: dict[str | float, np.ndarray], hits: int
) -> Filtered:
    """One rate, over all trials."""
    counts = {
        kind: np.array([(r.removed[rate][r.poisoned == kind].sum(), (r.poisoned == kind).sum()) for r in results])
        for kind in (True, False)
    }
    fresh = sum(result.fresh_removed[rate] for result in results) / sum(len(trial.fresh) for trial in trials)
    return Filtered(
        threshold=float(np.median([result.thresholds[rate] for result in results])),
        hits=hits,
        accuracy=float(right[rate].mean()),
        accuracy_lost=Estimate(*mean_interval(right["clean"] - right[rate])),
        poisons_removed=int(counts[True][:, 0].sum()),
        poisons_share=share_over_trials(*counts[True].T),
        clean_removed=int(counts[False][:, 0].sum()),
        clean_share=share_over_trials(*counts[False].T),
        measured_fpr=fresh,
    )


def _examples(z: np.ndarray, labels: np.ndarray, pixels: np.ndarray, *, poisoned: bool) -> Examples:
    return Examples(z, labels, np.full(len(z), np.nan), np.full(len(z), poisoned), pixels)


def own_density(model: Classifier) -> Score:
    """Log p(z | y) of the network's own Gaussians, for features that its ``feature_scale`` has rescaled.

    Raises:
        ValueError: a softmax network, which has none.
    """
    mixture, device = require_mixture(model), device_of(model)
    scale = model.feature_scale.cpu().numpy()

    def score(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(z / scale).to(device)
        with torch.inference_mode():
            return mixture.log_likelihood(points, torch.from_numpy(labels).to(device)).cpu().numpy()

    return score


def watermark(bases: Split, targets: Split, opacity: float) -> Split:
    """The bases with their targets laid over them, as 8-bit images. Source: Poison Frogs, section 4.1."""
    laid = (1 - opacity) * bases.images.astype(np.float32) + opacity * targets.images.astype(np.float32)
    return replace(bases, images=laid.round().astype(np.uint8))
