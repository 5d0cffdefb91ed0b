"""Poisons made elsewhere: read whatever leaves no doubt, and name whatever does."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lgm.attacks.export import arrays
from lgm.attacks.poison_folder import write_folder
from lgm.attacks.result import read_shipped_poisons
from lgm.data.base import Split
from lgm.detection.suspects import LabelledImages, read_suspects
from lgm.models.card import CheckpointError

TEN = tuple("0123456789")
GREY, COLOUR = (1, 28, 28), (3, 32, 32)


def saved(path: Path, **held: Any) -> Path:
    if path.suffix == ".npz":
        np.savez_compressed(path, **held)
    else:
        save_file({name: np.ascontiguousarray(array) for name, array in held.items()}, path)
    return path


@pytest.mark.parametrize("ending", ["npz", "safetensors"])
@pytest.mark.parametrize(
    ("change_images", "change_labels"),
    [
        (lambda x: x, lambda y: y),
        (lambda x: x.astype(np.float64), lambda y: y.astype(np.int32)),
        (lambda x: (255 * x).round().astype(np.uint8), lambda y: y.astype(np.float32)),
        (lambda x: x.transpose(0, 2, 3, 1), lambda y: np.eye(10, dtype=np.float32)[y]),
        (lambda x: x[:, 0], lambda y: y[:, None]),
        (lambda x: x.reshape(len(x), -1), lambda y: y.astype(np.uint8)),
    ],
    ids=["as ours", "wide", "bytes", "channels last, one-hot", "without channel", "rows"],
)
def test_what_leaves_no_doubt_is_read(
    few: Split, tmp_path: Path, ending: str, change_images: Callable[[Any], Any], change_labels: Callable[[Any], Any]
):
    pixels = few.pixels().numpy()
    path = saved(tmp_path / f"theirs.{ending}", images=change_images(pixels), labels=change_labels(few.labels))
    found = read_suspects(path, GREY, TEN)
    assert isinstance(found, LabelledImages)
    np.testing.assert_allclose(found.images, pixels, atol=1e-7)
    np.testing.assert_array_equal(found.labels, few.labels)
    assert (found.images.dtype, found.labels.dtype, len(found)) == (np.float32, np.uint8, 50)
    assert (found.collided, found.manifest) == (None, {})


def test_colour_images_with_the_channels_last(rng: np.random.Generator, tmp_path: Path):
    images = rng.random((4, 32, 32, 3))
    found = read_suspects(saved(tmp_path / "some.npz", X=images, Y=np.arange(4)), COLOUR, TEN)
    np.testing.assert_allclose(found.images[2, 1], images[2, :, :, 1], rtol=1e-6)


def test_arrays_without_names(few: Split, tmp_path: Path):
    np.savez(tmp_path / "some.npz", few.images, few.labels)
    np.testing.assert_array_equal(read_suspects(tmp_path / "some.npz", GREY, TEN).labels, few.labels)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((2, 3, 32, 32)), [0, 1], r"images: expected shape \(N, 1, 28, 28\), got \(2, 3, 32, 32\)"),
        (np.zeros((2, 1, 28, 28), np.int64), [0, 1], r"images: expected floating-point pixels .*, got int64"),
        (np.full((2, 1, 28, 28), 200.0), [0, 1], r"images: expected pixels in \[0, 1\], got 200\.\.200; divide by 255"),
        (np.full((2, 1, 28, 28), -1.0), [0, 1], r"images: expected pixels in \[0, 1\], got -1\.\.-1; undo"),
        (np.full((2, 1, 28, 28), np.nan), [0, 1], r"images: expected pixels in \[0, 1\], got nan\.\.nan"),
        (np.zeros((2, 1, 28, 28)), [0, 1, 2], r"labels: expected one per image \(2\), got 3"),
        (np.zeros((2, 1, 28, 28)), [0, 10], r"labels: expected 0\.\.9, got 0\.\.10"),
        (np.zeros((2, 1, 28, 28)), [0.5, 1], r"labels: expected whole numbers, got float64 with fractions"),
        (np.zeros((2, 1, 28, 28)), np.zeros((2, 7)), r"labels: expected shape \(N,\), or one-hot rows \(N, 10\)"),
        (np.zeros((2, 1, 28, 28)), ["0", "1"], r"labels: expected whole numbers, got <U1"),
        (np.zeros((0, 1, 28, 28)), [], r"images: expected at least one, got none"),
    ],
)
def test_what_could_mean_anything_is_refused_by_name(images: np.ndarray, labels: Any, message: str, tmp_path: Path):
    path = saved(tmp_path / "theirs.npz", images=images, labels=np.asarray(labels))
    with pytest.raises(CheckpointError, match=rf"{path}: {message}"):
        read_suspects(path, GREY, TEN)


class Malicious:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_nothing_in_a_file_is_executed(tmp_path: Path):
    marker = tmp_path / "executed"
    objects = np.array([Malicious(marker)], object)
    np.savez(tmp_path / "objects.npz", images=objects, labels=objects)
    (tmp_path / "plain.npz").write_bytes(pickle.dumps(Malicious(marker)))
    for path in tmp_path.glob("*.npz"):
        with pytest.raises(CheckpointError, match=rf"{path}: expected poisons made by .*, or images and labels"):
            read_suspects(path, GREY, TEN)
    assert not marker.exists()
    np.load(tmp_path / "objects.npz", allow_pickle=True)["images"]
    assert marker.exists(), "the payload is a live one"


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 no zip", b"\x93NUMPY", bytes(range(256))])
def test_other_files(content: bytes, tmp_path: Path):
    path = tmp_path / "theirs.npz"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path}: expected poisons made by .*, found \w+"):
        read_suspects(path, GREY, TEN)


def test_half_an_archive_and_arrays_with_other_names(few: Split, tmp_path: Path):
    path = saved(tmp_path / "theirs.npz", images=few.images, labels=few.labels)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(CheckpointError, match=rf"{path}: expected poisons made by"):
        read_suspects(path, GREY, TEN)
    path = saved(tmp_path / "other.npz", images=few.images, classes=few.labels)
    with pytest.raises(
        CheckpointError, match="found no labels among images, classes; call the arrays images and labels"
    ):
        read_suspects(path, GREY, TEN)


def test_an_archive_that_unpacks_to_too_much_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = saved(tmp_path / "bomb.npz", images=np.zeros((9, 1, 28, 28), np.uint8), labels=np.arange(9))
    assert len(read_suspects(path, GREY, TEN)) == 9
    monkeypatch.setattr("lgm.utils.files.LARGEST", 5_000)
    assert path.stat().st_size < 5_000
    with pytest.raises(CheckpointError, match="found an archive that unpacks to"):
        read_suspects(path, GREY, TEN)


def test_a_folder_and_a_file_that_is_not_there(tmp_path: Path):
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.npz: expected PNGs with poisons\.csv.*no image in any class"):
        read_suspects(tmp_path / "folder.npz", GREY, TEN)
    with pytest.raises(CheckpointError, match=r"none\.npz: no such file"):
        read_suspects(tmp_path / "none.npz", GREY, TEN)


def test_what_was_exported_says_what_collides(tmp_path: Path):
    poisons = read_shipped_poisons("mnist-lgm")[np.arange(6)]
    (tmp_path / "x.npz").write_bytes(arrays(poisons))
    write_folder(poisons, TEN, tmp_path / "x")
    for path, exact in ((tmp_path / "x.npz", True), (tmp_path / "x", False)):
        found = read_suspects(path, GREY, TEN)
        assert isinstance(found, LabelledImages) and found.collided is not None
        np.testing.assert_allclose(found.images, poisons.images, atol=0 if exact else 0.5 / 255 + 1e-6)
        np.testing.assert_array_equal(found.labels, poisons.labels)
        np.testing.assert_array_equal(found.collided, poisons.collided)
        assert found.manifest == poisons.manifest
