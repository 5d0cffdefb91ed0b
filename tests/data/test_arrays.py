"""Images in NumPy archives: every layout reads as what it is, and what does not fit is refused in a sentence."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lgm.data.arrays import ArrayImages, image_at, read_rows, scan_arrays
from lgm.data.base import DataError
from lgm.data.image_files import ImageFileError, fit_to
from lgm.data.npz_rows import Rows
from lgm.data.registry import load_split
from lgm.data.store import register
from lgm.utils.images import picture

RNG = np.random.default_rng(0)
COLOUR = RNG.integers(0, 256, (7, 5, 6, 3), dtype=np.uint8)
GREY = RNG.integers(0, 256, (7, 5, 6), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 10])


def save(path: Path, *, packed: bool = True, **arrays: Any) -> Path:
    (np.savez_compressed if packed else np.savez)(path, **arrays)
    return path


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("order", [range(7), reversed(range(7)), (3, 3, 0, 6)])
def test_rows_are_those_of_numpy_in_any_order(packed: bool, order: Any, tmp_path: Path):
    path = save(tmp_path / "x.npz", packed=packed, other=GREY, images=COLOUR)
    with Rows(path, "images") as rows:
        assert (rows.shape, rows.dtype) == (COLOUR.shape, np.uint8)
        for at in order:
            np.testing.assert_array_equal(rows.read(at, at + 1), COLOUR[at : at + 1])
        np.testing.assert_array_equal(rows.read(0, 7), COLOUR)
        with pytest.raises(DataError, match="row 7 is asked for, and it has 7"):
            rows.read(6, 8)


@pytest.mark.parametrize(
    ("images", "expected"),
    [
        (GREY, GREY[..., None]),
        (GREY[..., None], GREY[..., None]),
        (GREY[:, None], GREY[..., None]),
        (COLOUR, COLOUR),
        (COLOUR.transpose(0, 3, 1, 2), COLOUR),
        (COLOUR / 255, COLOUR),
        ((COLOUR.transpose(0, 3, 1, 2) / 255).astype(">f4"), COLOUR),
        (COLOUR[:, :3], COLOUR[:, :3]),  # three rows of pixels: the channels are those that come last
    ],
)
def test_every_layout_reads_as_channels_last_bytes(images: np.ndarray, expected: np.ndarray, tmp_path: Path):
    with ArrayImages(save(tmp_path / "x.npz", images=np.ascontiguousarray(images))) as found:
        assert found.shape == expected.shape[1:]
        np.testing.assert_array_equal(found.read(0, len(found)), expected)


def test_a_scan_names_each_row_and_finds_duplicates(tmp_path: Path):
    pixels = np.concatenate([COLOUR, COLOUR[:1], GREY[:1, ..., None].repeat(3, -1)])
    path = save(tmp_path / "x.npz", images=pixels, labels=np.array([*LABELS, 1, 2]))
    found = scan_arrays(path)
    assert [image.path for image in found.images] == [f"x.npz/{i:06}" for i in range(9)]
    assert found.classes == ("0", "1", "2", "10")  # by number
    assert [image.grey for image in found.images] == [False] * 8 + [True]
    assert {(image.width, image.height) for image in found.images} == {(6, 5)}
    (same,) = found.duplicates()
    assert [image.path for image in same] == ["x.npz/000000", "x.npz/000007"]


@pytest.mark.parametrize(
    ("labels", "more", "names", "classes"),
    [
        (np.array(["bee", "ant", " ant ", ""]), {}, ["bee", "ant", "ant"], ("ant", "bee")),
        (np.array([b"bee", "пчела".encode(), b"", b""]), {}, ["bee", "пчела"], ("bee", "пчела")),
        (np.array([1, 0, 1, 3]), {"classes": np.array(["z", "y", "x", "w"])}, ["y", "z", "y", "w"], ("z", "y", "w")),
        (np.array(["y", "z", "y", "w"]), {"classes": np.array(["z", "y", "w"])}, ["y", "z", "y", "w"], ("z", "y", "w")),
        (np.array([-1, 5, 5, 5]), {}, ["-1", "5", "5", "5"], ("-1", "5")),
    ],
)
def test_labels_are_names_or_numbers(labels: Any, more: Any, names: list[str], classes: Any, tmp_path: Path):
    found = scan_arrays(save(tmp_path / "x.npz", images=GREY[:4], labels=labels, **more))
    assert [image.label for image in found.images] == names
    assert found.classes == classes
    assert [entry.reason for entry in found.skipped] == ["has no label"] * (4 - len(names))


def test_splits_may_be_given(tmp_path: Path):
    path = save(tmp_path / "x.npz", images=GREY, labels=LABELS, split=np.array(["train", "val", "", *["test"] * 4]))
    assert [image.split for image in scan_arrays(path).images] == ["train", "held-out", "", *["test"] * 4]


ARCHIVES: dict[str, tuple[dict[str, Any], str]] = {
    "no images": ({"x_train": GREY, "labels": LABELS}, "images: expected an array of this name, found none"),
    "no labels": ({"images": GREY}, "labels: expected an array of this name, found none"),
    "too few labels": ({"images": GREY, "labels": LABELS[1:]}, r"one for each of the 7 rows, found shape \(6,\)"),
    "one-hot": ({"images": GREY, "labels": np.eye(7)}, r"one for each of the 7 rows, found shape \(7, 7\)"),
    "objects": ({"images": GREY, "labels": LABELS.astype(object)}, r"holds Python objects.*save labels.astype\(str\)"),
    "fractions": ({"images": GREY, "labels": LABELS / 2}, "expected names or whole numbers, found float64"),
    "flat": ({"images": GREY.reshape(7, -1), "labels": LABELS}, r"expected \(N, H, W\), .* found \(7, 30\)"),
    "four channels": ({"images": np.zeros((7, 5, 6, 4), np.uint8), "labels": LABELS}, "with 1 or 3 channels"),
    "none": ({"images": GREY[:0], "labels": LABELS[:0]}, "expected 1 to 10,000,000 images, found 0"),
    "0..255 as float": ({"images": GREY.astype(float), "labels": LABELS}, "expected pixels in .*; divide by 255"),
    "NaN": ({"images": np.full((7, 5, 6), np.nan), "labels": LABELS}, r"expected pixels in \[0, 1\], got nan"),
    "int64": ({"images": GREY.astype(int), "labels": LABELS}, "found int64; convert them"),
    "0 and 1": ({"images": GREY // 128, "labels": LABELS}, "got none that exceeds 1"),
    "too few classes": (
        {"images": GREY, "labels": LABELS, "classes": np.array(["a", "b"])},
        r"expected 0\.\.1.*0\.\.10",
    ),
    "twice": ({"images": GREY, "labels": LABELS, "classes": np.array(["a", "a"])}, "none of them twice"),
    "unknown": (
        {"images": GREY, "labels": np.array(list("aaaabbc")), "classes": np.array(["a", "b"])},
        "'c' is none of",
    ),
    "unknown split": ({"images": GREY, "labels": LABELS, "split": np.full(7, "fold")}, "split: expected train, test"),
    "no text": ({"images": GREY, "labels": np.full(7, b"\xff")}, "expected names in UTF-8"),
    "half a letter": ({"images": GREY, "labels": np.full(7, "\ud800")}, "expected names in UTF-8"),
    "unlabelled": ({"images": GREY, "labels": np.full(7, " ")}, "no row has one"),
    "Fortran": ({"images": np.asfortranarray(GREY), "labels": LABELS}, r"save np.ascontiguousarray\(images\)"),
    "one number": ({"images": np.uint8(7), "labels": LABELS}, "expected a row an image"),
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_what_does_not_fit_is_refused(name: str, tmp_path: Path):
    arrays, said = ARCHIVES[name]
    with pytest.raises(DataError, match=said):
        scan_arrays(save(tmp_path / "x.npz", **arrays))


def rewrite(path: Path, change: Callable[[bytes], bytes]) -> None:
    """Change the member of the images, and keep the archive's checksums right."""
    with zipfile.ZipFile(path) as old:
        held = {name: old.read(name) for name in old.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as new:
        for name, content in held.items():
            new.writestr(name, change(content) if name == "images.npy" else content)


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content[:-40],
        lambda content: content[:20],
        lambda content: b"",
        lambda content: content.replace(b"(7, 5, 6)", b"(7, 5,-6)"),
        lambda content: content.replace(b"(7, 5, 6), }    ", b"(7, 9**99), }   "),
        lambda content: content.replace(b"'|u1'", b"'|x1'"),
        lambda content: content.replace(b"NUMPY\x01", b"NUMPY\x09"),
    ],
)
def test_a_member_that_is_damaged_is_refused(change: Callable[[bytes], bytes], tmp_path: Path):
    path = save(tmp_path / "x.npz", images=GREY, labels=LABELS)
    rewrite(path, change)
    with pytest.raises(DataError, match=r"x\.npz: (images|labels)"):
        scan_arrays(path)


