"""Does filtering save the model? Figure 7 of the paper."""

import math
from typing import TYPE_CHECKING

import streamlit as st

from lgm.config import DefenseConfig
from lgm.plots.theme import ROLE
from lgm.stats.intervals import wilson_interval
from lgm.utils.json import to_json
from ui import defend_model, load, state, trials, verdict
from ui.defend_model import CLEAN, POISONS, THRESHOLD
from ui.frame import enlarged, guard, poison_strip, title
from ui.jobs import job_panel

if TYPE_CHECKING:
    from lgm.defense.example import Attack, Demonstration

LEAD = """A new head is fine-tuned on a few images. Poisons among them turn one target; the filter removes what is
unlikely under its label."""
TASKS = {"two": "2 classes", "all": "all classes"}
HEADINGS = {"clean": "Before the attack", "unfiltered": "Poisoned", "filtered": "Poisoned, then filtered"}
KEY = (
    "● clean image, ◆ poison, in the colour of the class they claim · crossed: removed · ☆ target · in the large "
    "frame: what is in the small one"
)
ABOUT = """Answers **figure 7** of the paper. The network is frozen; a new head (logistic regression) is trained on the
features of a few clean images, then on these and the poisons, then on what the filter leaves. All poisons are for one
target: they look like the base class and say so, and have the target's features. The star is that target; it is never
trained on.

- **Attack success** is the share of targets, among those that the clean head classifies correctly, which get the label
  of the base. Its intervals are 95 % Wilson intervals; those of what is removed and of accuracy are over attacks, for
  the poisons of one attack share a target.
- **What these attacks do not cover**: an attacker who picks the target, for instance the one nearest to the base; one
  who places poisons where the filter just lets them pass; other networks and seeds. An attack can refute a defence, and
  none confirms one.
- **Accuracy** is that of each head on all other clean images of the classes in play.
- **T, calibrated** is the threshold that half of the clean images, which serve for nothing else, vouch for: it removes
  at most 1 % of fresh ones on average. Each attack has a calibration half of its own, so T differs between them. For a
  network without Gaussians the score is the density of one Gaussian a class, fitted afterwards to half of these.
- **Nominal** false-positive rate: what T would remove if features were exactly Gaussian. It trusts the model of the
  features, and no data. **Calibrated**: what calibration vouches for at this T. It trusts that fresh clean images are
  like those that calibrated, and that T was not picked by looking at the rate. **Empirical**: what T removes of the
  clean images that had no part in choosing it. It trusts nothing, but needs clean images that nobody has in the field.

The attacker of the example knows the network but not the filter. Fine-tuning all layers instead of the head is for the
command line: `python -m lgm defend … --layers all`."""
RATES = """<style>
.lgm-rates {{width: 100%; border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums;}}
.lgm-rates :is(th, td) {{text-align: right; vertical-align: top; padding: .15rem .3rem;}}
.lgm-rates :is(th, td) {{border-bottom: 1px solid rgba(128,128,128,.3);}}
.lgm-rates :is(th, td):first-child {{text-align: left;}}
.lgm-rates thead th {{line-height: 1.15;}}
.lgm-rates small {{display: block; opacity: .8; white-space: nowrap;}}
</style><table class="lgm-rates"><thead><tr><th scope="col">T for FPR</th><th scope="col">attacks succeed</th>
<th scope="col">poisons removed</th><th scope="col">clean removed</th><th scope="col">accuracy lost</th></tr></thead>
<tbody>{rows}</tbody></table>"""


def keep(name: str) -> None:
    """Take over what a widget was set to; a control that was switched off stays as it was."""
    picked = st.session_state[f"defend_{name}"]
    if picked is not None:
        state.put(**{name: picked})


def keep_class(name: str, other: str, pair: tuple[int, int]) -> None:
    """Take over a class; if it is the other's, they change places."""
    picked, place = st.session_state[f"defend_{name}"], int(name == "target_class")
    state.put(**{name: picked, other: pair[place] if picked == pair[1 - place] else pair[1 - place]})


def draw_again() -> None:
    """Another target, other bases, other clean images."""
    state.draw_next("draw")


