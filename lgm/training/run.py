"""One training run: its step, its epochs, and its state."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgm.config import TrainConfig
from lgm.data.augment import augment
from lgm.data.base import Split
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import embed_split, is_guessing
from lgm.models.classifier import Classifier, device_of, fast_precision
from lgm.models.features import Features
from lgm.models.scoring import embed
from lgm.training.acceleration import prepare
from lgm.training.state import read_state, write_state
from lgm.utils.distributed import Team

OnStep = Callable[[int, int, dict[str, float]], None]
OnEpoch = Callable[[dict[str, Any], Features | None], None]
_COLLAPSED = 0.5  # sigmas: two classes this close together share one Gaussian


class TrainingError(Exception):
    """Training that went wrong in a way that would leave a useless model behind."""


def count_steps(config: TrainConfig, train: Split) -> int:
    """Optimiser steps of this phase."""
    return config.epochs * math.ceil(len(train) / config.batch_size)


def count_steps_before(config: TrainConfig, train: Split) -> int:
    """Of all phases before this one."""
    phase = config.warm_start
    return count_steps(phase, train) + count_steps_before(phase, train) if phase else 0


class Run:
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
            model, config.layers, build_optimizer(model, config), fast_precision(self.device)
        )
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.epoch = 0
        self.history = list(earlier)  # of all phases; `epoch` is counted in this one alone
        self.total_steps = count_steps(config, train)

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
        """Measure, save the state, and tell the caller."""
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
        """Raise TrainingError if the network is hardly better than guessing."""
        epochs, accuracy = len(self.history), self.history[-1]["accuracy"]
        if is_guessing(accuracy, self.config.model):
            chance = 1 / self.config.model.n_classes
            raise TrainingError(
                f"after {epochs} epochs accuracy is {accuracy:.1%}, hardly better than guessing ({chance:.1%}); "
                "nothing was saved. Train longer, or change lr"
            )

    def save_state(self, path: Path) -> None:
        """Write all that a resumed run needs to end with the same bits."""
        tensors = {f"model.{name}": value for name, value in self.model.state_dict().items()}
        for index, slots in self.optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
        write_state(path, tensors, {"epoch": self.epoch, "history": self.history, **self._identity()})

    def load_state(self, path: Path) -> None:
        """Read it. Raises CheckpointError if it is of another config or other data."""
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


def build_optimizer(model: Classifier, config: TrainConfig) -> torch.optim.Optimizer:
    """The config's optimiser; parameters of class means have a learning rate of their own and no decay."""
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