def test_any_truncated_or_flipped_archive_is_refused_or_read(tmp_path: Path):
    content = save(tmp_path / "x.npz", images=GREY, labels=LABELS).read_bytes()
    bad = tmp_path / "bad.npz"
    for at in range(0, len(content), 7):
        flipped = bytearray(content)
        flipped[at] ^= 0xFF
        for damaged in (content[:at], bytes(flipped)):
            bad.write_bytes(damaged)
            try:
                scan_arrays(bad)
            except DataError as error:
                assert str(bad) in str(error)


def test_a_declared_flood_is_refused_before_memory_is_asked_for(tmp_path: Path):
    path = save(tmp_path / "x.npz", images=GREY, labels=LABELS)
    rewrite(path, lambda content: content.replace(b"(7, 5, 6), }             ", b"(20000000, 5, 6), }      "))
    with pytest.raises(DataError, match="expected 1 to 10,000,000 images, found 20,000,000"):
        scan_arrays(path)


def test_whoever_stops_it_gets_nothing(tmp_path: Path):
    path = save(tmp_path / "x.npz", images=GREY, labels=LABELS)
    with pytest.raises(InterruptedError):
        scan_arrays(path, lambda done, total: False)


def test_one_row_is_a_picture(tmp_path: Path):
    save(tmp_path / "x.npz", images=COLOUR, labels=LABELS)
    np.testing.assert_array_equal(np.asarray(image_at(tmp_path, "x.npz/000003")), COLOUR[3])
    with pytest.raises(ImageFileError, match="row 7 is asked for"):
        image_at(tmp_path, "x.npz/000007")
    with pytest.raises(ImageFileError, match="there is no such file"):
        image_at(tmp_path, "y.npz/000007")