def calibrate(loss: str) -> None:
    """Back to the calibrated T."""
    state.put(**{THRESHOLD[loss]: None})


def shows(name: str, value: object) -> str:
    """The key of a widget that shows this value, whoever has set it."""
    st.session_state[f"defend_{name}"] = value
    return f"defend_{name}"


def controls() -> DefenseConfig:
    """The row above all: the setting, which the many attacks share with the example."""
    config = defend_model.setting()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        key = shows("network", state.link().network)
        losses = list(load.LOSSES)
        names = {"lgm": "LGM", "softmax": "softmax"}
        st.segmented_control(
            "Network", losses, format_func=names.__getitem__, key=key, on_change=keep, args=("network",)
        )
        for name, label, options, value in (
            ("poisons", "Poisons K", POISONS, config.poisons),
            ("clean", "Clean images a class", CLEAN, config.clean),
        ):
            st.select_slider(label, options, key=shows(name, value), width=190, on_change=keep, args=(name,))
        key = shows("task", config.task)
        st.segmented_control(
            "Head tells apart", list(TASKS), format_func=TASKS.__getitem__, key=key, on_change=keep, args=("task",)
        )
    return config


def draw_row(attack: "Attack | None", loss: str) -> float | None:
    """Who attacks whom in the example, and T. Returns T in nats; None where there is no example."""
    pair = defend_model.classes()
    with st.container(horizontal=True, vertical_alignment="bottom", gap="small"):
        for name, other, label, value in (
            ("base_class", "target_class", "Poisons claim", pair[0]),
            ("target_class", "base_class", "Target is", pair[1]),
        ):
            options = list(range(len(load.dataset().classes)))
            key, arguments = shows(name, value), (name, other, pair)
            st.selectbox(
                label, options, format_func=load.class_name, key=key, width=120, on_change=keep_class, args=arguments
            )
        st.button("New draw", icon=":material/casino:", on_click=draw_again, help="Another target, bases, clean images")
        return attack and threshold_slider(attack, loss)


def threshold_slider(attack: "Attack", loss: str) -> float:
    """T, and the way back to the calibrated one. Returns T in nats."""
    current = defend_model.current_threshold(attack, loss)
    options = defend_model.stops(attack, current)
    current = max(current, options[0])  # -inf: too few images to promise anything
    st.select_slider(
        "T: remove what has at most this log-likelihood (nats)",
        options,
        format_func="{:.2f}".format,
        key=shows(THRESHOLD[loss], current),
        on_change=keep,
        args=(THRESHOLD[loss],),
    )
    known = math.isfinite(attack.threshold)
    st.button(
        f"1 %: {attack.threshold:.2f}" if known else "Remove nothing",
        on_click=calibrate,
        args=(loss,),
        disabled=getattr(state.link(), THRESHOLD[loss]) is None,
        help="Back to the T that this example's calibration images vouch for at 1 %: another draw has other ones."
        if known
        else "Too few clean images to calibrate T for 1 %: by itself, the filter removes nothing.",
    )
    return current


def planes(attack: "Attack", shown: "Demonstration", loss: str, *, complete: bool) -> None:
    """Figure 7: before, poisoned, filtered; of an attack whose poisons are not there yet, the first."""
    from lgm.plots.features import projection
    from lgm.plots.fine_tuning import decision_plane

    seen = projection(load.features(load.model_name(loss)))
    names = load.dataset().classes
    for column, arm in zip(st.columns(3, gap="small"), HEADINGS, strict=True):
        known = complete or arm == "clean"
        with column:
            text, role = target_fate(attack, shown, arm) if known else ("poisons to come", "softmax")
            st.html(f"<b>{HEADINGS[arm]}</b><br>{chip(text, role)}")
            st.plotly_chart(
                decision_plane(attack, shown if known else None, arm, seen, names),
                key=f"plane_{arm}",
                config={"scrollZoom": True, "displaylogo": False, "displayModeBar": False},
                alt=f"{HEADINGS[arm]}: {text}",
            )
            st.caption(amounts(attack, shown, arm) if known else f"{len(attack.clean)} clean images, no poison yet")
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


