"""Images that calibrate a filter: those held out of the network's training, or a dataset whose labels are right."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from lgm.data.base import DataError
from lgm.data.registry import held_out_of
from lgm.detection.embedded import Embedded
from lgm.detection.image_table import ImageTable, read_table
from lgm.models.card import require_same_data
from lgm.models.features import Features, read_features
from lgm.utils.words import listed

if TYPE_CHECKING:
    from lgm.models.card import Card

NONE = "none"  # in the place of a dataset's name: nothing is trusted
_ROUNDING = 1e-5  # standard deviations: other images are farther apart, and one of two machines differs by less
Source = Literal["held-out", "own", "dataset", "none"]


@dataclass(frozen=True)
class Trusted:
    """What vouches for a threshold.

    Attributes:
        source: "held-out": images held out of the network's training, of another dataset than the one that is
            filtered. "own": the same of this very dataset, so that nobody vouches for their labels. "dataset": a
            registered one. "none": nothing, so that the filter is fitted to the data that it judges.
        name: Of the dataset that they are of; "" for none.
        features: As the network sees them; None where there are none.
        shared: How many of its images were left out because the data hold them too.
        why: Why there are none, where nobody asked for that; "" else.
    """

    source: Source
    name: str = ""
    features: Features | None = None
    shared: int = 0
    why: str = ""

    def counts(self, classes: int) -> np.ndarray:
        """(K,) how many of its images there are of each class."""
        labels = np.empty(0, np.int64) if self.features is None else self.features.labels.astype(np.int64)
        return np.bincount(labels, minlength=classes)


def held_out_of_training(source: str, card: "Card") -> Features:
    """What no network of this dataset is trained on, as this one sees it: stored beside its weights.

    Raises:
        CheckpointError: its features are missing.
        DataError: that split is not among them.
    """
    name = held_out_of(card.config.dataset)
    splits = read_features(source).splits
    if name not in splits:
        raise DataError(
            f"trusted: {source} has no features of {name}, its held-out images; name a dataset of images whose labels "
            f"are right (--trusted NAME), or --trusted {NONE}"
        )
    return splits[name]


def held_out_or_none(source: str, card: "Card", names: tuple[str, ...], table: ImageTable) -> Trusted:
    """The images held out of the network's training, if they are of all classes that the data claim; else none.

    Of the very dataset that it was trained on, they must be those of today.

    Raises:
        CheckpointError, DataError: see `held_out_of_training`.
    """
    if card.config.dataset == table.dataset:
        require_same_data(card)
    features = held_out_of_training(source, card)
    known = {names[label] for label in np.unique(features.labels)}
    bare = sorted(set(table.count()) - known)
    if bare:
        return Trusted(NONE, why=f"no image held out of the network's training is of {listed(bare)}")
    return Trusted("own" if card.config.dataset == table.dataset else "held-out", card.config.dataset, features)


def trusted_table(name: str, data: ImageTable) -> tuple[ImageTable, int]:
    """A registered dataset whose labels are right, without the images that the data hold too, and how many these are.

    Raises:
        DataError: it is the same dataset, or holds the same images and nothing else.
    """
    if name == data.dataset:
        raise DataError(f"trusted: {name} cannot vouch for itself; name images whose labels are right")
    table = read_table(name)
    shared = table.shared_with(data)
    if shared.all():
        raise DataError(f"trusted: all images of {name} are among those of {data.dataset}; name others")
    return table[~shared], int(shared.sum())


def as_features(images: Embedded) -> Features:
    """Embedded images in the form of a split's, without a score."""
    return Features(images.z, images.labels, images.predicted, np.full(len(images.z), np.nan, np.float32))


def seen_before(z: np.ndarray, trusted: np.ndarray) -> int:
    """How many features (N, D) are those of a trusted image (M, D), but for rounding: the same images, most likely.

    Hashes of files do not tell, where trusted images are known by their features alone, or are stored in other files.
    """
    from scipy.spatial import KDTree

    spread = trusted.std(0)
    scale = np.where(spread > 0, spread, 1)
    first = slice(0, 3)  # a tree in many dimensions would look at everything
    far, nearest = KDTree(trusted[:, first] / scale[first]).query(
        z[:, first] / scale[first], distance_upper_bound=_ROUNDING
    )
    near = np.flatnonzero(np.isfinite(far))
    apart = np.abs(z[near] - trusted[nearest[near]]) / scale
    return int((apart <= _ROUNDING).all(1).sum())
