"""CIFAR-10, from files that look like the official ones; and from these, where the machine has them."""

import hashlib
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lgm.data.base import DataError, Split, per_class
from lgm.data.cifar10 import _bundled_files, _official
from lgm.data.registry import DATASETS, load_split
from lgm.models.features import read_features

# Before conftest hides it: where the official images are, if the machine has them.
_REAL = Path(os.environ.get("LGM_DATA", "no such folder"))
TRAIN, TEST, KNOWN = 50, 20, 8  # images in the synthetic files; the hash of the first test images alone is known
Arrays = dict[str, np.ndarray]


def split(name: str) -> Split:
    return load_split(name, "cifar10")


def sha256(arrays: Arrays, name: str, count: int) -> str:
    """By loops: all images channel by channel, then all labels."""
    digest = hashlib.sha256()
    for image in arrays[f"{name}_images"][:count]:
        for channel in range(3):
            digest.update(image[:, :, channel].tobytes())
    digest.update(arrays[f"{name}_labels"][:count].tobytes())
    return digest.hexdigest()


@pytest.fixture
def arrays(rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Arrays:
    """Images that count as the official ones in this test; two of each class are held out."""
    made = {}
    for name, n in (("train", TRAIN), ("test", TEST)):
        made[f"{name}_images"] = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        made[f"{name}_labels"] = rng.permutation(np.arange(n, dtype=np.uint8) % 10)
    monkeypatch.setattr("lgm.data.cifar10._TRAIN_SHA256", sha256(made, "train", TRAIN))
    monkeypatch.setattr("lgm.data.cifar10._TEST_SHA256", sha256(made, "test", KNOWN))
    monkeypatch.setattr("lgm.data.cifar10._TEST_KNOWN", KNOWN)
    monkeypatch.setattr("lgm.data.cifar10.HELD_OUT", 2)
    monkeypatch.setenv("LGM_DATA", str(tmp_path / "data"))
    (tmp_path / "data").mkdir()
    return made


@pytest.fixture
def archive(arrays: Arrays, tmp_path: Path) -> Path:
    path = tmp_path / "data" / "cifar10.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def write_batches(arrays: Arrays, folder: Path) -> dict[str, str]:
    """The files of the official folder: a row an image, channel by channel. Returns the MD5 of each."""
    folder.mkdir(parents=True)
    rows = {name: arrays[f"{name}_images"].transpose(0, 3, 1, 2).reshape(-1, 3072) for name in ("train", "test")}
    names = [f"data_batch_{k}" for k in range(1, 6)]
    parts = dict(
        zip(names, zip(np.split(rows["train"], 5), np.split(arrays["train_labels"], 5), strict=True), strict=True)
    )
    parts["test_batch"] = (rows["test"], arrays["test_labels"])
    content = {name: pickle.dumps({"data": data, "labels": labels.tolist()}) for name, (data, labels) in parts.items()}
    content["batches.meta"] = pickle.dumps({"label_names": list(DATASETS["cifar10"].classes)})
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return {name: hashlib.md5(data).hexdigest() for name, data in content.items()}


def make_official(md5: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.datasets import CIFAR10  # takes a second, which tests of other files need not wait for

    monkeypatch.setattr(CIFAR10, "train_list", [[name, md5[name]] for name in sorted(md5) if name.startswith("data")])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", md5["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": md5["batches.meta"]})


@pytest.fixture
def batches(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "data" / "cifar-10-batches-py"
    make_official(write_batches(arrays, folder), monkeypatch)
    return folder


@pytest.mark.parametrize("source", ["archive", "batches"])
def test_either_source_gives_the_images_as_they_are(source: str, arrays: Arrays, request: pytest.FixtureRequest):
    request.getfixturevalue(source)
    test = split("test")
    assert (test.name, test.dataset, test.images.shape) == ("test", "cifar10", (TEST, 3, 32, 32))
    assert (test.images.dtype, test.labels.dtype) == (np.uint8, np.int64)
    for image, given in zip(test.images, arrays["test_images"], strict=True):
        np.testing.assert_array_equal(image.transpose(1, 2, 0), given)
    np.testing.assert_array_equal(test.labels, arrays["test_labels"])
    assert all(DATASETS["cifar10"].at_hand(name) for name in DATASETS["cifar10"].splits)


@pytest.mark.parametrize("source", ["archive", "batches"])
def test_the_first_of_each_class_are_held_out(source: str, arrays: Arrays, request: pytest.FixtureRequest):
    request.getfixturevalue(source)
    met = [0] * 10
    first, rest = [], []
    for position, label in enumerate(arrays["train_labels"]):
        (first if met[label] < 2 else rest).append(position)
        met[label] += 1
    for name, positions in (("held-out", first), ("train", rest)):
        found = split(name)
        assert (found.name, found.dataset) == (name, "cifar10")
        np.testing.assert_array_equal(found.images, arrays["train_images"][positions].transpose(0, 3, 1, 2))
        np.testing.assert_array_equal(found.labels, arrays["train_labels"][positions])


def test_the_folder_comes_before_the_archive(archive: Path, batches: Path):
    archive.write_bytes(b"of no use")
    assert len(split("test")) == TEST
    (batches / "test_batch").unlink()  # half a folder is none
    with pytest.raises(DataError, match=r"cifar10\.npz"):
        split("test")


def test_nothing_there(arrays: Arrays, tmp_path: Path):
    assert not DATASETS["cifar10"].at_hand("test")
    message = r"cifar10\.npz is missing, and so is .*cifar-10-batches-py/batches\.meta; .*--download.*LGM_DATA"
    with pytest.raises(DataError, match=rf"{tmp_path / 'data'}/{message}"):
        split("test")


def _flip(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 255]) + content[middle + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: content[: len(content) // 2],
        _flip,
        lambda _: b"",
        lambda _: b"?",
    ],
    ids=["truncated", "half", "one byte flipped", "empty", "foreign"],
)
def test_damaged_archive(archive: Path, damage: Callable[[bytes], bytes]):
    archive.write_bytes(damage(archive.read_bytes()))
    with pytest.raises(DataError, match=rf"{archive}: expected the arrays train_images and train_labels, .*LGM_DATA"):
        split("train")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        (
            "test_images",
            lambda a: a.transpose(0, 3, 1, 2),
            r"expected \(N, 32, 32, 3\) bytes .* \(20, 3, 32, 32\) uint8",
        ),
        ("test_images", lambda a: a / 255, r"expected \(N, 32, 32, 3\) bytes .* \(20, 32, 32, 3\) float64"),
        ("test_labels", lambda a: a[:-1], r"expected .* N labels, found .* and \(19,\)"),
        ("test_images", lambda a: a[::-1], r"expected the official images, of which the first 8 have SHA-256"),
        ("test_labels", lambda a: (a + 1) % 10, r"expected the official images, of which the first 8 have SHA-256"),
        ("train_images", lambda a: a ^ 1, r"expected the official images, of which the first 50 have SHA-256"),
        ("test_labels", lambda a: a.astype(object), "found Object arrays cannot be loaded"),
    ],
)
def test_archive_with_other_arrays(
    arrays: Arrays, archive: Path, name: str, change: Callable[[np.ndarray], np.ndarray], message: str
):
    np.savez(archive, **{**arrays, name: change(arrays[name])})  # type: ignore[arg-type]
    with pytest.raises(DataError, match=rf"{archive}: .*{message}"):
        split(name.partition("_")[0])


