"""Training runs of the Train page: recipes, names, the work in the background, and what a stopped run left behind."""

import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from lgm.config import TrainConfig
from lgm.data.base import per_class
from lgm.data.registry import load_split, validation_split
from lgm.models.card import Card, CheckpointError
from lgm.models.features import Features, gaussians, read_gaussians
from lgm.models.registry import SHIPPED, check_name, user_folder
from lgm.training.state import read_progress
from lgm.utils.outputs import in_use
from ui.job_queue import Job
from ui.jobs import jobs_of, runner

_STATE = ".resume.safetensors"
_JOB = "train"  # keys of training jobs: this, the model's name, and a token of their own
_start = threading.Lock()  # between looking whether a name is free and taking it

_QUICKEST_FIRST = ("tiny-cnn", "mnist-cnn", "vgg19")


@dataclass(frozen=True, eq=False)
class Epoch:
    """What an epoch leaves to look at.

    Attributes:
        record: Of `lgm.fit`; of the untrained network only its epoch, 0.
        features: (N, 2) of the images that no run is trained on; None where they were not kept.
        means, sigmas: Of the class Gaussians, (K, D) each; None for softmax.
    """

    record: dict[str, Any]
    features: Features | None = None
    means: np.ndarray | None = None
    sigmas: np.ndarray | None = None


# Names: a model never replaces another.


def _taken() -> set[str]:
    files = {path.name.split(".")[0] for folder in (SHIPPED, user_folder()) for path in folder.glob("[!.]*.*")}
    return {name.lower() for name in files | active_names() | _in_use()}  # some file systems do not tell My from my


def _in_use() -> set[str]:
    """Names of the models that some process trains now: this one, or a command line."""
    locks = (path.name.removesuffix(".lock")[1:] for path in user_folder().glob(".*.safetensors.lock"))
    return {name.removesuffix(".safetensors") for name in locks if in_use(user_folder() / name)}


def active_names() -> set[str]:
    """Names of the models that any session is training now."""
    return {job.key.split(" ")[1] for job in jobs_of(_JOB) if job.active}


def free_name(stem: str) -> str:
    """``stem``, or ``stem-2``, ``stem-3``, ... if that is taken."""
    taken, count, name = _taken(), 1, stem
    while name.lower() in taken:
        count += 1
        name = f"{stem}-{count}"
    return name


@contextmanager
def claimed(name: str) -> Iterator[None]:
    """Hold a free name until the block has put something there.

    Raises:
        CheckpointError: it cannot be a name, or is taken.
    """
    with _start:
        if check_name(name).lower() in _taken():
            raise CheckpointError(
                f"name {name!r}: it is taken, and nothing is ever overwritten; choose another, such as "
                f"{free_name(name)!r}"
            )
        yield


# Runs.


@dataclass(frozen=True)
class Run:
    """A run of this server; the log of the job holds an `Epoch` for each epoch."""

    name: str
    config: TrainConfig
    job: Job


@st.cache_resource(show_spinner=False)
def _started() -> dict[str, Run]:
    """Runs of all sessions by the key of their job."""
    return {}


def active_runs() -> list[Run]:
    """Runs that go on or wait, whoever started them, in their order."""
    return [_started()[job.key] for job in jobs_of(_JOB) if job.active and job.key in _started()]


def start(config: TrainConfig, name: str) -> Run:
    """Queue a new run.

    Raises:
        CheckpointError: the name cannot be used.
        QueueFull: too many jobs wait already.
    """
    with claimed(name):
        return _submit(config, name, None)


def start_anew(config: TrainConfig, name: str) -> Run:
    """Queue a run in the place of a stopped one, whose epochs are discarded once this one begins.

    Raises:
        CheckpointError: there is none to replace any more.
        QueueFull: too many jobs wait already.
    """
    with _start:
        if stopped(name) is None:
            raise CheckpointError(f"{name} is no stopped run any more; train it under another name")
        return _submit(config, name, None, anew=True)


@dataclass(frozen=True)
class Unfinished:
    """A run that was stopped, or whose server was: its state after the last finished epoch is on disk."""

    name: str
    config: TrainConfig
    history: list[dict[str, Any]]


def unfinished() -> list[Unfinished | CheckpointError]:
    """Runs that can go on, and what is wrong with the files of those that cannot."""
    names = sorted(path.name.removesuffix(_STATE) for path in user_folder().glob(f"[!.]*{_STATE}"))
    busy = active_names() | _in_use()
    return [_read_state(name) for name in names if name not in busy]


