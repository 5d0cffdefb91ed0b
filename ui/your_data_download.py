"""The list of what to keep, as a file."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lgm.detection.kept_list import KeptList


def csv(kept: "KeptList") -> bytes:
    """The bytes that `lgm filter --out` writes at this T."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "kept.csv"
        kept.write(path)
        return path.read_bytes()