def target_fate(attack: "Attack", shown: "Demonstration", arm: str) -> tuple[str, str]:
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


def chip(text: str, role: str) -> str:
    """A coloured label."""
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


def many(config: DefenseConfig, name: str) -> verdict.Report | None:
    """What many attacks say. Returns their report if it is of this very setting."""
    st.markdown("## In many attacks")
    found = trials.nearest(trials.records(name), config, load.clean_split())
    record, same = found or (None, False)
    if record is None:
        st.markdown("**Not measured yet** on this network.")
    else:
        if not same:
            st.markdown(":orange-badge[another setting] Yours is not measured; the nearest that is:")
        st.markdown(f"**{verdict.headline(record.report)}** {verdict.finding(record.report)}")
        st.html(RATES.format(rows="".join(rate_rows(record.report))))
        age = f" **Old: {record.outdated}.**" if record.outdated else ""
        st.caption(f"{record.setting}{age} Targets at random; the attacker does not know of the filter.")
    offer(config, record)
    return record.report if record and same else None


def rate_rows(report: verdict.Report) -> list[str]:
    """The table's rows: without the filter, then at each rate."""
    none = verdict.Share(math.nan)
    unfiltered = verdict.unfiltered(report), none, none, verdict.accuracy_lost_unfiltered(report)
    rows = [("no filter", *unfiltered)]
    rows += [
        (f"{100 * at.fpr:g} %", at.success, at.poisons_removed, at.clean_removed, at.accuracy_lost)
        for at in verdict.by_rate(report)
    ]
    return [
        f'<tr><th scope="row">{first}</th>{"".join(map(cell, shares, (0, 0, 1, 1)))}</tr>' for first, *shares in rows
    ]


def cell(share: verdict.Share, digits: int) -> str:
    """An estimate with its interval beneath."""
    value, _, ends = share.text(digits).partition(" ")
    return f"<td>{value}<small>{ends.strip('()')}</small></td>"


def offer(config: DefenseConfig, record: trials.Record | None) -> None:
    """To measure the setting on the data at hand, where that is not what is shown."""
    job = trials.current_job(config)
    if job is not None:
        job_panel(job, f"{trials.TRIALS} draws on either network")
        if job.active:
            return
    split = load.clean_split()
    wanted = {"data": split, "task": config.task, "clean": config.clean, "poisons": config.poisons}
    if record and all(record.report[name] == value for name, value in wanted.items()):
        return
    data = load.dataset()
    if not data.at_hand(split):
        st.caption(f"To measure, the images are needed: {data.brief(split)}.")
    elif config.poisons and not trials.measured(config):
        st.button(
            f"Measure: {data.brief(split)}, {config.clean} a class",
            icon=":material/play_arrow:",
            on_click=trials.measure,
            args=(config,),
            help=f"{trials.TRIALS} attacks on either network, with every K of the slider, on the data chosen above.",
        )


def example(config: DefenseConfig, name: str, loss: str, report: verdict.Report | None) -> float | None:
    """One attack, drawn as soon as its clean images are known. Returns T in nats; None if there is no example."""
    st.markdown("## One attack, as an example")
    note, row, picture = st.container(), st.container(), st.container()
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
        planes(whole or attack, shown, loss, complete=whole is not None)
    with note:
        if whole is None:
            await_poisons(name, config)
        else:
            st.markdown(said_of_example(whole, shown, loss, report))
    if whole is not None:
        details(whole, shown, threshold)
    return threshold


def await_poisons(name: str, config: DefenseConfig) -> None:
    """The craft that the example waits for, or the way to begin it."""
    job = defend_model.crafting(name, config)
    if job is not None:
        job_panel(job, f"Crafting {config.poisons} poisons", on_cancel=defend_model.stop_crafting)
    if job is None or job.state == "failed":
        st.button(
            "Craft the poisons", icon=":material/play_arrow:", on_click=defend_model.craft_again, args=(name, config)
        )


