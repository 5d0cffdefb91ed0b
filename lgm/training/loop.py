"""One loop for all training, resumable to the bit."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgm.config import Network, TrainConfig
from lgm.data.augment import augment
from lgm.data.base import DataError, Split, per_class
from lgm.data.registry import DATASETS, load_split, validation_split
from lgm.models.card import Card, CheckpointError
from lgm.models.checkpoint import embed_split, is_guessing, save_measured
from lgm.models.classifier import Classifier, build_model, device_of, fast_precision, to_device
from lgm.models.features import Features
from lgm.models.registry import check_name
from lgm.models.scoring import check_images, embed
from lgm.training.acceleration import prepare
from lgm.training.projection import copy_layers, init_projection, last_layer, phase_path
from lgm.training.state import read_progress, read_state, write_state
from lgm.utils.distributed import Team
from lgm.utils.io import SaveError
from lgm.utils.outputs import reserved
from lgm.utils.threads import one_thread_if

OnStep = Callable[[int, int, dict[str, float]], None]
OnEpoch = Callable[[dict[str, Any], Features | None], None]
WARM_START = "warm start"  # the phase that its records belong to
_ONE_THREAD: tuple[Network, ...] = ("tiny-cnn",)  # a step is a millisecond; of the others, a second
_COLLAPSED = 0.5  # sigmas: two classes this close together share one Gaussian


class TrainingError(Exception):
    """Training that went wrong in a way that would leave a useless model behind."""


@dataclass(frozen=True)
class FitResult:
    """History (one record per epoch) and whether all epochs were run or the caller stopped it."""

    history: list[dict[str, Any]]
    completed: bool


def fit(
    model: Classifier,
    train: Split,
    config: TrainConfig,
    *,
    validation: Split | None = None,
    state_path: Path | None = None,
    resume: bool = False,
    earlier: Sequence[dict[str, Any]] = (),
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> FitResult:
    """Train ``model`` in place.

    Several processes, started by ``accelerate launch``, share each batch: same order, same changes to the images,
    and gradients of the whole batch, so that all that differs from one process is the order of sums. Batch norm takes
    its statistics from the whole batch on GPUs, but on CPUs from each process's share. All processes read the state,
    from a folder that all see; the first alone writes it, validates, and calls the callbacks.

    Args:
        model: Where it lies is where it is trained; frozen parameters stay as they are.
        train: Labelled images.
        config: Recipe and seed. The same config, data, machine and thread count give the same weights.
        validation: Measured after each epoch.
        state_path: Where to keep the state after each epoch; None keeps none.
        resume: Go on from ``state_path`` if it exists.
        earlier: Records of a phase before this one, which the history goes on from.
        on_step: Called after each step as (step, steps in all, running metrics).
        on_epoch: Called after each epoch as (record, features of the validation split).
        should_stop: Asked after each step; True ends the run at the last finished epoch's state on disk.

    Raises:
        TrainingError: the loss is not finite, the features collapse, or the result is no better than guessing.
        CheckpointError: the state to resume from is damaged or belongs to another run.
    """
    run = _Run(model, train, config, earlier)
    if state_path is not None:
        if run.team.decide(resume and state_path.exists()):
            run.load_state(state_path)
        else:  # a place that cannot be written fails now, not after an epoch
            run.team.only_first(lambda: run.save_state(state_path))
    with one_thread_if(config.model.network in _ONE_THREAD):
        while run.epoch < config.epochs:
            started = time.monotonic()
            record = run.train_epoch(on_step, should_stop)
            if record is None:
                return FitResult(run.history, completed=False)
            record["seconds"] = round(time.monotonic() - started, 1)
            run.history.append(record)
            run.raise_if_collapsed()
            run.team.only_first(lambda: run.finish_epoch(validation, state_path, on_epoch))
    run.raise_if_guessing()
    return FitResult(run.history, completed=True)


def train_checkpoint(
    config: TrainConfig,
    name: str,
    folder: Path,
    *,
    resume: bool = False,
    force: bool = False,
    device: str = "cpu",
    on_step: OnStep | None = None,
    on_epoch: OnEpoch | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Card | None:
    """Train a config from scratch and save weights, card and features under ``name`` in ``folder``.

    Nobody else can train under that name in that folder meanwhile. What is there already is not touched, unless
    ``resume`` goes on from the state of a run that was stopped, or ``force`` replaces a model, and a state that is not
    resumed.

    A warm start comes first, and before it its own, if it has one. Their records are marked with a ``phase``, steps and
    epochs are counted over all phases, and their last states stay in ``folder`` (see `phase_path`) for all heads that
    start from them: a run that finds one there says so by a record marked ``kept``, without features.

    Returns:
        The card, or None if the caller stopped it: then the state of the last epoch waits for ``resume``. Of several
        processes the first has the card, the others None.

    Raises:
        CheckpointError: the name is taken; or see `fit`.
        SaveError: the files could not be written, or another run is going to.
        DataError, TrainingError: see `load_split` and `fit`.
        ValueError: a network for images of another shape, or one that cannot start from another.
    """
    check_name(name)
    team = Team.join(device)
    callbacks: dict[str, Any] = {"on_step": on_step, "on_epoch": on_epoch, "should_stop": should_stop}
    with ExitStack() as held:
        team.only_first(lambda: held.enter_context(_claimed(name, folder, config, resume=resume, force=force)))
        return _train_and_save(config, name, folder, team, resume=resume, **callbacks)


@contextmanager
def _claimed(name: str, folder: Path, config: TrainConfig, *, resume: bool, force: bool) -> Iterator[None]:
    """Hold the files of a model, unless something would be lost by that; an end before the end says what is kept."""
    weights, state = folder / f"{name}.safetensors", resume_path(name, folder)
    with reserved(weights, folder / f"{name}.json", folder / f"{name}.features.safetensors", state):
        if weights.exists() and not force:
            raise CheckpointError(
                f"a model named {name!r} exists already; choose another --name, or replace it with --force"
            )
        if state.exists() and not (resume or force):
            _raise_if_begun(state, config)
        try:
            yield
        except SaveError as error:
            if kept := _what_is_kept(state):
                raise SaveError(f"{error}; {kept}") from error
            raise
        except KeyboardInterrupt as error:
            warm = ", but those of its warm start: the same command goes on from there" if config.warm_start else ""
            error.add_note(_what_is_kept(state) or f"no epoch is kept{warm}")
            raise


def resume_path(name: str, folder: Path) -> Path:
    """Where the state of a run is kept until its model is saved."""
    return folder / f"{name}.resume.safetensors"


def _raise_if_begun(state: Path, config: TrainConfig) -> None:
    """Nobody has said what to do with the epochs that a stopped run has left."""
    left = read_progress(state)
    if left.config != config and left.history:
        raise CheckpointError(
            f"{state}: {left} of a stopped run of another configuration; choose another --name, or discard them with "
            "--force"
        )
    if left.history:
        raise CheckpointError(f"{state}: {left} of a stopped run; go on with --resume, or discard them with --force")


def _what_is_kept(state: Path) -> str | None:
    left = read_progress(state) if state.exists() else None
    return f"{left} are kept in {state}, go on with --resume" if left and left.history else None


def _train_and_save(
    config: TrainConfig,
    name: str,
    folder: Path,
    team: Team,
    *,
    resume: bool,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
    should_stop: Callable[[], bool] | None,
) -> Card | None:
    train = load_split(config.split, config.dataset)
    if config.limit is not None:
        train = train[per_class(train.labels, 0, config.limit)]
    validation = load_split(validation_split(config.split, config.dataset), config.dataset)
    model = to_device(build_model(config.model, config.seed), team.device)
    check_images(train.pixels(slice(0, 1)), model.image_shape)
    state_path = resume_path(name, folder)
    callbacks: dict[str, Any] = {"validation": validation, "should_stop": should_stop}
    earlier: list[dict[str, Any]] | None = []
    if config.warm_start:
        rest = _steps(config, train)
        if not team.decide(resume and state_path.exists()):
            # What another run left must not be taken for this one's last phase.
            team.only_first(lambda: state_path.unlink(missing_ok=True))
            before = _counted(on_step, 0, rest)
            earlier = _warm_up(model, config, train, folder, team, on_step=before, on_epoch=on_epoch, **callbacks)
        on_step = _counted(on_step, _steps_before(config, train), 0)
    if earlier is None:
        return None
    result = fit(
        model,
        train,
        config,
        state_path=state_path,
        resume=resume,
        earlier=earlier,
        on_step=on_step,
        on_epoch=on_epoch,
        **callbacks,
    )
    if not result.completed or team.rank:
        return None
    card = Card(name=name, config=config, weights_sha256="", history=result.history)
    card.data_sha256["trained on"] = train.sha256
    with one_thread_if(config.model.network in _ONE_THREAD):
        save_measured(model.eval(), card, list(_splits_at_hand(config.dataset)), folder)
    state_path.unlink(missing_ok=True)
    return card


def _warm_up(
    model: Classifier,
    config: TrainConfig,
    train: Split,
    folder: Path,
    team: Team,
    *,
    on_step: OnStep | None,
    on_epoch: OnEpoch | None,
    **callbacks: Any,
) -> list[dict[str, Any]] | None:
    """Train the phases before, or find them trained, and start ``model`` from the last of them.

    Returns:
        Their records; None if stopped.
    """
    phase = config.warm_start
    assert phase is not None
    if not _continues(config):
        last_layer(model)  # an error before the phase, not hours later
    source = to_device(build_model(phase.model, phase.seed), team.device)
    path, ran = phase_path(phase, train, folder), False

    def on_warm_epoch(record: dict[str, Any], features: Features | None) -> None:
        nonlocal ran
        ran = True
        if on_epoch:
            on_epoch({**record, "phase": WARM_START}, features)

    earlier: list[dict[str, Any]] | None = []
    if phase.warm_start and not team.decide(path.exists()):
        before = _counted(on_step, 0, _steps(phase, train))
        earlier = _warm_up(source, phase, train, folder, team, on_step=before, on_epoch=on_epoch, **callbacks)
    if earlier is None:
        return None
    on_step = _counted(on_step, _steps_before(phase, train), 0)
    callbacks_now = {"on_step": on_step, "on_epoch": on_warm_epoch, **callbacks}
    with ExitStack() as held:  # two runs may share this phase: the second can start from what the first has made
        team.only_first(lambda: _is_finished(path, phase) or held.enter_context(reserved(path)))
        result = fit(source, train, phase, state_path=path, resume=True, earlier=earlier, **callbacks_now)
    if not result.completed:
        return None
    if _continues(config):
        model.load_state_dict(source.state_dict())
    else:
        copy_layers(model, source)
        init_projection(model, train, config.model)
    records = [{**record, "phase": WARM_START} for record in result.history]
    if on_epoch and not ran and team.rank == 0:
        on_epoch({**records[-1], "kept": path.name}, None)
    return records


def _is_finished(path: Path, phase: TrainConfig) -> bool:
    return path.exists() and read_progress(path).epoch == phase.epochs


def _continues(config: TrainConfig) -> bool:
    """Whether this phase continues with all weights of the one before; if not, the projection is initialised."""
    if config.warm_start is None:
        return False
    learnt = {"covariance": config.model.covariance, "learn_priors": config.model.learn_priors}
    return replace(config.warm_start.model, **learnt) == config.model


def _steps(config: TrainConfig, train: Split) -> int:
    return config.epochs * math.ceil(len(train) / config.batch_size)


def _steps_before(config: TrainConfig, train: Split) -> int:
    """Of all phases before this one."""
    phase = config.warm_start
    return _steps(phase, train) + _steps_before(phase, train) if phase else 0


def _counted(on_step: OnStep | None, before: int, after: int) -> OnStep | None:
    """``on_step`` of a phase that has other steps before and after it."""
    if on_step is None:
        return None
    return lambda step, total, metrics: on_step(before + step, before + total + after, metrics)


def _splits_at_hand(dataset: str) -> Iterator[Split]:
    yield load_split(DATASETS[dataset].held_out, dataset)
    for name in ("train", "test"):
        try:
            yield load_split(name, dataset)
        except DataError:
            continue  # not on this machine; the card says which splits were measured


class _Run:
    """The state of a training run: all that must survive a kill."""

    def __init__(
        self, model: Classifier, train: Split, config: TrainConfig, earlier: Sequence[dict[str, Any]] = ()
    ) -> None:
        self.model = model
        self.train = train
        self.config = config
        self.device = device_of(model)
        self.team = Team.join(str(self.device))
        self.z: Tensor | None = None  # what the head learns from, if it learns alone; known once the layers are
        if config.layers == "head":
            model.backbone.requires_grad_(False)
        self.accelerator, self.objective, self.optimizer = prepare(
            model, config.layers, _optimizer(model, config), fast_precision(self.device)
        )
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.epoch = 0
        self.history = list(earlier)  # of all phases; `epoch` is counted in this one alone
        self.total_steps = _steps(config, train)

    def train_epoch(self, on_step: OnStep | None, should_stop: Callable[[], bool] | None) -> dict[str, Any] | None:
        """One pass over the data; None if it was stopped."""
        self.model.train(self.config.layers == "all")
        if self.config.layers == "head" and self.z is None:
            self.z = embed(self.model, self.train.pixels())
        # Order and shifts depend on seed and epoch alone, so a resumed run sees what an uninterrupted one sees.
        generator = torch.Generator().manual_seed(self.config.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.train), generator=generator)
        number, first_step = len(self.history) + 1, self.epoch * (self.total_steps // self.config.epochs)
        loss_sum = correct = seen = 0.0
        for index in order.split(self.config.batch_size):
            x = self.inputs(index, generator)
            y = self.train.targets(index.numpy())
            step = first_step + int(seen) // self.config.batch_size
            loss, hits = self.step(x, y, step)
            if not math.isfinite(loss):
                raise TrainingError(f"epoch {number}: the loss is {loss}; lower lr (now {self.config.lr:g})")
            loss_sum, correct, seen = loss_sum + loss * len(y), correct + hits, seen + len(y)
            if on_step and self.team.rank == 0:
                running = {"loss": loss_sum / seen, "accuracy": correct / seen, "epoch": float(number)}
                on_step(step + 1, self.total_steps, running | self.center_distance())
            if should_stop and self.team.decide(self.team.rank == 0 and should_stop()):
                return None
        self.epoch += 1
        self.model.eval()
        return {"epoch": number, "loss": loss_sum / seen, "accuracy": correct / seen} | self.center_distance()

    def inputs(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """What the learning layers see of these images."""
        if self.z is not None:
            return self.z[index]
        x = augment(self.train.pixels(index.numpy()), self.config, self.epoch, generator)
        return x.contiguous(memory_format=torch.channels_last)

    def finish_epoch(self, validation: Split | None, state_path: Path | None, on_epoch: OnEpoch | None) -> None:
        record = self.history[-1]
        features = embed_split(self.model, validation) if validation else None
        if features is not None:
            record["validation_accuracy"] = float((features.predicted == features.labels).mean())
        if state_path is not None:
            self.save_state(state_path)
        if on_epoch:
            on_epoch(record, features)

    def step(self, x: Tensor, y: Tensor, step: int) -> tuple[float, float]:
        """Train on this process's part of a batch; mean loss and number of hits of the whole batch."""
        progress = step / self.total_steps
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base * _schedule(progress, self.config.warmup)
        # A last batch may be smaller than the team: whoever gets nothing takes an image that does not count.
        part = self.team.part(len(y))
        share = (part.stop - part.start) / len(y)
        x, y = (x[part], y[part]) if share else (x[:1], y[:1])
        x, y = x.to(self.device), y.to(self.device)
        ramp = min(1.0, progress / self.config.margin_ramp) if self.config.margin_ramp else 1.0
        loss, z = self.objective(x, y, ramp)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss * (share * self.team.size))  # gradients are averaged over the team
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.config.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            hits = int((self.model.head.logits(z).argmax(-1) == y).sum())
        loss, hits = self.team.sum(float(loss.detach()) * share, hits if share else 0)
        return loss, hits

    def center_distance(self) -> dict[str, float]:
        """Smallest distance between class means, if the loss has any: what shows a collapse first."""
        mixture = self.model.head.mixture
        return {} if mixture is None else {"closest_centers": mixture.closest_centers()}

    def raise_if_collapsed(self) -> None:
        """All classes on one point: the known failure of this loss, from which it does not recover."""
        record = self.history[-1]
        guessing = is_guessing(record["accuracy"], self.config.model)
        if record.get("closest_centers", math.inf) < _COLLAPSED and guessing:
            raise TrainingError(
                f"the features have collapsed in epoch {record['epoch']}: closest class means "
                f"{record['closest_centers']:.2f} sigma apart (expected over {_COLLAPSED}), accuracy "
                f"{record['accuracy']:.1%}. Start the centres wider (center_radius), ramp the margin more slowly "
                "(margin_ramp) or lower likelihood_weight"
            )

    def raise_if_guessing(self) -> None:
        epochs, accuracy = len(self.history), self.history[-1]["accuracy"]
        if is_guessing(accuracy, self.config.model):
            chance = 1 / self.config.model.n_classes
            raise TrainingError(
                f"after {epochs} epochs accuracy is {accuracy:.1%}, hardly better than guessing ({chance:.1%}); "
                "nothing was saved. Train longer, or change lr"
            )

    def save_state(self, path: Path) -> None:
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        write_state(path, tensors, {"epoch": self.epoch, "history": self.history, **self._identity()})

    def load_state(self, path: Path) -> None:
        tensors, run = read_state(path)
        for what, mine in self._identity().items():
            if run.get(what) != mine:
                raise CheckpointError(f"{path}: belongs to a run with another {what}; use that one, or delete the file")
        self.epoch, self.history = run["epoch"], run["history"]
        own = {name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")}
        self.model.load_state_dict(own)
        slots: dict[int, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            if name.startswith("optimizer."):
                _, index, slot = name.split(".")
                slots.setdefault(int(index), {})[slot] = value
        self.optimizer.load_state_dict({**self.optimizer.state_dict(), "state": slots})

    def _identity(self) -> dict[str, Any]:
        return {"config": self.config.to_dict(), "data": self.train.sha256}


def _optimizer(model: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    own = set(model.head.center_parameters())
    network = [p for p in model.parameters() if p not in own and p.requires_grad]
    centers = [p for p in model.parameters() if p in own and p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": network, "lr": config.lr, "weight_decay": config.weight_decay}]
    if centers:
        groups.append({"params": centers, "lr": config.center_lr, "weight_decay": 0.0})
    if config.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups)


def _schedule(progress: float, warmup: float) -> float:
    """Share of the learning rate at ``progress`` in [0, 1): a linear rise, then a linear fall to 0."""
    if progress < warmup:
        return (progress + 1e-3) / warmup if warmup else 1.0
    return (1 - progress) / (1 - warmup)
