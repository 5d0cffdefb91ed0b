"""Poison Frogs' transfer-learning experiment: one poison among clean photos, what it does, and what filters see of it.

Deviations from the source: an EfficientNet-Lite0 in the place of InceptionV3, fewer photos, and filters.
"""

import contextlib
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

from lgm.attacks.batches import one_thread_each
from lgm.attacks.one_shot import craft_one_shot, feature_scale, set_head
from lgm.attacks.result import Poisons, check_count, pick_pairs
from lgm.data.base import Split
from lgm.defense.finetune import Examples, LinearHead, fine_tune
from lgm.detection.trusted_scores import trusted_scores
from lgm.experiments.one_shot_config import OneShotConfig
from lgm.experiments.one_shot_report import Attack, FilterRow, OneShotReport, filter_row, mark_best
from lgm.experiments.records import machine
from lgm.models.classifier import Classifier, device_of
from lgm.models.scoring import embed
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.utils.progress import OnStep

_LEAST = 4  # photos of a class in each part: a base, a target, and two to learn from


@dataclass(frozen=True)
class Photos:
    """All photos as the network sees them, in parts.

    Attributes:
        split: All of them.
        names: (N,) of the files.
        own: (N, D) features as the network gives them. The filters see these: scales are set by the trusted photos, and
            for a promise on fresh ones those that calibrate must have no part in the score.
        scale: (D,) what rescales them.
        trusted: (M,) positions of those that the filters trust.
        pool: (P,) positions of all others: bases, targets, and clean photos to fine-tune on.
    """

    split: Split
    names: tuple[str, ...]
    own: np.ndarray
    scale: np.ndarray
    trusted: np.ndarray
    pool: np.ndarray

    @property
    def z(self) -> np.ndarray:
        """(N, D) rescaled features: what is fine-tuned on."""
        return self.own * self.scale


