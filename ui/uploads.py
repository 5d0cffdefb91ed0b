"""Models from outside: checked in a folder of their own, measured here, and only then put among the user's."""

import os
import tempfile
from pathlib import Path
from typing import Any

from lgm.cards import Card, CheckpointError, card_path, user_folder
from lgm.datasets import DATASETS, load_split
from lgm.schema import is_number
from ui.runs import claimed

_LONGEST_NOTE = 300
_MOST_EPOCHS = 1_000
_FEATURES = range(2, 65)  # crafting takes a row of the Jacobian for each


def add_model(file_name: str, weights: bytes, card: bytes | None, name: str) -> Card:
    """Check uploaded weights without executing anything in them, measure them here, keep them under ``name``.

    Args:
        file_name: As the user calls it.
        weights: A safetensors file, or what `torch.save` wrote: see `lgm.load_checkpoint`.
        card: Its JSON card; weights in the layout of the paper's own code need none.
        name: A free one.

    Raises:
        CheckpointError, DataError: the files or the name cannot be used; then nothing is kept.
    """
    from lgm.checkpoints import is_guessing, load_checkpoint, save_measured

    with claimed(name):  # now, so that a name that is taken costs no waiting; and again at the end
        _make_room()
    with tempfile.TemporaryDirectory(prefix=".upload-", dir=user_folder()) as folder:
        path = Path(folder) / Path(file_name).name
        path.write_bytes(weights)
        if card is not None:
            card_path(path).write_bytes(card)
        try:
            model, claims = load_checkpoint(path)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(f"{folder}{os.sep}", "")) from error
        dataset = DATASETS[claims.config.dataset]
        classes = claims.config.model.n_classes
        if classes != len(dataset.classes):
            raise CheckpointError(
                f"{path.name}: expected the {len(dataset.classes)} classes of {dataset.title}, found {classes}"
            )
        n_dim = claims.config.model.n_dim
        if n_dim not in _FEATURES:
            shown = f"{_FEATURES[0]} to {_FEATURES[-1]}"
            raise CheckpointError(
                f"{path.name}: expected {shown} features, which is what the pages show, found {n_dim}"
            )
        # What the numbers say is measured here; of the uploaded card only the run's description is taken over.
        measured = Card(
            name=name,
            config=claims.config,
            weights_sha256="",
            history=_records(claims.history),
            note=f"Uploaded: {path.name}. {claims.note}"[:_LONGEST_NOTE],
        )
        splits = [
            load_split(split, dataset.name) for split in {dataset.held_out, *filter(dataset.at_hand, dataset.clean)}
        ]
        ready = Path(folder) / "ready"
        save_measured(model, measured, splits, ready)
        accuracy = measured.accuracy[dataset.held_out]
        if is_guessing(accuracy, measured.config.model):  # nor is such a network saved after training
            raise CheckpointError(
                f"{path.name}: not added, for it is hardly better than guessing: it gets {accuracy:.1%} of the "
                f"held-out images of {dataset.title} right. Was it trained on such images, with the classes in this "
                "order, on pixels in [0, 1] of which the network makes (x - 0.5) / 0.5?"
            )
        with claimed(name):
            for suffix in (".features.safetensors", ".safetensors", ".json"):  # the card last: it makes the model count
                os.replace(ready / f"{name}{suffix}", user_folder() / f"{name}{suffix}")
    return measured


def _make_room() -> None:
    try:
        user_folder().mkdir(parents=True, exist_ok=True)
        writable = os.access(user_folder(), os.W_OK)
    except OSError:
        writable = False
    if not writable:
        raise CheckpointError(
            f"{user_folder()}: models are kept here, and it cannot be written; set LGM_HOME to a folder that can"
        )


def _records(history: list[dict[str, Any]]) -> list[dict[str, float]]:
    """Only what can be drawn: finite numbers by name, one record an epoch."""
    return [{name: value for name, value in record.items() if is_number(value)} for record in history[:_MOST_EPOCHS]]
