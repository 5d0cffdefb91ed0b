"""Attacks for the Defend page: one staged in full, and how often many succeed."""

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import streamlit as st

from lgm.config import DefenseConfig
from lgm.datasets import load_split
from lgm.jobs import Job, QueueFull
from lgm.progress import part
from ui import load, state
from ui.jobs import runner

if TYPE_CHECKING:
    from lgm.demonstration import Attack, Demonstration

POISONS, CLEAN = state.options("poisons"), state.options("clean")
THRESHOLD = {"lgm": "threshold", "softmax": "softmax_threshold"}  # where T is in `ui.state`: each density has its own
TRIALS = 30
_EXAMPLE = (4, 9)  # classes of base and target
_JOB = "defend_job"
_STEP = 0.1  # between two stops of T, as a distance from the class mean in sigmas
_FARTHEST = 15.0  # stops in such steps


def setting() -> DefenseConfig:
    """What the link asks for, as far as the page offers it."""
    default = DefenseConfig()
    poisons, clean = state.get("poisons"), state.get("clean")
    return DefenseConfig(
        task=state.get("task"),
        classes=classes(),
        poisons=poisons if poisons in POISONS else default.poisons,
        clean=clean if clean in CLEAN else default.clean,
        seed=state.get("draw"),
    )


def classes() -> tuple[int, int]:
    """Of base and target: the link's if they are two of the dataset's, else the example's."""
    pair = state.get("base_class"), state.get("target_class")
    known = range(len(load.dataset().classes))
    return pair if pair[0] != pair[1] and all(k in known for k in pair) else _EXAMPLE


@st.cache_resource(show_spinner="Crafting the poisons", show_time=True, max_entries=8)
def _staged(name: str, weights_sha256: str, split: str, config: DefenseConfig) -> "Attack":
    del weights_sha256  # part of the key
    from lgm.demonstration import stage

    images = load.split(split)  # first: without them there is nothing to wait for
    return stage(load.model(name), load.card(name), images, config, z=load.embedded(name, split).z)


def staged(name: str, config: DefenseConfig) -> "Attack":
    """The attack of this setting on a network (shared: do not change it); crafted once, whatever T.

    Raises:
        DataError: the images are not on this machine.
        ValueError: too few of them.
    """
    return _staged(name, load.card(name).weights_sha256, load.clean_split(), config)


def current_threshold(attack: "Attack", loss: str) -> float:
    """T in nats: the chosen one, else the calibrated one."""
    chosen = state.get(THRESHOLD[loss])
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


Curves = dict[str, list[dict[str, Any]]]  # by loss, reports for different K


def _own_curves() -> dict[str, Curves]:
    """What was measured in this session, by the key of the job."""
    return st.session_state.setdefault("own_curves", {})


def curves(config: DefenseConfig) -> Curves | None:
    """Reports for both networks and different K: the shipped ones, else those of this session; None if there are none.

    Raises:
        CheckpointError: see `ui.load.study`.
    """
    names = {loss: load.model_name(loss) for loss in load.LOSSES}
    reports = (load.study_of(**names) or {}).get("defense", [])
    wanted = {"data": load.clean_split(), "task": config.task, "clean": config.clean}
    wanted |= {"layers": "head", "classes": None, "watermark": 0}
    fitting = [report for report in reports if all(report.get(name) == value for name, value in wanted.items())]
    shipped = {loss: [r for r in fitting if r["model"] == name] for loss, name in names.items()}
    return shipped if all(shipped.values()) else _own_curves().get(_key(config))


def _key(config: DefenseConfig) -> str:
    names = [load.model_name(loss) for loss in load.LOSSES]
    weights = " ".join(f"{name} {load.card(name).weights_sha256}" for name in names)
    return f"defend {weights} {load.clean_split()} {config.task} {config.clean}"


def current_job() -> Job | None:
    """The measurement that this session waits for; what it found is kept once it is done."""
    job = runner().jobs.get(st.session_state.get(_JOB, ""))
    if job is not None and not job.active and job.error is None:
        if job.state == "done":
            _own_curves()[job.key] = job.result
        del st.session_state[_JOB]
        return None
    return job


def measure(config: DefenseConfig) -> None:
    """Submit the measurement of `curves` for this setting."""
    names = {loss: load.model_name(loss) for loss in load.LOSSES}
    split, settings = load.clean_split(), [(k, config.clean) for k in POISONS if k]
    wanted = DefenseConfig(task=config.task, clean=config.clean, trials=TRIALS)
    stored = {loss: load.features(name).splits.get(split) for loss, name in names.items()}  # a job has no session

    def work(job: Job) -> Curves:
        from lgm.checkpoints import load_checkpoint
        from lgm.defense import sweep

        found: Curves = {}
        for number, (loss, name) in enumerate(names.items()):
            on_step = part(job.report, number, len(names))
            model, card = load_checkpoint(name)
            images = load_split(split, card.config.dataset)
            known = stored[loss]
            z = None if known is None else known.z
            reports = sweep(model, card, images, wanted, settings, z=z, on_step=on_step)
            found[loss] = [each.to_dict() for each in reports]
        return found

    try:
        job = runner().submit(_key(config), work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
        return
    st.session_state[_JOB] = job.key
