"""The example on the Defend page: one attack, whose clean images are shown at once and whose poisons are crafted."""

import math
from collections import OrderedDict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import streamlit as st

from lgm.config import DefenseConfig
from lgm.data.base import Split
from ui import load, state
from ui.job_queue import Job, QueueFull
from ui.jobs import runner
from ui.pictures import pictured, pictures

if TYPE_CHECKING:
    from lgm.defense.example import Attack, Demonstration
    from lgm.defense.finetune import Examples

POISONS, CLEAN = state.options("poisons"), state.options("clean")
THRESHOLD = {"lgm": "threshold", "softmax": "softmax_threshold"}  # where T is in `ui.state`: each density has its own
_FOLLOWED = "defend_craft"  # key of the craft that this session waits for
_STOPPED = "defend_craft_stopped"  # key of the one that it has cancelled
_KEPT = 64  # sets of poisons in memory
_STEP = 0.1  # between two stops of T, as a distance from the class mean in sigmas
_FARTHEST = 15.0  # stops in such steps


def setting() -> DefenseConfig:
    """What the link asks for."""
    link = state.link()
    return DefenseConfig(task=link.task, classes=classes(), poisons=link.poisons, clean=link.clean, seed=link.draw)


def classes() -> tuple[int, int]:
    """Of base and target: the link's if there are images of both, else the example's or those of most images."""
    base, target = state.link().base_class, state.link().target_class
    present = offered()
    if base in present and target in present and base != target:
        return base, target
    example = load.example_classes()
    return example if set(example) <= set(present) else (present[0], present[1])


def offered() -> list[int]:
    """Classes that poisons may claim and a target be of, those with most images first where this machine has few."""
    if not _has_few():
        return list(range(len(load.dataset().classes)))
    counts = np.bincount(pictured(), minlength=len(load.dataset().classes))
    return [int(k) for k in np.argsort(-counts, kind="stable") if counts[k]]


def playable(config: DefenseConfig) -> DefenseConfig:
    """The setting with no more poisons than this machine has images of their class."""
    if not _has_few():
        return config
    return replace(config, poisons=min(config.poisons, int((pictured() == classes()[0]).sum())))


def _has_few() -> bool:
    """Whether of D_f only the first images are here: all others are known by their features."""
    return load.dataset().at_hand_of(load.clean_split()) not in (load.clean_split(), None)


def _images() -> tuple[Split, np.ndarray | None]:
    """D_f; and if only the first images of it are here, their positions: all others are black, and must not be used.

    Raises:
        DataError: there are none on this machine.
    """
    images = pictures()
    if not _has_few():
        return images, None
    labels = load.embedded(load.model_name("lgm"), load.clean_split()).labels
    padded = np.zeros((len(labels), *images.images.shape[1:]), np.uint8)
    padded[: len(images)] = images.images
    return replace(images, name=load.clean_split(), images=padded, labels=labels), np.arange(len(images))


@dataclass(frozen=True)
class CraftedPoisons:
    """The poisons of an attack: for the first few bases alone, or whatever the clean images, they are the same.

    Attributes:
        bases: (K,) positions in the split.
        examples: (K,) with their scores.
        collided: (K,) bool.
    """

    bases: np.ndarray
    examples: "Examples"
    collided: np.ndarray

    @staticmethod
    def of(attack: "Attack") -> "CraftedPoisons":
        """Without the many images that only measure."""
        return CraftedPoisons(attack.trial.bases, attack.poisons, attack.collided)

    def joined(self, bare: "Attack", count: int) -> "Attack":
        """The attack with the first ``count`` of these, from the same one without poisons."""
        bases = self.bases[:count]
        measuring = ~np.isin(bare.trial.evaluation, bases)
        trial = replace(bare.trial, bases=bases, evaluation=bare.trial.evaluation[measuring])
        return replace(
            bare,
            config=replace(bare.config, poisons=count),
            trial=trial,
            poisons=self.examples[:count],
            collided=self.collided[:count],
            held_out=bare.held_out[measuring],
        )


@st.cache_resource(show_spinner=False)
def _crafted() -> OrderedDict[str, CraftedPoisons]:
    """The most recent poisons, shared by all sessions, by `_origin`."""
    return OrderedDict()


def _keep(kept: OrderedDict[str, CraftedPoisons], origin: str, poisons: CraftedPoisons) -> None:
    if origin not in kept or len(kept[origin].bases) < len(poisons.bases):
        kept[origin] = poisons
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _origin(name: str, config: DefenseConfig) -> str:
    """All that the first poisons of an attack depend on, and their scores."""
    return f"{name} {load.card(name).weights_sha256} {load.clean_split()} {config.task} {config.classes} {config.seed}"


