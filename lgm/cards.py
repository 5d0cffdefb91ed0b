"""What lies beside the weights and reads without torch: a model's card and its embedded features."""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save

from lgm.config import TrainConfig
from lgm.data import home, unreadable, write_atomically
from lgm.datasets import DATASETS
from lgm.files import first_bytes, reason
from lgm.intervals import to_json
from lgm.schema import FORMAT, check_card, newer_format

SHIPPED = Path(__file__).resolve().parent.parent / "checkpoints"
WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")  # endings that weights are read from
_NO_SPAN = 1e-6  # of the widest feature's span
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_BESIDE = (
    "features",
    "poisons",
    "example",
    "resume",
    "state",
)  # what else lies in a models folder: name.KIND.safetensors


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
        format: Of the card itself; a version that does not know it refuses the card.
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
    format: int = FORMAT

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


def user_folder() -> Path:
    """Where models that the user trains or uploads are kept."""
    return home() / "checkpoints"


def check_name(name: str) -> str:
    """The name itself, or CheckpointError if it could not be a file name everywhere."""
    if not _NAME.fullmatch(name):
        raise CheckpointError(
            f"name {name!r}: expected 1 to 64 letters, digits, - or _, starting with a letter or digit"
        )
    return name


def check_readable(path: Path) -> None:
    """Raise a CheckpointError if the file is there, but may not be read by this account."""
    if why := unreadable(path):
        raise CheckpointError(why)


def locate(source: str | Path) -> Path:
    """The weights file of a checkpoint given by name (shipped ones first) or by path.

    Raises:
        CheckpointError: there is none.
    """
    path = Path(source)
    if path.suffix.lower() in WEIGHTS:
        try:
            open_checked(path)
        except FileNotFoundError as error:
            raise CheckpointError(f"{path}: no such file") from error
        return path
    if os.path.isfile(path) and not _NAME.fullmatch(str(source)):
        raise CheckpointError(f"{path}: expected weights, in a file that ends in {', '.join(WEIGHTS)}")
    check_name(str(source))
    for folder in (SHIPPED, user_folder()):
        if os.path.isfile(folder / f"{source}.safetensors"):
            return folder / f"{source}.safetensors"
    usable, unusable = survey()
    mine = [problem for problem in unusable if problem.startswith((f"{source}.", f"{user_folder()}:"))]
    why = f"; {mine[0]}" if mine else "; train one: python -m lgm train --help"
    raise CheckpointError(f"no checkpoint named {source!r} (there are: {', '.join(usable) or 'none'}){why}")


def card_path(weights: Path) -> Path:
    """Where the card of these weights lies: beside them, whatever they are called."""
    name = weights.name
    while Path(name).suffix.lower() in WEIGHTS:  # net.pth.tar
        name = Path(name).stem
    return weights.with_name(f"{name}.json")


def list_checkpoints() -> list[str]:
    """Names of all usable checkpoints, shipped ones first."""
    return list(survey()[0])


def survey() -> tuple[dict[str, Card], list[str]]:
    """All that lies in the folders for models.

    Returns:
        The cards of all usable checkpoints by name, shipped ones first; and of each file that looks like a model or a
        part of one and cannot be used: what it is called, why, and what to do. One bad file costs itself alone.
    """
    usable: dict[str, Card] = {}
    unusable: list[str] = []
    for folder in (SHIPPED, user_folder()):
        try:
            files = os.listdir(folder)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            unusable.append(f"{folder}: cannot be read ({reason(error)}); ask for access, or set LGM_HOME")
            continue
        unusable += filter(None, map(_misplaced, sorted(files)))
        for name in sorted(set(filter(None, map(_model_of, files)))):
            try:
                if name in usable:
                    raise CheckpointError(f"{name}.json: a shipped network has this name; rename all files of {name}.*")
                usable[name] = _usable(folder / f"{name}.safetensors")
            except CheckpointError as error:
                unusable.append(str(error).replace(f"{folder}{os.sep}", ""))
    return usable, unusable


def _model_of(file: str) -> str | None:
    """The name of the model that a file of a models folder belongs to as its card or its weights; None for others."""
    stem, ending = os.path.splitext(file)
    kind = stem.rpartition(".")[2]
    other = (
        file.startswith(".") or (kind in _BESIDE and ending == ".safetensors") or (kind, ending) == ("study", ".json")
    )
    return None if other or ending not in (".json", ".safetensors") else stem


def _misplaced(file: str) -> str | None:
    """Why a file that looks like part of a model can never be one, and what to do."""
    ending = os.path.splitext(file)[1].lower()
    if file.startswith("._"):  # AppleDouble
        return f"{file}: not a model, but what macOS puts beside a file that it copies; delete it"
    if not file.startswith(".") and ending in WEIGHTS and ending != ".safetensors":
        return f"{file}: weights without measurements; add them on the Train page, or give a command their path"
    return None


def _usable(weights: Path) -> Card:
    """The card of a model in one of the folders, if its files are what they should be, as far as their heads tell."""
    path = card_path(weights)
    if not _NAME.fullmatch(weights.stem):
        raise CheckpointError(
            f"{path}: not a name that a model can have; rename it and {weights.name} alike, to letters, digits, - or _"
        )
    if not os.path.lexists(weights):
        raise CheckpointError(f"{path}: its weights, {weights.name}, are missing; put them there, or delete the card")
    card = read_card(weights)
    tensor_shapes(weights, "a safetensors file", "restore the file or retrain")
    return card


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


