"""The run that the Train page follows: which one, how far it is, and what can be done with it."""

from collections.abc import Callable
from dataclasses import replace

import streamlit as st

from lgm.data.registry import held_out_of
from lgm.models.card import CheckpointError
from lgm.models.features import read_gaussians
from lgm.models.registry import locate
from lgm.plots.features import projection
from ui import load, training_runs
from ui.components.training_replay import training_replay
from ui.job_queue import QueueFull
from ui.jobs import job_panel, tick_while
from ui.network_tabs import use_button
from ui.network_words import accuracy_text, recipe_text
from ui.training_runs import Epoch, Run, Unfinished


def followed() -> Run | None:
    """The run on show: this session's, else the first that is going on; a reload is another session."""
    if "train_run" not in st.session_state:
        for run in training_runs.active_runs()[:1]:
            st.session_state["train_run"] = run
    return st.session_state.get("train_run")


def training_own() -> bool:
    """Whether a run that this session started is not over yet: one at a time is enough."""
    own: Run | None = st.session_state.get("train_own")
    return own is not None and own.job.active


def begin(submit: Callable[[], Run]) -> None:
    """Queue a run and show it; CheckpointError is for the caller's `guard`."""
    try:
        st.session_state["train_run"] = st.session_state["train_own"] = submit()
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
    else:
        st.rerun()


def choose_run(run: Run | None) -> None:
    """Which of several runs to follow."""
    going = {each.job.key: each for each in training_runs.active_runs()}
    if run is not None:
        going.setdefault(run.job.key, run)
    if len(going) > 1:
        key = f"train_follow_{run.job.key if run else ''}"
        shown = list(going).index(run.job.key) if run else None
        picked = st.selectbox("Run", list(going), shown, lambda key: going[key].name, key=key, width=260)
        if picked is not None and (run is None or picked != run.job.key):
            st.session_state["train_run"] = going[picked]
            st.rerun()


def status(run: Run | None, loss: str) -> None:
    """One place for what goes on, so that nothing below it moves."""
    if run is None:
        name = load.model_name(loss)
        st.markdown(f"Trained before: **`{name}`**, {accuracy_text(name)}")
    elif run.job.result is not None:
        finished(run)
    elif run.job.active or run.job.error is not None:
        job_panel(run.job, f"Training `{run.name}`")
    else:
        stopped(run)


def finished(run: Run) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.success(f"**`{run.name}`** is trained and saved: {accuracy_text(run.name)}", icon=":material/check:")
        use_button(run.name, key="use_new")


def stopped(run: Run) -> None:
    left_over = [one for one in training_runs.unfinished() if isinstance(one, Unfinished) and one.name == run.name]
    if not left_over:
        kept = " Its finished epochs of the warm start are kept: Train again goes on from there."
        why = "in its warm start." + kept if run.config.phases[1:] else "before it began."
        st.info(f"`{run.name}` was stopped {why}", icon=":material/stop:")
    for one in left_over:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(f"`{one.name}` is stopped. {kept_text(one)}", icon=":material/stop:")
            resume_button(one, run, key="resume_own")


def kept_text(run: Unfinished) -> str:
    return f"Kept: {len(run.history)} of {run.config.epochs} epochs."


def resume_button(one: Unfinished, run: Run | None, key: str) -> None:
    if st.button("Resume", key=key, icon=":material/play_arrow:", disabled=training_own()):
        begin(lambda: training_runs.resume(one, run))


def list_stopped(waiting: list[Unfinished | CheckpointError], run: Run | None) -> None:
    st.caption("Runs that were cancelled, or whose server stopped, wait here with their last finished epoch.")
    for one in waiting:
        if isinstance(one, CheckpointError):
            st.error(str(one), icon=":material/error:")
            continue
        with st.container(horizontal=True, vertical_alignment="center", border=True):
            st.markdown(f"**`{one.name}`**: {recipe_text(one.config)}. {kept_text(one)}")
            resume_button(one, run, key=f"resume_{one.name}")
            st.button(
                "Delete",
                key=f"discard_{one.name}",
                icon=":material/delete:",
                on_click=training_runs.discard,
                args=(one.name,),
            )


def show(run: Run | None, loss: str) -> None:
    if run is None:
        show_model(load.model_name(loss))
    else:
        st.fragment(show_run, run_every=tick_while(bool(training_runs.active_runs())))(run)


def show_run(run: Run) -> None:
    """A run, as far as it is."""
    for going in training_runs.active_runs():
        going.job.watch()
    training_replay(
        list(run.job.log), run.config, title=f"{run.name}: {recipe_text(run.config)}", identity=run.job.key, key="film"
    )


def show_model(name: str) -> None:
    """A trained network's history, and where it ended."""
    card, features = load.card(name), load.features(name)
    dataset = card.config.dataset
    seen = projection(features)
    split = training_runs.held_out(features.splits[held_out_of(dataset)], dataset)
    means, sigmas = read_gaussians(locate(name))
    if not seen.exact:
        means, sigmas = None if means is None else seen(means), None  # orthonormal axes keep a round Gaussian round
    ended = Epoch(
        card.history[-1] if card.history else {"epoch": card.config.epochs},
        replace(split, z=seen(split.z)),
        means,
        sigmas,
    )
    epochs = [*map(Epoch, card.history[:-1]), ended]
    name = name if seen.exact else f"{name}, {seen.title}"
    training_replay(epochs, card.config, title=name, identity=f"{name} {card.weights_sha256}", key="film")
