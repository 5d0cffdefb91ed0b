"""Files that a command writes, and its progress."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tqdm import tqdm

from lgm.utils.io import SaveError, write_atomically
from lgm.utils.json import to_json
from lgm.utils.outputs import reserved, save_or_keep
from lgm.utils.progress import OnStep

T = TypeVar("T")


@contextmanager
def output(path: Path, suffix: str | tuple[str, ...], option: str, *, force: bool) -> Iterator[None]:
    """Hold the file that an option names, from before the work until it is saved.

    Raises:
        ValueError: it has another kind of name, or is there already and nobody said that it may be replaced.
        SaveError: see `lgm.utils.outputs.reserved`.
    """
    known = (suffix,) if isinstance(suffix, str) else suffix
    if path.suffix not in known:
        raise ValueError(f"{option}: expected a name that ends in {' or '.join(known)}, got {path}")
    with reserved(path):
        if path.exists() and not force:
            raise ValueError(f"{path} exists already; choose another --{option}, or replace it with --force")
        yield


def recorded(measure: Callable[[], T], path: Path | None, *, force: bool, indent: int | None = None) -> T:
    """What is measured, and a JSON file of it, if ``--out`` names one; see `output`."""
    if path is None:
        return measure()
    with output(path, ".json", "out", force=force):
        record = measure()
        text = to_json(record, indent=indent) + "\n"
        save_or_keep(lambda kept: write_atomically(kept, lambda part: part.write_text(text)), path)
    return record


@contextmanager
def progress_bar(unit: str, silent: bool = False) -> Iterator[OnStep]:
    """A progress bar on a terminal, unless ``silent``; yields what moves it."""
    with tqdm(unit=unit, unit_scale=True, dynamic_ncols=True, disable=silent or None) as bar:

        def on_step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_step


def save_all(saves: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write each file, even if another one cannot be."""
    failures = []
    for path, save in saves.items():
        try:
            save_or_keep(save, path)
        except SaveError as error:
            failures.append(str(error))
    if failures:
        raise SaveError("; ".join(failures))
