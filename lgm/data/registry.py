"""All datasets by name: those that come with the program, and the user's own; and their splits."""

from dataclasses import replace

import numpy as np

from lgm.data.base import DataError, Dataset, Split
from lgm.data.cifar10 import CIFAR10
from lgm.data.mnist import FASHION_MNIST, MNIST
from lgm.data.own import ALL, HELD_OUT, load_own, own_dataset
from lgm.data.store import read_registration, registered

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, CIFAR10)}


def dataset_names() -> list[str]:
    """Of all datasets: those that come with the program first."""
    return [*DATASETS, *registered()]


def find_dataset(name: str) -> Dataset:
    """A dataset by name.

    Raises:
        DataError: there is none of this name.
    """
    if name in DATASETS:
        return DATASETS[name]
    if name not in registered():
        raise DataError(
            f"unknown dataset {name!r}: expected one of {', '.join(dataset_names())}, or another one that "
            f"`lgm data add {name} FOLDER` registers first"
        )
    return own_dataset(name)


def held_out_of(dataset: str) -> str:
    """The split of a dataset that nothing is trained on, also where that dataset is not on this machine."""
    return DATASETS[dataset].held_out if dataset in DATASETS else HELD_OUT


def load_split(name: str, dataset: str = "mnist") -> Split:
    """One of the dataset's ``splits``, or all images of a registered dataset in the form of this one's.

    Raises:
        DataError: the files are missing, truncated or corrupted, a name is unknown, or the registered dataset has
            classes that this one has not.
    """
    found = find_dataset(dataset)
    if name in found.splits:
        return found.load(name)
    if name in registered():
        return _in_the_form_of(found, name)
    raise DataError(
        f"data: expected one of {', '.join(found.splits)}, which {found.title} has, or a registered dataset, got "
        f"{name!r}"
    )


def _in_the_form_of(dataset: Dataset, name: str) -> Split:
    """All images of a registered dataset, scaled to the shape of another one's, under the labels of that."""
    own = read_registration(name).classes
    unknown = sorted(set(own) - set(dataset.classes))
    if unknown:
        raise DataError(
            f"data: {name} has the classes {', '.join(unknown[:5])}, and {dataset.title} only "
            f"{', '.join(dataset.classes)}"
        )
    split = load_own(name, ALL, dataset.shape)
    numbers = np.array([dataset.classes.index(label) for label in own])
    return replace(split, name=name, labels=numbers[split.labels], dataset=dataset.name)


def default_split(dataset: str = "mnist") -> str:
    """D_f where nobody chose: the best that is on disk."""
    found = find_dataset(dataset)
    return next((name for name in found.clean if found.at_hand(name)), found.clean[-1])


def validation_split(train_split: str, dataset: str = "mnist") -> str:
    """Images that a model trained on ``train_split`` has never seen, available wherever that split is.

    Raises:
        DataError: it is all that is held out, so that nothing is left.
    """
    found = find_dataset(dataset)
    held_out = found.held_out
    if train_split in (held_out, ALL):
        others = ", ".join(name for name in found.splits if name not in (held_out, ALL))
        raise DataError(f"data: expected one of {others}, as all of {train_split!r} leaves none to validate on")
    # The two parts of the bundled digits validate each other.
    return {"bundled-train": "bundled-val", "bundled-val": "bundled-train"}.get(train_split, held_out)
