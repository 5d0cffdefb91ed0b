"""Datasets that were uploaded: kept below the program's own folder, and registered as any other."""

import shutil
from pathlib import Path
from typing import BinaryIO

from lgm.data.archive import check_npz, unpack
from lgm.data.base import DataError
from lgm.data.scan import OnImage, Scan
from lgm.data.store import Registration, check_name, read_registration, register, registered
from lgm.utils.outputs import together, writing_errors
from lgm.utils.paths import home

_CHUNK = 2**20  # bytes


def uploads_folder() -> Path:
    """Where uploaded datasets lie, each in a folder of its name."""
    return home() / "uploads"


def registration_folder(name: str) -> Path:
    """Where the registration of a dataset lies."""
    return home() / "datasets" / name


def add_upload(
    name: str, file_name: str, source: BinaryIO, on_image: OnImage | None = None
) -> tuple[Registration, Scan]:
    """Unpack and register a zip of folders of images, or an `.npz` of images and labels; all of it, or nothing.

    Args:
        name: What the dataset is to be called; see `lgm.data.store.check_name`.
        file_name: What its user calls the file: its ending says which of the two it is.
        source: The file.
        on_image: Called as (done, in all), first for each file unpacked, then for each image looked at; returning False
            stops, and nothing is kept.

    Raises:
        DataError: the name or the file cannot be used; the message says why.
        SaveError: it cannot be kept.
        InterruptedError: stopped.
    """
    check_name(name)
    folder = uploads_folder() / name
    with writing_errors(folder):
        if folder.exists():  # left by a process that was killed: nothing is registered under this name
            shutil.rmtree(folder)
    with together(folder) as place:
        (place / name).mkdir()
        kept = _keep(source, file_name, place / name, on_image).relative_to(place)
    root = folder.parent / kept
    try:
        return register(name, root, on_image=on_image)
    except DataError as error:  # of the file that its user knows, not of where it was put
        raise DataError(str(error).replace(str(root.absolute()), file_name)) from error
    finally:
        if name not in registered():
            shutil.rmtree(folder, ignore_errors=True)


def _keep(source: BinaryIO, file_name: str, folder: Path, on_image: OnImage | None) -> Path:
    """What is to be registered, once it lies in ``folder``."""
    ending = Path(file_name).suffix.lower()
    if ending == ".zip":
        return unpack(source, file_name, folder, on_image)
    if ending != ".npz":
        raise DataError(f"{file_name}: expected a file whose name ends in .zip or .npz")
    check_npz(source, file_name)
    source.seek(0)
    with (folder / "arrays.npz").open("xb") as out:
        shutil.copyfileobj(source, out, _CHUNK)
    return folder / "arrays.npz"


def is_upload(name: str) -> bool:
    """Whether a registered dataset was uploaded. Raises DataError if there is none of this name."""
    return Path(read_registration(name).source).is_relative_to(uploads_folder().absolute())


def remove_upload(name: str) -> None:
    """Delete an uploaded dataset: its registration, and its files.

    Raises:
        DataError: no uploaded dataset has this name.
        SaveError: something of it cannot be deleted.
    """
    if not is_upload(name):
        raise DataError(f"data: {name} was not uploaded: its files are yours, and stay")
    registration, files = registration_folder(name), uploads_folder() / name
    with writing_errors(registration):
        (registration / "about.json").unlink()  # which makes it count
        shutil.rmtree(registration)
        shutil.rmtree(files)
