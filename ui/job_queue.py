"""Long work in the background of a server: one queue, progress, cancel, and an end when nobody watches."""

import contextlib
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Literal

State = Literal["queued", "running", "done", "failed", "cancelled"]
_FINISHED_KEPT = 32  # results of finished jobs kept in memory


class Job:
    """One piece of work. Readers look at its attributes; only the runner's thread writes them.

    Attributes:
        state: Where it stands.
        step, total: Progress, both 0 until the work says otherwise.
        metrics: What the work reported with its last step.
        log: Records the work appended, oldest first.
        result: What the work returned, once done.
        error: What it raised, once failed.
    """

    def __init__(self, key: str, work: Callable[["Job"], Any]) -> None:
        self.key = key
        self.state: State = "queued"
        self.step = self.total = 0
        self.metrics: dict[str, float] = {}
        self.log: deque[Any] = deque(maxlen=10_000)
        self.result: Any = None
        self.error: Exception | None = None
        self.started_at = 0.0
        self.seen_at = time.monotonic()
        self._work = work
        self._stop = threading.Event()

    @property
    def active(self) -> bool:
        """Whether it is still queued or running."""
        return self.state in ("queued", "running")

    @property
    def seconds_left(self) -> float | None:
        """Estimate from the pace so far; None while there is none."""
        if self.state != "running" or not self.step:
            return None
        return (time.monotonic() - self.started_at) / self.step * (self.total - self.step)

    def report(self, step: int, total: int, metrics: dict[str, float] | None = None) -> bool:
        """Called by the work as it goes; False means that it should stop."""
        self.step, self.total = step, total
        self.metrics = metrics or self.metrics
        return not self.cancelling

    @property
    def cancelling(self) -> bool:
        """Whether somebody asked it to stop."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask it to stop at its next report."""
        self._stop.set()
        if self.state == "queued":
            self.state = "cancelled"

    def watch(self) -> None:
        """Say that somebody is looking; a job that nobody looks at is cancelled after a while."""
        self.seen_at = time.monotonic()

    def run(self) -> None:
        """Do the work; never raises."""
        if self.cancelling:
            self.state = "cancelled"
            return
        self.state, self.started_at = "running", time.monotonic()
        try:
            self.result = self._work(self)
            self.state = "cancelled" if self.cancelling else "done"
        except Exception as error:  # noqa: BLE001 whatever it is belongs to whoever reads the job
            self.error, self.state = error, "failed"


class QueueFull(Exception):
    """Too many jobs wait already."""


class Runner:
    """Runs jobs one after another in a thread of its own, so that two users share two cores fairly."""

    def __init__(self, *, queue_limit: int = 8, grace: float = 180.0) -> None:
        """``grace``: seconds without `Job.watch` after which a job is cancelled."""
        self.jobs: OrderedDict[str, Job] = OrderedDict()
        self.grace = grace
        self.queue_limit = queue_limit
        self._waiting: SimpleQueue[Job] = SimpleQueue()
        self._lock = threading.Lock()
        # A daemon, unlike the threads of a pool, which the end of the process would wait for.
        threading.Thread(target=self._work, daemon=True, name="lgm-job").start()
        threading.Thread(target=self._reap, daemon=True, name="lgm-reaper").start()

    def submit(self, key: str, work: Callable[[Job], Any]) -> Job:
        """Queue ``work``, or return the job of the same key if it is active or done.

        Raises:
            QueueFull: as many jobs as allowed wait already.
        """
        with self._lock:
            job = self.jobs.get(key)
            if job and (job.state == "done" or (job.active and not job.cancelling)):
                job.watch()
                return job
            if sum(j.state == "queued" for j in self.jobs.values()) >= self.queue_limit:
                raise QueueFull(f"{self.queue_limit} jobs wait already; try again when one has finished")
            job = Job(key, work)
            self.jobs[key] = job
            self.jobs.move_to_end(key)
            self._forget_oldest()
            self._waiting.put(job)
            return job

    def cancel_all(self) -> None:
        """Ask every job to stop."""
        for job in list(self.jobs.values()):
            job.cancel()

    def close(self) -> None:
        """Cancel all jobs, and wait until the one that runs has ended."""
        self.cancel_all()
        ended = threading.Event()
        self._waiting.put(Job("", lambda _: ended.set()))
        ended.wait()

    def position(self, job: Job) -> int:
        """How many jobs come before this one."""
        waiting = [j for j in list(self.jobs.values()) if j.active]  # another user may submit meanwhile
        return waiting.index(job) if job in waiting else 0

    def _forget_oldest(self) -> None:
        finished = [key for key, job in self.jobs.items() if not job.active]
        for key in finished[: max(0, len(finished) - _FINISHED_KEPT)]:
            del self.jobs[key]

    def _work(self) -> None:
        while True:
            with contextlib.suppress(BaseException):  # `Job.run` has kept it; the next job is to run all the same
                self._waiting.get().run()

    def _reap(self) -> None:
        while True:
            time.sleep(min(5.0, self.grace))
            for job in list(self.jobs.values()):
                if job.active and time.monotonic() - job.seen_at > self.grace:
                    job.cancel()
