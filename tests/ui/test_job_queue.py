import threading
import time
from collections.abc import Callable

import pytest

from ui.job_queue import _FINISHED_KEPT, Job, QueueFull, Runner


def wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    """Poll, so that a busy machine makes a test slower but not wrong."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.005)


class Gate:
    """Work that waits for `open`, reporting as it goes; knows whether it is running."""

    def __init__(self) -> None:
        self.running, self.open = threading.Event(), threading.Event()

    def __call__(self, job: Job) -> str | None:
        self.running.set()
        step = 0
        while not self.open.wait(0.005):
            step += 1
            if not job.report(step, 0):
                return None
        return "through"


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()  # a thread left waiting would keep pytest from ending


def test_jobs_run_one_after_another_in_order(gate: Gate):
    runner, order = Runner(), []
    runner.submit("gate", gate)
    jobs = [runner.submit(str(i), lambda job, i=i: order.append(i)) for i in range(5)]
    assert gate.running.wait(60)
    assert [runner.position(job) for job in jobs] == [1, 2, 3, 4, 5]
    assert not order, "two jobs ran at once"
    gate.open.set()
    wait_for(lambda: all(job.state == "done" for job in jobs))
    assert order == [0, 1, 2, 3, 4]
    assert runner.position(jobs[-1]) == 0


def test_result_progress_and_log_are_kept():
    def work(job: Job) -> int:
        assert job.report(1, 4, {"loss": 0.5})
        job.log.append("one")
        assert job.report(2, 4)
        return 42

    job = Runner().submit("job", work)
    wait_for(lambda: not job.active)
    assert (job.state, job.result, job.error) == ("done", 42, None)
    assert (job.step, job.total, job.metrics, list(job.log)) == (2, 4, {"loss": 0.5}, ["one"])


def test_seconds_left_follow_the_pace(gate: Gate):
    job = Job("job", lambda job: None)
    assert job.seconds_left is None
    job.state, job.started_at = "running", time.monotonic() - 10
    assert job.seconds_left is None
    job.report(2, 10)
    assert job.seconds_left == pytest.approx(40, rel=0.05)


def test_same_key_shares_the_job(gate: Gate):
    runner, ran = Runner(), []
    first = runner.submit("key", gate)
    assert runner.submit("key", ran.append) is first
    gate.open.set()
    wait_for(lambda: first.state == "done")
    assert runner.submit("key", ran.append) is first  # done: the result is there already
    assert not ran


@pytest.mark.parametrize("end", ["failed", "cancelled"])
def test_same_key_runs_again_after_a_bad_end(end: str):
    runner = Runner()

    def bad(job: Job) -> None:
        if end == "failed":
            raise ValueError("first try")
        job.cancel()

    first = runner.submit("key", bad)
    wait_for(lambda: first.state == end)
    second = runner.submit("key", lambda job: "second try")
    assert second is not first
    wait_for(lambda: second.state == "done")
    assert second.result == "second try"


def test_cancelling_job_is_not_shared(gate: Gate):
    runner = Runner()
    first = runner.submit("key", gate)
    assert gate.running.wait(60)
    first.cancel()
    second = runner.submit("key", lambda job: "mine")
    assert second is not first
    wait_for(lambda: second.state == "done")
    assert (first.state, second.result) == ("cancelled", "mine")


def test_cancel_of_a_running_job_takes_effect_at_its_next_report(gate: Gate):
    job = Runner().submit("job", gate)
    assert gate.running.wait(60)
    assert (job.state, job.cancelling) == ("running", False)
    job.cancel()
    wait_for(lambda: job.state == "cancelled")
    assert job.result is None


def test_cancelled_job_in_the_queue_never_runs(gate: Gate):
    runner, ran = Runner(), []
    runner.submit("gate", gate)
    waiting = runner.submit("waiting", ran.append)
    after = runner.submit("after", lambda job: "ran")
    waiting.cancel()
    assert waiting.state == "cancelled"
    gate.open.set()
    wait_for(lambda: after.state == "done")
    assert waiting.state == "cancelled"
    assert not ran


def test_failing_job_keeps_its_error_and_the_queue_goes_on():
    runner = Runner()
    error = RuntimeError("out of paper")

    def fail(job: Job) -> None:
        raise error

    job, after = runner.submit("fail", fail), runner.submit("after", lambda job: "ran")
    wait_for(lambda: after.state == "done")
    assert (job.state, job.error, job.result) == ("failed", error, None)


def test_queue_is_limited(gate: Gate):
    runner = Runner(queue_limit=2)
    runner.submit("gate", gate)
    assert gate.running.wait(60)
    waiting = [runner.submit(str(i), lambda job: None) for i in range(2)]
    with pytest.raises(QueueFull, match="2 jobs wait already"):
        runner.submit("one too many", lambda job: None)
    assert "one too many" not in runner.jobs
    assert runner.submit("1", lambda job: None) is waiting[1]  # sharing needs no place
    waiting[0].cancel()
    runner.submit("in its place", lambda job: None)


class Clock:
    """Stands in for `time` in ui.job_queue: its hands move only when told to, and it counts the reaper's rounds."""

    def __init__(self) -> None:
        self.now, self.rounds = 1000.0, 0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.rounds += 1
        time.sleep(0.002)


def test_job_that_somebody_watches_goes_on(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    monkeypatch.setattr("ui.job_queue.time", clock)
    job = Runner(grace=60).submit("job", gate)
    for _ in range(3):
        clock.now += 50
        rounds = clock.rounds
        wait_for(lambda: clock.rounds >= rounds + 3)  # noqa: B023 called at once
        assert not job.cancelling
        job.watch()
    clock.now += 70
    wait_for(lambda: job.state == "cancelled")


def test_jobs_that_nobody_watches_are_cancelled(gate: Gate, monkeypatch: pytest.MonkeyPatch):
    clock = Clock()
    monkeypatch.setattr("ui.job_queue.time", clock)
    runner, ran = Runner(grace=60), []
    job, waiting = runner.submit("job", gate), runner.submit("waiting", ran.append)
    clock.now += 50
    job.watch()
    clock.now += 20
    wait_for(lambda: waiting.state == "cancelled")  # even while it waits
    assert not job.cancelling
    clock.now += 50
    wait_for(lambda: job.state == "cancelled")
    assert not ran


def test_reaper_looks_often_enough(gate: Gate):
    job = Runner(grace=0.05).submit("job", gate)  # with the real clock
    wait_for(lambda: job.state == "cancelled")


def test_closing_cancels_what_runs_and_what_waits_and_returns_when_all_has_ended(gate: Gate):
    runner, ran = Runner(), []
    job, waiting = runner.submit("gate", gate), runner.submit("waiting", ran.append)
    assert gate.running.wait(60)
    runner.close()
    assert (job.state, waiting.state) == ("cancelled", "cancelled")
    assert not ran


def test_work_that_ends_its_thread_leaves_one_for_the_next():
    runner = Runner()

    def leave(job: Job) -> None:
        raise SystemExit

    runner.submit("leave", leave)
    after = runner.submit("after", lambda job: "ran")
    wait_for(lambda: after.state == "done")


def test_oldest_finished_jobs_are_forgotten(gate: Gate):
    runner = Runner(queue_limit=100)
    count = _FINISHED_KEPT + 5
    jobs = [runner.submit(str(i), lambda job, i=i: i) for i in range(count)]
    wait_for(lambda: all(job.state == "done" for job in jobs))
    runner.submit("gate", gate)
    assert list(runner.jobs) == [*[str(i) for i in range(5, count)], "gate"]
