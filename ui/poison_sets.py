"""Sets of poisons: the shipped one, those made on this server, and the panel that crafts new ones."""

from typing import cast

import streamlit as st

from lgm.attacks.result import Poisons
from lgm.config import BETA_GRID, METHODS, Method, PoisonConfig
from lgm.data.registry import load_split
from lgm.models.card import CheckpointError
from ui import load, state
from ui.frame import keep_poison
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, jobs_of, runner

SHIPPED = "shipped"
_CHOSEN = "poison_set"  # key of the widget that chooses a set
_JOB = "craft_job"


def adopt_finished() -> None:
    """A craft job of this session that is done becomes the set on show."""
    job = runner().jobs.get(st.session_state.get(_JOB, ""))
    if job is None or job.active:
        return
    if job.state == "done":
        _keep_one(job.result)
        st.session_state[_CHOSEN] = job.key
    if job.error is None:  # an error stays on the panel
        del st.session_state[_JOB]


def _crafts(weights: str) -> list[Job]:
    """Jobs of all sessions that craft, or have crafted, on these weights."""
    return [job for job in jobs_of("craft") if job.key.split(" ")[2] == weights]


def _keep_one(poisons: Poisons) -> None:
    """The first of a set that collides goes along from page to page, as one from the Craft page does."""
    name = str(poisons.manifest["model"])
    classes = load.card(name).class_names
    keep_poison(poisons, int(poisons.collided.argmax()), name, classes)


def sets_for(name: str) -> dict[str, Poisons]:
    """The sets that were crafted on this network: the shipped one first, then those made on this server, by whomever.

    Raises:
        CheckpointError: there is none.
    """
    weights = load.card(name).weights_sha256
    own = {job.key: job.result for job in _crafts(weights) if job.state == "done"}
    try:
        return {SHIPPED: load.shipped_poisons(name), **own}
    except CheckpointError:
        if not own:
            raise
        return own


def choose_set(sets: dict[str, Poisons]) -> str:
    """The widget that picks one of these sets; returns its key."""
    if st.session_state.get(_CHOSEN) not in sets:
        st.session_state.pop(_CHOSEN, None)  # it was crafted on another network
    return st.selectbox(
        "Poisons",
        list(sets),
        key=_CHOSEN,
        format_func=lambda key: _set_title(key, sets[key]),
        persist_state="session",
        width=300,
    )


def _set_title(key: str, poisons: Poisons) -> str:
    if key == SHIPPED:
        return f"shipped: {len(poisons)} poisons"
    config = poisons.manifest["config"]
    return f"made here: {len(poisons)}, β = {config['beta']:g}, seed {poisons.manifest['seed']}"


def craft_panel(name: str) -> None:
    """New poisons on the network on show, in the background."""
    job = runner().jobs.get(st.session_state.get(_JOB, ""))
    crafts = _crafts(load.card(name).weights_sha256)
    # A reload is another session: it still has to see why the last craft failed.
    others = [other for other in crafts if other.active or (other.error is not None and other is crafts[-1])]
    others = [other for other in others if other is not job]
    with st.expander("Craft new poisons", icon=":material/science:", expanded=job is not None or bool(others)):
        config, count, seed = _widgets()
        st.caption("A poison is done when it hardly improves any more. Once crafting runs, the time left is shown.")
        if st.button("Craft", type="primary", icon=":material/play_arrow:", disabled=job is not None and job.active):
            job = _submit(name, config, count, seed)
        if job is not None:
            job_panel(job, "Crafting")
        for other in others:
            if other is not job:  # which may just have become that of this session
                job_panel(other, "Crafting, from another window")


def _widgets() -> tuple[PoisonConfig, int, int]:
    beta = state.link().beta
    first, second, third, fourth = st.columns(4)
    count = first.slider("How many", 10, 200, 50, 10, key="detect_count")
    betas = sorted({*BETA_GRID, beta, st.session_state.get("detect_beta", beta)})
    chosen = second.select_slider(
        "β: weight of looking like the base", betas, beta, format_func=lambda value: f"{value:g}", key="detect_beta"
    )
    method = third.selectbox("Method", list(METHODS), format_func=METHODS.__getitem__, key="detect_method")
    seed = fourth.number_input("Seed of the pairs", *state.bounds("seed"), state.link().seed, key="detect_seed")
    return PoisonConfig(beta=float(chosen), method=cast(Method, method)), int(count), int(seed)


def _submit(name: str, config: PoisonConfig, count: int, seed: int) -> Job | None:
    split = load.clean_split()
    weights = load.card(name).weights_sha256

    def work(job: Job) -> Poisons:
        from lgm.attacks.craft import craft_random
        from lgm.models.checkpoint import load_checkpoint

        model, card = load_checkpoint(name)
        return craft_random(
            model, card, load_split(split, card.config.dataset), count, config, seed=seed, on_step=job.report
        )

    key = f"craft {name} {weights} {split} {count} {seed} {config}"
    try:
        job = runner().submit(key, work)
    except QueueFull as error:
        st.warning(str(error), icon=":material/hourglass:")
        return None
    st.session_state[_JOB] = key
    if not job.active:  # somebody crafted exactly these before
        st.rerun()
    return job
