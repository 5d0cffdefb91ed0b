"""A folder of symbolic links to the images that a filter keeps, and to those that it removes."""

import os
import tempfile
from collections import defaultdict
from pathlib import Path, PurePosixPath

from lgm.detection.kept_list import KeptList
from lgm.utils.io import cannot_write

KEPT, REMOVED = "kept", "removed"


def check_links(folder: Path, *, force: bool) -> None:
    """See, before the work, that `write_links` could make this folder, as far as that can be known.

    Raises:
        ValueError: something of that name is there already, and may not be replaced: without ``force`` nothing may, and
            with it only a folder that holds nothing but links.
        SaveError: its parent is no folder that can be written to.
    """
    if os.path.lexists(folder):
        if not force:
            raise ValueError(f"{folder} exists already; choose another --links, or replace it with --force")
        if folder.is_symlink() or not folder.is_dir() or not _only_links(folder):
            raise ValueError(
                f"links: {folder} holds more than links, and is not replaced; move it away, or choose another name"
            )
    try:
        folder.absolute().parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=f".{folder.name}.", suffix=".part", dir=folder.absolute().parent
        ) as place:
            os.symlink(place, Path(place, "link"))
    except OSError as error:
        raise cannot_write(folder, error) from error


def write_links(found: KeptList, folder: Path) -> None:
    """``kept/CLASS/file`` and ``removed/CLASS/file``, links to the images themselves; all of them, or no folder.

    Files of one name in one class get a number: ``a.png``, ``a-2.png``. What a class or a file is called is changed
    only where it could be no name of a file.

    Raises:
        SaveError: they cannot be made. What was there before is still there then.
    """
    folder = folder.absolute()
    try:
        with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent) as place:
            new, old = Path(place, "new"), Path(place, "old")
            _link_all(found, new)
            if folder.is_dir():
                os.replace(folder, old)
            try:
                os.replace(new, folder)
            except OSError:
                if old.is_dir():
                    os.replace(old, folder)
                raise
    except OSError as error:
        raise cannot_write(folder, error) from error


def _link_all(found: KeptList, place: Path) -> None:
    root, taken = found.images.table.root.absolute(), defaultdict[Path, set[str]](set)
    for path, claim, kept in zip(found.images.paths, found.images.claims, found.kept, strict=True):
        into = place / (KEPT if kept else REMOVED) / _as_name(claim)
        if into not in taken:
            into.mkdir(parents=True)
        os.symlink(root / path, into / _free_name(PurePosixPath(path).name, taken[into]))


def _only_links(folder: Path) -> bool:
    return all(os.path.islink(os.path.join(place, name)) for place, _, names in os.walk(folder) for name in names)


def _as_name(text: str) -> str:
    """A class as the name of a folder: a list may call it anything."""
    name = text.replace("/", "_").replace("\0", "_")
    return f"_{name}" if name in ("", ".", "..") else name


def _free_name(name: str, taken: set[str]) -> str:
    stem, ending = os.path.splitext(name)
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{stem}-{number}{ending}"
    taken.add(free)
    return free
