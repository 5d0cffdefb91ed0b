"""A board of a network that none is stored of: a few rows of it, measured on this machine, for as long as it runs."""

from dataclasses import replace
from typing import TYPE_CHECKING

import streamlit as st

from lgm.config import DefenseConfig
from lgm.data.registry import load_split
from lgm.experiments.board.config import QUICK
from ui import load
from ui.job_queue import Job, QueueFull
from ui.jobs import job_panel, jobs_of, runner

if TYPE_CHECKING:  # it brings torch
    from lgm.experiments.board.record import Board
    from lgm.experiments.board.stored import MeasuredBoard

CONFIG = replace(QUICK, attackers=("collision", "edge"), choices=("random", "nearest"))
_KIND = "board"  # of jobs


@st.cache_resource(show_spinner=False)
def _measured() -> dict[str, "MeasuredBoard"]:
    """What was measured since the server began, by the key of the job."""
    return {}


def _key(name: str) -> str:
    return f"{_KIND} {name} {load.card(name).weights_sha256} {load.clean_split()}"


def measured(name: str) -> "MeasuredBoard | None":
    """A network's board on the chosen data and its attacks, if that was measured since the server began."""
    return _measured().get(_key(name))


def board_of(name: str) -> "Board | None":
    """The board that has a network: the one that is shipped with its dataset, else one that was measured here."""
    shipped, mine = load.board(), measured(name)
    if shipped is not None and shipped.network_of(load.card(name).weights_sha256) is not None:
        return shipped
    return mine.board if mine else None


def offer(name: str) -> None:
    """To measure it, with progress and a way to stop; where that cannot be, why."""
    mine = _key(name)
    jobs = [job for job in jobs_of(_KIND) if job.active or (job.key == mine and job.error is not None)]
    if jobs:
        job_panel(jobs[-1], f"Attacks on {jobs[-1].key.split(' ')[1]}")
        if jobs[-1].active:
            return
    if why := _trouble(name):
        st.caption(why)
        return
    rows = len(CONFIG.attackers) * len(CONFIG.choices)
    (poisons, clean), *_ = CONFIG.budgets
    st.button(
        f"Measure {rows} row{'s' if rows > 1 else ''} on {load.dataset().brief(load.clean_split())}",
        icon=":material/play_arrow:",
        on_click=_measure,
        args=(name,),
        help=f"{' and '.join(CONFIG.attackers)}, each with {' and '.join(CONFIG.choices)} targets: {CONFIG.trials} "
        f"attacks a row, K = {poisons} beside {clean} clean images a class, by filter, rate and head.",
    )


def _trouble(name: str) -> str:
    """Why it cannot be measured; "" if it can."""
    from lgm.defense.trials import draw_trials

    data, split = load.dataset(), load.clean_split()
    if not data.at_hand(split):
        return f"To measure it, the images are needed: {data.brief(split)}."
    labels = load.embedded(name, split).labels
    needed = 4 * round(1 / min(CONFIG.fprs))  # half of the images calibrate, and of these half where a filter learns
    if len(labels) < needed:
        return (
            f"To measure it, at least {needed} images are needed, of which a part calibrates T: here are {len(labels)}."
        )
    try:
        draw_trials(labels, DefenseConfig(poisons=CONFIG.poisons, clean=CONFIG.clean, trials=2, seed=CONFIG.seed))
    except ValueError as error:
        return f"It cannot be measured on these images. {error}."
    return ""


def _measure(name: str) -> None:
    split, dataset, kept = load.clean_split(), load.dataset().name, _measured()  # a job has no session

    def work(job: Job) -> None:
        from lgm.experiments.board.measure import measure_board
        from lgm.models.checkpoint import load_checkpoint

        def on_row(_: str, done: int, total: int) -> bool:
            return job.report(done, total)

        found = measure_board([load_checkpoint(name)], load_split(split, dataset), CONFIG, on_row=on_row)
        if found is not None:
            kept[job.key] = found

    try:
        runner().submit(_key(name), work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
