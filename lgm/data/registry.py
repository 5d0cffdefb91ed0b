"""All datasets by name, and their splits."""

from lgm.data.base import DataError, Dataset, Split
from lgm.data.cifar10 import CIFAR10
from lgm.data.mnist import FASHION_MNIST, MNIST

DATASETS: dict[str, Dataset] = {dataset.name: dataset for dataset in (MNIST, FASHION_MNIST, CIFAR10)}


def load_split(name: str, dataset: str = "mnist") -> Split:
    """One of the dataset's ``splits``.

    Raises:
        DataError: the files are missing, truncated or corrupted, or a name is unknown.
    """
    if dataset not in DATASETS:
        raise DataError(f"unknown dataset {dataset!r}: expected one of {', '.join(DATASETS)}")
    found = DATASETS[dataset]
    if name not in found.splits:
        raise DataError(f"data: expected one of {', '.join(found.splits)}, which {found.title} has, got {name!r}")
    return found.load(name)


def default_split(dataset: str = "mnist") -> str:
    """D_f where nobody chose: the best that is on disk."""
    found = DATASETS[dataset]
    return next((name for name in found.clean if found.at_hand(name)), found.clean[-1])


def validation_split(train_split: str, dataset: str = "mnist") -> str:
    """Images that a model trained on ``train_split`` has never seen, available wherever that split is.

    Raises:
        DataError: it is all that is held out, so that nothing is left.
    """
    held_out = DATASETS[dataset].held_out
    if train_split == held_out:
        others = ", ".join(name for name in DATASETS[dataset].splits if name != held_out)
        raise DataError(f"data: expected one of {others}, as all of {held_out!r} leaves none to validate on")
    # The two parts of the bundled digits validate each other.
    return {"bundled-train": "bundled-val", "bundled-val": "bundled-train"}.get(train_split, held_out)
