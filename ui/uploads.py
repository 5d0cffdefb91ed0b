"""Models from outside: checked in a folder of their own, measured here, and only then put among the user's."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from lgm.cards import Card, CheckpointError, user_folder
from lgm.config import TrainConfig
from lgm.datasets import DATASETS, load_split
from ui.runs import claimed

WEIGHTS = ("safetensors", "pt", "pth")
_LONGEST_NOTE = 300
_MOST_EPOCHS = 1_000
_FEATURES = range(2, 65)  # crafting takes a row of the Jacobian for each


def add_model(file_name: str, weights: bytes, card: bytes | None, name: str) -> Card:
    """Check uploaded weights without executing anything in them, measure them here, keep them under ``name``.

    Args:
        file_name: As the user calls it.
        weights: A safetensors file, or what `torch.save` wrote.
        card: Its JSON card; weights in the layout of the paper's own code need none.
        name: A free one.

    Raises:
        CheckpointError, DataError: the files or the name cannot be used; then nothing is kept.
    """
    from lgm.checkpoints import load_checkpoint, save_measured

    with claimed(name):  # now, so that a name that is taken costs no waiting; and again at the end
        user_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".upload-", dir=user_folder()) as folder:
        path = Path(folder) / Path(file_name).name
        path.write_bytes(weights)
        if card is not None:
            path.with_suffix(".json").write_bytes(card)
            _check_shape(card)
        try:
            model, claims = load_checkpoint(path)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(f"{folder}{os.sep}", "")) from error
        # What the numbers say is measured here; of the uploaded card only the run's description is taken over.
        measured = Card(
            name=name,
            config=claims.config,
            weights_sha256="",
            history=_records(claims.history),
            note=f"Uploaded: {path.name}. {claims.note}"[:_LONGEST_NOTE],
        )
        dataset = DATASETS[claims.config.dataset]
        splits = [
            load_split(split, dataset.name) for split in {dataset.held_out, *filter(dataset.at_hand, dataset.clean)}
        ]
        ready = Path(folder) / "ready"
        save_measured(model, measured, splits, ready)
        with claimed(name):
            for suffix in (".features.safetensors", ".safetensors", ".json"):  # the card last: it makes the model count
                os.replace(ready / f"{name}{suffix}", user_folder() / f"{name}{suffix}")
    return measured


def _check_shape(card: bytes) -> None:
    """The pages name ten classes, and a network is built from the card before its weights are compared."""
    try:
        model = TrainConfig.from_dict(json.loads(card)["config"]).model
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"the card: expected a model card in JSON, found {error}") from error
    if model.n_classes != 10 or model.n_dim not in _FEATURES:
        raise CheckpointError(
            f"the card: expected 10 classes and {_FEATURES[0]} to {_FEATURES[-1]} features, which is what the pages "
            f"show, found {model.n_classes} and {model.n_dim}"
        )


def _records(history: Any) -> list[dict[str, float]]:
    """Only what can be drawn: finite numbers by name, one record an epoch."""
    dicts = [record for record in history if isinstance(record, dict)] if isinstance(history, list) else []
    plain = [{name: value for name, value in record.items() if _is_number(value)} for record in dicts[:_MOST_EPOCHS]]
    return [record for record in plain if {"epoch", "loss"} <= record.keys()]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < 1e12  # neither NaN nor infinite
