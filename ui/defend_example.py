"""The example on the Defend page: figure 7 for one attack, what T costs in it, and its images."""

from typing import TYPE_CHECKING

import streamlit as st

from lgm.config import DefenseConfig
from lgm.defense.report import DefenseReport
from lgm.stats.intervals import wilson_interval
from lgm.utils.json import to_json
from ui import defend_model, load, state, verdict
from ui.defend_controls import draw_row
from ui.defend_model import THRESHOLD
from ui.frame import enlarged, guard
from ui.jobs import job_panel
from ui.planes import HEADINGS, planes

if TYPE_CHECKING:
    from lgm.defense.example import Attack, Demonstration


def example(config: DefenseConfig, name: str, loss: str, report: DefenseReport | None) -> float | None:
    """One attack, drawn as soon as its clean images are known. Returns T in nats; None if there is no example."""
    st.markdown("## One attack, as an example")
    note, row, picture = st.container(), st.container(), st.container()
    wished, config = config, defend_model.playable(config)
    if config != wished:
        base = load.class_name(defend_model.classes()[0])
        report = None  # of another setting
        st.caption(
            f"With K = {config.poisons}: this machine has so many images of {base}. The others are known as features."
        )
    attack, whole = None, None
    with picture, guard():
        try:
            attack = defend_model.bare(name, config)
            whole = defend_model.complete(name, config, attack)
        except ValueError as error:
            st.warning(str(error), icon=":material/warning:")
    with row:
        threshold = draw_row(whole or attack, loss)
    if attack is None or threshold is None:
        return None
    shown = (whole or attack).demonstrate(threshold)
    with picture:
        _planes(whole or attack, shown, loss, complete=whole is not None)
    with note:
        if whole is None:
            _await_poisons(name, config)
        else:
            st.markdown(_said_of_example(whole, shown, loss, report))
    if whole is not None:
        _details(whole, shown, threshold)
    return threshold


def _await_poisons(name: str, config: DefenseConfig) -> None:
    """The craft that the example waits for, or the way to begin it."""
    job = defend_model.crafting(name, config)
    if job is not None:
        job_panel(job, f"Crafting {config.poisons} poisons", on_cancel=defend_model.stop_crafting)
    if job is None or job.state == "failed":
        st.button(
            "Craft the poisons", icon=":material/play_arrow:", on_click=defend_model.craft_again, args=(name, config)
        )


def _said_of_example(attack: "Attack | None", shown: "Demonstration", loss: str, report: DefenseReport | None) -> str:
    """The example beside the many attacks: one draw decides nothing."""
    if attack is None or not attack.config.poisons:
        return "One draw, with this setting. It decides nothing."
    labels = {arm: model.predicted if model else None for arm, model in shown.arms.items()}
    clean, poisoned = labels["clean"], labels["unfiltered"]
    assert clean is not None and poisoned is not None, "only the filter can leave nothing"
    trial = attack.trial
    happened = verdict.outcome(trial.base_class, trial.target_class, clean, poisoned, labels["filtered"])
    if getattr(state.link(), THRESHOLD[loss]) is not None:
        return f"{verdict.HERE[happened]}, with a T of your own, which no trial has used."
    if report is None:
        return f"{verdict.HERE[happened]}. One draw; this setting is not among the many attacks."
    return verdict.beside_the_trials(happened, report)


def _planes(attack: "Attack", shown: "Demonstration", loss: str, *, complete: bool) -> None:
    """Figure 7: before, poisoned, filtered; of an attack whose poisons are not there yet, the first."""
    from lgm.plots.features import projection

    known = {arm: _amounts(attack, shown, arm) if complete or arm == "clean" else None for arm in HEADINGS}
    planes(attack, shown, projection(load.features(load.model_name(loss))), known, key="plane")


def _amounts(attack: "Attack", shown: "Demonstration", arm: str) -> str:
    """What a head was trained on, and how good it is."""
    clean, poisons = len(attack.clean), len(attack.poisons)
    text = {
        "clean": f"{clean} clean images",
        "unfiltered": f"{clean} clean images and {poisons} poisons",
        "filtered": f"caught {shown.poisons_removed} of {poisons} poisons, lost {shown.clean_removed} of {clean} clean",
    }[arm]
    model = shown.arms[arm]
    return f"{text} · accuracy **{model.accuracy:.1%}**" if model else text


def _details(attack: "Attack", shown: "Demonstration", threshold: float) -> None:
    """What T costs, and the images, of the example."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        _rates(attack, threshold)
    with right:
        _images(attack, shown)
    _downloads(attack, shown)


def _rates(attack: "Attack", threshold: float) -> None:
    """The false-positive rate, by three ways of knowing it, and what each trusts."""
    found, n = attack.rates(threshold), len(attack.fresh)
    low, high = wilson_interval(round(found.empirical * n), n)
    trusts = (
        ("Nominal FPR", found.nominal, "if features were Gaussian"),
        (
            "Calibrated FPR",
            found.calibrated,
            f"if fresh images are like the {len(attack.calibration):,} that calibrate",
        ),
        ("Empirical FPR", found.empirical, f"of {n:,} fresh clean images: {low:.1%} to {high:.1%}"),
    )
    st.markdown("**Clean images that T throws away**")
    with st.container(horizontal=True, gap="large"):
        for name, rate, trust in trusts:
            st.metric(name, f"{rate:.1%}", trust, delta_color="off", delta_arrow="off", width="content")


def _images(attack: "Attack", shown: "Demonstration") -> None:
    """The target, and the poisons as people see them."""
    removed = shown.removed[shown.poisoned]
    st.markdown("**The target, and the poisons as people see them**")
    with st.container(horizontal=True, gap="small"):
        st.image(enlarged(attack.target.pixels[0], 52), caption="target", width=52, alt="The target")
        for number, (pixels, gone) in enumerate(zip(attack.poisons.pixels, removed, strict=True), start=1):
            fate = "caught" if gone else "missed"
            st.image(enlarged(pixels, 52), caption=fate, width=52, alt=f"Poison {number}, {fate}")


def _downloads(attack: "Attack", shown: "Demonstration") -> None:
    """Files are made when they are asked for."""
    with st.container(horizontal=True):
        st.download_button(
            "Images in the plane (CSV)",
            lambda: defend_model.table(attack, shown).to_csv(index=False),
            "defend-plane.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Report (JSON)",
            lambda: to_json(attack.report(shown), indent=1),
            "defend-report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            help="The setting, T, what was removed, and what each head says.",
        )
