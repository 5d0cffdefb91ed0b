"""A folder of links: what it holds, and what it never replaces."""

import os
from pathlib import Path

import numpy as np
import pytest

from lgm.detection.embedded import Embedded
from lgm.detection.image_table import ImageTable
from lgm.detection.kept_list import KeptList, Verdict
from lgm.detection.links import check_links, write_links
from lgm.utils.io import SaveError


@pytest.fixture
def found(tmp_path: Path) -> KeptList:
    """Six images of two classes; the last three are removed."""
    paths = ["a/x.png", "b/x.png", "b/deep/x.png", "ä/y.png", "b/deeper/x.png", os.fsdecode(b"b/\xff.png")]
    for path in paths:
        (tmp_path / "data" / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data" / path).write_text(path, errors="surrogateescape")
    labels = np.array([0, 1, 1, 2, 1, 1])
    classes = ("a", "b", "../ä")
    table = ImageTable("mine", True, tmp_path / "data", classes, np.array(paths, object), labels, np.zeros(6, "S32"))
    images = Embedded(table, classes, labels, np.zeros((6, 2), np.float32), labels, ())
    return KeptList(images, (Verdict("likelihood", np.array([3.0, 2, 2, -1, -2, -3]), -1.0, 100),))


def test_each_image_has_one_link_under_its_class(found: KeptList, tmp_path: Path):
    folder = tmp_path / "links"
    check_links(folder, force=False)
    write_links(found, folder)
    links = {str(link.relative_to(folder)): link for link in folder.rglob("*") if link.is_symlink()}
    assert set(links) == {
        "kept/a/x.png",
        "kept/b/x.png",
        "kept/b/x-2.png",
        "removed/.._ä/y.png",
        "removed/b/x.png",
        os.fsdecode(b"removed/b/\xff.png"),
    }
    assert links["kept/b/x-2.png"].read_text() == "b/deep/x.png"
    assert links["removed/b/x.png"].read_text() == "b/deeper/x.png"
    assert sorted(os.listdir(tmp_path)) == ["data", "links"], "nothing else is left behind"


def test_what_is_there_is_replaced_only_on_wish_and_only_if_it_is_links(found: KeptList, tmp_path: Path):
    folder = tmp_path / "links"
    write_links(found, folder)
    (folder / "kept" / "a" / "old.png").symlink_to(tmp_path)
    with pytest.raises(ValueError, match="exists already; choose another --links, or replace it with --force"):
        check_links(folder, force=False)
    check_links(folder, force=True)
    write_links(found, folder)
    assert not (folder / "kept" / "a" / "old.png").is_symlink()
    (folder / "mine.txt").write_text("work of years")
    with pytest.raises(ValueError, match="holds more than links, and is not replaced"):
        check_links(folder, force=True)
    with pytest.raises(ValueError, match="holds more than links"):
        check_links(tmp_path / "data" / "a" / "x.png", force=True)
    assert (folder / "mine.txt").read_text() == "work of years"


def test_a_place_that_takes_no_folder_is_refused_before_the_work(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SaveError, match="cannot be written"):
        check_links(tmp_path / "file" / "links", force=False)


def test_a_failure_leaves_what_was_there(found: KeptList, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    folder = tmp_path / "links"
    write_links(found, folder)
    before = sorted(map(str, folder.rglob("*")))

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "symlink", full)
    with pytest.raises(SaveError, match=r"No space left on device.*make room"):
        write_links(found, folder)
    assert sorted(map(str, folder.rglob("*"))) == before
    assert sorted(os.listdir(tmp_path)) == ["data", "links"]
