"""Training state on disk: tensors and a record in one file, so that they cannot disagree.

torch is imported only where it is needed: what is left of a run can be told without.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from lgm.config import TrainConfig
from lgm.data.base import Split
from lgm.models.card import CheckpointError, check_readable
from lgm.models.recipe_json import recipe_from_dict, recipe_to_dict, to_nested
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

if TYPE_CHECKING:
    from torch import Tensor, nn, optim


@dataclass(frozen=True)
class Progress:
    """How far a run has come.

    Attributes:
        config: The recipe up to the phase that goes on or has ended.
        data: SHA-256 of the images.
        epoch: Finished ones of this phase.
        history: Records of all phases.
    """

    config: TrainConfig
    data: str
    epoch: int
    history: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{len(self.history)} of {self.config.epochs} epochs"

    @property
    def finished(self) -> bool:
        """Whether this phase has come to its end."""
        return self.epoch == self.config.phases[-1].epochs


def resume_path(name: str, folder: Path) -> Path:
    """Where the state of a run's last phase is kept until its model is saved."""
    return folder / f"{name}.resume.safetensors"


def phase_path(config: TrainConfig, train: Split, folder: Path) -> Path:
    """Where the state of a phase before the last is kept, and found by every recipe that begins with these phases.

    The name is a hash of these phases in the layout of format 1, unless that cannot tell them from others: so states
    that are older than the layout of today are found.
    """
    nested = to_nested(config)
    recipe = nested if recipe_from_dict(nested).phases == config.phases else recipe_to_dict(config)
    identity = to_json([recipe, train.sha256], sort_keys=True)
    return folder / f"warm-{hashlib.sha256(identity.encode()).hexdigest()[:12]}.state.safetensors"


def write_state(path: Path, tensors: "dict[str, Tensor]", progress: Progress) -> None:
    """Put the file into place, whole or not at all."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    run = to_json({**asdict(progress), "config": recipe_to_dict(progress.config)})
    metadata = {"run": run, "sha256": checksum(tensors, run)}
    write_atomically(path, lambda part: part.write_bytes(save(tensors, metadata)))


def read_state(path: Path) -> "tuple[dict[str, Tensor], Progress]":
    """Tensors and record, as they were written.

    Raises:
        CheckpointError: the file is damaged, or is something else.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        if metadata["sha256"] != checksum(tensors, metadata["run"]):
            raise ValueError("another SHA-256 than it was saved with")
        return tensors, _progress(metadata["run"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _no_state(path, error) from error


def read_progress(path: Path) -> Progress:
    """What the record says of a run; the tensors are not looked at.

    Raises:
        CheckpointError: the file is damaged, or is something else.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="numpy") as file:
            return _progress(file.metadata()["run"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _no_state(path, error) from error


def _progress(run: str) -> Progress:
    values = json.loads(run)
    given: dict[str, Any] = {**values, "config": recipe_from_dict(values["config"])}
    return Progress(**given)


def _no_state(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: expected the state of a training run, found {error}; delete it")


def checksum(tensors: "dict[str, Tensor]", run: str) -> str:
    """SHA-256 of a state's tensors and of its record, so that half of a file is not taken for a whole one."""
    from lgm.models.checkpoint import weights_sha256

    return hashlib.sha256((weights_sha256(tensors) + run).encode()).hexdigest()


def pack(model: "nn.Module", optimizer: "optim.Optimizer") -> "dict[str, Tensor]":
    """Tensors of a network and of its optimiser, by name."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    for index, slots in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in slots.items()}
    return tensors


def unpack(tensors: "dict[str, Tensor]", model: "nn.Module", optimizer: "optim.Optimizer") -> None:
    """Put them back; the way back from `pack`."""
    slots: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        if name.startswith("optimizer."):
            _, index, slot = name.split(".")
            slots.setdefault(int(index), {})[slot] = value
    model.load_state_dict({name.removeprefix("model."): v for name, v in tensors.items() if name.startswith("model.")})
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    for index, state in slots.items():
        for slot, value in state.items():
            if value.shape == parameters[index].shape:
                # As the parameter lies in memory: a fused optimizer goes through both in that order.
                state[slot] = parameters[index].detach().clone().copy_(value)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": slots})
