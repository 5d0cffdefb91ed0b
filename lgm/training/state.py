"""Training state on disk: tensors and a record in one file, so that they cannot disagree.

torch is imported only where it is needed: what is left of a run can be told without.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open

from lgm.config import TrainConfig
from lgm.models.card import CheckpointError, check_readable
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Progress:
    """How far a run has come: its configuration, finished epochs of this phase, records of all phases."""

    config: TrainConfig
    epoch: int
    history: list[dict[str, Any]]

    def __str__(self) -> str:
        return f"{len(self.history)} of {self.config.all_epochs} epochs"


def write_state(path: Path, tensors: "dict[str, Tensor]", record: dict[str, Any]) -> None:
    """Put the file into place, whole or not at all; ``record`` is anything that JSON can hold."""
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    run = to_json(record)
    metadata = {"run": run, "sha256": _checksum(tensors, run)}
    write_atomically(path, lambda part: part.write_bytes(save(tensors, metadata)))


def read_state(path: Path) -> "tuple[dict[str, Tensor], dict[str, Any]]":
    """Tensors and record, as they were written.

    Raises:
        CheckpointError: the file is damaged, or is something else.
    """
    check_readable(path)
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        if metadata["sha256"] != _checksum(tensors, metadata["run"]):
            raise ValueError("another SHA-256 than it was saved with")
        return tensors, json.loads(metadata["run"])
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
            run = json.loads(file.metadata()["run"])
        return Progress(TrainConfig.from_dict(run["config"]), run["epoch"], run["history"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise _no_state(path, error) from error


def _no_state(path: Path, error: Exception) -> CheckpointError:
    return CheckpointError(f"{path}: expected the state of a training run, found {error}; delete it")


def _checksum(tensors: "dict[str, Tensor]", run: str) -> str:
    from lgm.models.checkpoint import weights_sha256

    return hashlib.sha256((weights_sha256(tensors) + run).encode()).hexdigest()
