"""Files are written whole or not at all; what the file system refuses is said in one line."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path


class SaveError(OSError):
    """A file that cannot be written; the message names it, and says why and what to do."""


def cannot_write(path: Path, error: OSError) -> SaveError:
    """What to raise for a file that the system refuses to write."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    why = error.strerror or str(error)
    return SaveError(f"{path}: cannot be written ({why}); {'make room, or ' if full else ''}choose another place")


def write_atomically(path: Path, write: Callable[[Path], object]) -> None:
    """Let ``write`` fill a temporary neighbour, then move it into place: a reader never sees half a file.

    ``write`` is to open the neighbour itself: then the file has the mode that the umask asks for, which `save_file` of
    safetensors ignores. A link is followed, not replaced.

    Raises:
        SaveError: it cannot be written; what was there before is still there.
    """
    path = Path(os.path.realpath(path))
    part = path.with_name(part_name(path.name, f"{os.getpid()}-{threading.get_ident()}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            write(part)
            with part.open("r+b") as file:
                os.fsync(file.fileno())  # a disk that is full may say so only now
            os.replace(part, path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise cannot_write(path, error) from error


def part_name(name: str, writer: str) -> str:
    """Of the temporary neighbour; threads of one server may write the same file, so each ``writer`` has its own."""
    return f".{name}.{writer}.part"
