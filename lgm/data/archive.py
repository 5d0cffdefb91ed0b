"""Archives from strangers: a zip of image files unpacked, an `.npz` of arrays checked, within bounds.

Nothing that an archive says of itself is trusted: names must stay below the folder, sizes are bounded before the work
and counted during it.
"""

import contextlib
import math
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, BinaryIO

import numpy as np

from lgm.data.base import DataError
from lgm.data.image_files import LARGEST_FILE
from lgm.data.scan import LITTER, OnImage
from lgm.utils.files import LARGEST, reason
from lgm.utils.outputs import require_room

MOST_FILES = 100_000
_LARGEST_DIRECTORY = 2**24  # bytes: names and sizes of `MOST_FILES` files take some ten million
_MOST_FOLD = 100  # times its own size that an archive may unpack to: images hardly shrink
_ALWAYS_ALLOWED = 2**24  # bytes, whatever the archive's own size
_LONGEST_PART, _LONGEST_PATH, _DEEPEST = 255, 1024, 32  # bytes that file systems take, and folders
_CHUNK = 2**18  # bytes
# Deflate expands a chunk at most a thousandfold, and Python stops in between; bzip2 and LZMA know no such end.
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ENCRYPTED = 0x1 | 0x40 | 0x2000  # bits of an entry's flags: encrypted, strongly, and with a masked header
_DRIVE = re.compile(r"[A-Za-z]:")
# What `zipfile` raises at a damaged archive is not documented: these were met.
_DAMAGES = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, NotImplementedError, ValueError, OverflowError)


@dataclass(frozen=True)
class _File:
    """An entry that is to be unpacked, and where."""

    entry: zipfile.ZipInfo
    parts: tuple[str, ...]


def unpack(source: BinaryIO, name: str, folder: Path, on_file: OnImage | None = None) -> Path:
    """Write the files of a zip archive below a folder, each under its own name, without hidden files and litter.

    Every problem that the archive's directory shows is found before anything is written. What is written when another
    one is found stays: use a temporary folder, as `lgm.utils.outputs.together` makes it.

    Args:
        source: The archive.
        name: What its user calls it, for messages.
        folder: An empty one.
        on_file: Called as (files written, files in all); returning False stops.

    Returns:
        The folder that holds the classes' folders: ``folder``, or the one in it that wraps all others.

    Raises:
        DataError: no zip archive, a damaged one, or one that is not unpacked; the message says why.
        SaveError: there is no room.
        OSError: the file system refuses something else.
        InterruptedError: stopped.
    """
    with _opened(source, name) as archive:
        files = _checked(archive, name, _size(source))
        if not files:
            raise DataError(f"{name}: expected a zip archive of folders with images, found no file in it")
        require_room(folder / "files", sum(file.entry.file_size for file in files))
        for done, file in enumerate(files, 1):
            _write(archive, file, folder, name)
            if on_file and on_file(done, len(files)) is False:
                raise InterruptedError("stopped; nothing is kept")
    return folder.joinpath(*_wrapper([file.parts for file in files]))


def check_npz(source: BinaryIO, name: str) -> None:
    """See that an `.npz` file of ``images`` and ``labels`` can be read in bounded memory; executes nothing in it.

    Raises:
        DataError: it is none, is damaged, would take too much memory, or holds Python objects.
    """
    with _opened(source, name) as archive:
        files = _checked(archive, name, _size(source), largest=LARGEST)
        arrays = {"/".join(file.parts): file.entry for file in files}
        missing = [each for each in ("images", "labels") if f"{each}.npy" not in arrays]
        if missing:
            found = ", ".join(sorted(each.removesuffix(".npy") for each in arrays)[:10]) or "nothing"
            raise DataError(f"{name}: expected the arrays images and labels, found {found}")
        lengths = {
            each: _check_array(archive, arrays[f"{each}.npy"], f"{name}: {each}") for each in ("images", "labels")
        }
    if lengths["images"] != lengths["labels"]:
        raise DataError(f"{name}: expected one label an image, found {lengths['labels']:,} of {lengths['images']:,}")


