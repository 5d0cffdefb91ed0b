"""Where the program keeps its own files, and where data are looked for."""

import os
from pathlib import Path

import platformdirs


def home() -> Path:
    """Where the program keeps its own files: ``$LGM_HOME``, else the user's cache folder."""
    if chosen := os.environ.get("LGM_HOME"):
        return Path(os.path.expanduser(chosen))
    try:
        return Path(platformdirs.user_cache_dir("lgm", appauthor=False))
    except RuntimeError:  # an account without a home folder, as containers have it
        return Path(os.environ.get("TMPDIR") or "/tmp", f"lgm-{os.getuid()}")


def data_folder() -> Path:
    """Where datasets lie: ``$LGM_DATA``, else a folder in the user's cache."""
    return Path(os.path.expanduser(os.environ.get("LGM_DATA", "")) or home() / "data")
