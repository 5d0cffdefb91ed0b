"""The images of D_f that this machine has: all, or the first of them, which come with the packages."""

import numpy as np

from lgm.data.base import Split
from ui import load


def pictures() -> Split:
    """The images of D_f; of CIFAR-10, on a machine without them, the first few, which come with the packages.

    Raises:
        DataError: there are none on this machine.
    """
    return load.split(load.dataset().at_hand_of(load.clean_split()) or load.clean_split())


def pictured() -> np.ndarray:
    """(N,) labels of D_f, as stored with the features; or of its first images, if this machine has those alone."""
    labels = load.embedded(load.model_name("lgm"), load.clean_split()).labels
    found = load.dataset().at_hand_of(load.clean_split())
    return labels if found is None or found == load.clean_split() else labels[: len(load.split(found))]
