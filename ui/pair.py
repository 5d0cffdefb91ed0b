"""The pair of images that a poison is crafted from, each an image of D_f or one of the user's own."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import streamlit as st

from lgm.data.base import Dataset, Split
from ui import load
from ui.pictures import pictures

OWN = "own"  # name of the split that a pair with an image of one's own makes up


@dataclass(frozen=True)
class OwnImage:
    """An image that somebody has drawn or uploaded, and the class that he gives it.

    Attributes:
        pixels: (C, H, W) bytes, as the networks take them.
        shape: (C, H, W).
        dataset: Name of the dataset whose networks see it, and whose classes ``label`` counts.
        label: Its class.
        sha256: Of the pixels; stands for them where the record is written, as in the key of a job.
    """

    pixels: bytes = field(repr=False)
    shape: tuple[int, int, int]
    dataset: str
    label: int
    sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "sha256", hashlib.sha256(self.pixels).hexdigest())

    @property
    def image(self) -> np.ndarray:
        """(C, H, W) uint8, not to be written to."""
        return np.frombuffer(self.pixels, np.uint8).reshape(self.shape)

    def fits(self, dataset: Dataset) -> bool:
        """Whether the networks of this dataset can take it, and know its class."""
        return (self.dataset, self.shape) == (dataset.name, dataset.shape) and self.label < len(dataset.classes)


Role = Literal["base", "target"]
OTHER: dict[Role, Role] = {"base": "target", "target": "base"}
Member = int | OwnImage  # of a pair: a position in D_f, or an own image


@dataclass(frozen=True)
class Pair:
    """What the poison looks like, and what it is to be taken for."""

    base: Member
    target: Member

    def __iter__(self) -> Iterator[Member]:
        return iter((self.base, self.target))

    def of(self, role: Role) -> Member:
        return self.base if role == "base" else self.target


@dataclass(frozen=True)
class Seen:
    """What a network makes of an image.

    Attributes:
        z: (D,) features.
        predicted: The class it sees.
        probability: p(predicted | z).
        score: log p(z | label) in nats; NaN for softmax.
    """

    z: np.ndarray
    predicted: int
    probability: float
    score: float


@st.cache_resource(show_spinner=False, max_entries=256, hash_funcs={OwnImage: repr})
def _seen(name: str, weights_sha256: str, own: OwnImage) -> Seen:
    del weights_sha256
    from lgm.models.scoring import embed

    z = embed(load.model(name), own.image[None]).numpy()[0]
    posterior, score = load.posterior(name, z, own.label)
    return Seen(z, int(posterior.argmax()), float(posterior.max()), score)


def seen(name: str, own: OwnImage) -> Seen:
    """An own image as a network sees it. The first time this needs the network itself, and so torch."""
    return _seen(name, load.card(name).weights_sha256, own)


def label_of(member: Member) -> int:
    """The class that a member of a pair claims (base) or has (target)."""
    if isinstance(member, OwnImage):
        return member.label
    return int(load.embedded(load.model_name("lgm"), load.clean_split()).labels[member])


def features_of(name: str, member: Member) -> np.ndarray:
    """(D,) features of a member of a pair."""
    if isinstance(member, OwnImage):
        return seen(name, member).z
    return load.embedded(name, load.clean_split()).z[member]


def image_of(member: Member) -> np.ndarray:
    """(C, H, W) uint8. Raises DataError where the images of D_f are not on this machine."""
    return member.image if isinstance(member, OwnImage) else pictures().images[member]


def place(pair: Pair) -> tuple[Split, tuple[int, int]]:
    """Where the images of a pair are: in D_f, or in a split of the two of them if one is somebody's own.

    Raises:
        DataError: the images of D_f are needed and not on this machine.
    """
    base, target = pair
    if not isinstance(base, OwnImage) and not isinstance(target, OwnImage):
        return pictures(), (base, target)
    images = np.stack([image_of(member) for member in pair])
    labels = np.array([label_of(member) for member in pair])
    return Split(OWN, images, labels, load.dataset().name), (0, 1)
