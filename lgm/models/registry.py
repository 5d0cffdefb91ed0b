"""Where networks are found: shipped ones and the user's, by name or by path."""

import os
import re
from pathlib import Path

from lgm.models.card import WEIGHTS, Card, CheckpointError, card_of, card_path, open_checked, tensor_shapes
from lgm.utils.files import reason
from lgm.utils.paths import home

_PACKAGE = Path(__file__).resolve().parents[1]
_INSIDE = _PACKAGE / "checkpoints"  # of an installed package: the MNIST networks; all of them lie beside a checkout's
SHIPPED = _INSIDE if _INSIDE.is_dir() else _PACKAGE.parent / "checkpoints"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
# What else lies in a models folder: name.KIND.ENDING.
_BESIDE = {
    ".safetensors": ("features", "poisons", "example", "board", "resume", "state"),
    ".json": ("study", "board", "seeds", "visibility"),
}


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
    if mine:
        why = mine[0]
    elif str(source).startswith("cifar10-"):
        why = f"CIFAR-10's networks come with a checkout of the project; put their files into {user_folder()}"
    else:
        why = "train one: python -m lgm train --help"
    raise CheckpointError(f"no checkpoint named {source!r} (there are: {', '.join(usable) or 'none'}); {why}")


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
    other = file.startswith(".") or kind in _BESIDE.get(ending, ())
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
    card = card_of(locate(weights))
    tensor_shapes(weights, "a safetensors file", "restore the file or retrain")
    return card


def read_card(source: str | Path) -> Card:
    """The card of a checkpoint given by name or by path.

    Raises:
        CheckpointError: there is none, it is of a newer version, or it does not read as a card.
    """
    return card_of(locate(source))
