"""Datasets by name, the user's own too: known from their registration, without an image."""

from pathlib import Path

import streamlit as st

from lgm.data import store
from lgm.data.base import DataError, Dataset
from lgm.data.registry import DATASETS, find_dataset
from lgm.utils.paths import home


def changed(folder: Path) -> int:
    """When a folder or a file was written last; 0 if it is not there."""
    try:
        return folder.stat().st_mtime_ns
    except OSError:  # not there, or not for us: either is said where it matters
        return 0


@st.cache_resource(show_spinner=False, max_entries=16)
def _own(name: str, registered_at: int) -> Dataset | None:
    del registered_at  # part of the key
    try:
        return find_dataset(name)
    except DataError:  # the page "Your data" says why
        return None


def find(name: str) -> Dataset | None:
    """A dataset by name, the user's own too; None if it cannot be used."""
    return DATASETS.get(name) or _own(name, changed(home() / "datasets" / name / "about.json"))


def registered() -> list[str]:
    """Datasets of the user's own that can be used, with or without a network."""
    return [name for name in store.registered() if find(name)]


def title(name: str) -> str:
    """What people call a dataset."""
    return DATASETS[name].title if name in DATASETS else name