@st.cache_resource(show_spinner=False, max_entries=16)
def _bare(name: str, weights_sha256: str, split: str, config: DefenseConfig) -> "Attack":
    del weights_sha256  # part of the key
    from lgm.defense.example import stage

    images, among = _images()  # first: without them there is nothing to wait for
    return stage(load.model(name), load.card(name), images, config, z=load.embedded(name, split).z, among=among)


def bare(name: str, config: DefenseConfig) -> "Attack":
    """The attack of this setting before any poison is there (shared: do not change it).

    Raises:
        DataError: the images are not on this machine.
        ValueError: too few of them.
    """
    return _bare(name, load.card(name).weights_sha256, load.clean_split(), replace(config, poisons=0))


def complete(name: str, config: DefenseConfig, without: "Attack") -> "Attack | None":
    """The attack with its poisons, from the one ``without``; None if they have to be crafted first."""
    if not config.poisons:
        return without
    found = _crafted().get(_origin(name, config))
    if found is None or len(found.bases) < config.poisons:
        job = runner().jobs.get(_key(name, config))
        found = job.result if job is not None and job.state == "done" else None
    return found.joined(without, config.poisons) if found else None


def _key(name: str, config: DefenseConfig) -> str:
    return f"attack {_origin(name, config)} {config.poisons}"


def crafting(name: str, config: DefenseConfig) -> Job | None:
    """The job that crafts these poisons, submitted if need be; None if this session has cancelled it.

    A session waits for one craft: it cancels the one before.
    """
    key, before = _key(name, config), st.session_state.get(_FOLLOWED)
    if before != key:
        if before in runner().jobs:
            runner().jobs[before].cancel()
        st.session_state[_FOLLOWED] = key
        st.session_state.pop(_STOPPED, None)
    if st.session_state.get(_STOPPED) == key:
        return None
    job = runner().jobs.get(key)
    return job if job is not None and job.state == "failed" else _submit(name, config, key)


def stop_crafting() -> None:
    """Cancel what this session waits for."""
    key = st.session_state[_STOPPED] = st.session_state.get(_FOLLOWED)
    if key in runner().jobs:
        runner().jobs[key].cancel()


def craft_again(name: str, config: DefenseConfig) -> None:
    """After it was cancelled or has failed."""
    st.session_state.pop(_STOPPED, None)
    _submit(name, config, _key(name, config))


def _submit(name: str, config: DefenseConfig, key: str) -> Job | None:
    model, card, (images, among) = load.model(name), load.card(name), _images()
    z = load.embedded(name, load.clean_split()).z
    kept, origin = _crafted(), _origin(name, config)  # a job has no session

    def work(job: Job) -> CraftedPoisons | None:
        from lgm.defense.example import stage

        attack = stage(model, card, images, config, z=z, among=among, on_step=job.report)
        if job.cancelling:
            return None
        poisons = CraftedPoisons.of(attack)
        _keep(kept, origin, poisons)
        return poisons

    try:
        return runner().submit(key, work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
        st.session_state[_STOPPED] = key
        return None


def current_threshold(attack: "Attack", loss: str) -> float:
    """T in nats: the chosen one, else the calibrated one."""
    chosen = getattr(state.link(), THRESHOLD[loss])
    return attack.threshold if chosen is None else float(chosen)


def stops(attack: "Attack", current: float) -> list[float]:
    """Thresholds to choose from, ascending: evenly spaced by the distance from the mean that they stand for.

    The first one removes nothing, the last one everything; the calibrated and the current T are among them.
    """
    scores = attack.mixed.score
    top, lowest = max(float(attack.peak.max()), float(scores.max())), float(scores.min())
    depth = min(_FARTHEST, math.sqrt(2 * max(0.0, top - lowest)))
    even = top - np.arange(0, depth + _STEP, _STEP) ** 2 / 2
    marked = [t for t in (attack.threshold, current) if math.isfinite(t)]
    return sorted({*even.round(3).tolist(), math.ceil(top * 100) / 100, math.floor(lowest) - 1.0, *marked})


def table(attack: "Attack", shown: "Demonstration") -> pd.DataFrame:
    """One row an image of D_t, and the target last."""
    trial, mixed = attack.trial, attack.mixed
    z = np.concatenate([mixed.z, attack.target.z]) / attack.scale
    return pd.DataFrame(
        {
            "group": ["poison" if poisoned else "clean" for poisoned in mixed.poisoned] + ["target"],
            "position": np.r_[trial.clean, trial.bases, trial.target],  # in the split; a poison's: of its base
            "label": np.r_[mixed.labels, trial.target_class],  # claimed; the target's true one
            "log_likelihood_nats": np.r_[mixed.score, attack.target.score],
            "removed": [*shown.removed.tolist(), None],
            **{f"feature_{i}": z[:, i - 1] for i in range(1, z.shape[1] + 1)},
        }
    )
