"""Does filtering save the model? Algorithm 1, measured by what an attack does to the model fine-tuned afterwards.

A trial is one attack: a target, K poisons for it, and the few clean images that somebody fine-tunes on. Either the
network stays frozen and a new head is trained on its features, which is transfer learning as in Poison Frogs, or all of
its layers are trained. The filter always asks the network as it was before.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from lgm.cards import Card
from lgm.config import GAMMA_GRID, DefenseConfig, PoisonConfig
from lgm.data import Split
from lgm.detection import conformal_threshold, is_removed
from lgm.finetune import Examples, fine_tune, fine_tune_layers, mix
from lgm.fitted import Score, fit_density
from lgm.heads import LGMHead
from lgm.intervals import mean_interval, plain, wilson_interval
from lgm.networks import Classifier, device_of, embed, require_mixture
from lgm.poisoning import craft_poisons
from lgm.progress import OnStep, part

ATTACK_SUCCESS = (
    "share of the targets, among those that the clean control classifies correctly, "
    "to which the fine-tuned model gives the label of the base"
)
UNTOUCHED = "untouched"  # fine-tuned on D_f and the bases as they were
ARMS = ("clean", "unfiltered", "filtered")  # fine-tuned on D_f, on D_t, on D_w
FILTERS = {
    "own": "log-likelihood under the Gaussian of the claimed label that the network was trained with",
    "fitted": "log-density of a full Gaussian that was fitted afterwards to clean features of the claimed label",
}
Predict = Callable[[Examples], np.ndarray]  # N examples -> labels (N,)


@dataclass(frozen=True)
class Trial:
    """One draw. Positions in the split, no two of them the same.

    Attributes:
        base_class, target_class: What the poisons claim, and what the target is.
        target: The image that the attacker wants to have taken for the base's class.
        bases: (K,) images that become poisons; those for a smaller K come first.
        clean: (n times classes,) D_f, as many of each class of the task.
        evaluation: (E,) all other images of these classes: accuracy is measured on them.
    """

    base_class: int
    target_class: int
    target: int
    bases: np.ndarray
    clean: np.ndarray
    evaluation: np.ndarray


@dataclass(frozen=True)
class DefenseReport:
    """What the attack does without the filter and with it. Shares in [0, 1], intervals of 95 %.

    Attributes:
        config: The setting.
        model, data: Names of network and split.
        filter: Key of `FILTERS`.
        threshold: T in nats; removed is score <= T.
        calibration: Clean images that T was calibrated on.
        n: Targets that count: the clean control classifies them correctly.
        hits: Of these, how many get the base's label, by arm; and, as `UNTOUCHED`, with the bases themselves in
            place of the poisons made of them, for more images of one class may by themselves move a border.
        accuracy: Mean over trials of the accuracy on clean images that nothing was fine-tuned on, by arm.
        accuracy_lost: Accuracy of the clean control minus that of the arm, with its interval: (mean, low, high).
        collided: Share of the poisons that the network takes for the target's class; NaN without poisons.
        poisons_removed, poisons_total: Over all trials.
        clean_removed, clean_total: Images of D_f, over all trials.
        fpr: Share that T removes of all clean images that had no part in choosing it.
    """

    config: DefenseConfig
    model: str
    data: str
    filter: str
    threshold: float
    calibration: int
    n: int
    hits: dict[str, int]
    accuracy: dict[str, float]
    accuracy_lost: dict[str, tuple[float, float, float]]
    collided: float
    poisons_removed: int
    poisons_total: int
    clean_removed: int
    clean_total: int
    fpr: float

    @property
    def attack_success(self) -> dict[str, float]:
        """See `ATTACK_SUCCESS`; by arm, and for the untouched bases. NaN if no target counts."""
        return {arm: hits / self.n if self.n else math.nan for arm, hits in self.hits.items()}

    @property
    def interval(self) -> dict[str, tuple[float, float]]:
        """95 % Wilson intervals of the attack success; NaN if no target counts."""
        none = (math.nan, math.nan)
        return {arm: wilson_interval(hits, self.n) if self.n else none for arm, hits in self.hits.items()}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON; None stands for what is not a number."""
        success, interval = self.attack_success, self.interval
        values = {
            "model": self.model,
            "data": self.data,
            **asdict(self.config),
            "filter": FILTERS[self.filter],
            "threshold": self.threshold,
            "calibration": self.calibration,
            "definition": ATTACK_SUCCESS,
            "attack_success": {arm: success[arm] for arm in ARMS},
            "interval": {arm: list(interval[arm]) for arm in ARMS},
            "n": self.n,
            "untouched_bases": {"attack_success": success[UNTOUCHED], "interval": list(interval[UNTOUCHED])},
            "accuracy": self.accuracy,
            "accuracy_lost": {arm: lost[0] for arm, lost in self.accuracy_lost.items()},
            "accuracy_lost_interval": {arm: list(lost[1:]) for arm, lost in self.accuracy_lost.items()},
            "collided": self.collided,
            "poisons_removed": self.poisons_removed,
            "poisons_total": self.poisons_total,
            "clean_removed": self.clean_removed,
            "clean_total": self.clean_total,
            "measured_fpr": self.fpr,
        }
        del values["density"]  # `filter` says which it was
        return plain(values)


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


