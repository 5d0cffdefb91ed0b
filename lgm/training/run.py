"""One training run: its step, its epochs, and its state."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.augment import augment
from lgm.data.base import Split
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import embed_split, features_of, is_guessing
from lgm.models.classifier import Classifier, device_of, fast_precision
from lgm.models.features import Features
from lgm.training.acceleration import prepare
from lgm.training.frozen import FrozenFeatures, last_layer
from lgm.training.state import Progress, pack, read_state, unpack, write_state
from lgm.utils.distributed import Team

OnStep = Callable[[int, int, dict[str, float]], None]
OnEpoch = Callable[[dict[str, Any], Features | None], None]
_COLLAPSED = 0.5  # sigmas: two classes this close together share one Gaussian


class TrainingError(Exception):
    """Training that went wrong in a way that would leave a useless model behind."""


class Run:
    """One phase of a recipe as it is trained: all that must survive a kill."""

    def __init__(
        self,
        model: Classifier,
        train: Split,
        config: TrainConfig,
        number: int = 0,
        earlier: Sequence[dict[str, Any]] = (),
        *,
        frozen: FrozenFeatures | None = None,
    ) -> None:
        """``number``: of the phase, from 0; ``earlier``: records of those before; ``frozen``: what is known already."""
        self.model = model
        self.train = train
        self.config, self.phase = config.up_to(number), config.phases[number]
        self.device = device_of(model)
        self.team = Team.join(str(self.device))
        self.frozen = frozen or FrozenFeatures(model, self.phase.layers)
        if self.phase.layers != "all":
            model.backbone.requires_grad_(False)
        if self.phase.layers == "projection":
            last_layer(model).requires_grad_(True)
        self.accelerator, self.objective, self.optimizer = prepare(
            model, self.phase.layers, build_optimizer(model, self.phase), fast_precision(self.device)
        )
        self.base_lr = [group["lr"] for group in self.optimizer.param_groups]
        self.epoch = 0
        self.history = list(earlier)  # of all phases; `epoch` is counted in this one alone
        steps = [phase.epochs * math.ceil(len(train) / phase.batch_size) for phase in config.phases]
        self.steps, self.steps_before, self.steps_in_all = steps[number], sum(steps[:number]), sum(steps)

    def train_epoch(self, on_step: OnStep | None, should_stop: Callable[[], bool] | None) -> dict[str, Any] | None:
        """One pass over the data; None if it was stopped."""
        self.model.train(self.phase.layers == "all")
        # Order and shifts depend on seed and epoch alone, so a resumed run sees what an uninterrupted one sees.
        generator = torch.Generator().manual_seed(self.phase.seed * 100_003 + self.epoch)
        order = torch.randperm(len(self.train), generator=generator)
        number, first_step = len(self.history) + 1, self.epoch * (self.steps // self.phase.epochs)
        loss_sum = correct = seen = 0.0
        for index in order.split(self.phase.batch_size):
            x = self.inputs(index, generator)
            y = self.train.targets(index.numpy())
            step = first_step + int(seen) // self.phase.batch_size
            loss, hits = self.step(x, y, step)
            if not math.isfinite(loss):
                raise TrainingError(f"epoch {number}: the loss is {loss}; lower lr (now {self.phase.lr:g})")
            loss_sum, correct, seen = loss_sum + loss * len(y), correct + hits, seen + len(y)
            if on_step and self.team.rank == 0:
                running = {"loss": loss_sum / seen, "accuracy": correct / seen, "epoch": float(number)}
                on_step(self.steps_before + step + 1, self.steps_in_all, running | self.center_distance())
            if should_stop and self.team.decide(self.team.rank == 0 and should_stop()):
                return None
        self.epoch += 1
        self.model.eval()
        return {"epoch": number, "loss": loss_sum / seen, "accuracy": correct / seen} | self.center_distance()

    def inputs(self, index: Tensor, generator: torch.Generator) -> Tensor:
        """What the learning layers see of these images."""
        if self.phase.layers != "all":
            return self.frozen.of(self.train)[index]
        x = augment(self.train.pixels(index.numpy()), self.phase, self.epoch, generator)
        return x.contiguous(memory_format=torch.channels_last)

    def finish_epoch(self, validation: Split | None, state_path: Path | None, on_epoch: OnEpoch | None) -> None:
        """Measure, save the state, and tell the caller."""
        record = self.history[-1]
        features = self.measure(validation) if validation else None
        if features is not None:
            record["validation_accuracy"] = float((features.predicted == features.labels).mean())
        if state_path is not None:
            self.save_state(state_path)
        if on_epoch:
            on_epoch(record, features)

    def measure(self, split: Split) -> Features:
        """What the network makes of a split as it is now."""
        if self.phase.layers == "all":
            return embed_split(self.model, split)
        return features_of(self.model, self.frozen.z(split), split)

    def step(self, x: Tensor, y: Tensor, step: int) -> tuple[float, float]:
        """Train on this process's shard of a batch; mean loss and number of hits of the whole batch."""
        progress = step / self.steps
        for group, base in zip(self.optimizer.param_groups, self.base_lr, strict=True):
            group["lr"] = base * lr_factor(progress, self.phase.warmup)
        # A last batch may be smaller than the team: whoever gets nothing takes an image that does not count.
        shard = self.team.shard(len(y))
        share = (shard.stop - shard.start) / len(y)
        x, y = (x[shard], y[shard]) if share else (x[:1], y[:1])
        x, y = x.to(self.device), y.to(self.device)
        ramp = min(1.0, progress / self.phase.margin_ramp) if self.phase.margin_ramp else 1.0
        loss, z = self.objective(x, y, ramp)
        self.optimizer.zero_grad()
        self.accelerator.backward(loss * (share * self.team.size))  # gradients are averaged over the team
        self.accelerator.clip_grad_norm_(self.model.parameters(), self.phase.clip_norm)
        self.optimizer.step()
        with torch.no_grad():
            hits = int((self.model.head.logits(z).argmax(-1) == y).sum())
        loss, hits = self.team.sum(float(loss.detach()) * share, hits if share else 0)
        return loss, hits

    def center_distance(self) -> dict[str, float]:
        """Smallest distance between class means, if the loss has any: what shows a collapse first."""
        mixture = self.model.head.mixture
        return {} if mixture is None else {"closest_centers": mixture.closest_centers()}

    def save_state(self, path: Path) -> None:
        """Write all that a resumed run needs to end with the same bits."""
        progress = Progress(self.config, self.train.sha256, self.epoch, self.history)
        write_state(path, pack(self.model, self.optimizer), progress)

    def load_state(self, path: Path) -> None:
        """Read it. Raises CheckpointError if it is of another config or other data."""
        tensors, left = read_state(path)
        for what, same in (
            ("config", left.config.phases == self.config.phases),
            ("data", left.data == self.train.sha256),
        ):
            if not same:
                raise CheckpointError(f"{path}: belongs to a run with another {what}; use that one, or delete the file")
        self.epoch, self.history = left.epoch, left.history
        unpack(tensors, self.model, self.optimizer)