def one_shot(
    model: Classifier,
    split: Split,
    names: tuple[str, ...],
    config: OneShotConfig,
    *,
    network: str,
    classes: tuple[str, ...],
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> OneShotReport:
    """Attacks one by one, each on a new head that learns from clean photos and a single poison.

    A pair is attacked if the head without the poison is right about the target; base and target themselves are not
    fine-tuned on.

    Args:
        model: Frozen network; its ``feature_scale`` and head are set here.
        split: Photos in the shape that it takes.
        names: Of the files.
        config: The setting.
        network: What the report calls the network.
        classes: Names, by label.
        cache: See `craft_one_shot`.
        on_step: Called as (poison-iterations done, in all).

    Raises:
        ValueError: too few photos of a class, or more attacks than there are pairs.
    """
    photos = prepare(model, split, names, config)
    bases, targets, passed = choose_pairs(photos, config)
    poisons = craft_one_shot(
        model,
        split[bases],
        split[targets],
        beta=config.beta,
        iterations=config.iterations,
        cache=cache,
        on_step=on_step,
    )
    attacks, accuracy = judge(photos, poisons, (bases, targets), config, classes)
    success = sum(attack.success for attack in attacks)
    return OneShotReport(
        data=split.dataset,
        network=network,
        attacks=len(attacks),
        beta=config.beta,
        iterations=config.iterations,
        strength=config.strength,
        seed=config.seed,
        photos=len(split),
        fine_tuned_on=len(photos.pool) - 2,
        trusted=len(photos.trusted),
        misclassified_before=passed,
        success=Estimate(success / len(attacks), *wilson_interval(success, len(attacks))),
        accuracy_before=accuracy[0],
        accuracy_after=accuracy[1],
        made=date.today().isoformat(),
        machine=machine(),
        versions={name: version(name) for name in ("torch", "scikit-learn")},
        filters=_filters(photos, poisons, np.array([attack.success for attack in attacks]), config),
        each=tuple(attacks),
    )


def prepare(
    model: Classifier,
    split: Split,
    names: tuple[str, ...],
    config: OneShotConfig,
    on_step: OnStep | None = None,
) -> Photos:
    """Embed all photos, draw those that are trusted, and set the network's scale and head by them.

    Args:
        model: Frozen network.
        split: Photos in the shape that it takes.
        names: Of the files.
        config: The setting.
        on_step: Called as (photos embedded, in all); returning False stops.

    Raises:
        ValueError: too few photos of a class.
        InterruptedError: stopped.
    """
    trusted = _stratified(split.labels, config.trusted, config.seed)
    pool = np.setdiff1d(np.arange(len(split)), trusted)
    for part in (trusted, pool):
        present, counts = np.unique(split.labels[part], return_counts=True)
        if len(present) < 2 or len(present) < len(np.unique(split.labels)) or counts.min() < _LEAST:
            raise ValueError(
                f"trusted: expected at least {_LEAST} photos of each class among those trusted and among all others, "
                f"found {counts.min()} of one; add photos, or choose a share nearer to 0.5"
            )
    model.feature_scale = torch.ones(1)
    own = _embedded(model, split, on_step)
    scale = feature_scale(own[trusted])
    model.feature_scale = torch.from_numpy(scale)
    photos = Photos(split, names, own, scale, trusted, pool)
    head = new_head(photos.z[trusted], split.labels[trusted], config)
    set_head(model, head.weight, head.bias)
    return photos


def _embedded(model: Classifier, split: Split, on_step: OnStep | None, batch: int = 32) -> np.ndarray:
    """(N, D) features.

    On a CPU each batch on one thread: the poisons' ways depend on the last digits of the scale, which differ otherwise.
    """
    starts, parts = range(0, len(split), batch), []
    on_cpu = device_of(model).type == "cpu"
    with one_thread_each() if on_cpu else contextlib.nullcontext(map) as each:
        for part in each(lambda start: embed(model, split.pixels(slice(start, start + batch))).numpy(), starts):
            parts.append(part)
            done = min(len(parts) * batch, len(split))
            if on_step and on_step(done, len(split)) is False:
                raise InterruptedError("stopped while photos were embedded")
    return np.concatenate(parts)


def _stratified(labels: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Positions of a random share of each class, ascending."""
    random = np.random.default_rng(seed)
    by_class = [random.permutation(np.flatnonzero(labels == k)) for k in np.unique(labels)]
    return np.sort(np.concatenate([mine[: round(share * len(mine))] for mine in by_class]))


def choose_pairs(photos: Photos, config: OneShotConfig) -> tuple[np.ndarray, np.ndarray, int]:
    """The first pairs, in an order by seed, whose target the head is right about before any poison.

    Returns:
        Positions of bases and targets among all photos, (N,) each, and how many pairs were passed over before the last
        one, as the head was wrong about their target.

    Raises:
        ValueError: more attacks than such pairs.
    """
    pool, labels = photos.pool, photos.split.labels
    check_count(config.attacks, len(pool), "attacks")
    drawn = pick_pairs(labels[pool], len(pool), config.seed)  # of all: their number changes none of them
    pairs: list[tuple[int, int]] = []
    passed = 0
    for base, target in zip(pool[drawn[0]], pool[drawn[1]], strict=True):
        head = new_head(*clean_photos(photos, base, target), config)
        if head(photos.z[[target]])[0] == labels[target]:
            pairs.append((base, target))
        else:
            passed += 1
        if len(pairs) == config.attacks:
            bases, targets = np.array(pairs).T
            return bases, targets, passed
    raise ValueError(
        f"attacks: expected at most {len(pairs)}, as so many of {len(pool)} targets are classified rightly without a "
        f"poison, got {config.attacks}"
    )


def clean_photos(photos: Photos, base: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """What the head learns from beside the poison: rescaled features (N, D) and labels (N,)."""
    rest = np.setdiff1d(photos.pool, [base, target])
    return photos.z[rest], photos.split.labels[rest]


def new_head(z: np.ndarray, labels: np.ndarray, config: OneShotConfig) -> LinearHead:
    """Logistic regression on rescaled features (N, D) and labels (N,)."""
    n = len(labels)
    return fine_tune(
        Examples(z, labels, score=np.zeros(n), poisoned=np.zeros(n, bool), pixels=np.empty((n, 0))), config.strength
    )


def probability(head: LinearHead, z: np.ndarray, label: int) -> float:
    """That the head gives to a class, of rescaled features (D,)."""
    logits = z @ head.weight.T + head.bias
    return float(np.exp(logits - np.logaddexp.reduce(logits))[head.classes == label].sum())


def judge(
    photos: Photos,
    poisons: Poisons,
    pairs: tuple[np.ndarray, np.ndarray],
    config: OneShotConfig,
    classes: tuple[str, ...],
) -> tuple[list[Attack], tuple[float, float]]:
    """Each attack, and the mean accuracy on trusted photos without and with a poison."""
    labels, attacks, right = photos.split.labels, [], np.empty((len(poisons), 2))
    z = poisons.z * photos.scale
    for i, (base, target) in enumerate(zip(*pairs, strict=True)):
        clean = clean_photos(photos, base, target)
        heads = [new_head(*clean, config), new_head(np.r_[clean[0], z[[i]]], np.r_[clean[1], labels[base]], config)]
        before, after = (probability(head, photos.z[target], labels[target]) for head in heads)
        right[i] = [(head(photos.z[photos.trusted]) == labels[photos.trusted]).mean() for head in heads]
        attacks.append(
            Attack(
                base=photos.names[base],
                target=photos.names[target],
                base_class=classes[labels[base]],
                target_class=classes[labels[target]],
                before=before,
                after=after,
                success=bool(heads[1](photos.z[[target]])[0] == labels[base]),
                collided=bool(poisons.collided[i]),
                l2=float(poisons.l2[i]),
                linf=float(poisons.linf[i]),
            )
        )
    return attacks, (float(right[:, 0].mean()), float(right[:, 1].mean()))


def _filters(photos: Photos, poisons: Poisons, succeeded: np.ndarray, config: OneShotConfig) -> tuple[FilterRow, ...]:
    """What each filter catches of the poisons, and removes of the clean photos in the pool."""
    labels, claims, rows = photos.split.labels, poisons.labels.astype(np.int64), []
    for key, score in trusted_scores(config.calibration).items():
        score.fit(photos.own[photos.trusted], labels[photos.trusted])
        clean = score.score_samples(photos.own[photos.pool], labels[photos.pool])
        rows.append(filter_row(key, score, clean, score.score_samples(poisons.z, claims), succeeded))
    return mark_best(rows)