def hold_out(n_images: int, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Positions that calibrate, and all others, at random: so that both are exchangeable."""
    order = _generators(seed, 1)[0].permutation(n_images)
    cut = round(share * n_images)
    return np.sort(order[:cut]), np.sort(order[cut:])


def in_play(labels: np.ndarray, config: DefenseConfig) -> np.ndarray:
    """Classes that D_f may have, ascending."""
    return np.array(sorted(config.classes)) if config.classes and config.task == "two" else np.unique(labels)


def draw_trials(labels: np.ndarray, pool: np.ndarray, config: DefenseConfig) -> list[Trial]:
    """Independent draws from the images at the positions ``pool``.

    The same seed gives the same trials: their number changes none of them; fewer poisons or clean images are some of
    the same ones.

    Raises:
        ValueError: too few images of a class, or a class that there is not.
    """
    present = np.unique(labels[pool])
    if config.classes and not set(config.classes) <= set(present.tolist()):
        raise ValueError(f"classes: expected two of {present.tolist()}, got {list(config.classes)}")
    if len(present) < 2:
        raise ValueError(f"classes: expected at least two in the data, got {len(present)}")
    smallest = min(int((labels[pool] == k).sum()) for k in in_play(labels[pool], config))
    needed = config.clean + max(config.poisons, 1) + 1  # and one to measure accuracy on
    if smallest < needed:
        raise ValueError(
            f"clean, poisons: expected at most {smallest - 1} together, as there are {smallest} images of a class "
            f"beside those that calibrate, got {config.clean} and {config.poisons}"
        )
    return [_draw(labels, pool, present, config, rng) for rng in _generators(config.seed, config.trials + 1)[1:]]


def _draw(
    labels: np.ndarray, pool: np.ndarray, present: np.ndarray, config: DefenseConfig, rng: np.random.Generator
) -> Trial:
    base, target = (int(k) for k in config.classes or rng.choice(present, 2, replace=False))
    shuffled = {int(k): rng.permutation(pool[labels[pool] == k]) for k in present}
    playing = sorted((base, target)) if config.task == "two" else list(shuffled)
    # D_f is taken from the front, bases and target from the back: how many of the one does not change the other.
    taken = {k: config.poisons if k == base else int(k == target) for k in playing}
    return Trial(
        base_class=base,
        target_class=target,
        target=int(shuffled[target][-1]),
        bases=shuffled[base][::-1][: config.poisons],
        clean=np.concatenate([shuffled[k][: config.clean] for k in playing]),
        evaluation=np.concatenate([shuffled[k][config.clean : len(shuffled[k]) - taken[k]] for k in playing]),
    )


def defend(
    model: Classifier, card: Card, split: Split, config: DefenseConfig | None = None, on_step: OnStep | None = None
) -> DefenseReport:
    """Attack, filter, fine-tune, and compare with who did not filter and with who was not attacked.

    Args:
        model: Frozen, either loss; the attacker knows it. The poisons are crafted on it.
        card: Its card.
        split: Clean images that it was not trained on. A random share calibrates T; trials draw from the others.
        config: The setting.
        on_step: Called as (poison-iterations done, in all); returning False ends crafting with the points so far.

    Raises:
        ValueError: see `draw_trials` and `craft_poisons`; a softmax network has no density of its own, and so no
            attacker who knows of it (gamma > 0).

    Source: algorithm 1. What the paper leaves open: T, which is a conformal quantile (`conformal_threshold`) of clean
    images, and fine-tuning and its success, which it does not measure.
    """
    config = config or DefenseConfig()
    return sweep(model, card, split, config, [(config.poisons, config.clean)], on_step=on_step)[0]


def sweep(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig,
    settings: Sequence[tuple[int, int]],
    *,
    z: np.ndarray | None = None,
    on_step: OnStep | None = None,
) -> list[DefenseReport]:
    """`defend` for several (poisons, clean images a class), with poisons crafted once: for the most of them.

    ``z``: features of ``split`` (N, D) if they are known already.

    Raises:
        ValueError: see `defend`; no settings.
    """
    if not settings:
        raise ValueError("settings: expected at least one (poisons, clean images a class), got none")
    configs = [replace(config, poisons=poisons, clean=clean) for poisons, clean in settings]
    most = replace(config, poisons=max(c.poisons for c in configs), clean=max(c.clean for c in configs))
    lab = Lab(model, card, split, most, z)
    poisons = lab.craft(lab.trials, on_step)
    return [lab.judge(each, poisons) for each in configs]


def frontier(
    model: Classifier,
    card: Card,
    split: Split,
    config: DefenseConfig,
    gammas: Sequence[float] = GAMMA_GRID,
    *,
    on_step: OnStep | None = None,
) -> list[DefenseReport]:
    """`defend` against attackers who know T and give another weight gamma to passing the filter, on the same trials.

    Raises:
        ValueError: see `defend`; no gammas.
    """
    if not gammas:
        raise ValueError("gammas: expected at least one weight, got none")
    configs = [replace(config, gamma=gamma) for gamma in gammas]
    lab = Lab(model, card, split, configs[0])
    return [
        lab.judge(each, lab.craft(lab.trials, part(on_step, i, len(configs)), each.gamma))
        for i, each in enumerate(configs)
    ]


@dataclass(frozen=True)
class Crafted:
    """Poisons trial by trial, as many for each, and which of them (N,) the network takes for the target's class."""

    examples: Examples
    collided: np.ndarray


@dataclass(frozen=True)
class _Result:
    """Of one trial: what each arm says of the target, its accuracy, and what the filter did to D_t."""

    predicted: dict[str, int]
    accuracy: dict[str, float]
    removed: np.ndarray
    poisoned: np.ndarray


class Lab:
    """A network and clean images as its features: what all trials and all settings of a sweep share.

    Attributes:
        density: Key of `FILTERS`.
        classes: (C,) that D_f may have.
        pool: Positions that trials draw from.
        calibration: Positions that calibrate T, and do nothing else.
        trials: As many as the setting asks for.
        images: The whole split.
        peak: (C,) highest log-density of each of these classes, nats.
        threshold: Calibrated T, nats.
    """

    def __init__(
        self, model: Classifier, card: Card, split: Split, config: DefenseConfig, z: np.ndarray | None = None
    ) -> None:
        """``z``: (N, D) features of the split, if they are known already."""
        self.model, self.card, self.split, self.config = model, card, split, config
        self.scale = model.feature_scale.cpu().numpy()
        self.density = config.density or ("own" if isinstance(model.head, LGMHead) else "fitted")
        self.classes = in_play(split.labels, config)
        calibration, self.pool = hold_out(len(split), config.calibration, config.seed)
        # The promise is for the images that will be scored.
        calibration = calibration[np.isin(split.labels[calibration], self.classes)]
        self.trials = draw_trials(split.labels, self.pool, config)
        pixels = split.pixels()
        z = (embed(model, pixels).numpy() if z is None else z) * self.scale
        self.score, self.peak, self.calibration = self._scorer(z, calibration)
        self.images = self._examples(z, split.labels, pixels.numpy(), poisoned=False)
        self.threshold = conformal_threshold(self.images.score[self.calibration], config.fpr)

    def _scorer(self, z: np.ndarray, calibration: np.ndarray) -> tuple[Score, np.ndarray, np.ndarray]:
        """The score, its peaks, and the images left to calibrate its threshold: none that it was fitted to."""
        if self.density == "own":
            score, means = (
                own_density(self.model),
                require_mixture(self.model).mixture.means.detach().cpu().numpy() * self.scale,
            )
            return score, score(means[self.classes], self.classes), calibration
        fit_on, rest = np.array_split(np.random.default_rng(self.config.seed).permutation(calibration), 2)
        points, labels = z[fit_on], self.split.labels[fit_on]
        score = fit_density(points, labels)
        means = np.stack([points[labels == k].mean(0) for k in self.classes])  # the likeliest Gaussian's are these
        return score, score(means, self.classes), rest

    def _examples(self, z: np.ndarray, labels: np.ndarray, pixels: np.ndarray, *, poisoned: bool) -> Examples:
        return Examples(z, labels, self.score(z, labels), np.full(len(z), poisoned), pixels)

    def craft(self, trials: Sequence[Trial], on_step: OnStep | None = None, gamma: float | None = None) -> "Crafted":
        """All poisons of these trials at once; ``gamma`` in place of the setting's."""
        bases = np.concatenate([trial.bases for trial in trials])
        targets = np.repeat([trial.target for trial in trials], self.config.poisons)
        if not len(bases):
            return Crafted(self.images[:0], np.empty(0, bool))
        marked = watermark(self.split[bases], self.split[targets], self.config.watermark)
        gamma = self.config.gamma if gamma is None else gamma
        knows = gamma > 0 and math.isfinite(self.threshold)  # a filter that removes nothing needs no evasion
        config = PoisonConfig(beta=self.config.beta, gamma=gamma * knows, threshold=self.threshold if knows else None)
        found = craft_poisons(self.model, marked, self.split[targets], config, on_step=on_step)
        examples = self._examples(found.z * self.scale, self.split.labels[bases], found.images, poisoned=True)
        return Crafted(examples, found.collided)

    def judge(self, config: DefenseConfig, poisons: "Crafted") -> DefenseReport:
        """Fine-tune in every arm of every trial, with the first ``config.poisons`` of each trial's poisons."""
        trials = draw_trials(self.split.labels, self.pool, config)
        mine = np.arange(len(poisons.examples)).reshape(len(trials), -1)[:, : config.poisons]
        results = [self._run(trial, poisons.examples[index]) for trial, index in zip(trials, mine, strict=True)]
        base, target = (np.array([getattr(t, name) for t in trials]) for name in ("base_class", "target_class"))
        said = {arm: np.array([result.predicted[arm] for result in results]) for arm in (*ARMS, UNTOUCHED)}
        right = {arm: np.array([result.accuracy[arm] for result in results]) for arm in ARMS}
        counts = {arm: successes(labels, said["clean"], base, target) for arm, labels in said.items()}
        removed = np.concatenate([result.removed for result in results])
        poisoned = np.concatenate([result.poisoned for result in results])
        return DefenseReport(
            config=config,
            model=self.card.name,
            data=self.split.name,
            filter=self.density,
            threshold=self.threshold,
            calibration=len(self.calibration),
            n=counts["clean"][1],
            hits={arm: hits for arm, (hits, _) in counts.items()},
            accuracy={arm: float(share.mean()) for arm, share in right.items()},
            accuracy_lost={arm: mean_interval(right["clean"] - right[arm]) for arm in ARMS[1:]},
            collided=float(poisons.collided[mine].mean()) if mine.size else math.nan,
            poisons_removed=int(removed[poisoned].sum()),
            poisons_total=int(poisoned.sum()),
            clean_removed=int(removed[~poisoned].sum()),
            clean_total=int((~poisoned).sum()),
            fpr=float(is_removed(self.images.score[self.unseen], self.threshold).mean()),
        )

    def _run(self, trial: Trial, poisons: Examples) -> _Result:
        clean, held_out = self.images[trial.clean], self.images[trial.evaluation]
        mixed = mix(clean, poisons)
        examples = {
            "clean": clean,
            "unfiltered": mixed,
            "filtered": keep_likely(mixed, self.threshold),
            UNTOUCHED: mix(clean, self.images[trial.bases]),
        }
        fitted = {arm: self._fine_tune(those) for arm, those in examples.items()}
        target = self.images[[trial.target]]
        return _Result(
            predicted={arm: int(predict(target)[0]) for arm, predict in fitted.items()},
            accuracy={arm: float((predict(held_out) == held_out.labels).mean()) for arm, predict in fitted.items()},
            removed=is_removed(mixed.score, self.threshold),
            poisoned=mixed.poisoned,
        )

    def _fine_tune(self, examples: Examples) -> Predict:
        head = fine_tune(examples, self.config.strength)
        if self.config.layers == "head":
            return lambda those: head(those.z)
        network = fine_tune_layers(self.model, examples, head)
        return lambda those: network(those.pixels)

    @property
    def unseen(self) -> np.ndarray:
        """Positions of all images that a trial may draw: T was chosen without them."""
        return self.pool[np.isin(self.split.labels[self.pool], self.classes)]


def own_density(model: Classifier) -> Score:
    """Log p(z | y) of the network's own Gaussians, for features that its ``feature_scale`` has rescaled.

    Raises:
        ValueError: a softmax network, which has none.
    """
    mixture, device = require_mixture(model).mixture, device_of(model)
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


def _generators(seed: int, count: int) -> list[np.random.Generator]:
    """Independent of each other; the first ones are the same whatever the count."""
    return [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(count)]