def test_archive_with_an_array_missing(arrays: Arrays, archive: Path):
    del arrays["test_labels"]
    np.savez(archive, **arrays)  # type: ignore[arg-type]
    with pytest.raises(
        DataError, match=rf"{archive}: expected the arrays test_images and test_labels, found .*test_lab"
    ):
        split("test")
    assert len(split("held-out")) == 20, "the training images are all there"


def test_archive_with_fewer_test_images(arrays: Arrays, archive: Path):
    for count, enough in ((KNOWN, True), (KNOWN - 1, False)):
        few = {name: array[:count] if name.startswith("test") else array for name, array in arrays.items()}
        np.savez(archive, **few)  # type: ignore[arg-type]
        if enough:
            assert len(split("test")) == count
        else:
            with pytest.raises(DataError, match="expected the official images"):
                split("test")


@pytest.mark.parametrize("name", ["data_batch_3", "test_batch", "batches.meta"])
def test_damaged_batch_is_named_and_not_unpickled(batches: Path, name: str, tmp_path: Path):
    marker = tmp_path / "marker"

    class Malicious:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f'echo executed > "{marker}"',)

    (batches / name).write_bytes(pickle.dumps(Malicious()))
    with pytest.raises(
        DataError, match=rf"{batches / name} is corrupted: expected MD5 \w{{32}}, found \w{{32}}; .*LGM_D"
    ):
        split("test")
    assert not marker.exists()


