"""Does filtering save the model? Algorithm 1, measured by what an attack does to the model fine-tuned afterwards.

A trial is one attack: a target, K poisons for it, and the few clean images that somebody fine-tunes on. The network
stays frozen and a new head is trained on its features, which is transfer learning as in Poison Frogs.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from lgm.cards import Card
from lgm.config import DefenseConfig, PoisonConfig
from lgm.data import Split
from lgm.detection import conformal_threshold, is_removed, wilson_interval
from lgm.fitted import Score, fit_density
from lgm.heads import LGMHead
from lgm.intervals import mean_interval
from lgm.networks import Classifier, device_of, embed, require_mixture
from lgm.poisoning import OnStep, craft_poisons

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
Predict = Callable[[np.ndarray], np.ndarray]  # features (N, D) -> labels (N,)


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
class Examples:
    """Labelled features to fine-tune on.

    Attributes:
        z: (N, D) features, rescaled so that clean ones span [-1, 1].
        labels: (N,) claimed labels.
        score: (N,) nats; higher is cleaner.
        poisoned: (N,) bool; for counting, the filter does not know.
    """

    z: np.ndarray
    labels: np.ndarray
    score: np.ndarray
    poisoned: np.ndarray

    def __getitem__(self, index: np.ndarray | slice) -> "Examples":
        return Examples(self.z[index], self.labels[index], self.score[index], self.poisoned[index])


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
        return _plain(values)


def mix(clean: Examples, poisons: Examples) -> Examples:
    """D_t: the clean images with the poisons among them. Source: algorithm 1, step 3."""
    return Examples(
        z=np.concatenate([clean.z, poisons.z]),
        labels=np.concatenate([clean.labels, poisons.labels]),
        score=np.concatenate([clean.score, poisons.score]),
        poisoned=np.concatenate([clean.poisoned, poisons.poisoned]),
    )


def keep_likely(examples: Examples, threshold: float) -> Examples:
    """D_w: what scores above T. Source: algorithm 1, step 5."""
    return examples[~is_removed(examples.score, threshold)]


def fine_tune(examples: Examples, strength: float = 100.0) -> Predict:
    """A new head on frozen features: logistic regression.

    The same head for both losses, so that what differs is the features. Refitted Gaussians would be the other choice
    for an LGM network; poisons hardly move a mean past the target, so it would flatter the defence. Where the filter
    has left one class only, all is of that class.

    Args:
        examples: At least one.
        strength: C of `sklearn.linear_model.LogisticRegression`: how far it trusts the examples over small weights.

    Raises:
        ValueError: no examples.

    Source: algorithm 1, step 6; Poison Frogs, section 3, trains the last layer only.
    """
    from sklearn.dummy import DummyClassifier  # over a second to import
    from sklearn.linear_model import LogisticRegression

    if not len(examples.labels):
        raise ValueError("examples: expected at least one to fine-tune on, got none; lower T keeps more")
    one_class = len(np.unique(examples.labels)) == 1
    head = DummyClassifier() if one_class else LogisticRegression(C=strength, max_iter=5000)
    head.fit(examples.z, examples.labels)
    return lambda z: np.asarray(head.predict(z))


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
    smallest = min(int((labels[pool] == k).sum()) for k in (config.classes or present))
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
    in_play = sorted((base, target)) if config.task == "two" else list(shuffled)
    # D_f is taken from the front, bases and target from the back: how many of the one does not change the other.
    taken = {k: config.poisons if k == base else int(k == target) for k in in_play}
    return Trial(
        base_class=base,
        target_class=target,
        target=int(shuffled[target][-1]),
        bases=shuffled[base][::-1][: config.poisons],
        clean=np.concatenate([shuffled[k][: config.clean] for k in in_play]),
        evaluation=np.concatenate([shuffled[k][config.clean : len(shuffled[k]) - taken[k]] for k in in_play]),
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
        ValueError: see `draw_trials` and `craft_poisons`; a softmax network has no density of its own.

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
    on_step: OnStep | None = None,
) -> list[DefenseReport]:
    """`defend` for several (poisons, clean images a class), with poisons crafted once: for the most of them.

    Raises:
        ValueError: see `defend`; no settings.
    """
    if not settings:
        raise ValueError("settings: expected at least one (poisons, clean images a class), got none")
    configs = [replace(config, poisons=poisons, clean=clean) for poisons, clean in settings]
    most = replace(config, poisons=max(c.poisons for c in configs), clean=max(c.clean for c in configs))
    lab = _Lab(model, card, split, most)
    lab.craft(on_step)
    return [lab.judge(each) for each in configs]


@dataclass(frozen=True)
class _Result:
    """Of one trial: what each arm says of the target, its accuracy, and what the filter did to D_t."""

    predicted: dict[str, int]
    accuracy: dict[str, float]
    removed: np.ndarray
    poisoned: np.ndarray


class _Lab:
    """A network, clean images and poisons, all as features: what every setting of a sweep shares."""

    def __init__(self, model: Classifier, card: Card, split: Split, config: DefenseConfig) -> None:
        self.model, self.card, self.split, self.config = model, card, split, config
        self.scale = model.feature_scale.cpu().numpy()
        self.density = config.density or ("own" if isinstance(model.head, LGMHead) else "fitted")
        calibration, self.pool = hold_out(len(split), config.calibration, config.seed)
        if config.classes:  # the promise is for the images that will be scored
            calibration = calibration[np.isin(split.labels[calibration], config.classes)]
        self.trials = draw_trials(split.labels, self.pool, config)
        z = embed(model, split.pixels()).numpy() * self.scale
        self.score, calibration = self._scorer(z, calibration)
        self.images = self._examples(z, split.labels, poisoned=False)
        self.calibration = len(calibration)
        self.threshold = conformal_threshold(self.images.score[calibration], config.fpr)

    def _scorer(self, z: np.ndarray, calibration: np.ndarray) -> tuple[Score, np.ndarray]:
        """The score, and the images left to calibrate its threshold: none that it was fitted to."""
        if self.density == "own":
            return own_density(self.model), calibration
        fit_on, rest = np.array_split(np.random.default_rng(self.config.seed).permutation(calibration), 2)
        return fit_density(z[fit_on], self.split.labels[fit_on]), rest

    def _examples(self, z: np.ndarray, labels: np.ndarray, *, poisoned: bool) -> Examples:
        return Examples(z, labels, self.score(z, labels), np.full(len(z), poisoned))

    def craft(self, on_step: OnStep | None) -> None:
        """All poisons of all trials, as one batch."""
        bases = np.concatenate([trial.bases for trial in self.trials])
        targets = np.repeat([trial.target for trial in self.trials], self.config.poisons)
        if not len(bases):
            self.poisons, self.collided = self.images[:0], np.empty(0, bool)
            return
        marked = watermark(self.split[bases], self.split[targets], self.config.watermark)
        config = PoisonConfig(beta=self.config.beta)
        crafted = craft_poisons(self.model, marked, self.split[targets], config, on_step=on_step)
        labels = self.split.labels[bases]
        self.poisons = self._examples(crafted.z * self.scale, labels, poisoned=True)
        self.collided = crafted.collided

    def judge(self, config: DefenseConfig) -> DefenseReport:
        """Fine-tune in every arm of every trial."""
        trials = draw_trials(self.split.labels, self.pool, config)
        mine = np.arange(len(self.poisons.labels)).reshape(len(trials), -1)[:, : config.poisons]
        results = [self._fine_tune_all(trial, self.poisons[index]) for trial, index in zip(trials, mine, strict=True)]
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
            calibration=self.calibration,
            n=counts["clean"][1],
            hits={arm: hits for arm, (hits, _) in counts.items()},
            accuracy={arm: float(share.mean()) for arm, share in right.items()},
            accuracy_lost={arm: mean_interval(right["clean"] - right[arm]) for arm in ARMS[1:]},
            collided=float(self.collided[mine].mean()) if mine.size else math.nan,
            poisons_removed=int(removed[poisoned].sum()),
            poisons_total=int(poisoned.sum()),
            clean_removed=int(removed[~poisoned].sum()),
            clean_total=int((~poisoned).sum()),
            fpr=float(is_removed(self.images.score[self._scored()], self.threshold).mean()),
        )

    def _fine_tune_all(self, trial: Trial, poisons: Examples) -> "_Result":
        clean, held_out = self.images[trial.clean], self.images[trial.evaluation]
        mixed = mix(clean, poisons)
        examples = {
            "clean": clean,
            "unfiltered": mixed,
            "filtered": keep_likely(mixed, self.threshold),
            UNTOUCHED: mix(clean, self.images[trial.bases]),
        }
        heads = {arm: fine_tune(those, self.config.strength) for arm, those in examples.items()}
        return _Result(
            predicted={arm: int(head(self.images.z[[trial.target]])[0]) for arm, head in heads.items()},
            accuracy={arm: float((head(held_out.z) == held_out.labels).mean()) for arm, head in heads.items()},
            removed=is_removed(mixed.score, self.threshold),
            poisoned=mixed.poisoned,
        )

    def _scored(self) -> np.ndarray:
        """Positions of all images that a trial may draw."""
        drawn = self.split.labels[self.pool]
        return self.pool[np.isin(drawn, self.config.classes)] if self.config.classes else self.pool


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


def _plain(value: Any) -> Any:
    """As JSON has it: lists, and None for NaN and infinity."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
