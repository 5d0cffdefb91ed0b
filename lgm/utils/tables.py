"""Tables as CSV files, with a column a field of a record. Names that are no UTF-8 keep their bytes."""

import csv
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

Record = TypeVar("Record")
ENCODING = {"encoding": "utf-8", "errors": "surrogateescape", "newline": ""}


def write_csv(path: Path, head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table row by row, so that memory holds none of it.

    Raises:
        OSError: it cannot be written.
    """
    with path.open("w", **ENCODING) as file:
        writer = csv.writer(file)
        writer.writerow(head)
        writer.writerows(rows)


def write_records(path: Path, kind: type[Record], records: Iterable[Record]) -> None:
    """Records of one dataclass, whose fields are text, whole numbers and booleans.

    Raises:
        OSError: it cannot be written.
    """
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    write_csv(path, names, ([getattr(record, name) for name in names] for record in records))


def read_records(path: Path, kind: type[Record]) -> Iterator[Record]:
    """What `write_records` wrote. Columns of a field with a default may be missing, and others are passed over.

    Raises:
        OSError: it cannot be read.
        ValueError: a column is missing, a row is too short, or a cell is not what its field holds.
    """
    hints = get_type_hints(kind)
    with path.open(**ENCODING) as file:
        rows = _rows(file)
        head = next(rows, [])
        columns = [(head.index(name), name, _READERS[hints[name]]) for name in hints if name in head]
        required = {field.name for field in fields(kind) if field.default is MISSING}  # type: ignore[arg-type]
        if missing := sorted(required - set(head)):
            raise ValueError(f"expected the columns {', '.join(sorted(required))}, found none of {', '.join(missing)}")
        for number, row in enumerate(rows, 2):
            if len(row) < len(head):
                raise ValueError(f"row {number}: expected {len(head)} cells, found {len(row)}")
            yield kind(**{name: read(row[at]) for at, name, read in columns})


def _rows(file: Iterable[str]) -> Iterator[list[str]]:
    try:
        yield from csv.reader(file)
    except csv.Error as error:
        raise ValueError(str(error)) from error


def _boolean(cell: str) -> bool:
    if cell not in ("True", "False"):
        raise ValueError(f"expected True or False, got {cell!r:.40}")
    return cell == "True"


_READERS: dict[Any, Any] = {str: str, int: int, bool: _boolean}
