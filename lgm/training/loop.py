"""One loop for all training, resumable to the bit."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lgm.config import TrainConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.training.frozen import FrozenFeatures
from lgm.training.run import OnEpoch, OnStep, Run, raise_if_collapsed, raise_if_guessing
from lgm.utils.memory import keep_freed_memory
from lgm.utils.threads import one_thread_if

ONE_THREAD = ("tiny-cnn",)  # a step is a millisecond; of the others, a second


@dataclass(frozen=True)
class FitResult:
    """History (one record per epoch) and whether all epochs were run or the caller stopped it."""

    history: list[dict[str, Any]]
    completed: bool


def fit(
    model: Classifier,
    train: Split,
    config: TrainConfig,
    phase: int = 0,
    *,
    frozen: FrozenFeatures | None = None,
    validation: Split | None = None,
    state_path: Path | None = None,
    resume: bool = False,
    earlier: Sequence[dict[str, Any]] = (),
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FitResult:
    """Train ``model`` in place through one phase of a recipe; `lgm.training.train` goes through all of them.

    Several processes, started by ``accelerate launch``, share each batch: same order, same changes to the images,
    and gradients of the whole batch, so that all that differs from one process is the order of sums. Batch norm takes
    its statistics from the whole batch on GPUs, but on CPUs from each process's share. All processes read the state,
    from a folder that all see; the first alone writes it, validates, and calls the callbacks.

    Args:
        model: Where it lies is where it is trained; frozen parameters stay as they are.
        train: Labelled images.
        config: The recipe. The same config, data, machine and thread count give the same weights.
        phase: Which of its phases, from 0; the model is what those before it have made. Steps are counted over all.
        frozen: What layers that do not learn have made of images already.
        validation: Measured after each epoch.
        state_path: Where to keep the state after each epoch; None keeps none.
        resume: Go on from ``state_path`` if it exists.
        earlier: Records of the phases before, which the history goes on from.
        on_step: Called after each step as (step, steps in all, running metrics).
        on_epoch: Called after each epoch as (record, features of the validation split).
        should_stop: Asked after each step; True ends the run at the last finished epoch's state on disk.

    Raises:
        TrainingError: the loss is not finite, the features collapse, or the result is no better than guessing.
        CheckpointError: the state to resume from is damaged or belongs to another run.
    """
    keep_freed_memory()
    run = Run(model, train, config, phase, earlier, frozen=frozen)
    if state_path is not None:
        if run.team.decide(resume and state_path.exists()):
            run.load_state(state_path)
        else:  # a place that cannot be written fails now, not after an epoch
            run.team.only_first(lambda: run.save_state(state_path))
    with one_thread_if(run.phase.model.network in ONE_THREAD):
        while run.epoch < run.phase.epochs:
            started, worked = time.monotonic(), time.process_time()
            record = run.train_epoch(on_step, should_stop)
            if record is None:
                return FitResult(run.history, completed=False)
            record["seconds"] = round(time.monotonic() - started, 1)
            record["core_seconds"] = round(time.process_time() - worked, 1)  # of this process, all threads together
            run.history.append(record)
            raise_if_collapsed(record, run.phase.model)
            run.team.only_first(lambda: run.finish_epoch(validation, state_path, on_epoch))
    raise_if_guessing(run.history[-1], run.phase.model)
    return FitResult(run.history, completed=True)
