"""Files of features with labels: NumPy archives, NumPy arrays beside a file of labels, Parquet."""

import csv
from pathlib import Path
from typing import Any

import numpy as np

from lgm.data.arrays import MOST_ROWS, row_path
from lgm.data.base import DataError
from lgm.data.labels import Labels, name_labels, read_labels
from lgm.data.npz_rows import Rows
from lgm.utils.files import LARGEST, reason

SUFFIXES = (".npy", ".parquet", ".pq")  # beside an .npz that holds ``features``
_WORDS = ("label", "split", "path")  # columns that are no features
Table = tuple[np.ndarray, Labels, np.ndarray]  # (N, D) float32, labels, (N,) object: what each row is called


def read_feature_file(path: Path) -> Table:
    """Features, labels, and what each row is called.

    - ``.npz``: arrays ``features`` (N, D) and ``labels`` (N,), at will ``classes`` and ``split``, as for images;
    - ``.npy``: (N, D), beside ``NAME.labels.npy`` with N labels, or ``NAME.labels.csv`` with the column ``label``, and
      at will ``split`` and ``path``;
    - ``.parquet``: a column ``label``, at will ``split`` and ``path``, else one column of lists, or some of numbers.

    Raises:
        DataError: it does not read; features that are no finite numbers; labels that do not fit.
    """
    read = {".npz": _read_npz, ".npy": _read_npy}.get(path.suffix.lower(), _read_parquet)
    return read(path)


def _read_npz(path: Path) -> Table:
    with Rows(path, "features") as rows:
        _require_size(path, rows.shape)
        z = _checked(path, rows.read(0, len(rows)))
    return z, read_labels(path, len(z)), _called(path, np.full(len(z), ""))


def _read_npy(path: Path) -> Table:
    z = _checked(path, _load(path))
    numbers, table = path.with_suffix(".labels.npy"), path.with_suffix(".labels.csv")
    if numbers.is_file():
        labels = _of_length(numbers, _load(numbers), len(z))
        return z, name_labels(numbers, labels, np.full(len(z), "")), _called(path, np.full(len(z), ""))
    if not table.is_file():
        raise DataError(
            f"{path}: its labels are missing: expected {numbers.name}, or {table.name} with the column label"
        )
    words = _read_words(table)
    labels = name_labels(table, _of_length(table, words["label"], len(z)), words["split"])
    return z, labels, _called(path, words["path"])


def _read_parquet(path: Path) -> Table:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError as error:
        raise DataError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow, or save an .npz") from error
    try:
        with parquet.ParquetFile(path) as file:
            names, count = file.schema_arrow.names, file.metadata.num_rows
            _require_size(path, (count, 1))
            if "label" not in names:
                raise DataError(f"{path}: expected a column label, found {', '.join(names):.200}")
            table = file.read()
        z = _matrix(path, table.drop_columns([name for name in _WORDS if name in names]))
        words = {name: table[name].to_pylist() if name in names else [""] * count for name in _WORDS}
    except (OSError, ValueError, TypeError, MemoryError, ArrowException) as error:
        raise DataError(f"{path}: cannot be read as Parquet ({reason(error)})") from error
    labels, splits, paths = (_cells(words[name]) for name in _WORDS)
    return _checked(path, z), name_labels(path, labels, splits), _called(path, paths)


def _matrix(path: Path, table: Any) -> np.ndarray:
    """(N, D) of an Arrow table with one column of lists, or columns of numbers."""
    from pyarrow import types

    if not table.num_columns:
        raise DataError(f"{path}: expected columns of features beside the labels, found none")
    lists = [
        field.name
        for field in table.schema
        if hasattr(field.type, "value_type") and not types.is_dictionary(field.type)
    ]
    if lists:
        if table.num_columns > 1:
            raise DataError(f"{path}: expected one column of lists, or columns of numbers, found {table.column_names}")
        rows = table.column(0).combine_chunks()
        lengths = set(rows.value_lengths().to_pylist())
        if len(lengths) != 1 or None in lengths:
            raise DataError(f"{path}: {lists[0]}: expected lists of one length, found {sorted(map(str, lengths))[:5]}")
        return np.asarray(rows.flatten().to_numpy(zero_copy_only=False)).reshape(len(rows), -1)
    for field in table.schema:
        if not (types.is_integer(field.type) or types.is_floating(field.type)):
            raise DataError(
                f"{path}: {field.name}: expected numbers, found {field.type}; drop the column, or call it path"
            )
    return np.column_stack([column.to_numpy() for column in table.columns])


def _load(path: Path) -> np.ndarray:
    """An array without Python objects; what is not asked for stays on disk."""
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError, ArithmeticError) as error:
        raise DataError(
            f"{path}: cannot be read as a NumPy array ({reason(error)}); write it anew with np.save"
        ) from error


def _read_words(table: Path) -> dict[str, np.ndarray]:
    try:
        with table.open(newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            rows = list(csv.DictReader(file))
    except (OSError, csv.Error) as error:
        raise DataError(f"{table}: cannot be read ({reason(error)})") from error
    if not rows or "label" not in rows[0]:
        raise DataError(f"{table}: expected the column label in its first line, and rows")
    return {name: _cells([row.get(name) for row in rows]) for name in _WORDS}


def _cells(values: list[Any]) -> np.ndarray:
    """(N,) of numbers if all are, else of text; what is missing is ""."""
    if all(isinstance(value, int | float) for value in values):
        return np.asarray(values)
    return np.array(["" if value is None else str(value) for value in values], str)


def _of_length(path: Path, labels: np.ndarray, count: int) -> np.ndarray:
    if labels.shape != (count,):
        raise DataError(f"{path}: expected a label for each of the {count:,} rows of features, found {labels.shape}")
    return labels


def _called(path: Path, names: np.ndarray) -> np.ndarray:
    """Names of the rows; those without one are called by the file and their number."""
    return np.array([name or row_path(path, at) for at, name in enumerate(names.tolist())], object)


def _require_size(path: Path, shape: tuple[int, ...]) -> None:
    if len(shape) != 2 or not all(shape):
        raise DataError(f"{path}: features: expected a row of numbers an image, (N, D), found shape {shape}")
    if shape[0] > MOST_ROWS or 4 * shape[0] * shape[1] > LARGEST:
        raise DataError(
            f"{path}: features: expected at most {MOST_ROWS:,} rows and {LARGEST / 2**30:g} GiB, found {shape[0]:,} x "
            f"{shape[1]:,}"
        )


def _checked(path: Path, features: np.ndarray) -> np.ndarray:
    """(N, D) float32, finite."""
    _require_size(path, features.shape)
    if features.dtype.kind not in "fiu":
        raise DataError(f"{path}: features: expected numbers, found {features.dtype}")
    with np.errstate(over="ignore"):  # what is too large for float32 becomes infinite, and is refused so
        z = np.ascontiguousarray(features, np.float32)
    bad = np.flatnonzero(~np.isfinite(z).all(axis=1))
    if len(bad):
        raise DataError(
            f"{path}: features: expected finite numbers, found NaN or infinity in {len(bad):,} rows, first in "
            f"row {bad[0]:,}; leave them out"
        )
    return z
