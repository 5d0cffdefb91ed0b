"""Does filtering save the model? Figure 7 of the paper."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from lgm.config import DefenseConfig
from lgm.figures import ROLE
from lgm.intervals import to_json, wilson_interval
from ui import attacks, load, state
from ui.attacks import CLEAN, POISONS, THRESHOLD, TRIALS
from ui.frame import enlarged, guard, poison_strip, title
from ui.jobs import job_panel

if TYPE_CHECKING:
    from lgm.demonstration import Attack, Demonstration

LEAD = """Somebody fine-tunes a new head on a few images. An attacker has slipped in poisons, so that one target changes
side. The filter removes what is too unlikely under its own label. Move T and watch the star."""
TASKS = {"two": "2 classes", "all": "all classes"}
HEADINGS = {"clean": "Before the attack", "unfiltered": "Poisoned", "filtered": "Poisoned, then filtered"}
KEY = (
    "● clean image · ◆ poison, both in the colour of the class they claim · crossed: removed by the filter · "
    "★ the target, in the colour of the class it is taken for · background: decision regions"
)
ABOUT = """Answers **figure 7** of the paper. The network is frozen; a new head (logistic regression) is trained on the
features of a few clean images, then on these and the poisons, then on what the filter leaves. All poisons are for one
target: they look like the base class and say so, and have the target's features. The star is that target; it is never
trained on.

- **Accuracy** is that of each head on all other clean images of the classes in play.
- **T, calibrated** is the threshold that half of the clean images, which serve for nothing else, vouch for: it removes
  at most 1 % of fresh ones on average. For a network without Gaussians the score is the density of one Gaussian a
  class, fitted afterwards to half of these.
- **Nominal** false-positive rate: what T would remove if features were exactly Gaussian. It trusts the model of the
  features, and no data. **Calibrated**: what calibration vouches for at this T. It trusts that fresh clean images are
  like those that calibrated, and that T was not picked by looking at the rate. **Empirical**: what T removes of the
  clean images that had no part in choosing it. It trusts nothing, but needs clean images that nobody has in the field.
- **Attack success** is the share of targets, among those that the clean head classifies correctly, which get the label
  of the base. Bands are 95 % Wilson intervals.

The attacker knows the network but not the filter. Fine-tuning all layers instead of the head is for the command line:
`python -m lgm defend … --layers all`."""


def keep(name: str) -> None:
    """Take over what a widget was set to; a control that was switched off stays as it was."""
    picked = st.session_state[f"defend_{name}"]
    if picked is not None:
        state.put(name, picked)


def keep_class(name: str, other: str, pair: tuple[int, int]) -> None:
    """Take over a class; if it is the other's, they change places."""
    picked, place = st.session_state[f"defend_{name}"], int(name == "target_class")
    state.put(other, pair[place] if picked == pair[1 - place] else pair[1 - place])
    state.put(name, picked)


def draw_again() -> None:
    """Another target, other bases, other clean images."""
    state.draw_next("draw")


def calibrate(loss: str) -> None:
    """Back to the calibrated T."""
    state.put(THRESHOLD[loss], None)


def shows(name: str, value: object) -> str:
    """The key of a widget that shows this value, whoever has set it."""
    st.session_state[f"defend_{name}"] = value
    return f"defend_{name}"


def controls() -> DefenseConfig:
    """The row above the picture: who attacks whom, with how much."""
    config = attacks.setting()
    pair = attacks.classes()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        key = shows("network", state.get("network"))
        losses = list(load.LOSSES)
        names = {"lgm": "LGM", "softmax": "softmax"}
        st.segmented_control(
            "Network", losses, format_func=names.__getitem__, key=key, on_change=keep, args=("network",)
        )
        for name, other, label, value in (
            ("base_class", "target_class", "Poisons claim", pair[0]),
            ("target_class", "base_class", "Target is", pair[1]),
        ):
            options = list(range(len(load.dataset().classes)))
            key = shows(name, value)
            arguments = (name, other, pair)
            st.selectbox(
                label, options, format_func=load.class_name, key=key, width=120, on_change=keep_class, args=arguments
            )
        for name, label, options, value in (
            ("poisons", "Poisons K", POISONS, config.poisons),
            ("clean", "Clean images a class", CLEAN, config.clean),
        ):
            st.select_slider(label, options, key=shows(name, value), width=150, on_change=keep, args=(name,))
        key = shows("task", config.task)
        st.segmented_control(
            "Head tells apart", list(TASKS), format_func=TASKS.__getitem__, key=key, on_change=keep, args=("task",)
        )
        st.button("New draw", icon=":material/casino:", on_click=draw_again, help="Another target, bases, clean images")
    return config


