"""What vouches for a threshold, and what is said where it vouches for less than one might think."""

from pathlib import Path

import numpy as np
import pytest

from lgm.config import Phase, TrainConfig
from lgm.data.base import DataError
from lgm.detection import trusted as trusted_module
from lgm.detection.embedded import Embedded
from lgm.detection.filter_summary import notes, promise
from lgm.detection.image_table import ImageTable
from lgm.detection.kept_list import KeptList, Verdict
from lgm.detection.trusted import Trusted, held_out_or_none, seen_before
from lgm.models.card import Card
from lgm.models.features import Features

NAMES = ("cat", "dog")


def features(labels: np.ndarray, rng: np.random.Generator) -> Features:
    z = rng.normal(size=(len(labels), 2)).astype(np.float32)
    return Features(z, labels, labels, np.zeros(len(labels), np.float32))


def table(labels: np.ndarray, classes: tuple[str, ...] = NAMES, name: str = "mine") -> ImageTable:
    paths = np.array([f"{i}.png" for i in range(len(labels))], object)
    return ImageTable(name, True, Path(), classes, paths, labels, np.arange(len(labels)).astype("S32"))


def kept(labels: np.ndarray, rng: np.random.Generator) -> KeptList:
    images = Embedded(table(labels), NAMES, labels, rng.normal(size=(len(labels), 2)).astype(np.float32), labels)
    return KeptList(images, (Verdict("likelihood", np.zeros(len(labels)), -1.0, 100),))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch, rng: np.random.Generator) -> Card:
    """Of a network that was trained on a dataset called own, and of which 60 images were held out."""
    config = TrainConfig(phases=(Phase(),), dataset="own")
    held_out = features(np.arange(60) % 2, rng)
    monkeypatch.setattr(trusted_module, "held_out_of_training", lambda *_: held_out)
    return Card(name="net", config=config, weights_sha256="", classes=NAMES)


def test_held_out_images_serve_where_they_are_of_every_class(card: Card, monkeypatch: pytest.MonkeyPatch):
    labels = np.arange(40) % 2
    other = held_out_or_none("net", card, NAMES, table(labels))
    assert (other.source, other.name, other.why) == ("held-out", "own", "")
    checked: list[Card] = []
    monkeypatch.setattr("lgm.detection.trusted.require_same_data", checked.append)
    assert held_out_or_none("net", card, NAMES, table(labels, name="own")).source == "own"
    assert checked == [card], "of the very dataset, the split must be that of today"
    bare = held_out_or_none("net", card, (*NAMES, "eel"), table(labels, ("cat", "eel")))
    assert (bare.source, bare.features) == ("none", None)
    assert bare.why == "no image held out of the network's training is of eel"


def test_what_each_kind_promises(rng: np.random.Generator):
    one = promise(Trusted("held-out", "mnist"), 0.02, 100)
    assert one == promise(Trusted("dataset", "d"), 0.02, 100)
    assert one == "calibrated on 100 clean images to remove at most 2 % of fresh ones on average"
    assert "if the labels of these images are right" in promise(Trusted("own", "mine"), 0.02, 100)
    assert "no rate is promised" in promise(Trusted("none"), 0.02, 100)


def test_nothing_is_noted_where_all_is_well(rng: np.random.Generator):
    labels = np.arange(200) % 2
    assert notes(kept(labels, rng), Trusted("held-out", "own", features(labels, rng))) == []
    assert notes(kept(labels, rng), Trusted("none")) == []


def test_small_classes_and_other_proportions_are_noted(rng: np.random.Generator):
    few = np.array([0] * 100 + [1] * 4)
    assert notes(kept(few, rng), Trusted("none")) == [
        "Few images of dog (4): what T removes of so small a class is hardly known."
    ]
    said = notes(kept(np.arange(200) % 2, rng), Trusted("dataset", "d", features(few, rng)))
    assert said[0].startswith("Few trusted images of dog (4)")
    # half of the images are dogs, of those trusted 4 of 104
    assert f"({100 * (0.5 - 4 / 104):.0f} % of the images would have to change class)" in said[1]


def test_images_that_calibrate_are_found_again_by_their_features(rng: np.random.Generator):
    for dims in (1, 2, 7):
        known = rng.normal(size=(300, dims)) * 10.0 ** np.arange(dims)
        fresh = rng.normal(size=(200, dims)) * 10.0 ** np.arange(dims)
        again = known[:40] * (1 + 1e-7)
        slow = sum(
            bool((np.abs(known - row) <= 1e-5 * known.std(0)).all(1).any()) for row in np.concatenate([fresh, again])
        )
        assert seen_before(np.concatenate([fresh, again]), known) == slow
    assert slow == 40
    labels = np.arange(100) % 2
    found = kept(labels, rng)
    same = Features(found.images.z, labels, labels, np.zeros(100))
    assert notes(found, Trusted("held-out", "own", same))[0].startswith("100 of the images have the very features")
    assert not any("very features" in note for note in notes(found, Trusted("own", "mine", same)))


def test_a_dataset_cannot_vouch_for_itself_nor_for_all_of_its_own_images(monkeypatch: pytest.MonkeyPatch):
    labels = np.arange(40) % 2
    with pytest.raises(DataError, match="mine cannot vouch for itself"):
        trusted_module.trusted_table("mine", table(labels))
    monkeypatch.setattr(trusted_module, "read_table", lambda name: table(labels, name=name))
    with pytest.raises(DataError, match="all images of copy are among those of mine"):
        trusted_module.trusted_table("copy", table(labels))
    half, shared = trusted_module.trusted_table("copy", table(labels[:15]))
    assert (len(half), shared) == (25, 15)
