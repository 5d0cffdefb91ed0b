"""Stored studies: written, read, and checked against the attack, the weights and the data of today."""

import json
import os
import platform
from pathlib import Path
from typing import Any

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, read_card
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

Study = dict[str, Any]


def machine() -> str:
    """What a record was made on, as far as it matters for rounding and time."""
    import torch

    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def outdated(about: dict[str, Any]) -> str | None:
    """Why a study or a set of poisons is older than the attack; None if it is not.

    ``about``: what a study says of itself, or the manifest of poisons.
    """
    revision = about.get("attack_revision")
    if revision == ATTACK_REVISION:
        return None
    made = "an unnamed revision" if revision is None else f"revision {revision}"
    return f"made with {made} of the attack, and today's is {ATTACK_REVISION}"


def provenance(about: dict[str, Any]) -> str:
    """When a study was made, of what and with what: the line that stands below its numbers."""
    models = ", ".join(f"`{name}`" for name in (*about["models"].values(), *about.get("others", {})))
    revision = about.get("attack_revision", "unnamed")
    return (
        f"Measured {about.get('made', 'at an unknown date')} on {models}; clean images `{about['data']}`, attack "
        f"revision {revision}, seed {about['seed']}, torch {about['versions']['torch']}"
        + (f", {about['machine']}" if "machine" in about else "")
        + "."
    )


def read_study(dataset: str) -> Study | None:
    """What was measured on a dataset and is shipped with its networks; None if nothing was.

    Raises:
        CheckpointError: the file does not read.
    """
    path = SHIPPED / f"{dataset}.study.json"
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected a study in JSON, found {error}; restore it or delete it") from error


def stored_study(names: dict[str, str], split: Split, seed: int) -> Study | None:
    """The shipped study if it is of these networks, these images, this seed and today's attack, else None.

    Raises:
        CheckpointError: see `read_study`.
    """
    study = read_study(split.dataset)
    if study is None or outdated(study["about"]):
        return None
    weights = {loss: read_card(name).weights_sha256 for loss, name in names.items()}
    wanted = {"weights_sha256": weights, "data_sha256": split.sha256, "seed": seed}
    return study if all(study["about"][name] == value for name, value in wanted.items()) else None


def save_study(study: Study, path: Path) -> None:
    """Write a study as JSON, whole or not at all."""
    write_atomically(path, lambda part: Path(part).write_text(to_json(study), encoding="utf-8"))
