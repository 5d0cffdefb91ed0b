"""Beta-paths: the poisons of one pair for every stop of the beta slider, made once and kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable

import streamlit as st

from lgm.cards import CheckpointError
from lgm.config import Method, PoisonConfig
from lgm.poisons import Poisons, read_shipped_poisons
from ui import load

Key = tuple[str, str, str, int, int, str]


class PathStore:
    """The most recent paths, shared by all sessions; each is about a megabyte."""

    def __init__(self, limit: int = 64) -> None:
        self._paths: OrderedDict[Key, Poisons] = OrderedDict()
        self._lock = threading.Lock()
        self._limit = limit

    def get(self, key: Key) -> Poisons | None:
        with self._lock:
            if key in self._paths:
                self._paths.move_to_end(key)
            return self._paths.get(key)

    def put(self, key: Key, path: Poisons) -> None:
        with self._lock:
            self._paths[key] = path
            while len(self._paths) > self._limit:
                self._paths.popitem(last=False)


@st.cache_resource(show_spinner=False)
def _store() -> PathStore:
    return PathStore()


def _key(name: str, pair: tuple[int, int], method: Method) -> Key:
    return (name, load.card(name).weights_sha256, load.clean_split(), *pair, method)


@st.cache_resource(show_spinner=False, max_entries=8)
def _example(name: str, weights_sha256: str) -> Poisons | None:
    del weights_sha256
    try:
        return read_shipped_poisons(name, "example")
    except CheckpointError:
        return None


def example(name: str) -> Poisons | None:
    """The path that is shipped with a checkpoint, for one pair of bundled digits; None if it has none."""
    return _example(name, load.card(name).weights_sha256)


def ready(name: str, pair: tuple[int, int], method: Method) -> Poisons | None:
    """A path that needs no work: kept from before, or shipped."""
    kept = _store().get(_key(name, pair, method))
    if kept is not None:
        return kept
    shipped = example(name)
    if shipped is not None and load.clean_split() == shipped.manifest["split"]:
        same = pair == tuple(shipped.manifest["pair"]) and method == shipped.manifest["config"]["method"]
        return shipped if same else None
    return None


def make(name: str, pair: tuple[int, int], method: Method, progress: Callable[[float], object]) -> Poisons:
    """Craft a path now. ``progress`` gets the share done; if it raises, as a rerun does, nothing is kept."""
    from lgm.poisoning import craft_path

    def on_step(done: int, total: int) -> None:
        progress(done / total)

    split = load.split(load.clean_split())
    config = PoisonConfig(method=method)
    path = craft_path(load.model(name), load.card(name), split, pair, config, on_step=on_step)
    _store().put(_key(name, pair, method), path)
    return path
