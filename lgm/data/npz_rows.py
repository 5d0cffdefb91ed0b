"""Rows of an array in a NumPy archive (.npz), read a few at a time, so that memory holds those alone."""

import contextlib
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy

from lgm.data.base import DataError
from lgm.utils.files import LARGEST, reason

_LOCAL_HEADER = 30  # bytes of a zip member's header before its name; the lengths of name and extra field end it
_FIX = "write it anew with np.savez or np.savez_compressed"


class Rows:
    """An array (N, ...) of an archive; a context manager.

    What `numpy.savez` stores is read from wherever it lies; what `numpy.savez_compressed` writes is unpacked forwards,
    so for rows before those read last it is unpacked from the start again.

    Attributes:
        shape: Of the whole array.
        dtype: Of its numbers.
    """

    def __init__(self, path: Path, name: str) -> None:
        """Read the header.

        Raises:
            DataError: no archive of arrays, no such array, or one of Python objects or in Fortran's order.
        """
        self.path, self.name, self._next = path, name, 0
        with _damage(path, name):
            self._file, self._is_stored = _open_member(path, f"{name}.npy")
        try:
            with _damage(path, name):
                self.shape, fortran, self.dtype = _read_header(self._file)
                self._start, self._row = (
                    self._file.tell(),
                    self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=float)),
                )
            self._require_rows(fortran)
        except DataError:
            self.close()
            raise

    def __enter__(self) -> "Rows":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __len__(self) -> int:
        return self.shape[0]

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self, start: int, stop: int) -> np.ndarray:
        """Rows (stop - start, ...).

        Raises:
            DataError: the archive is damaged, or shorter than its header says; more is asked for than memory may hold.
        """
        wanted = (stop - start) * self._row
        if wanted > LARGEST:
            raise DataError(f"{self.path}: {self.name}: {wanted / 2**30:.1f} GiB at once (at most {LARGEST / 2**30:g})")
        with _damage(self.path, self.name):
            if stop > len(self):
                raise IndexError(f"row {stop - 1:,} is asked for, and it has {len(self):,}")
            if self._is_stored or start != self._next:  # a member that is compressed goes back by unpacking anew
                self._file.seek(self._start + start * self._row)
            content, self._next = self._file.read(wanted), stop
            if len(content) != wanted:
                raise EOFError(f"it ends before row {stop:,} of {len(self):,}")
            return np.frombuffer(content, self.dtype).reshape(stop - start, *self.shape[1:])

    def _require_rows(self, fortran: bool) -> None:
        what = f"{self.path}: {self.name}"
        if self.dtype.hasobject:
            kind = "float" if self.name in ("images", "features") else "str"
            raise DataError(f"{what}: holds Python objects, which are not read; save {self.name}.astype({kind})")
        if fortran and len(self.shape) > 1:
            raise DataError(f"{what}: lies in Fortran's order; save np.ascontiguousarray({self.name})")
        if not self.shape or not self.dtype.itemsize:
            raise DataError(f"{what}: expected a row an image, found {self.dtype} {self.shape}")


def names(path: Path) -> tuple[str, ...]:
    """What arrays an archive holds. Raises DataError if it is none."""
    with _damage(path), zipfile.ZipFile(path) as archive:
        return tuple(name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy"))


def column(path: Path, name: str, count: int) -> np.ndarray:
    """All of an array (N,) that belongs to the rows of another one, such as labels.

    Raises:
        DataError: it has another shape than (count,), or is damaged.
    """
    with Rows(path, name) as rows:
        if rows.shape != (count,):
            raise DataError(f"{path}: {name}: expected one for each of the {count:,} rows, found shape {rows.shape}")
        return rows.read(0, count)


def _open_member(path: Path, member: str) -> tuple[IO[bytes], bool]:
    """A member from its first byte, and whether it is stored as it is: then the archive's own file is opened there."""
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo(member)
        file = archive.open(info)  # checks the header; keeps the archive open for itself
        if info.compress_type != zipfile.ZIP_STORED:
            return file, False
        file.close()
    file = path.open("rb")
    try:
        file.seek(info.header_offset)
        head = file.read(_LOCAL_HEADER)
        file.seek(int.from_bytes(head[-4:-2], "little") + int.from_bytes(head[-2:], "little"), 1)
        return file, True
    except BaseException:
        file.close()
        raise


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape, whether in Fortran's order, type."""
    version = npy.read_magic(file)
    if version == (1, 0):
        return npy.read_array_header_1_0(file)
    if version == (2, 0):
        return npy.read_array_header_2_0(file)
    raise ValueError(f"version {version} of NumPy's format")


@contextlib.contextmanager
def _damage(path: Path, name: str = "") -> Iterator[None]:
    """Raise DataError for whatever the readers raise at a file that is no archive, or a damaged one."""
    what = f"{path}: {name}" if name else f"{path}"
    try:
        yield
    except KeyError as error:
        raise DataError(f"{what}: expected an array of this name, found none; {_FIX}") from error
    except (
        OSError,
        zipfile.BadZipFile,
        zlib.error,
        ValueError,
        EOFError,
        RuntimeError,
        ArithmeticError,
        IndexError,
    ) as error:
        raise DataError(f"{what}: cannot be read as a NumPy archive ({reason(error)}); {_FIX}") from error
