"""Features without images, from each kind of file."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lgm.data.base import DataError
from lgm.data.store import check, read_feature_table, read_images, read_registration, register

Z = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
LABELS = np.array([1, 0, 1, 0, 10, 10])
NAMES = ["1", "0", "1", "0", "10", "10"]


def npz(folder: Path, z: np.ndarray = Z, labels: Any = LABELS, **more: Any) -> Path:
    np.savez_compressed(folder / "f.npz", features=z, labels=labels, **more)
    return folder / "f.npz"


def npy(folder: Path, z: np.ndarray = Z, labels: Any = LABELS) -> Path:
    np.save(folder / "f.npy", z)
    np.save(folder / "f.labels.npy", labels)
    return folder / "f.npy"


def beside_csv(folder: Path, z: np.ndarray = Z, labels: Any = LABELS) -> Path:
    np.save(folder / "f.npy", z)
    pd.DataFrame({"label": labels, "path": ["a b.jpg", *[""] * (len(labels) - 1)]}).to_csv(folder / "f.labels.csv")
    return folder / "f.npy"


def columns(folder: Path, z: np.ndarray = Z, labels: Any = LABELS, **more: Any) -> Path:
    features = {f"x{k}": z[:, k] for k in range(z.shape[1])}
    pd.DataFrame({"label": labels, **more, **features}).to_parquet(folder / "f.parquet")
    return folder / "f.parquet"


def lists(folder: Path, z: Any = Z, labels: Any = LABELS) -> Path:
    pd.DataFrame({"embedding": list(z), "label": labels}).to_parquet(folder / "f.parquet")
    return folder / "f.parquet"


KINDS: list[Callable[..., Path]] = [npz, npy, beside_csv, columns, lists]


@pytest.mark.parametrize("kind", KINDS)
def test_features_come_with_their_labels(kind: Callable[..., Path], fresh_home: Path, tmp_path: Path):
    made, found = register("mine", kind(tmp_path))
    assert (made.kind, made.shape, made.images) == ("features", (4, 1, 1), 6)
    assert set(made.classes) == {"0", "1", "10"}
    table = read_feature_table("mine")
    np.testing.assert_array_equal(table.z, Z)
    assert table.z.dtype == np.float32
    assert table.claims.tolist() == NAMES
    assert (
        table.paths.tolist() == [image.path for image in read_images("mine")] == [image.path for image in found.images]
    )
    assert table.paths[1] == f"{Path(made.source).name}/000001"
    assert table.paths[0] == ("a b.jpg" if kind is beside_csv else f"{Path(made.source).name}/000000")
    assert check("mine").changed == ()


def test_words_of_a_parquet_file_are_kept(fresh_home: Path, tmp_path: Path):
    labels = pd.Categorical(["bee", "ant", None, "ant", "bee", "ant"])
    source = columns(tmp_path, labels=labels, split=["train", "test", "", "val", None, ""], path=list("abcdef"))
    made, found = register("mine", source)
    assert made.splits == ("train", "held-out", "test")
    assert [(image.path, image.label, image.split) for image in found.images] == [
        ("a", "bee", "train"), ("b", "ant", "test"), ("d", "ant", "held-out"), ("e", "bee", ""), ("f", "ant", ""),
    ]  # fmt: skip
    assert [entry.path for entry in found.skipped] == ["c"]
    np.testing.assert_array_equal(read_feature_table("mine").z, Z[[0, 1, 3, 4, 5]])


def spoilt(value: float) -> np.ndarray:
    z = Z.astype(float)
    z[[2, 4], 1] = value
    return z


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ((spoilt(np.nan), LABELS), "found NaN or infinity in 2 rows, first in row 2"),
        ((spoilt(np.inf), LABELS), "found NaN or infinity in 2 rows"),
        ((spoilt(1e300), LABELS), "found NaN or infinity in 2 rows"),
        ((Z[:, :0], LABELS), "expected (a row of numbers|columns of features|lists)|expected .*, found shape"),
        ((Z, np.zeros(6, int)), "expected images of at least 2 classes, found those of '0'"),
        ((Z, LABELS / 4), "found float64|none of the classes"),
    ],
)
def test_what_does_not_fit_is_refused(kind: Any, bad: Any, said: str, fresh_home: Path, tmp_path: Path):
    z, labels = bad
    if kind is beside_csv and labels.dtype.kind == "f":
        return  # 0.25 is as good a name as any in a text file
    with pytest.raises(DataError, match=said):
        register("mine", kind(tmp_path, z, labels))
    assert not list(fresh_home.glob("datasets/*"))


def lonely(folder: Path) -> Path:
    np.save(folder / "f.npy", Z)
    return folder / "f.npy"


def textual(folder: Path) -> Path:
    return columns(folder, note=["good"] * 6)


def ragged(folder: Path) -> Path:
    return lists(folder, [row[: 3 + at % 2] for at, row in enumerate(Z)])


def unlabelled(folder: Path) -> Path:
    pd.DataFrame(Z, columns=list("abcd")).to_parquet(folder / "f.parquet")
    return folder / "f.parquet"


def no_column(folder: Path) -> Path:
    np.save(folder / "f.npy", Z)
    (folder / "f.labels.csv").write_text("class\n" + "1\n" * 6)
    return folder / "f.npy"


def pickled(folder: Path) -> Path:
    np.save(folder / "f.npy", np.array([{}], object))
    return folder / "f.npy"


def broken(name: str) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(b"PAR1 nothing of the kind")
        return folder / name

    return write


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (lonely, "its labels are missing: expected f.labels.npy, or f.labels.csv with the column label"),
        (lambda folder: npy(folder, labels=LABELS[1:]), r"a label for each of the 6 rows of features, found \(5,\)"),
        (lambda folder: beside_csv(folder, labels=LABELS[1:]), r"a label for each of the 6 rows of features, found"),
        (lambda folder: npz(folder, labels=LABELS[1:]), "one for each of the 6 rows"),
        (lambda folder: npz(folder, z=Z[0]), r"expected a row of numbers an image, \(N, D\), found shape \(4,\)"),
        (lambda folder: npz(folder, z=Z.astype("U8")), "features: expected numbers, found <U8"),
        (textual, "note: expected numbers, found (large_)?string; drop the column, or call it path"),
        (ragged, r"embedding: expected lists of one length, found \['3', '4'\]"),
        (unlabelled, "expected a column label, found a, b, c, d"),
        (no_column, "expected the column label in its first line"),
        (pickled, "cannot be read as a NumPy array"),
        (broken("f.parquet"), "cannot be read as Parquet"),
        (broken("f.npy"), "cannot be read as a NumPy array"),
        (broken("f.npz"), "cannot be read as a NumPy archive"),
    ],
)
def test_odd_files_are_refused_in_a_sentence(source: Any, said: str, fresh_home: Path, tmp_path: Path):
    with pytest.raises(DataError, match=said):
        register("mine", source(tmp_path))


def test_a_file_that_has_changed_since_is_refused(fresh_home: Path, tmp_path: Path):
    register("mine", npz(tmp_path))
    npz(tmp_path, Z + 1)
    assert len(check("mine").changed) == 6
    npz(tmp_path, Z[:5], LABELS[:5])
    assert check("mine").missing == ("f.npz/000005",)
    with pytest.raises(DataError, match=r"has changed since mine was registered; `lgm data add mine \.\.\. --force`"):
        read_feature_table("mine")


def test_images_are_no_features(fresh_home: Path, tmp_path: Path):
    np.savez(tmp_path / "i.npz", images=np.random.default_rng(0).random((6, 3, 3)), labels=LABELS)
    made, _ = register("pictures", tmp_path / "i.npz")
    assert (made.kind, made.shape, read_registration("pictures").root) == ("arrays", (1, 3, 3), tmp_path)
    with pytest.raises(DataError, match="pictures holds images, not features"):
        read_feature_table("pictures")