def threshold_row(attack: "Attack", loss: str) -> float:
    """T, and the way back to the calibrated one. Returns T in nats."""
    current = attacks.current_threshold(attack, loss)
    options = attacks.stops(attack, current)
    current = max(current, options[0])  # -inf: too few images to promise anything
    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.select_slider(
            "T: remove what has at most this log-likelihood under its label (nats)",
            options,
            format_func="{:.2f}".format,
            key=shows(THRESHOLD[loss], current),
            on_change=keep,
            args=(THRESHOLD[loss],),
        )
        text = f"Calibrated for 1 %: {attack.threshold:.2f}" if math.isfinite(attack.threshold) else "Remove nothing"
        st.button(text, on_click=calibrate, args=(loss,), disabled=state.get(THRESHOLD[loss]) is None)
    if not math.isfinite(attack.threshold):
        st.caption("Too few clean images to calibrate T for 1 %: by itself, the filter removes nothing.")
    return current


def planes(attack: "Attack", shown: "Demonstration", loss: str) -> None:
    """Figure 7: before, poisoned, filtered."""
    from lgm.figures import decision_plane, projection

    seen = projection(load.features(load.model_name(loss)))
    names = load.dataset().classes
    for column, arm in zip(st.columns(3), HEADINGS, strict=True):
        with column:
            st.markdown(f"**{HEADINGS[arm]}**")
            st.html(chip(attack, shown, arm))
            st.plotly_chart(
                decision_plane(attack, shown, arm, seen, names),
                key=f"plane_{arm}",
                config={"scrollZoom": True, "displaylogo": False},
                alt=f"{HEADINGS[arm]}: {verdict(attack, shown, arm)[0]}",
            )
            st.caption(amounts(attack, shown, arm))
    st.caption(KEY if seen.exact else f"{KEY}. Features: {seen.title}; without regions, which a plane cannot show.")


def amounts(attack: "Attack", shown: "Demonstration", arm: str) -> str:
    """What a head was trained on, and how good it is."""
    clean, poisons = len(attack.clean), len(attack.poisons)
    text = {
        "clean": f"{clean} clean images",
        "unfiltered": f"{clean} clean images and {poisons} poisons",
        "filtered": f"caught {shown.poisons_removed} of {poisons} poisons, lost {shown.clean_removed} of {clean} clean",
    }[arm]
    model = shown.arms[arm]
    return f"{text} · accuracy **{model.accuracy:.1%}**" if model else text


def verdict(attack: "Attack", shown: "Demonstration", arm: str) -> tuple[str, str]:
    """What becomes of the target, and the role whose colour says so."""
    base, true = (load.class_name(k) for k in (attack.trial.base_class, attack.trial.target_class))
    model = shown.arms[arm]
    if model is None:
        return "nothing is left to fine-tune on", "base"
    if model.predicted == attack.trial.target_class:
        return f"{'the target is' if arm == 'clean' else 'still'} taken for {true}", "clean"
    if model.predicted == attack.trial.base_class:
        return f"taken for {base}, {'without any poison' if arm == 'clean' else 'as the attacker wants'}", "poison"
    return f"taken for {load.class_name(model.predicted)}: neither {true} nor {base}", "base"


def chip(attack: "Attack", shown: "Demonstration", arm: str) -> str:
    """The verdict as a coloured label."""
    text, role = verdict(attack, shown, arm)
    return f'<span class="lgm-chip" style="border-color:{ROLE[role]}">{text}</span>'


def rates(attack: "Attack", threshold: float) -> None:
    """The false-positive rate, by three ways of knowing it, and what each trusts."""
    found, n = attack.rates(threshold), len(attack.fresh)
    low, high = wilson_interval(round(found["empirical"] * n), n)
    trusts = {
        "nominal": "if features were Gaussian",
        "calibrated": f"if fresh images are like the {len(attack.calibration):,} that calibrate",
        "empirical": f"of {n:,} fresh clean images: {low:.1%} to {high:.1%}",
    }
    st.markdown("**Clean images that T throws away**")
    with st.container(horizontal=True, gap="large"):
        for name, trust in trusts.items():
            st.metric(
                f"{name.capitalize()} FPR",
                f"{found[name]:.1%}",
                trust,
                delta_color="off",
                delta_arrow="off",
                width="content",
            )


