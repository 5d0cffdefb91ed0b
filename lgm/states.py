"""The state of a training run on disk: tensors and a record in one file, so that they can never disagree."""

import hashlib
import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from lgm.cards import CheckpointError
from lgm.checkpoints import weights_sha256
from lgm.data import write_atomically
from lgm.intervals import to_json


def write_state(path: Path, tensors: dict[str, Tensor], record: dict[str, Any]) -> None:
    """Put the file into place, whole or not at all; ``record`` is anything that JSON can hold."""
    tensors = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    run = to_json(record)
    metadata = {"run": run, "sha256": _checksum(tensors, run)}
    write_atomically(path, lambda part: save_file(tensors, part, metadata=metadata))


def read_state(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and record, as they were written.

    Raises:
        CheckpointError: the file is damaged, or is something else.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 not a dict
        if metadata["sha256"] != _checksum(tensors, metadata["run"]):
            raise ValueError("another SHA-256 than it was saved with")
        return tensors, json.loads(metadata["run"])
    except (OSError, SafetensorError, TypeError, KeyError, ValueError) as error:
        raise CheckpointError(f"{path}: expected the state of a training run, found {error}; delete it") from error


def _checksum(tensors: dict[str, Tensor], run: str) -> str:
    return hashlib.sha256((weights_sha256(tensors) + run).encode()).hexdigest()