def _read_state(name: str) -> Unfinished | CheckpointError:
    try:
        left = read_progress(_state_path(name))
    except CheckpointError as error:
        return error
    return Unfinished(name, left.config, left.history)


def stopped(name: str) -> Unfinished | None:
    """The stopped run of this name, unless the name is a model's too."""
    if not _state_path(name).exists() or (user_folder() / f"{name}.safetensors").exists():
        return None
    return next((run for run in unfinished() if isinstance(run, Unfinished) and run.name == name), None)


def resume(run: Unfinished, earlier: Run | None) -> Run:
    """Queue the rest of a stopped run. ``earlier`` is the run of this session before, which may be the same.

    Raises:
        CheckpointError: somebody else resumed it first.
        QueueFull: too many jobs wait already.
    """
    same = earlier is not None and (earlier.name, earlier.config) == (run.name, run.config)
    seen = {epoch.record["epoch"]: epoch for epoch in (list(earlier.job.log) if earlier and same else [])}
    kept = [seen[0]] if 0 in seen else []
    for record in run.history:
        epoch = seen.get(record["epoch"])
        kept.append(epoch if epoch and epoch.record == record else Epoch(record))
    with _start:
        if run.name in active_names():
            raise CheckpointError(f"{run.name} is being trained already, in another window")
        return _submit(run.config, run.name, kept)


def discard(name: str) -> None:
    """Forget a stopped run."""
    if name not in _in_use():  # a command line may have resumed it meanwhile
        _state_path(name).unlink(missing_ok=True)


def _state_path(name: str) -> Path:
    return user_folder() / f"{name}{_STATE}"


def _submit(config: TrainConfig, name: str, kept: list[Epoch] | None, *, anew: bool = False) -> Run:
    key = f"{_JOB} {name} {uuid.uuid4().hex}"
    run = Run(name, config, runner().submit(key, lambda job: _train(job, config, name, kept, anew=anew)))
    for old in _started().keys() - runner().jobs.keys():
        _started().pop(old, None)  # forgotten by the runner
    _started()[key] = run
    return run


def _train(job: Job, config: TrainConfig, name: str, kept: list[Epoch] | None, *, anew: bool) -> Card | None:
    """The work of the job: ``kept`` are the epochs of the run to resume, None for a new one."""
    from lgm.training.phases import WARM_START
    from lgm.training.train import train_checkpoint

    job.log.extend(_untrained(config) if kept is None else kept)
    before: int | None = None  # steps that were done before this job, known from its first report

    def on_step(step: int, total: int, metrics: dict[str, float]) -> None:
        nonlocal before
        before = step - 1 if before is None else before
        job.report(step - before, total - before, metrics)

    def on_epoch(record: dict[str, Any], features: Features | None) -> None:
        # A warm start does not have the features that the run is about yet; only a plane can be drawn.
        if features is None or record.get("phase") == WARM_START or features.z.shape[1] != 2:
            job.log.append(Epoch(record))
            return
        seen = held_out(features, config.dataset)
        job.log.append(Epoch(record, seen, *read_gaussians(_state_path(name), "model.")))

    return train_checkpoint(
        config,
        name,
        user_folder(),
        resume=kept is not None,
        force=anew,
        on_step=on_step,
        on_epoch=on_epoch,
        should_stop=lambda: job.cancelling,
    )


def _untrained(config: TrainConfig) -> list[Epoch]:
    """Where the run starts from: the network that `train_checkpoint` will build from the same seed."""
    from lgm.models.checkpoint import embed_split
    from lgm.models.classifier import build_model

    if config.phases[1:] or config.phases[0].init != "fresh" or config.model.n_dim != 2:
        return []
    model = build_model(config.model, config.phases[0].seed).eval()
    state = {name: value.numpy() for name, value in model.state_dict().items()}
    split = load_split(validation_split(config.split, config.dataset), config.dataset)
    return [Epoch({"epoch": 0}, held_out(embed_split(model, split), config.dataset), *gaussians(state.get))]


def held_out(features: Features, dataset: str) -> Features:
    """The images that no run here is trained on: of MNIST 1,000 of the 5,000 bundled digits (or of themselves)."""
    if dataset != "mnist" or len(features.z) == 1_000:
        return features
    index = per_class(features.labels, 400, None)
    return Features(*(values[index] for values in vars(features).values()))
