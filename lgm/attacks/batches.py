"""Batches of poisons side by side, each on one core, and their progress."""

import contextlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import torch

from lgm.config import PoisonConfig
from lgm.utils.progress import OnStep
from lgm.utils.threads import usual_threads

Part = TypeVar("Part")


def batch_length(count: int, config: PoisonConfig) -> int:
    """How many of ``count`` poisons are crafted together.

    Few of them in two halves, a core each: two cores at one batch mostly wait for each other.
    """
    return max(1, min(config.batch_size, -(-count // 2)))


class Progress:
    """Adds up what the batches report, from whatever thread, and tells all of them to stop."""

    def __init__(self, total: int, on_step: OnStep | None) -> None:
        self.total, self.on_step = total, on_step
        self.stopped = False
        self._done: dict[int, int] = {}
        self._lock = threading.Lock()

    def report(self, batch: int, done: int) -> None:
        """Batch number ``batch`` has done so many poison-iterations. Fewer than before do not count."""
        with self._lock:
            self._done[batch] = max(done, self._done.get(batch, 0))
            if not self.stopped and self.on_step and self.on_step(sum(self._done.values()), self.total) is False:
                self.stopped = True


class BatchProgress:
    """What one batch, or one file of them, sees of it."""

    def __init__(self, of_all: Progress, batch: int) -> None:
        self._of_all, self._batch = of_all, batch

    @property
    def stopped(self) -> bool:
        """Whether to end now, with the points so far."""
        return self._of_all.stopped

    def report(self, done: int) -> None:
        """So many poison-iterations of this batch are done."""
        self._of_all.report(self._batch, done)

    def on_step(self, done: int, _: int) -> bool:
        """The same for those who are told by a callback, as `craft_poisons` is."""
        self.report(done)
        return not self.stopped


@contextlib.contextmanager
def one_thread_each() -> Iterator[Callable[..., Iterator[Any]]]:
    """A ``map`` that does as many batches at a time as there are cores, each on one; a single batch too.

    Threads within a batch would wait for each other at every layer (`lgm.utils.threads`), and their number would change
    the order of sums: this way the poisons are the same, bit for bit, on any number of cores or processes.
    """
    with usual_threads() as cores:
        pool = ThreadPoolExecutor(cores, "lgm-craft", torch.set_num_threads, (1,))
        try:
            yield pool.map
        except BaseException:  # an interruption is answered now, and not when every batch has ended its iteration
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        pool.shutdown()


def side_by_side(craft: Callable[[int], Part], count: int, device: torch.device, progress: Progress) -> list[Part]:
    """What each batch, by number, gives; on a CPU as many at a time as there are cores."""
    with one_thread_each() if device.type == "cpu" else contextlib.nullcontext(map) as each:
        try:
            return list(each(craft, range(count)))
        except BaseException:  # an interruption too: those still at work end with their next iteration
            progress.stopped = True
            raise
