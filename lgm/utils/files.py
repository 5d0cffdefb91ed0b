"""Checks before a file is read: whether it can be, and how large it is once unpacked."""

import hashlib
import os
import stat
import zipfile
from pathlib import Path

LARGEST = 2**31  # bytes that an archive may unpack to


def is_readable(path: Path) -> bool:
    """Whether a file is there and may be read; False too where a folder on the way to it is closed to this account."""
    return os.path.isfile(path) and os.access(path, os.R_OK)


def first_bytes(path: Path, count: int = 16) -> bytes:
    """The start of a file.

    Raises:
        OSError: the true reason why it cannot be read; safetensors calls every reason "No such file".
    """
    with path.open("rb") as file:
        return file.read(count)


def file_sha256(path: Path) -> str:
    """Hash of a file's content, in hex; OSError if it cannot be read."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def reason(error: Exception) -> str:
    """What went wrong in words, without number and path."""
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__


def members(path: Path) -> list[str]:
    """Names in a zip archive, as NumPy and torch write it; none for any other file.

    Raises:
        ValueError: it would unpack to more than `LARGEST` bytes, whatever its own size is.
    """
    if not zipfile.is_zipfile(path):
        return []
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    size = sum(entry.file_size for entry in entries)
    if size > LARGEST:
        raise ValueError(f"an archive that unpacks to {size / 2**30:.1f} GiB (at most {LARGEST / 2**30:g} are read)")
    return [entry.filename for entry in entries]


def unreadable(path: Path) -> str | None:
    """Why a file that is there cannot be read, and what to do; None if it can be, or is not there.

    To ask before safetensors does, for which a file that it may not read is "no such file".
    """
    try:
        with path.open("rb"):
            return None
    except PermissionError:
        pass
    except OSError:
        return None
    closed = path  # or the folder on the way to it that this account may not enter
    while not os.access(closed.parent, os.X_OK) and closed != closed.parent:
        closed = closed.parent
    found = closed.stat()
    try:
        owner = closed.owner()
    except KeyError:  # an account of another machine or container
        owner = f"user {found.st_uid}"
    wanted = "r" if closed == path else "rx"
    return (
        f"{path}: cannot be read (Permission denied): {'it' if closed == path else closed} belongs to {owner}, and its "
        f"mode is {stat.filemode(found.st_mode)}; ask for `chmod a+{wanted} {closed}`, or use a copy of your own"
    )
