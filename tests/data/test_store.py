"""What is kept of a dataset, and how older files of it read."""

import json
import os
from pathlib import Path

import pytest
from PIL import Image

from lgm.data.base import DataError
from lgm.data.store import read_images, read_registration, read_skipped, register
from lgm.utils.io import SaveError


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LGM_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "datasets" / "mine"


def folder(root: Path, *names: str) -> Path:
    for shade, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 8), (shade, 0, 9)).save(root / name)
    return root


def test_what_was_found_reads_back(tmp_path: Path):
    source = folder(tmp_path / "data", "train/a/1.png", 'test/b/2, \n"x".png', "train/b/3.png")
    (source / "train" / "a" / "notes.png").write_text("no image")
    made, found = register("mine", source)
    assert read_registration("mine") == made
    assert made.splits == ("train", "test") and made.shape == (3, 8, 8)
    assert (read_images("mine"), read_skipped("mine")) == (found.images, found.skipped)


def test_a_registration_of_format_1_reads(home: Path, tmp_path: Path):
    made, found = register("mine", folder(tmp_path / "data", "a/1.png", "b/2.png"))
    about = json.loads((home / "about.json").read_text())
    del about["splits"]
    (home / "about.json").write_text(json.dumps(about | {"format": 1}))
    lines = (home / "images.csv").read_text().splitlines()
    (home / "images.csv").write_text("\n".join(line.rpartition(",")[0] for line in lines))
    assert read_images("mine") == found.images
    assert read_registration("mine").splits == () == made.splits


def test_a_registration_of_a_later_format_is_refused(home: Path, tmp_path: Path):
    register("mine", folder(tmp_path / "data", "a/1.png", "b/2.png"))
    text = (home / "about.json").read_text()
    (home / "about.json").write_text(text.replace('"format": 2', '"format": 3'))
    with pytest.raises(DataError, match="format 3, where 2 is the newest known; add it anew"):
        read_registration("mine")


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text.replace("sha256", "md5"), "found none of sha256"),
        (lambda text: text.replace(",8,8,", ",8,eight,"), "invalid literal"),
        (lambda text: text.replace("False", "no"), "expected True or False"),
        (lambda text: text[:-12], "row 3: expected 7 cells"),
        (lambda text: "", "expected the columns"),
    ],
)
def test_a_damaged_table_is_refused(damage, said: str, home: Path, tmp_path: Path):
    register("mine", folder(tmp_path / "data", "a/1.png", "b/2.png"))
    path = home / "images.csv"
    path.write_bytes(damage(path.read_bytes().decode()).encode())
    with pytest.raises(DataError, match=f"{said}.*; add the dataset anew"):
        read_images("mine")


def test_a_name_that_is_no_text_comes_back(tmp_path: Path):
    source = folder(tmp_path / "data", "a/1.png", "b/2.png")
    odd = os.fsencode(source / "a") + b"/\xff.png"
    try:
        os.rename(source / "a" / "1.png", odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    register("mine", source)
    assert read_images("mine")[0].path == os.fsdecode(b"a/\xff.png")


def test_of_two_that_register_one_name_at_a_time_the_second_is_told(home: Path, tmp_path: Path):
    source, said = folder(tmp_path / "data", "a/1.png", "b/1.png"), []

    def meanwhile(done: int, total: int) -> None:
        if done == total:
            with pytest.raises(SaveError, match="is writing it"):
                register("mine", source, replace=True)
            said.append(done)

    register("mine", source, on_image=meanwhile)
    assert said
    assert sorted(path.name for path in home.iterdir()) == [
        "about.json",
        "images.csv",
        "skipped.csv",
    ]


def test_a_place_that_cannot_be_written_is_refused_before_any_image_is_read(home: Path, tmp_path: Path):
    home.parent.mkdir(parents=True)
    home.write_text("")
    with pytest.raises(SaveError, match="cannot be written"):
        register("mine", folder(tmp_path / "data", "a/1.png", "b/1.png"), on_image=lambda done, total: pytest.fail())


def test_nothing_is_left_of_a_source_that_holds_nothing(home: Path, tmp_path: Path):
    (tmp_path / "data").mkdir()
    with pytest.raises(DataError, match="no image"):
        register("mine", tmp_path / "data")
    assert not home.exists()


def test_grey_images_are_taken_in_colour_where_that_is_asked_for(tmp_path: Path):
    for label in ("a", "b"):
        (tmp_path / "data" / label).mkdir(parents=True)
        Image.new("L", (8, 8), ord(label)).save(tmp_path / "data" / label / "1.png")
    assert register("mine", tmp_path / "data")[0].shape == (1, 8, 8)
    assert register("mine", tmp_path / "data", colour=True, replace=True)[0].shape == (3, 8, 8)
