"""Output files: checked before the work, locked during it, kept elsewhere if the last write fails."""

import contextlib
import errno
import glob
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from lgm.utils.io import SaveError, cannot_write, part_name
from lgm.utils.paths import home

_WAIT = 0.5  # seconds for a lock: whoever only asks whether it is held (`in_use`) is gone by then
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP)  # what file systems say that cannot lock: there nobody is kept out


@contextlib.contextmanager
def writing_errors(path: Path) -> Iterator[None]:
    """Raise SaveError, which names ``path``, for whatever the file system refuses."""
    try:
        yield
    except InterruptedError:  # by whoever asked the work to stop: Python repeats what a signal interrupts
        raise
    except OSError as error:
        cause = error.__cause__ if isinstance(error, SaveError) else error
        raise cannot_write(path, cause if isinstance(cause, OSError) else error) from error


@contextlib.contextmanager
def reserved(path: Path, *others: Path) -> Iterator[None]:
    """Hold a file that is to be written, from before the work until it is saved.

    The hold is a lock of the operating system on a hidden neighbour: it ends with the process, however that ends.

    Args:
        path: The file that others may ask for. Its folder is made, and removed again if nothing comes to be in it.
        others: Files that are written together with it.

    Raises:
        SaveError: it could not be written, or another run is going to.
    """
    path = Path(os.path.realpath(path))
    if os.path.exists(path) and not os.path.isfile(path):
        what = "a folder" if os.path.isdir(path) else "a device"
        raise SaveError(f"{path}: expected the name of a file to write, this is {what}; choose another name")
    made: list[Path] = []
    try:
        with writing_errors(path):
            _make_folder(path.parent, made)
            _try_to_write(path)
        with _held(path, _WAIT):
            for file in (path, *others):
                _remove_parts(file)
            yield
    finally:
        for folder in reversed(made):
            with contextlib.suppress(OSError):  # there is something in it
                folder.rmdir()


@contextlib.contextmanager
def together(path: Path) -> Iterator[Path]:
    """A folder for files that belong together: when the block ends, all of them move beside ``path``, or else none.

    Raises:
        SaveError: one of them cannot be written.
    """
    path = Path(os.path.realpath(path))
    with writing_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".part", dir=path.parent) as place:
            yield Path(place)
            for file in sorted(Path(place).iterdir(), key=lambda file: file.suffix == ".json"):  # what lists them, last
                os.replace(file, path.with_name(file.name))


def in_use(path: Path) -> bool:
    """Whether a run holds this file now."""
    path = Path(os.path.realpath(path))
    if not os.path.exists(_lock_file(path)):
        return False
    try:
        with _held(path, 0):
            return False
    except SaveError:
        return True


def require_room(path: Path, size: int) -> None:
    """See that a file of ``size`` bytes could be written now, as far as that can be known.

    Raises:
        SaveError: it could not.
    """
    limit, free = _largest_file(), shutil.disk_usage(Path(os.path.realpath(path)).parent).free
    if limit < size:
        raise SaveError(
            f"{path}: expected to write {_megabytes(size)} or more, found a limit of {_megabytes(limit)} for a file; "
            "raise it (ulimit -f)"
        )
    if free < size:
        raise SaveError(
            f"{path}: expected room for {_megabytes(size)} or more, found {_megabytes(free)}; make room, or choose "
            "another place"
        )


def save_or_keep(save: Callable[[Path], object], path: Path) -> None:
    """Let ``save`` write ``path``, or else the same elsewhere: a disk that is full now shall not cost finished work.

    Raises:
        SaveError: it could not be written there; the message says where it is instead.
    """
    try:
        save(path)
    except SaveError as error:
        kept = _kept(save, path.name)
        where = f"it is kept as {kept}" if kept else "and no other folder takes it"
        raise SaveError(f"{error}; {where}") from error


def _kept(save: Callable[[Path], object], name: str) -> Path | None:
    """Where ``save`` could write a file of this name: among temporary files, the program's, or the user's."""
    for folder in (tempfile.gettempdir, home, Path.home):
        with contextlib.suppress(OSError, RuntimeError):  # there is none, or it is full as well
            own = Path(tempfile.mkdtemp(prefix="lgm-", dir=folder()))
            with contextlib.ExitStack() as failed:
                failed.callback(own.rmdir)
                save(own / name)
                failed.pop_all()
            return own / name
    return None


def _make_folder(folder: Path, made: list[Path]) -> None:
    """As `Path.mkdir` with its parents; appends those that were not there to ``made``, outermost first."""
    for missing in reversed([each for each in (folder, *folder.parents) if not each.is_dir()]):
        if missing.exists():
            raise NotADirectoryError(errno.ENOTDIR, f"{missing} is no folder")
        missing.mkdir(exist_ok=True)
        made.append(missing)


@contextlib.contextmanager
def _held(path: Path, wait: float) -> Iterator[None]:
    from filelock import FileLock, Timeout

    file = _lock_file(path)
    lock = FileLock(file, timeout=wait)
    try:
        lock.acquire()
    except Timeout as error:
        raise SaveError(f"{path}: {_holder(file)} is writing it; wait for that, or choose another name") from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise cannot_write(path, error) from error
    try:
        with contextlib.suppress(OSError):
            since = time.strftime("%H:%M on %d %b")
            file.write_text(f"process {os.getpid()} on {socket.gethostname()} (since {since})")
        yield
    finally:
        with contextlib.suppress(OSError):
            file.unlink()  # while it is held: whoever has opened it meanwhile sees that it is gone, and makes another
        lock.release()


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _holder(file: Path) -> str:
    with contextlib.suppress(OSError):
        return file.read_text() or "another run"
    return "another run"


def _remove_parts(path: Path) -> None:
    """Remove what a process that was killed while it wrote this file has left; no other writes it now."""
    for part in path.parent.glob(part_name(glob.escape(path.name), "*")):
        with contextlib.suppress(OSError):
            shutil.rmtree(part) if part.is_dir() else part.unlink()


def _try_to_write(path: Path) -> None:
    part = path.with_name(part_name(path.name, f"{os.getpid()}-{time.monotonic_ns()}"))
    try:
        part.write_bytes(b"?")
    finally:
        part.unlink(missing_ok=True)


def _largest_file() -> float:
    """Bytes that this process may write into one file."""
    try:
        import resource
    except ImportError:  # not on Windows
        return float("inf")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    return float("inf") if limit == resource.RLIM_INFINITY else limit


def _megabytes(size: float) -> str:
    return f"{size / 1e6:,.2f} MB"
