"""Registered datasets as datasets: their splits, their images, and what they are too small for."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from lgm.data.base import DataError
from lgm.data.cautions import cautions
from lgm.data.own import HELD_OUT, TEST, TRAIN, load_own, own_dataset, split_files
from lgm.data.registry import dataset_names, find_dataset, held_out_of, load_split, validation_split
from lgm.data.scan import ImageFile
from lgm.data.store import Registration, read_images, register
from lgm.detection.thresholds import conformal_threshold


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LGM_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def folder(root: Path, counts: dict[str, int], size: int = 8) -> Path:
    """A folder of grey images, each of its own shades."""
    rng = np.random.default_rng(0)
    for label, count in counts.items():
        (root / label).mkdir(parents=True)
        for number in range(count):
            Image.fromarray(rng.integers(0, 256, (size, size), np.uint8)).save(root / label / f"{number:03}.png")
    return root


def files(*counts: int) -> list[ImageFile]:
    return [
        ImageFile(f"{k}/{n}.png", str(k), f"{k} {n}", 8, 8, grey=True)
        for k, count in enumerate(counts)
        for n in range(count)
    ]


def registration(splits: tuple[str, ...] = (), seed: int = 1) -> Registration:
    return Registration("mine", "/nowhere", "folder", ("0", "1"), (1, 8, 8), 0, "2026-11-29", splits, seed)


def sizes(splits: dict[str, list[ImageFile]]) -> dict[str, dict[str, int]]:
    return {name: dict(Counter(file.label for file in chosen)) for name, chosen in splits.items()}


def test_a_fifth_of_each_class_is_held_out_and_a_fifth_is_to_fine_tune_on():
    splits = split_files(registration(), files(50, 10))
    assert sizes(splits) == {TRAIN: {"0": 30, "1": 6}, TEST: {"0": 10, "1": 2}, HELD_OUT: {"0": 10, "1": 2}}
    assert sorted(file.path for chosen in splits.values() for file in chosen) == sorted(f.path for f in files(50, 10))


def test_splits_depend_on_the_seed_and_not_on_the_order_of_files():
    some = files(50, 50)
    assert split_files(registration(), some) == split_files(registration(), some[::-1])
    assert split_files(registration(), some) != split_files(registration(seed=2), some)


def test_an_image_that_is_added_moves_few_of_the_others():
    before, after = (split_files(registration(), files(count, 50)) for count in (100, 101))
    moved = [len(set(before[name]) - set(after[name])) for name in before]
    assert sum(moved) <= 2  # one across each border


def test_images_of_the_same_content_are_in_one_split():
    twice = [replace(file, sha256=file.sha256.rpartition(" ")[0] + str(n // 2)) for n, file in enumerate(files(40, 41))]
    splits = split_files(registration(), twice)
    hashes = [{(file.label, file.sha256) for file in chosen} for chosen in splits.values()]
    assert sum(map(len, hashes)) == len(set.union(*hashes))


@pytest.mark.parametrize(
    ("count", "expected"), [(1, {TRAIN: 1}), (2, {TRAIN: 1, HELD_OUT: 1}), (3, {TRAIN: 1, HELD_OUT: 1, TEST: 1})]
)
def test_of_a_tiny_class_one_image_is_trained_on(count: int, expected: dict[str, int]):
    found = sizes(split_files(registration(), files(count, 20)))
    assert {name: counts["0"] for name, counts in found.items() if "0" in counts} == expected


def test_splits_that_are_given_stay_and_the_others_are_drawn_from_what_is_left():
    some = [replace(file, split="test" if n % 10 == 0 else "train") for n, file in enumerate(files(50, 50))]
    splits = split_files(registration((TRAIN, TEST)), some)
    assert {file.split for file in splits[TEST]} == {"test"}
    assert sizes(splits) == {TRAIN: {"0": 36, "1": 36}, TEST: {"0": 5, "1": 5}, HELD_OUT: {"0": 9, "1": 9}}


def test_a_registered_dataset_is_one_of_all(tmp_path: Path):
    register("mine", folder(tmp_path / "data", {"cats": 10, "dogs": 15}))
    assert dataset_names()[-1] == "mine"
    found = find_dataset("mine")
    assert (found.shape, found.classes, found.train_size) == ((1, 8, 8), ("cats", "dogs"), 15)
    assert held_out_of("mine") == validation_split("train", "mine") == HELD_OUT
    parts = {name: load_split(name, "mine") for name in (TRAIN, TEST, HELD_OUT)}
    assert {name: len(split) for name, split in parts.items()} == {TRAIN: 15, TEST: 5, HELD_OUT: 5}
    every = load_split("all", "mine")
    assert len(every) == 25 and every.labels.tolist() == [0] * 10 + [1] * 15
    with Image.open(tmp_path / "data" / "dogs" / "000.png") as image:
        np.testing.assert_array_equal(every.images[10, 0], np.array(image))
    with pytest.raises(DataError, match="expected one of train, test, as all of 'all' leaves none to validate on"):
        validation_split("all", "mine")


def test_all_of_one_dataset_in_the_form_of_another(tmp_path: Path):
    """Digits as files are data for a network of MNIST: its size, its labels."""
    register("digits", folder(tmp_path / "data", {"7": 4, "10": 0, "3": 2}, size=14))
    split = load_split("digits", "mnist")
    assert (split.name, split.dataset, split.images.shape) == ("digits", "mnist", (6, 1, 28, 28))
    assert split.labels.tolist() == [3, 3, 7, 7, 7, 7]
    register("pets", folder(tmp_path / "pets", {"cats": 2, "1": 2}))
    with pytest.raises(DataError, match="pets has the classes cats, and MNIST only 0, 1, 2"):
        load_split("pets", "mnist")


def test_a_file_that_is_gone_is_named(tmp_path: Path):
    register("mine", folder(tmp_path / "data", {"cats": 5, "dogs": 5}))
    (tmp_path / "data" / "dogs" / "003.png").unlink()
    with pytest.raises(DataError, match=r"dogs/003\.png: .*`lgm data check mine` lists all"):
        load_own("mine", "all")


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    register("mine", folder(tmp_path / "data", {"cats": 5, "dogs": 5}))
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    with pytest.raises(DataError, match=r"10 images of 8 x 8 pixels take .* smaller --size"):
        load_own("mine", "all")


def test_an_empty_split_says_what_to_add(tmp_path: Path):
    register("mine", folder(tmp_path / "data", {"cats": 1, "dogs": 1}))
    with pytest.raises(DataError, match="no image in 'held-out', as no class has enough of them"):
        load_split(HELD_OUT, "mine")


def test_what_a_dataset_is_too_small_for_is_said(tmp_path: Path):
    made, found = register("mine", folder(tmp_path / "data", {"cats": 3, "dogs": 40, "newts": 1}))
    said = cautions(made, read_images("mine"))
    assert [text.split(":")[0] for text in said] == [
        "cats, newts",
        "dogs has 40 images, newts 1",
        "newts",
        "newts",
        "9 images are held out",
    ]
    assert "can promise 10 %" in said[-1]
    assert cautions(made, found.images) == said


def test_a_class_that_is_called_as_a_split_is_said(tmp_path: Path):
    """``test`` without folders of classes, as contests hand out, beside ``train``."""
    made, found = register("mine", folder(tmp_path / "data", {"train/cats": 12, "train/dogs": 12, "test": 12}))
    assert made.classes == ("test", "train")
    assert cautions(made, found.images)[0].startswith("test, train: taken as a class")


@pytest.mark.parametrize("images", [15, 30, 65, 90, 600, 3000])
def test_the_rate_that_can_be_promised_can_be_asked_for(tmp_path: Path, images: int):
    made = registration()
    files = [ImageFile(f"{label}/{k}.png", label, f"{label}{k}", 8, 8, True) for label in "ab" for k in range(images)]
    text = cautions(replace(made, classes=("a", "b"), splits=()), files)[-1]
    held_out, rate = int(text.split()[0].replace(",", "")), float(text.split("promise ")[1].split(" %")[0]) / 100
    assert conformal_threshold(np.arange(held_out), rate) > -np.inf
    assert rate <= 1.1 / (held_out + 1)


def test_labels_are_bytes_so_that_more_classes_are_refused():
    many = registration()
    many = replace(many, classes=tuple(map(str, range(300))))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lgm.data.own.read_registration", lambda name: many)
        with pytest.raises(DataError, match="expected at most 256 classes, got 300"):
            own_dataset("mine")
