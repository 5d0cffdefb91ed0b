"""Beta-paths: the poisons of one pair for every stop of the beta slider, made once and kept."""

import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lgm.cards import Card, CheckpointError
from lgm.config import Method, PoisonConfig
from lgm.data import Split
from lgm.poisons import Poisons, read_shipped_poisons
from ui import load


@dataclass(frozen=True)
class Recipe:
    """How a path is made: the method, and the weight of passing the filter at T (nats) of an attacker who knows it."""

    method: Method = "lm"
    gamma: float = 0.0
    threshold: float | None = None

    def config(self) -> PoisonConfig:
        return PoisonConfig(
            method=self.method, gamma=self.gamma, threshold=self.threshold, tolerance=_TOLERANCE[self.method]
        )


Key = tuple[str, str, str, int, int, Recipe]
_GLANCE = 0.25  # seconds between two looks at the work
_TOLERANCE: dict[Method, float] = {"lm": 2e-2, "fbs": 2e-3}  # lm: a shorter wait for 2 % on average


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


def _key(name: str, pair: tuple[int, int], recipe: Recipe) -> Key:
    return (name, load.card(name).weights_sha256, load.clean_split(), *pair, _for_network(name, recipe))


def _for_network(name: str, recipe: Recipe) -> Recipe:
    """Without gamma where there is no density, and so no filter to know of."""
    knows = recipe.gamma > 0 and load.card(name).config.model.loss == "lgm"
    return recipe if knows else Recipe(recipe.method)


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


def ready(name: str, pair: tuple[int, int], recipe: Recipe) -> Poisons | None:
    """A path that needs no work: kept from before, or shipped."""
    kept = _store().get(_key(name, pair, recipe))
    if kept is not None:
        return kept
    shipped = example(name)
    if shipped is None:
        return None
    made = shipped.manifest["split"], tuple(shipped.manifest["pair"]), Recipe(shipped.manifest["config"]["method"])
    return shipped if made == (load.clean_split(), pair, _for_network(name, recipe)) else None


def make(names: list[str], pair: tuple[int, int], recipe: Recipe, progress: Callable[[float], object]) -> None:
    """Craft the paths of one pair for these networks now, side by side.

    ``progress`` gets the share done, from this thread; if it raises, as a rerun does, nothing more is kept.
    """
    split, stop = load.split(load.clean_split()), threading.Event()
    sides = [_Side(load.model(name), load.card(name), _key(name, pair, recipe)) for name in names]
    with ThreadPoolExecutor(len(names), "lgm-path") as pool:
        work = [pool.submit(side.craft, split, pair, stop) for side in sides]
        try:
            while wait(work, timeout=_GLANCE).not_done:
                progress(sum(side.share for side in sides) / len(sides))
        except BaseException:
            stop.set()
            raise
        for done in work:
            done.result()


@dataclass
class _Side:
    """The work on one network."""

    model: Any
    card: Card
    key: Key
    share: float = 0.0

    def craft(self, split: Split, pair: tuple[int, int], stop: threading.Event) -> None:
        from lgm.poisoning import craft_path

        def on_step(done: int, total: int) -> bool:
            self.share = done / total
            return not stop.is_set()

        path = craft_path(self.model, self.card, split, pair, self.key[-1].config(), on_step=on_step)
        if not stop.is_set():
            _store().put(self.key, path)