@pytest.mark.parametrize("shape", [(3, 5, 6), (1, 4, 4)])
def test_rows_in_any_order_are_read_in_one_go(shape: tuple[int, int, int], tmp_path: Path, monkeypatch: Any):
    monkeypatch.setattr("lgm.data.arrays._CHUNK", 8 * 3 * COLOUR[0].size)  # three images at a time
    rows = np.array([5, 0, 6, 5])
    expected = np.stack([fit_to(picture(np.moveaxis(COLOUR[at], -1, 0)), shape) for at in rows])
    path = save(tmp_path / "x.npz", images=COLOUR, labels=LABELS)
    np.testing.assert_array_equal(read_rows(path, rows, shape), expected)
    with pytest.raises(DataError, match="row 7 is asked for, and it has 7"):
        read_rows(path, np.array([7]), shape)


def test_a_registered_archive_is_a_dataset(fresh_home: Path, tmp_path: Path):
    made, found = register("mine", save(tmp_path / "x.npz", images=COLOUR, labels=LABELS), size=5)
    split = load_split("all", "mine")
    assert (made.shape, made.kind) == ((3, 5, 5), "arrays")
    expected = np.stack([fit_to(image_at(tmp_path, image.path), (3, 5, 5)) for image in found.images])
    np.testing.assert_array_equal(split.images, expected)
    assert [made.classes[label] for label in split.labels] == [str(label) for label in LABELS]
    np.savez(tmp_path / "f.npz", features=np.eye(7), labels=LABELS)
    register("features", tmp_path / "f.npz")
    with pytest.raises(DataError, match="features: holds features, not images"):
        load_split("all", "features")