def raise_if_collapsed(record: dict[str, Any], config: ModelConfig) -> None:
    """All classes on one point: the known failure of this loss, from which it does not recover."""
    if record.get("closest_centers", math.inf) < _COLLAPSED and is_guessing(record["accuracy"], config):
        raise TrainingError(
            f"the features have collapsed in epoch {record['epoch']}: closest class means "
            f"{record['closest_centers']:.2f} sigma apart (expected over {_COLLAPSED}), accuracy "
            f"{record['accuracy']:.1%}. Start the centres wider (center_radius), ramp the margin more slowly "
            "(margin_ramp) or lower likelihood_weight"
        )


def raise_if_guessing(record: dict[str, Any], config: ModelConfig) -> None:
    """Raise TrainingError if the network is hardly better than guessing after its last epoch."""
    if is_guessing(record["accuracy"], config):
        raise TrainingError(
            f"after {record['epoch']} epochs accuracy is {record['accuracy']:.1%}, hardly better than guessing "
            f"({1 / config.n_classes:.1%}); nothing was saved. Train longer, or change lr"
        )


def build_optimizer(model: Classifier, phase: Phase) -> torch.optim.Optimizer:
    """The phase's optimiser; parameters of class means have a learning rate of their own and no decay."""
    own = set(model.head.center_parameters())
    network = [p for p in model.parameters() if p not in own and p.requires_grad]
    centers = [p for p in model.parameters() if p in own and p.requires_grad]
    groups: list[dict[str, Any]] = [{"params": network, "lr": phase.lr, "weight_decay": phase.weight_decay}]
    if centers:
        groups.append({"params": centers, "lr": phase.center_lr, "weight_decay": 0.0})
    if phase.optimizer == "sgd":
        return torch.optim.SGD(groups, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, fused=True)  # one pass over the weights, not a dozen


def lr_factor(progress: float, warmup: float) -> float:
    """Share of the learning rate at ``progress`` in [0, 1): a linear rise, then a linear fall to 0."""
    if progress < warmup:
        return (progress + 1e-3) / warmup if warmup else 1.0
    return (1 - progress) / (1 - warmup)
