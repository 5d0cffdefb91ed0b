"""A network's card: the JSON beside its weights, which reads without torch."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from lgm.config import TrainConfig
from lgm.data.base import DataError, Dataset
from lgm.data.registry import DATASETS, find_dataset
from lgm.models.architectures import require_network
from lgm.models.card_schema import FORMAT, check_card, newer_format
from lgm.models.recipe_json import recipe_from_dict, recipe_to_dict
from lgm.utils.files import first_bytes, reason, unreadable
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")  # endings that weights are read from
REGISTRATION = "registration"  # in `Card.data_sha256`: of a registered dataset, see `Dataset.digest`
_NO_SPAN = 1e-6  # of the widest feature's span


class CheckpointError(Exception):
    """A checkpoint that cannot be used; the message names the file, what was expected, what was found, the fix."""


@dataclass(kw_only=True)
class Card:
    """Where a model comes from and what it can do; `<name>.json` beside `<name>.safetensors`.

    Attributes:
        name: What `load_checkpoint` finds it by.
        config: The training run that made it.
        weights_sha256: Hash of the weights as they are stored, checked on loading.
        data_sha256: Hash of each split used, by name.
        accuracy: Share of images classified correctly in [0, 1], by split.
        feature_min, feature_max: Range of each feature over the dataset's held-out split, (D,); gives s of the
            objective.
        closest_centers: Smallest distance between class means, in sigmas; None for softmax.
        history: One record per epoch.
        versions: Of the libraries that made it.
        note: Anything a reader must know, such as a foreign origin.
        classes: Their names by label, for a dataset of the user's own; () where the program knows them.
    """

    name: str
    config: TrainConfig
    weights_sha256: str
    data_sha256: dict[str, str] = field(default_factory=dict)
    accuracy: dict[str, float] = field(default_factory=dict)
    feature_min: list[float] = field(default_factory=list)
    feature_max: list[float] = field(default_factory=list)
    closest_centers: float | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    versions: dict[str, str] = field(default_factory=dict)
    note: str = ""
    classes: tuple[str, ...] = ()

    @property
    def class_names(self) -> tuple[str, ...]:
        """By label."""
        return self.classes or DATASETS[self.config.dataset].classes

    @property
    def feature_scale(self) -> np.ndarray:
        """S of the objective, (D,): multiplies features so that the held-out images span a length of 2."""
        return (2 / self._span).astype(np.float32)

    @property
    def _span(self) -> np.ndarray:
        return np.asarray(self.feature_max, np.float64) - np.asarray(self.feature_min, np.float64)

    def check_span(self) -> None:
        """A feature that no image changes has no scale, and would count as a dimension of the density.

        Raises:
            CheckpointError: there is one.
        """
        dead = np.flatnonzero(self._span <= _NO_SPAN * self._span.max())
        if len(dead):
            named = ", ".join(str(k + 1) for k in dead)
            raise CheckpointError(
                f"{self.name}: feature {named} of {len(self._span)}: expected features that differ between images, "
                "found the same number for all held-out ones; cut it from the network, or train with a smaller n_dim "
                "(K class means span K - 1 dimensions)"
            )


def require_same_data(card: Card, now: Dataset | None = None) -> None:
    """Raise DataError unless the dataset that a network was trained on, ``now`` if it is known, is as it was then.

    With other labels or splits a network would be measured on what it was trained on, or under other names.
    """
    name = card.config.dataset
    if name in DATASETS:
        return
    now = now or find_dataset(name)
    if now.classes != card.class_names:
        raise DataError(
            f"{name}: registered anew since the network was trained: its classes are {', '.join(now.classes):.200}, "
            f"and those of the network {', '.join(card.class_names):.200}; train again, or register what it was "
            "trained on"
        )
    if now.digest != card.data_sha256.get(REGISTRATION, now.digest):
        raise DataError(
            f"{name}: registered anew since {card.name} was trained, with other images or splits, so that it may have "
            "been trained on what it is measured on; train again, or register what it was trained on"
        )


def check_readable(path: Path) -> None:
    """Raise a CheckpointError if the file is there, but may not be read by this account."""
    if why := unreadable(path):
        raise CheckpointError(why)


def card_path(weights: Path) -> Path:
    """Where the card of these weights lies: beside them, whatever they are called."""
    name = weights.name
    while Path(name).suffix.lower() in WEIGHTS:  # net.pth.tar
        name = Path(name).stem
    return weights.with_name(f"{name}.json")


def open_checked(path: Path) -> bytes:
    """The first bytes of a file of a model.

    Raises:
        FileNotFoundError: it is not there.
        CheckpointError: it cannot be read, for the true reason: safetensors calls every reason "No such file".
    """
    try:
        return first_bytes(path)
    except FileNotFoundError:
        raise
    except IsADirectoryError as error:
        raise CheckpointError(f"{path}: a folder, where a file belongs; rename it") from error
    except OSError as error:
        why = unreadable(path) or f"{path}: cannot be read ({reason(error)}); ask its owner for access"
        raise CheckpointError(why) from error


def tensor_shapes(path: Path, expected: str, fix: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes in a safetensors file, from its head alone.

    Raises:
        CheckpointError: it cannot be read or is something else; ``expected`` and ``fix`` are words for the message.
    """
    try:
        open_checked(path)
        with safe_open(path, "np") as file:
            return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118 not a dict
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: expected {expected}, found {reason(error)}; {fix}") from error


def card_of(weights: Path) -> Card:
    """The card beside these weights.

    Raises:
        CheckpointError: it is missing, of a newer version, or does not read as a card.
    """
    path = card_path(weights)
    try:
        open_checked(path)
        values = json.loads(path.read_text(encoding="utf-8"))
        if newer := newer_format(values):
            raise CheckpointError(
                f"{path}: a card of format {newer}, from a newer version of this program, which reads up to format "
                f"{FORMAT}; update it, or train the model anew"
            )
        check_card(values)
        name = path.stem  # a renamed model is found by its new name
        values.pop("format", None)
        classes = tuple(values.get("classes", ()))
        given: dict[str, Any] = {
            **values,
            "name": name,
            "config": recipe_from_dict(values["config"]),
            "classes": classes,
        }
        card = Card(**given)
        _check_known(card)
        _check_range(card)
        return card
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: the card is missing; it belongs beside the weights") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected a model card in JSON, found {reason(error)}; restore or retrain it"
        ) from error


def _check_known(card: Card) -> None:
    """Raise ValueError unless network and classes are known here; the dataset itself need not be on this machine."""
    require_network(card.config.model.network)
    if card.config.dataset not in DATASETS and not card.classes:
        raise ValueError(
            f"dataset: expected {' or '.join(DATASETS)}, or the names of classes, got {card.config.dataset!r}"
        )
    if card.classes and len(card.classes) != card.config.model.n_classes:
        raise ValueError(f"classes: expected {card.config.model.n_classes} names, got {len(card.classes)}")


def _check_range(card: Card) -> None:
    """Without a usable feature range the objective would silently be another one."""
    n_dim = card.config.model.n_dim
    if card._span.shape != (n_dim,) or not np.isfinite(card._span).all():
        raise ValueError(f"feature_min {card.feature_min} and feature_max {card.feature_max}, not {n_dim} numbers each")
    card.check_span()


def write_card(card: Card, folder: Path) -> None:
    """Put `<name>.json` into place, whole or not at all."""
    values = {**asdict(card), "config": recipe_to_dict(card.config), "format": FORMAT}
    text = to_json(values, indent=1) + "\n"
    write_atomically(folder / f"{card.name}.json", lambda path: path.write_text(text))
