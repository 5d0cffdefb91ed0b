"""A folder of poisons holds what was crafted, rounded to 8 bits, and reads back."""

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lgm.attacks.export import rounded
from lgm.attacks.poison_folder import read_folder, write_folder
from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.data.registry import DATASETS
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import load_checkpoint
from lgm.utils.io import SaveError

CLASSES, SHAPE = DATASETS["mnist"].classes, (1, 28, 28)


@pytest.fixture(scope="module")
def poisons() -> Poisons:
    return read_shipped_poisons("mnist-lgm")[np.arange(5)]


@pytest.fixture
def folder(poisons: Poisons, tmp_path: Path) -> Path:
    write_folder(poisons, CLASSES, tmp_path / "out")
    return tmp_path / "out"


def test_a_folder_reads_back_rounded_to_8_bits(poisons: Poisons, tmp_path: Path):
    model, _ = load_checkpoint("mnist-lgm")
    write_folder(poisons, CLASSES, tmp_path / "a" / "b", model)
    back = read_folder(tmp_path / "a" / "b", SHAPE, CLASSES)
    np.testing.assert_array_equal(back.images, np.rint(255 * poisons.images))
    np.testing.assert_array_equal(back.labels, poisons.labels)
    assert back.collided is not None
    np.testing.assert_array_equal(back.collided, rounded(model, poisons).collided)
    assert back.manifest == poisons.manifest
    assert sorted(path.name for path in (tmp_path / "a" / "b").iterdir()) == [
        "base_indices.json", "poisons", "poisons.csv", "poisons.json", "target.json",
    ]  # fmt: skip


def test_positions_are_those_of_the_public_benchmark(poisons: Poisons, folder: Path, tmp_path: Path):
    assert json.loads((folder / "base_indices.json").read_text()) == poisons.base_index.tolist()
    targets = json.loads((folder / "target.json").read_text())
    assert [target["index"] for target in targets] == poisons.target_index.tolist()
    assert [target["label"] for target in targets] == poisons.target_labels.tolist()
    same = {"target_index": np.full(5, 7), "target_labels": np.full(5, 3, np.uint8)}
    write_folder(replace(poisons, **same), CLASSES, tmp_path / "one")
    assert json.loads((tmp_path / "one" / "target.json").read_text()) == {"index": 7, "label": 3}


def test_what_is_there_gives_way_and_other_files_stay(poisons: Poisons, folder: Path):
    (folder / "notes.txt").write_text("mine")
    write_folder(poisons[np.arange(2)], CLASSES, folder)
    assert len(read_folder(folder, SHAPE, CLASSES).labels) == len(list((folder / "poisons").iterdir())) == 2
    assert (folder / "notes.txt").read_text() == "mine"
    assert not [path for path in folder.iterdir() if path.name.endswith(".part")]


def test_a_place_that_cannot_be_written_is_named(poisons: Poisons, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(SaveError, match=r"file/out: cannot be written"):
        write_folder(poisons, CLASSES, tmp_path / "file" / "out")


def test_a_table_from_elsewhere_needs_a_file_and_a_label(folder: Path):
    with (folder / "poisons.csv").open(newline="") as file:
        names = [row["file"] for row in csv.DictReader(file)]
    (folder / "poisons.csv").write_text("path,label\n" + "".join(f"{name},{at}\n" for at, name in enumerate(names)))
    (folder / "poisons.json").write_text("[]")
    back = read_folder(folder, SHAPE, tuple("abcdefghij"))  # numbers, where they are no names
    assert back.labels.tolist() == list(range(5))
    assert (back.collided, back.manifest) == (None, {})


def test_a_sub_folder_a_class_is_enough(poisons: Poisons, tmp_path: Path):
    for at, (image, label) in enumerate(zip(poisons.images, poisons.labels, strict=True)):
        (tmp_path / str(label)).mkdir(exist_ok=True)
        Image.fromarray(np.rint(255 * image[0]).astype(np.uint8)).save(tmp_path / str(label) / f"{at}.png")
    back = read_folder(tmp_path, SHAPE, CLASSES)
    order = sorted(range(5), key=lambda at: (str(poisons.labels[at]), at))
    np.testing.assert_array_equal(back.images, np.rint(255 * poisons.images[order]))
    np.testing.assert_array_equal(back.labels, poisons.labels[order])


def table(text: str) -> Callable[[Path], object]:
    return lambda folder: (folder / "poisons.csv").write_text(text)


def first(folder: Path) -> Path:
    return sorted((folder / "poisons").iterdir())[0]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (table(""), "without the columns file and claimed_label: empty"),
        (table("file,class\nx,1\n"), "without the columns file and claimed_label: class, file"),
        (table("file,label\n"), "no poison"),
        (table("file,label\ngone.png,1\n"), "gone.png: there is no such file"),
        (table("file,label\n../../x.png,1\n"), "there is no such file"),
        (lambda folder: first(folder).write_bytes(b"no image"), "not an image"),
        (
            lambda folder: Image.new("L", (9, 28)).save(first(folder)),
            "9 x 28 pixels in grey, where the network takes 28",
        ),
        (lambda folder: Image.new("RGB", (28, 28), "red").save(first(folder)), "in colour, where .* 28 x 28 in grey"),
        (lambda folder: shutil.rmtree(folder / "poisons"), "there is no such file"),
        (lambda folder: (folder / "poisons.csv").unlink(), "the label 'poisons', which is none of 0, 1|lies beside"),
    ],
)
def test_what_does_not_read_is_refused(damage: Callable[[Path], object], said: str, folder: Path):
    damage(folder)
    with pytest.raises(
        CheckpointError, match=f"expected PNGs with poisons.csv, or a sub-folder a class, found .*{said}"
    ):
        read_folder(folder, SHAPE, CLASSES)


@pytest.mark.parametrize("label", ["10", "-1", "ten", "", "1.0", "¹"])
def test_a_label_that_is_no_class_is_refused(label: str, folder: Path):
    (folder / "poisons.csv").write_text(f"file,label\npoisons/{first(folder).name},{label}\n")
    with pytest.raises(CheckpointError, match=f"found the label '{label}', which is none of 0, 1"):
        read_folder(folder, SHAPE, CLASSES)
