"""Background work as pages see it: one queue for all sessions, and a panel that follows a job to its end."""

from collections.abc import Callable

import streamlit as st

from lgm.data.base import DataError
from lgm.models.card import CheckpointError
from ui.job_queue import Job, Runner

_GRACE = 20.0  # seconds after which a picture that nobody waits for is given up
_TICK = 0.5  # seconds between two looks at a running job
_METRICS: dict[str, Callable[[float], str]] = {  # how the numbers that jobs report are written
    "loss": "loss {:.3f}".format,
    "accuracy": lambda share: f"accuracy {100 * share:.1f} %",
    "closest_centers": "closest centres {:.2f}".format,
}


@st.cache_resource(show_spinner=False)
def runner() -> Runner:
    """The queue of this server for all that takes long."""
    return Runner()


@st.cache_resource(show_spinner=False)
def picture_runner() -> Runner:
    """A queue of its own: a picture must not wait behind a training."""
    return Runner(grace=_GRACE)


def cancel_all() -> None:
    """Ask every job of this server to stop."""
    for each in (runner(), picture_runner()):
        each.cancel_all()


def close_all() -> None:
    """Cancel all jobs, and wait until those that run have ended."""
    cancel_all()
    for each in (runner(), picture_runner()):
        each.close()


def jobs_of(kind: str) -> list[Job]:
    """Jobs whose key begins with this word, the oldest first; of all sessions, because work belongs to the server."""
    return [job for job in list(runner().jobs.values()) if job.key.split(" ")[0] == kind]


def job_panel(job: Job, label: str, *, on_cancel: Callable[[], None] | None = None, timed: bool = True) -> None:
    """Follow a job that is active, or say why one failed: progress with time left, place in the queue, Cancel.

    The panel refreshes itself while the job is active and reruns the whole page once when it ends. ``on_cancel`` is
    called instead of `Job.cancel` by a page that has to remember it. ``timed``: whether the pace so far says when the
    job ends.
    """
    active = job.active
    if not active and job.error is None:
        st.rerun()  # it ended after the page had looked
    st.fragment(_panel, run_every=_TICK if active else None)(job, label, active, on_cancel or job.cancel, timed)


def tick_while(active: bool) -> float | None:
    """``run_every`` for a page's own fragment that follows a job."""
    return 2 * _TICK if active else None


def _panel(job: Job, label: str, was_active: bool, cancel: Callable[[], None], timed: bool) -> None:
    """``was_active`` is from the last full run of the page; it differs from the job's own state exactly once."""
    job.watch()
    if was_active and not job.active:
        st.rerun()
    if job.active:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.progress(min(1.0, job.step / max(1, job.total)), text=_progress_text(job, label, timed))
            st.button(
                "Cancel", key=f"cancel_{job.key}", on_click=cancel, disabled=job.cancelling, icon=":material/stop:"
            )
    elif job.error is not None:
        show_error(job.error)


def _progress_text(job: Job, label: str, timed: bool) -> str:
    if job.cancelling:
        return f"{label}: stopping"
    if job.state == "queued":
        ahead = runner().position(job)
        return (
            f"{label}: waiting, {ahead} {'job' if ahead == 1 else 'jobs'} before it" if ahead else f"{label}: starting"
        )
    if job.total and job.step >= job.total:
        return f"{label}: finishing"
    parts = [f"{label}: {100 * job.step / max(1, job.total):.0f} %"]
    if timed and job.seconds_left is not None:
        parts.append(f"{duration(job.seconds_left)} left")
    parts += [write(job.metrics[name]) for name, write in _METRICS.items() if name in job.metrics]
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds as people say them, no more precise than an estimate is."""
    return f"{max(1, round(seconds))} s" if seconds < 90 else f"{round(seconds / 60)} min"


def show_error(error: Exception) -> None:
    """What a user can mend as a message; anything else with its traceback."""
    from lgm.training.run import TrainingError  # not at the top: it brings torch

    if isinstance(error, CheckpointError | DataError | TrainingError | ValueError | OSError):
        st.error(str(error), icon=":material/error:")
    else:
        st.exception(error)
