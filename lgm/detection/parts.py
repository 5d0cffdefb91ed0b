"""Features that a run has computed so far, on disk: one that was killed goes on where it stopped."""

import hashlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save

from lgm.detection.image_table import ImageTable
from lgm.utils.io import write_atomically
from lgm.utils.paths import home

EVERY = 5.0  # seconds of work that a killed run may lose
_FORGOTTEN = 30 * 24 * 3600.0  # seconds after which nobody comes back for them
_CLOCKS = 2e9  # nanoseconds that the clock of a file system may be behind


@dataclass(frozen=True)
class EmbeddedBatch:
    """Features of some images.

    Attributes:
        number: Of the batch.
        positions: (n,) of the images that read.
        z: (n, D) float32.
    """

    number: int
    positions: np.ndarray
    z: np.ndarray


class Parts:
    """Batches in a folder of their own, in files of several, each whole or not there."""

    def __init__(self, folder: Path, every: float = EVERY) -> None:
        self.folder, self.every = folder, every
        self._pending: list[EmbeddedBatch] = []
        self._begun, self._written, self._works = time.time_ns(), time.monotonic(), True

    @classmethod
    def of(cls, table: ImageTable, weights_sha256: str, batch_size: int, every: float = EVERY) -> "Parts":
        """For one dataset as it was registered, and one network: others have folders of their own."""
        _forget_old()
        digest = hashlib.sha256(f"1 {weights_sha256} {batch_size} {len(table)} ".encode())
        digest.update(table.sha256.tobytes())
        for path in table.paths:
            digest.update(os.fsencode(path) + b"\0")
        return cls(_home() / digest.hexdigest()[:32], every)

    def read(self, table: ImageTable, file_of: Callable[[int], Path]) -> Iterator[EmbeddedBatch]:
        """What an earlier run left; without batches of which a file has changed since, and without damaged files.

        Args:
            table: The dataset's.
            file_of: Where the image at a position is stored.
        """
        for path in sorted(self.folder.glob("*.safetensors")):
            try:
                arrays = load_file(path)
                numbers, ends = arrays["numbers"], np.cumsum(arrays["counts"])
                positions, z, since = arrays["positions"], arrays["z"], int(arrays["since"][0]) - _CLOCKS
            except (OSError, SafetensorError, KeyError, ValueError):
                continue
            for number, start, end in zip(numbers, [0, *ends[:-1]], ends, strict=True):
                at = positions[start:end]
                if all(_older(file_of(int(position)), since) for position in at):
                    yield EmbeddedBatch(int(number), at, z[start:end])

    def add(self, batch: EmbeddedBatch, *, last: bool = False) -> None:
        """Keep a batch. What cannot be written is not kept: it costs nothing but the way back."""
        self._pending.append(batch)
        if last or time.monotonic() - self._written >= self.every:
            self.flush()

    def flush(self) -> None:
        """Write what is pending."""
        pending, self._pending = self._pending, []
        if pending and self._works:
            arrays = {
                "numbers": np.array([batch.number for batch in pending]),
                "counts": np.array([len(batch.positions) for batch in pending]),
                "positions": np.concatenate([batch.positions for batch in pending]),
                "z": np.concatenate([batch.z for batch in pending]),
                "since": np.array([self._begun]),
            }
            path = self.folder / f"{uuid.uuid4().hex}.safetensors"
            try:
                write_atomically(path, lambda part: part.write_bytes(save(arrays)))
            except OSError:
                self._works = False
        self._written = time.monotonic()

    def remove(self) -> None:
        """All of it: the run is done."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _home() -> Path:
    return home() / "filter"


def _older(path: Path, nanoseconds: float) -> bool:
    try:
        found = path.stat()
    except OSError:
        return False
    return max(found.st_mtime_ns, found.st_ctime_ns) < nanoseconds


def _forget_old() -> None:
    with suppress(OSError):
        for folder in _home().iterdir():
            if folder.stat().st_mtime < time.time() - _FORGOTTEN:
                shutil.rmtree(folder, ignore_errors=True)
