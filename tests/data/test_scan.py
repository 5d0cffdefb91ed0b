"""What is found in a folder, and what is left out."""

import os
from pathlib import Path

import pytest
from PIL import Image

from lgm.data.base import DataError
from lgm.data.scan import Scan, scan_folder, scan_list


def put(path: Path, shade: int = 0, size: tuple[int, int] = (8, 6)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("L", size, shade).save(path, "PNG")
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for shade, name in enumerate(["ants/1.png", "ants/deep/er/2.png", "bees/3.png", "пчёлы/四.png"]):
        put(tmp_path / "data" / name, shade)
    return tmp_path / "data"


def by_path(found: Scan) -> dict[str, str]:
    return {image.path: image.label for image in found.images}


def reasons(found: Scan) -> dict[str, str]:
    return {entry.path: entry.reason for entry in found.skipped}


def test_a_sub_folder_is_a_class(folder: Path):
    found = scan_folder(folder)
    assert by_path(found) == {
        "ants/1.png": "ants",
        "ants/deep/er/2.png": "ants",
        "bees/3.png": "bees",
        "пчёлы/四.png": "пчёлы",
    }
    assert found.skipped == ()
    first = found.images[0]
    assert (first.width, first.height, first.grey) == (8, 6, True)


def test_what_is_left_out_is_named_with_its_reason(folder: Path):
    put(folder / "beside.png")
    put(folder / "ants" / ".hidden.png")
    (folder / "ants" / "Thumbs.db").write_bytes(b"x")
    (folder / "ants" / "notes.jpg").write_text("no image")
    (folder / "ants" / "gone.png").symlink_to(folder / "nowhere")
    (folder / "ants" / "round").symlink_to(folder, target_is_directory=True)
    (folder / "ants" / "self").symlink_to(folder / "ants" / "self")
    assert reasons(scan_folder(folder)) == {
        "ants/gone.png": "a link to nothing",
        "ants/notes.jpg": "not an image",
        "ants/round": "a link to a folder that is read already",
        "ants/self": "a link to nothing",
        "beside.png": "in no class: it lies beside the classes' folders",
    }


def test_a_link_to_a_folder_elsewhere_is_followed(folder: Path, tmp_path: Path):
    put(tmp_path / "elsewhere" / "5.png", 50)
    (folder / "wasps").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert by_path(scan_folder(folder))["wasps/5.png"] == "wasps"


def test_the_same_content_under_two_labels_is_found(folder: Path):
    put(folder / "bees" / "again.png", 0)
    put(folder / "ants" / "again.png", 0)
    (same,) = scan_folder(folder).duplicates()
    assert [image.path for image in same] == ["ants/1.png", "ants/again.png", "bees/again.png"]


def test_a_name_that_is_no_text_is_a_name(folder: Path):
    odd = os.fsencode(folder / "ants") + b"/\xff\xfe.png"
    try:
        with open(odd, "wb") as file:
            file.write((folder / "ants" / "1.png").read_bytes())
    except OSError:
        pytest.skip("this file system takes no such names")
    assert os.fsdecode(b"ants/\xff\xfe.png") in by_path(scan_folder(folder))


@pytest.mark.parametrize("empty", ["missing", "a file", "no image"])
def test_a_folder_without_images_is_refused(empty: str, tmp_path: Path):
    place = tmp_path / "data"
    if empty == "a file":
        place.touch()
    elif empty == "no image":
        (place / "ants").mkdir(parents=True)
        (place / "ants" / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"expected a folder|no image in any class; (1 files were skipped|cannot)"):
        scan_folder(place)


def test_whoever_stops_it_gets_nothing(folder: Path):
    with pytest.raises(InterruptedError):
        scan_folder(folder, lambda done, total: done < 2)


def test_a_list_names_paths_and_labels(folder: Path):
    table = folder / "labels.csv"
    table.write_text("label,path\nants,ants/1.png\nbees,ants/deep/er/2.png\n,bees/3.png\nbees,bees/gone.png\n")
    found = scan_list(table)
    assert by_path(found) == {"ants/1.png": "ants", "ants/deep/er/2.png": "bees"}
    assert reasons(found) == {"bees/3.png": "has no label", "bees/gone.png": "there is no such file"}


def test_a_list_without_its_columns_is_refused(tmp_path: Path):
    table = tmp_path / "labels.csv"
    table.write_text("file;class\n1.png;ants\n")
    with pytest.raises(DataError, match="expected the columns path and label in its first line, found file;class"):
        scan_list(table)


def splits(found: Scan) -> dict[str, tuple[str, str]]:
    return {image.path: (image.split, image.label) for image in found.images}


def test_splits_as_folders_hold_the_classes(tmp_path: Path):
    for shade, name in enumerate(["train/ants/1.png", "train/bees/2.png", "Valid/ants/3.png", "test/bees/deep/4.png"]):
        put(tmp_path / name, shade)
    put(tmp_path / "train" / "beside.png")
    put(tmp_path / "beside.png")
    found = scan_folder(tmp_path)
    assert splits(found) == {
        "Valid/ants/3.png": ("held-out", "ants"),
        "test/bees/deep/4.png": ("test", "bees"),
        "train/ants/1.png": ("train", "ants"),
        "train/bees/2.png": ("train", "bees"),
    }
    assert set(reasons(found)) == {"train/beside.png", "beside.png"}


@pytest.mark.parametrize("names", [["train/1.png", "test/2.png"], ["train/a/1.png", "bus/a/2.png"]])
def test_classes_that_are_called_like_splits_stay_classes(names: list[str], tmp_path: Path):
    for shade, name in enumerate(names):
        put(tmp_path / name, shade)
    assert {(image.split, image.label) for image in scan_folder(tmp_path).images} == {
        ("", name.split("/")[0]) for name in names
    }


def test_a_list_may_name_splits(folder: Path):
    table = folder / "labels.csv"
    table.write_text("label,path,split\nants,ants/1.png,Train\nbees,bees/3.png,\nbees,ants/deep/er/2.png,val\n")
    assert splits(scan_list(table)) == {
        "ants/1.png": ("train", "ants"),
        "ants/deep/er/2.png": ("held-out", "bees"),
        "bees/3.png": ("", "bees"),
    }


def test_a_split_that_nobody_knows_is_refused(folder: Path):
    table = folder / "labels.csv"
    table.write_text("label,path,split\nants,ants/1.png,fold-3\n")
    with pytest.raises(DataError, match=r"ants/1.png: split: expected train, test, held-out or nothing, got 'fold-3'"):
        scan_list(table)


def test_a_list_without_rows_is_refused(tmp_path: Path):
    (tmp_path / "list.csv").write_text("path,label\n")
    with pytest.raises(DataError, match=r"list\.csv: expected a row an image below its first line, found none"):
        scan_list(tmp_path / "list.csv")
