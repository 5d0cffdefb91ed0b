"""Models from outside: checked in a folder of their own, measured here, and only then put among the user's."""

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgm.data.registry import find_dataset, load_split
from lgm.models.card import Card, CheckpointError, card_path
from lgm.models.card_schema import is_number
from lgm.models.registry import user_folder
from lgm.utils.outputs import writing_errors
from ui.training_runs import claimed

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier

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
        CheckpointError, DataError, SaveError: the files or the name cannot be used; then nothing is kept.
    """
    from lgm.models.checkpoint import load_checkpoint

    with claimed(name):  # now, so that a name that is taken costs no waiting; and again at the end
        _make_room()
    with writing_errors(user_folder()), tempfile.TemporaryDirectory(prefix=".upload-", dir=user_folder()) as folder:
        path = Path(folder) / Path(file_name).name
        path.write_bytes(weights)
        if card is not None:
            card_path(path).write_bytes(card)
        try:
            model, claims = load_checkpoint(path)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(f"{folder}{os.sep}", "")) from error
        _check_fits(claims, path.name)
        ready = Path(folder) / "ready"
        measured = _measure(model, claims, name, path.name, ready)
        with claimed(name):
            for suffix in (".features.safetensors", ".safetensors", ".json"):  # the card last: it makes the model count
                os.replace(ready / f"{name}{suffix}", user_folder() / f"{name}{suffix}")
    return measured


def _check_fits(card: Card, file_name: str) -> None:
    """Raise CheckpointError for a network that the pages cannot show."""
    dataset, found = find_dataset(card.config.dataset), card.config.model
    if found.n_classes != len(dataset.classes):
        raise CheckpointError(
            f"{file_name}: expected the {len(dataset.classes)} classes of {dataset.title}, found {found.n_classes}"
        )
    if found.n_dim not in _FEATURES:
        shown = f"{_FEATURES[0]} to {_FEATURES[-1]}"
        raise CheckpointError(
            f"{file_name}: expected {shown} features, which is what the pages show, found {found.n_dim}"
        )


def _measure(model: "Classifier", claims: Card, name: str, file_name: str, folder: Path) -> Card:
    """Save the network in ``folder`` with what is measured here; of its card only the run's description is taken over.

    Raises:
        CheckpointError: it is hardly better than guessing; nor is such a network saved after training.
    """
    from lgm.models.checkpoint import is_guessing, save_measured

    card = Card(
        name=name,
        config=claims.config,
        weights_sha256="",
        history=_records(claims.history),
        note=f"Uploaded: {file_name}. {claims.note}"[:_LONGEST_NOTE],
    )
    dataset = find_dataset(claims.config.dataset)
    names = {dataset.held_out, *filter(dataset.at_hand, dataset.clean)}
    save_measured(model, card, [load_split(split, dataset.name) for split in names], folder)
    accuracy = card.accuracy[dataset.held_out]
    if is_guessing(accuracy, card.config.model):
        raise CheckpointError(
            f"{file_name}: not added, for it is hardly better than guessing: it gets {accuracy:.1%} of the held-out "
            f"images of {dataset.title} right. Was it trained on such images, with the classes in this order, on "
            "pixels in [0, 1] of which the network makes (x - 0.5) / 0.5?"
        )
    return card


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
