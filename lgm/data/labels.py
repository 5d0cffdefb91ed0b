"""Labels of arrays and tables: names, or numbers that count names."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lgm.data.base import DataError
from lgm.data.npz_rows import Rows, column, names
from lgm.data.scan import split_named


@dataclass(frozen=True)
class Labels:
    """What is claimed of each row of an archive or table.

    Attributes:
        names: (N,) object: name of each row's class; "" where it has none.
        classes: All that occur, in the order of their numbers.
        splits: (N,) object: as `ImageFile.split`.
    """

    names: np.ndarray
    classes: tuple[str, ...]
    splits: np.ndarray


def read_labels(path: Path, count: int) -> Labels:
    """Arrays ``labels``, ``classes`` and ``split`` of an archive, for its ``count`` rows.

    Raises:
        DataError: an array does not read, is of another length or type, or names what is not there.
    """
    known = names(path)
    titles = [str(name) for name in _text(path, "classes", _whole(path, "classes"))] if "classes" in known else []
    splits = column(path, "split", count) if "split" in known else np.full(count, "")
    return name_labels(path, column(path, "labels", count), splits, titles)


def name_labels(path: Path, labels: np.ndarray, splits: np.ndarray, titles: Sequence[str] = ()) -> Labels:
    """Labels (N,) and splits (N,) by name. Numbers count ``titles`` from 0, or stand for themselves if there are none.

    Raises:
        DataError: neither names nor whole numbers, or a number that counts none of the titles.
    """
    if len(set(titles)) < len(titles) or "" in titles:
        raise DataError(
            f"{path}: classes: expected a name for each, none of them twice, found {', '.join(titles):.200}"
        )
    if labels.dtype.kind not in "uiUS":
        raise DataError(f"{path}: labels: expected names or whole numbers, found {labels.dtype}")
    given = _text(path, "split", splits)
    meant = {cell: split_named(f"{path}: split", cell) for cell in set(given)}
    splits = np.array([meant[cell] for cell in given], object)
    if labels.dtype.kind in "US":
        named = _text(path, "labels", labels)
        order = {name: at for at, name in enumerate(titles)} or dict.fromkeys(np.unique(named), 0)
        strange = sorted(set(named) - set(order) - {""})
        if strange:
            raise DataError(f"{path}: labels: {strange[0]!r:.60} is none of the classes ({', '.join(titles):.200})")
    else:
        if titles and not (labels.min(initial=0) >= 0 and labels.max(initial=0) < len(titles)):
            raise DataError(
                f"{path}: labels: expected 0..{len(titles) - 1}, as there are {len(titles)} classes, found "
                f"{labels.min()}..{labels.max()}"
            )
        numbers = np.unique(labels).tolist()
        text = {number: titles[number] if titles else str(number) for number in numbers}
        named = np.array([text[number] for number in labels.tolist()], object)
        order = {text[number]: at for at, number in enumerate(numbers)}
    present = set(named) - {""}
    return Labels(named, tuple(sorted(present, key=lambda name: (order[name], name))), splits)


def _whole(path: Path, name: str) -> np.ndarray:
    with Rows(path, name) as rows:
        if len(rows.shape) != 1:
            raise DataError(f"{path}: {name}: expected one row of names, found shape {rows.shape}")
        return rows.read(0, len(rows))


def _text(path: Path, name: str, cells: np.ndarray) -> np.ndarray:
    """(N,) object: names, as text or bytes of UTF-8, without spaces around."""
    if cells.dtype.kind not in "US":
        raise DataError(f"{path}: {name}: expected names, found {cells.dtype}")
    try:
        known = {
            cell: (cell if isinstance(cell, bytes) else cell.encode()).decode().strip() for cell in set(cells.tolist())
        }
    except ValueError as error:  # what is no text can be stored as text
        raise DataError(f"{path}: {name}: expected names in UTF-8 ({error})") from error
    return np.array([known[cell] for cell in cells.tolist()], object)