class _TooLong(Exception):
    """A read of more bytes than are read at once."""


class _Bounded:
    """A file that refuses long reads: `zipfile` reads an archive's directory in a single one, however long it is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def read(self, size: int = -1) -> bytes:
        if 0 <= size <= _LARGEST_DIRECTORY:
            return self._file.read(size)
        content = self._file.read(_LARGEST_DIRECTORY + 1)
        if len(content) > _LARGEST_DIRECTORY:
            raise _TooLong
        return content


@contextlib.contextmanager
def _opened(source: BinaryIO, name: str) -> Iterator[zipfile.ZipFile]:
    """The archive; whatever `zipfile` raises at a damaged one, now or later, becomes a DataError."""
    try:
        with zipfile.ZipFile(_Bounded(source)) as archive:  # type: ignore[arg-type]
            yield archive
    except _TooLong as error:
        raise DataError(
            f"{name}: its list of files takes more than {_LARGEST_DIRECTORY // 2**20} MiB; at most {MOST_FILES:,} "
            "files are unpacked, so leave some out, or register the folder itself (`lgm data add`)"
        ) from error
    except _DAMAGES as error:
        raise DataError(f"{name}: expected a zip archive, found a damaged one or none ({reason(error)})") from error


def _size(source: BinaryIO) -> int:
    before = source.tell()
    size = source.seek(0, os.SEEK_END)
    source.seek(before)
    return size


def _checked(archive: zipfile.ZipFile, name: str, size: int, largest: int = LARGEST_FILE) -> list[_File]:
    """All files to unpack, by what the directory of an archive of ``size`` bytes says of them.

    Raises:
        DataError: one of them, or all together, are not unpacked.
    """
    entries = archive.infolist()
    if len(entries) > MOST_FILES:
        raise DataError(f"{name}: holds {len(entries):,} files; at most {MOST_FILES:,} are unpacked, so leave some out")
    total = sum(entry.file_size for entry in entries)
    if total > LARGEST:
        raise DataError(f"{name}: unpacks to {total / 2**30:,.1f} GiB; at most {LARGEST / 2**30:g} GiB are unpacked")
    if total > max(_MOST_FOLD * size, _ALWAYS_ALLOWED):
        raise DataError(
            f"{name}: unpacks to {total / size:,.0f} times its size, as images do not; at most {_MOST_FOLD} times are "
            "unpacked"
        )
    files: dict[tuple[str, ...], _File] = {}
    folders: set[tuple[str, ...]] = set()
    for entry in entries:
        text = _text(entry)
        parts = _parts(text, name)
        if text.endswith("/") or not parts or any(part in LITTER or part.startswith(".") for part in parts):
            continue
        _check_entry(entry, f"{name}: {text}", largest)
        if parts in files:
            raise DataError(f"{name}: holds two files of the name {text}; leave one out")
        files[parts] = _File(entry, parts)
        folders.update(parts[:depth] for depth in range(1, len(parts)))
    if len(folders) > MOST_FILES:
        raise DataError(f"{name}: holds {len(folders):,} folders; at most {MOST_FILES:,} are made")
    return list(files.values())


def _text(entry: zipfile.ZipInfo) -> str:
    """The name of an entry, with "/". Many programs write UTF-8 without saying so: taken for that where it can be."""
    text = entry.orig_filename
    if not entry.flag_bits & 0x800:
        with contextlib.suppress(UnicodeError):
            text = text.encode("cp437").decode("utf-8")
    return text.replace("\\", "/")


def _parts(text: str, name: str) -> tuple[str, ...]:
    """The folders and the name of a file, for which there is a place below the folder that is unpacked to.

    Raises:
        DataError: it leads elsewhere, or no file system takes it.
    """
    parts = tuple(part for part in text.split("/") if part not in ("", "."))
    if text.startswith("/") or _DRIVE.match(text) or ".." in parts:
        raise DataError(f"{name}: holds a file that would be written outside of its folder ({text[:80]}); not unpacked")
    sizes = [len(part.encode("utf-8", "surrogateescape")) for part in parts]
    if "\0" in text or sum(sizes) > _LONGEST_PATH or max(sizes, default=0) > _LONGEST_PART or len(parts) > _DEEPEST:
        raise DataError(f"{name}: holds a name that no file can have ({text[:80]!r}); name it shorter")
    return parts


def _check_entry(entry: zipfile.ZipInfo, what: str, largest: int) -> None:
    """Raise DataError for what is no plain file, is not to be read, or has more than ``largest`` bytes."""
    if stat.S_IFMT(entry.external_attr >> 16) not in (0, stat.S_IFREG):
        raise DataError(f"{what}: expected plain files, found a link or a device; put the file itself into the archive")
    if entry.flag_bits & _ENCRYPTED:
        raise DataError(f"{what}: is encrypted; make an archive without a password")
    if entry.compress_type not in _METHODS:
        raise DataError(
            f"{what}: is compressed in a way that is not read; make the archive with the usual one, deflate"
        )
    if entry.file_size > largest:
        raise DataError(
            f"{what}: unpacks to {entry.file_size / 2**20:,.0f} MiB; files of at most {largest / 2**20:,.0f} MiB are "
            "unpacked"
        )


def _write(archive: zipfile.ZipFile, file: _File, folder: Path, name: str) -> None:
    """Unpack one file, of exactly as many bytes as the directory declares: these were added up before."""
    target, text, left = folder.joinpath(*file.parts), "/".join(file.parts), file.entry.file_size
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(file.entry) as source, target.open("xb") as out:
            while left >= 0 and (chunk := source.read(_CHUNK)):
                left -= len(chunk)
                out.write(chunk)
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise DataError(
            f"{name}: {text} has the name of another file or folder, perhaps but for its case; rename it"
        ) from error
    if left:
        raise DataError(f"{name}: {text} has not the {file.entry.file_size:,} bytes that it declares; make it anew")


def _wrapper(paths: list[tuple[str, ...]]) -> tuple[str, ...]:
    """Folders that hold all others, from the outermost: of TOP/CLASS/file, TOP."""
    wrapper: tuple[str, ...] = ()
    while True:
        folders = {path[0] for path in paths if len(path) > 1}
        if len(folders) != 1 or not any(len(path) > 2 for path in paths):
            return wrapper
        wrapper += tuple(folders)
        paths = [path[1:] for path in paths if len(path) > 1]


def _check_array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, what: str) -> int:
    """See that an array has the bytes that its header promises; returns its length."""
    with archive.open(entry) as file:
        shape, dtype = _header(file, what)
        if dtype.hasobject or not shape:
            raise DataError(f"{what}: expected an array of numbers, found {'Python objects' if shape else 'a number'}")
        promised, found = math.prod(shape) * dtype.itemsize, 0
        if promised > LARGEST:
            raise DataError(f"{what}: declares {promised / 2**30:,.1f} GiB; at most {LARGEST / 2**30:g} GiB are read")
        while chunk := file.read(_CHUNK):
            found += len(chunk)
    if found != promised:
        raise DataError(f"{what}: expected {promised:,} bytes for its shape {shape}, found {found:,}")
    return shape[0]


def _header(file: IO[bytes], what: str) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type of an array in NumPy's format. Raises DataError if it has none, or a negative length."""
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):  # later ones, for tables of many columns, have headers of any length
            raise ValueError(f"version {version[0]}.{version[1]}")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
        if any(length < 0 for length in shape):
            raise ValueError(f"shape {shape}")
    except (ValueError, TypeError, SyntaxError, KeyError, MemoryError, RecursionError) as error:
        raise DataError(f"{what}: expected an array in NumPy's format, found another file ({reason(error)})") from error
    return shape, dtype
