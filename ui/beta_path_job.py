"""The job that crafts what the picture of the Craft page lacks: followed, stopped, begun again."""

import contextlib
from typing import Any

import streamlit as st

from ui import beta_paths, load, state
from ui.job_queue import QueueFull
from ui.jobs import job_panel
from ui.pair import Pair

_FOLLOWED, _STOPPED = "path_followed", "path_stopped"  # of a session: its job, and the picture it wants no more of


def missing(pair: Pair, recipe: beta_paths.Recipe) -> tuple[list[str], tuple[float, ...]]:
    """Which networks, and for which betas, the picture has no poisons of yet."""
    names = [load.model_name(loss) for loss in ("lgm", "softmax")]
    return beta_paths.next_work(names, pair, recipe, state.link().beta)


def craft_missing(pair: Pair, recipe: beta_paths.Recipe, lacking: list[str], betas: tuple[float, ...]) -> None:
    """Start what the picture lacks, in the background, and follow it; or say that it was stopped."""
    names = [load.model_name(loss) for loss in ("lgm", "softmax")]
    order = (lacking, pair, recipe, betas)
    picture = beta_paths.job_key(names, pair, recipe, ())
    key = beta_paths.job_key(*order)
    _leave(key)
    if not lacking:
        return
    job = beta_paths.find(key)
    stopped = st.session_state.get(_STOPPED) == picture
    if job is not None and (job.state == "failed" or (stopped and job.active)):
        job_panel(job, "Crafting", timed=False)  # which says why, or that it is stopping
    if stopped or (job is not None and job.state == "failed"):
        if job is None or not job.active:
            if stopped:
                st.caption("Crafting was stopped.")
            st.button("Go on crafting", icon=":material/play_arrow:", on_click=_go_on, args=order)
        return
    try:
        job = beta_paths.start(*order)
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
        return
    what = f"β = {betas[0]:g}" if len(betas) == 1 else f"{len(betas)} stops of β"
    job_panel(job, f"Crafting {what} on {' and '.join(lacking)}", on_cancel=lambda: _stop(key, picture), timed=False)


def _leave(key: str) -> None:
    """Cancel what was being crafted for a picture no longer shown; sessions that still want it start it anew."""
    before = beta_paths.find(st.session_state.get(_FOLLOWED, ""))
    if before is not None and before.active and before.key != key:
        before.cancel()
    st.session_state[_FOLLOWED] = key


def _stop(key: str, picture: str) -> None:
    """Cancel, and craft nothing more for this picture until asked to."""
    job = beta_paths.find(key)
    if job is not None:
        job.cancel()
    st.session_state[_STOPPED] = picture


def _go_on(*order: Any) -> None:
    """After a stop or a failure."""
    st.session_state.pop(_STOPPED, None)
    with contextlib.suppress(QueueFull):  # the page says so when it tries
        beta_paths.start(*order)