def images(attack: "Attack", shown: "Demonstration") -> None:
    """The target, and the poisons as people see them."""
    removed = shown.removed[shown.poisoned]
    st.markdown("**The target, and the poisons as people see them**")
    with st.container(horizontal=True, gap="small"):
        st.image(enlarged(attack.target.pixels[0], 52), caption="target", width=52, alt="The target")
        for number, (pixels, gone) in enumerate(zip(attack.poisons.pixels, removed, strict=True), start=1):
            fate = "caught" if gone else "missed"
            st.image(enlarged(pixels, 52), caption=fate, width=52, alt=f"Poison {number}, {fate}")


def success(config: DefenseConfig) -> None:
    """How often it works: many draws, at the chosen number of clean images."""
    st.markdown("## How often does the attack succeed?")
    job = attacks.current_job()
    found = attacks.curves(config)
    if found is None:
        st.caption(f"Not measured yet with {config.clean} clean images a class on these networks and data.")
        if st.button("Measure", icon=":material/play_arrow:", disabled=job is not None and job.active):
            attacks.measure(config)
            st.rerun()
        if job is not None:
            job_panel(job, f"{TRIALS} draws on either network")
        return
    from lgm.figures import success_curves

    first = next(iter(found.values()))[0]
    st.plotly_chart(success_curves(found), key="curves", config={"displaylogo": False}, alt="Attack success against K")
    st.caption(
        f"{first['trials']} draws of classes, target, bases and {config.clean} clean images a class, T calibrated for "
        f"{first['fpr']:.0%}. Attack success: {first['definition']}."
    )
    st.download_button(
        "Curves (JSON)",
        lambda: to_json(found, indent=1),
        "defend-curves.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
    )


def attackers_who_know() -> None:
    """The frontier, if it was measured for these networks."""
    study = load.study_of(load.model_name("lgm"), load.model_name("softmax"))
    if study is None:
        return
    from lgm.figures import frontier_chart
    from lgm.study import frontier_meaning

    st.markdown("## And if the attacker knows of the filter?")
    rows = study["frontier"]
    st.plotly_chart(frontier_chart(rows), key="frontier", config={"displaylogo": False}, alt="Success and detection")
    st.markdown(f"**{frontier_meaning(rows)}**")
    st.caption(
        f"LGM network, {rows[0]['n']} attacks and {rows[0]['poisons']} poisons for each γ, the weight of "
        "max(0, T − log p(f(x) | base)) in what the attacker minimises. Bars are 95 % Wilson intervals."
    )


def downloads(attack: "Attack", shown: "Demonstration") -> None:
    """Files are made when they are asked for."""
    with st.container(horizontal=True):
        st.download_button(
            "Images in the plane (CSV)",
            lambda: attacks.table(attack, shown).to_csv(index=False),
            "defend-plane.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Report (JSON)",
            lambda: to_json(attack.to_dict(shown), indent=1),
            "defend-report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            help="The setting, T, what was removed, and what each head says.",
        )


@st.fragment
def explore() -> None:
    """Everything that follows the controls; moving T crafts nothing."""
    lgm = load.model_name("lgm")
    threshold = load.threshold(lgm)
    with guard():
        config = controls()
        loss = state.get("network")
        try:
            attack = attacks.staged(load.model_name(loss), config)
        except ValueError as error:
            st.warning(str(error), icon=":material/warning:")
        else:
            chosen = show(attack, loss)
            threshold = chosen if loss == "lgm" else threshold
            success(config)
            attackers_who_know()
    about()
    poison_strip(lgm, threshold)
    state.push()


def show(attack: "Attack", loss: str) -> float:
    """One attack at the chosen T, which is returned."""
    threshold = threshold_row(attack, loss)
    shown = attack.demonstrate(threshold)
    planes(attack, shown, loss)
    left, right = st.columns([3, 2], gap="large")
    with left:
        rates(attack, threshold)
    with right:
        images(attack, shown)
    downloads(attack, shown)
    return threshold


def about() -> None:
    """What it all means."""
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(ABOUT)
        st.latex(r"D_w=\{(x,y)\in D_f\cup D_p:\ \log p(f(x)\mid y)>T\}")


title("Does filtering save the model?", LEAD)
explore()