def read_card(source: str | Path) -> Card:
    """The card of a checkpoint.

    Raises:
        CheckpointError: it is missing, of a newer version, or does not read as a card.
    """
    weights = locate(source)
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
        card = Card(**{**values, "name": name, "config": TrainConfig.from_dict(values["config"])})
        _check_range(card)
        return card
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: the card is missing; it belongs beside the weights") from error
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(
            f"{path}: expected a model card in JSON, found {reason(error)}; restore or retrain it"
        ) from error


def _check_range(card: Card) -> None:
    """Without a usable feature range the objective would silently be another one."""
    n_dim = card.config.model.n_dim
    if card._span.shape != (n_dim,) or not np.isfinite(card._span).all():
        raise ValueError(f"feature_min {card.feature_min} and feature_max {card.feature_max}, not {n_dim} numbers each")
    card.check_span()


def write_card(card: Card, folder: Path) -> None:
    """Put `<name>.json` into place, whole or not at all."""
    values = {**asdict(card), "config": card.config.to_dict()}
    text = to_json(values, indent=1) + "\n"
    write_atomically(folder / f"{card.name}.json", lambda path: path.write_text(text))


@dataclass(frozen=True)
class Features:
    """A split as a network sees it.

    Attributes:
        z: (N, D) float32 features.
        labels: (N,) uint8.
        predicted: (N,) uint8 classes by the network's own head.
        score: (N,) float32 log p(z | label) in nats; NaN for softmax, which has no density.
    """

    z: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray
    score: np.ndarray


@dataclass(frozen=True)
class FeatureMap:
    """All that a plot of the feature space needs, without the network.

    Attributes:
        splits: By name.
        means: (K, D) class means (LGM), or the mean feature of each class on the held-out split (softmax).
        peak: (K,) log-density at each mean in nats; NaN for softmax.
        regions: (G, G) uint8 class predicted at each grid point, row = second feature; empty unless D = 2.
        extent: (4,) left, right, bottom, top of the grid.
    """

    splits: dict[str, Features]
    means: np.ndarray
    peak: np.ndarray
    regions: np.ndarray
    extent: np.ndarray


def write_features(name: str, features: FeatureMap, folder: Path) -> None:
    """Put `<name>.features.safetensors` into place."""
    arrays = {key: value for key, value in vars(features).items() if key != "splits"}
    for split, values in features.splits.items():
        arrays |= {f"{split}.{key}": value for key, value in vars(values).items()}
    arrays = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
    write_atomically(folder / f"{name}.features.safetensors", lambda path: path.write_bytes(save(arrays)))


def read_features(source: str | Path) -> FeatureMap:
    """The embedded features of a checkpoint.

    Raises:
        CheckpointError: missing or damaged.
    """
    weights = locate(source)
    path = features_path(weights)
    check_features(path)
    try:
        arrays = load_file(path)
        splits = _names(arrays)
        return FeatureMap(
            {split: Features(*(arrays[f"{split}.{key}"] for key in Features.__annotations__)) for split in splits},
            *(arrays[key] for key in ("means", "peak", "regions", "extent")),
        )
    except (OSError, SafetensorError, ValueError) as error:
        raise CheckpointError(f"{path}: expected embedded features, found {reason(error)}; {_FEATURES_FIX}") from error


_FEATURES_FIX = "restore the file or train the model anew"


def features_path(weights: Path) -> Path:
    """Where the embedded features of these weights lie."""
    return weights.with_name(f"{card_path(weights).stem}.features.safetensors")


def check_features(path: Path, card: Card | None = None) -> None:
    """Raise CheckpointError unless the head of a file is that of embedded features, of the card's model if given."""
    shapes = tensor_shapes(path, "embedded features", _FEATURES_FIX)
    n_classes, n_dim = (*shapes.get("means", ()), 0, 0)[:2]
    wrong = [name for name, shape in (("peak", (n_classes,)), ("extent", (4,))) if shapes.get(name) != shape]
    wrong += [name for name in ("means", "regions") if len(shapes.get(name, ())) != 2]
    for split in (splits := _names(shapes)):
        n = shapes[f"{split}.z"][0] if shapes[f"{split}.z"] else 0
        expected = {"z": (n, n_dim), "labels": (n,), "predicted": (n,), "score": (n,)}
        wrong += [f"{split}.{key}" for key, shape in expected.items() if not n or shapes.get(f"{split}.{key}") != shape]
    if card is not None:
        wrong += ["means"] if (n_classes, n_dim) != (card.config.model.n_classes, card.config.model.n_dim) else []
        held_out = DATASETS[card.config.dataset].held_out
        wrong += [] if held_out in splits else [f"{held_out}.z"]
    if wrong or not splits:
        raise CheckpointError(
            f"{path}: expected embedded features, found none, or of another shape, under "
            f"{', '.join(dict.fromkeys(wrong)) or 'any split'}; {_FEATURES_FIX}"
        )


def _names(keys: Iterable[str]) -> list[str]:
    return sorted({key.rsplit(".", 1)[0] for key in keys if key.endswith(".z")})


def read_gaussians(path: Path, prefix: str = "") -> tuple[np.ndarray | None, np.ndarray | None]:
    """Means and standard deviations of the class Gaussians, (K, D) each, from weights on disk; None for softmax."""
    names = tensor_shapes(path, "a safetensors file", "restore the file or retrain")
    with safe_open(path, "np") as file:
        return gaussians(lambda name: file.get_tensor(prefix + name) if prefix + name in names else None)


def gaussians(tensor: Callable[[str], np.ndarray | None]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The same from a network's tensors by name."""
    means, log_variance = tensor("head.mixture.means"), tensor("head.mixture.log_variance")
    return means, None if log_variance is None else np.exp(log_variance / 2)