def test_download(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    from torchvision.datasets import CIFAR10

    asked: list[str] = []

    def fetch(url: str, folder: str, filename: str, md5: str) -> None:
        asked.append(url)
        assert (filename, md5) == (CIFAR10.filename, CIFAR10.tgz_md5)
        (Path(folder) / filename).write_bytes(b"archive")
        make_official(write_batches(arrays, Path(folder) / "cifar-10-batches-py"), monkeypatch)

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    steps: list[tuple[int, int, str]] = []
    DATASETS["cifar10"].download(lambda done, total, name: steps.append((done, total, name)))
    assert steps == [(0, 1, "cifar-10-python.tar.gz"), (1, 1, "")]
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["cifar-10-batches-py"]  # no archive left
    assert len(split("test")) == TEST
    DATASETS["cifar10"].download(None)
    assert asked == [CIFAR10.url], "what is there is not fetched again"


def test_download_says_why_it_failed(arrays: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def fetch(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", fetch)
    with pytest.raises(DataError, match=rf"cifar-10-python.* \(no route to host\); unpack it into {tmp_path / 'data'}"):
        DATASETS["cifar10"].download(None)


# The real thing, read here without any of the code above. A machine without it has nothing to compare with.
@pytest.mark.skipif(not (_REAL / "cifar10.npz").is_file(), reason="$LGM_DATA has no cifar10.npz")
def test_the_splits_are_parts_of_the_official_training_set(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_DATA", str(_REAL))
    monkeypatch.setattr("lgm.data.cifar10._official", cache(_official))  # two of the splits are parts of one set
    with np.load(_REAL / "cifar10.npz") as real:
        images, labels = real["train_images"].transpose(0, 3, 1, 2), real["train_labels"]
    rest, first = per_class(labels, 500, None), per_class(labels, 0, 500)
    train, held_out, test = split("train"), split("held-out"), split("test")
    assert train.sha256 == Split("train", images[rest], labels[rest].astype(np.int64)).sha256
    assert train.sha256 == "274963f8466cb6d7ee87fd9456c36f4d61d3c98f7b62ec273ddb169811b62831"  # what networks have seen
    np.testing.assert_array_equal(held_out.images, images[first])
    assert np.bincount(train.labels).tolist() == [4500] * 10
    assert len(train) == DATASETS["cifar10"].train_size
    assert np.bincount(held_out.labels).tolist() == [500] * 10
    assert set(rest).isdisjoint(first)
    assert len(test) in (1_000, 10_000)
    # The official test set begins with cat, ship, ship, airplane, frog, frog, automobile, frog, cat, ...
    assert test.labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]


# The twenty that come with a package.


def test_the_bundled_images_are_the_first_of_the_test_set():
    few = split("bundled")
    assert (len(few), few.name, few.images.shape) == (20, "bundled", (20, 3, 32, 32))
    assert few.labels.tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1, 0, 9, 5, 7, 9, 8, 5, 7, 8, 6]
    stored = read_features("cifar10-lgm").splits["test"]
    np.testing.assert_array_equal(few.labels, stored.labels[:20])
    assert DATASETS["cifar10"].at_hand_of("test") == "bundled"


def test_the_bundled_images_need_no_code_of_their_package():
    code = (
        "import sys; from lgm.data.cifar10 import CIFAR10; CIFAR10.load('bundled'); assert 'foolbox' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.slow
@pytest.mark.skipif(not (_REAL / "cifar10.npz").is_file(), reason="$LGM_DATA has no cifar10.npz")
def test_the_bundled_images_are_the_official_ones(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_DATA", str(_REAL.resolve()))
    assert DATASETS["cifar10"].at_hand_of("test") == "test"
    np.testing.assert_array_equal(split("bundled").images, split("test").images[:20])


def copies(folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    found = [Path(shutil.copy(path, folder)) for path in _bundled_files()]
    monkeypatch.setattr("lgm.data.cifar10._bundled_files", lambda: found)
    return found


def test_bundled_images_that_are_others_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    files = copies(tmp_path, monkeypatch)
    image = np.array(Image.open(files[7]))
    image[3, 4, 2] ^= 1
    Image.fromarray(image).save(files[7])
    with pytest.raises(
        DataError, match=r"expected the official images, which have SHA-256 .*; install the package fool"
    ):
        split("bundled")
    files[7].write_bytes(b"no image")
    with pytest.raises(DataError, match="expected images of CIFAR-10, found not an image; install the package foolbox"):
        split("bundled")


def test_without_the_package_the_images_are_not_at_hand(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgm.data.cifar10._bundled_files", list)
    assert DATASETS["cifar10"].at_hand_of("test") is None
    with pytest.raises(DataError, match=r"found 0; install the package foolbox==3\.3\.4, which has them"):
        split("bundled")