def said_of_example(attack: "Attack | None", shown: "Demonstration", loss: str, report: verdict.Report | None) -> str:
    """The example beside the many attacks: one draw decides nothing."""
    if attack is None or not attack.config.poisons:
        return "One draw, with this setting. It decides nothing."
    labels = {arm: model and model.predicted for arm, model in shown.arms.items()}
    clean, poisoned = labels["clean"], labels["unfiltered"]
    assert clean is not None and poisoned is not None, "only the filter can leave nothing"
    trial = attack.trial
    happened = verdict.outcome(trial.base_class, trial.target_class, clean, poisoned, labels["filtered"])
    if getattr(state.link(), THRESHOLD[loss]) is not None:
        return f"{verdict.HERE[happened]}, with a T of your own, which no trial has used."
    if report is None:
        return f"{verdict.HERE[happened]}. One draw; this setting is not among the many attacks."
    return verdict.beside_the_trials(happened, report)


def by_number(config: DefenseConfig, name: str) -> None:
    """Attack success against K, of both networks."""
    of = {loss: trials.records(load.model_name(loss)) for loss in load.LOSSES}
    found = trials.nearest(trials.records(name), config, load.clean_split())
    if found is None:
        return
    from lgm.plots.curves import success_curves

    curves = trials.curves(found[0], of)
    first = found[0].report
    st.markdown("## With how many poisons?")
    st.plotly_chart(success_curves(curves), key="curves", config={"displaylogo": False}, alt="Attack success against K")
    st.caption(
        f"{found[0].data}, {first['trials']} draws, {first['clean']} clean images a class; T for {first['fpr']:.0%}. "
        f"Attack success: {first['definition']}."
    )
    st.download_button(
        "Curves (JSON)",
        lambda: to_json(curves, indent=1),
        "defend-curves.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
    )


def attackers_who_know() -> None:
    """The frontier, if it was measured for this LGM network."""
    study, name = load.study(), load.model_name("lgm")
    if study is None or study["about"]["weights_sha256"]["lgm"] != load.card(name).weights_sha256:
        return
    rows = study["frontier"]
    if not rows:
        return
    from lgm.experiments.adaptive_rows import frontier_meaning
    from lgm.experiments.records import outdated
    from lgm.plots.curves import frontier_chart

    st.markdown("## And if the attacker knows of the filter?")
    st.plotly_chart(frontier_chart(rows), key="frontier", config={"displaylogo": False}, alt="Success and detection")
    st.markdown(f"**{frontier_meaning(rows)}**")
    old = outdated(study["about"])
    st.caption(
        f"LGM network `{name}`, {load.dataset().brief(study['about']['data'])}, {rows[0]['n']} attacks and "
        f"{rows[0]['poisons']} poisons for each γ, the weight of max(0, T − log p(f(x) | base)) in what the attacker "
        f"minimises. Bars are 95 % intervals.{f' **Old: {old}.**' if old else ''}"
    )


def downloads(attack: "Attack", shown: "Demonstration") -> None:
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
            lambda: to_json(attack.to_dict(shown), indent=1),
            "defend-report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            help="The setting, T, what was removed, and what each head says.",
        )


@st.fragment
def explore() -> None:
    """Everything that follows the controls; nothing waits for a craft."""
    lgm = load.model_name("lgm")
    threshold = None
    with guard():
        config = controls()
        loss = state.link().network
        name = load.model_name(loss)
        left, right = st.columns([3, 8], gap="medium")
        with left:
            report = many(config, name)
        with right:
            chosen = example(config, name, loss, report)
        threshold = chosen if loss == "lgm" else None
        left, right = st.columns(2, gap="large")
        with left:
            by_number(config, name)
        with right:
            attackers_who_know()
    about()
    poison_strip(lgm, load.threshold(lgm) if threshold is None else threshold)
    state.push()


def details(attack: "Attack", shown: "Demonstration", threshold: float) -> None:
    """What T costs, and the images, of the example."""
    left, right = st.columns([3, 2], gap="large")
    with left:
        rates(attack, threshold)
    with right:
        images(attack, shown)
    downloads(attack, shown)


def about() -> None:
    """What it all means."""
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(ABOUT)
        st.latex(r"D_w=\{(x,y)\in D_f\cup D_p:\ \log p(f(x)\mid y)>T\}")


title("Does filtering save the model?", LEAD)
explore()
