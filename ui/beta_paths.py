"""Beta-paths: the poisons of one pair for the stops of the beta slider, made in the background and kept."""

import itertools
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.config import BETA_GRID, NETWORKS, Method, PoisonConfig
from lgm.data.base import Split
from lgm.experiments.beta_sweep import BETAS
from lgm.models.card import Card, CheckpointError
from ui import load
from ui.job_queue import Job
from ui.jobs import picture_runner
from ui.pair import Pair, place


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


Key = tuple[str, str, str, Pair, Recipe]
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
        """Add poisons of a pair; what is kept of it for the same betas gives way, for others it stays."""
        with self._lock:
            self._paths[key] = _merged(self._paths.get(key), path)
            while len(self._paths) > self._limit:
                self._paths.popitem(last=False)


def _merged(old: Poisons | None, new: Poisons) -> Poisons:
    if old is None:
        return new
    both = Poisons.concatenate([old[~np.isin(old.beta, new.beta)], new])
    return both[np.argsort(both.beta)]


@st.cache_resource(show_spinner=False)
def _store() -> PathStore:
    return PathStore()


def _key(name: str, pair: Pair, recipe: Recipe) -> Key:
    return (name, load.card(name).weights_sha256, load.clean_split(), pair, _for_network(name, recipe))


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


def ready(name: str, pair: Pair, recipe: Recipe) -> Poisons | None:
    """What needs no work, by ascending beta: kept from before, or shipped."""
    kept = _store().get(_key(name, pair, recipe))
    if kept is not None:
        return kept
    shipped = example(name)
    if shipped is None:
        return None
    made = shipped.manifest["split"], Pair(*shipped.manifest["pair"]), Recipe(shipped.manifest["config"]["method"])
    return shipped if made == (load.clean_split(), pair, _for_network(name, recipe)) else None


def nearest(beta: float, betas: tuple[float, ...] = BETA_GRID) -> int:
    """Position of the beta nearest to a given one, by ratio."""
    return int(np.abs(np.log(np.asarray(betas) / beta)).argmin())


def stops(path: Poisons | None) -> tuple[float, ...]:
    """The betas of `BETA_GRID` that a path has poisons for (a path keeps them in float32)."""
    return () if path is None else tuple(BETA_GRID[nearest(beta)] for beta in path.beta.tolist())


def side_by_side(found: dict[str, Poisons | None], beta: float) -> tuple[dict[str, Poisons | None], tuple[float, ...]]:
    """These paths at the betas that all of them have, and these betas. A path without any of them is None.

    ``beta``: the stop that is asked for, and the only one while there is nothing.
    """
    have = [set(stops(path)) for path in found.values() if path is not None]
    common = set[float]().union(*have).intersection(*have)
    if not common and have:  # the first to be ready were asked for different ones
        common = next((mine for mine in have if BETA_GRID[nearest(beta)] in mine), have[0])
    shown = tuple(sorted(common)) or (BETA_GRID[nearest(beta)],)
    return {loss: _at(path, shown) for loss, path in found.items()}, shown


def _at(path: Poisons | None, betas: tuple[float, ...]) -> Poisons | None:
    have = stops(path)
    if path is None or not set(betas) <= set(have):
        return None
    return path if have == betas else path[np.array([have.index(beta) for beta in betas])]


_QUICK = ("tiny-cnn", "mnist-cnn", "small")  # networks that make all stops in a second


def next_work(names: list[str], pair: Pair, recipe: Recipe, beta: float) -> tuple[list[str], tuple[float, ...]]:
    """Which networks are to be crafted on next, and for which betas; none if all is there.

    A small network makes all stops at once. Where that takes longer, for a large one, by the slower method or past the
    filter, the stop that is asked for comes first; and where each step needs more than two rows of the Jacobian, or the
    images are photos, only the stops of the studies follow.
    """
    models = [load.card(name).config.model for name in names]
    large = any(model.network not in NETWORKS for model in models)  # of photos
    grid = BETAS if large or any(model.n_dim > 2 for model in models) else BETA_GRID
    hard = recipe.method == "fbs" or recipe.gamma > 0
    slow = grid is BETAS or hard or any(model.network not in _QUICK for model in models)
    for betas in ((BETA_GRID[nearest(beta)],), grid) if slow else (grid,):
        lacking = [name for name in names if not set(betas) <= set(stops(ready(name, pair, recipe)))]
        if lacking:
            return lacking, betas
    return [], ()


def job_key(names: list[str], pair: Pair, recipe: Recipe, betas: tuple[float, ...]) -> str:
    """Of the work, which is the same for all sessions."""
    return f"path {[_key(name, pair, recipe) for name in names]} {betas}"


def find(key: str) -> Job | None:
    """The work of this key, if it is known."""
    return picture_runner().jobs.get(key)


def start(names: list[str], pair: Pair, recipe: Recipe, betas: tuple[float, ...]) -> Job:
    """Queue the work, or join what another session has queued.

    Raises:
        QueueFull: too much waits already.
        DataError: the images are not on this machine.
    """
    key, (split, positions) = job_key(names, pair, recipe, betas), place(pair)
    known = find(key)
    if known is not None and known.state == "done":  # long ago: what it made is no longer kept
        picture_runner().jobs.pop(key, None)
    sides = [_Side(name, load.card(name), _key(name, pair, recipe)) for name in names]

    return picture_runner().submit(key, lambda job: _craft(sides, split, positions, betas, job))


def _craft(sides: "list[_Side]", split: Split, pair: tuple[int, int], betas: tuple[float, ...], job: Job) -> None:
    """Craft on these networks, side by side, and keep what comes out unless the job is cancelled."""
    with ThreadPoolExecutor(len(sides), "lgm-path") as pool:
        work = [pool.submit(side.craft, split, pair, betas, lambda: job.cancelling) for side in sides]
        while wait(work, timeout=_GLANCE).not_done:
            job.report(round(1000 * sum(side.share for side in sides) / len(sides)), 1000)
        for done in work:
            done.result()


@dataclass
class _Side:
    """The work on one network."""

    name: str
    card: Card
    key: Key
    share: float = 0.0

    def craft(self, split: Split, pair: tuple[int, int], betas: tuple[float, ...], stopped: Callable[[], bool]) -> None:
        from lgm.attacks.craft import craft_beta_path
        from lgm.attacks.trajectory import max_iterations

        limit = max_iterations(self.key[-1].config())
        iterations = itertools.count(1)

        def on_step(done: int, total: int) -> bool:
            # Nobody knows when a poison will rest; most do after a third of the iterations that they may take.
            self.share = max(done / total, (k := next(iterations)) / (k + limit / 3))
            return not stopped()

        model: Any = load.model(self.name)
        path = craft_beta_path(model, self.card, split, pair, self.key[-1].config(), betas=betas, on_step=on_step)
        if not stopped():
            _store().put(self.key, path)
