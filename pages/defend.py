"""Does filtering save the model? Figure 7 of the paper."""

import math

import streamlit as st

from lgm.config import DefenseConfig
from lgm.defense.report import DefenseReport
from lgm.stats.intervals import Estimate
from lgm.utils.json import to_json
from ui import load, state, trials, verdict
from ui.board import board
from ui.defend_controls import controls
from ui.defend_example import example
from ui.frame import guard, poison_strip, title
from ui.jobs import job_panel

LEAD = """A few poisons among the images that a new head is fine-tuned on turn one target. Which filter stops whom?
Click a cell."""
ABOUT = """Answers **figure 7** of the paper. The network is frozen; a new head (logistic regression) is trained on the
features of a few clean images, then on these and the poisons, then on what the filter leaves. All poisons are for one
target: they look like the base class and say so, and have the target's features. The star is that target; it is never
trained on.

- **Attack success** is the share of targets, among those that the clean head classifies correctly, which get the label
  of the base. Its intervals are 95 % Wilson intervals; those of what is removed and of accuracy are over attacks, for
  the poisons of one attack share a target.
- **What these attacks do not cover**: an attacker who picks the target, for instance the one nearest to the base, or
  who places poisons where the filter just lets them pass: where that was measured, it is in the map above; other
  networks and seeds. An attack can refute a defence, and none confirms one.
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
_NETWORK = "defend_network_shown"  # key of what the whole page was last run for
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


def many(config: DefenseConfig, name: str) -> DefenseReport | None:
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


def rate_rows(report: DefenseReport) -> list[str]:
    """The table's rows: without the filter, then at each rate."""
    none = Estimate(math.nan, math.nan, math.nan)
    rows = [("no filter", report.attack_success.unfiltered, none, none, report.accuracy_lost.unfiltered)]
    rows += [
        (f"{100 * fpr:g} %", at.attack_success, at.poisons_share, at.clean_share, at.accuracy_lost)
        for fpr, at in sorted(report.by_fpr.items())
    ]
    return [
        f'<tr><th scope="row">{first}</th>{"".join(map(cell, shares, (0, 0, 1, 1)))}</tr>' for first, *shares in rows
    ]


def cell(share: Estimate, digits: int) -> str:
    """An estimate with its interval beneath."""
    value, _, ends = verdict.percentages(share, digits).partition(" ")
    return f"<td>{value}<small>{ends.strip('()')}</small></td>"


def offer(config: DefenseConfig, record: trials.KnownReport | None) -> None:
    """To measure the setting on the data at hand, where that is not what is shown."""
    job = trials.current_job(config)
    if job is not None:
        job_panel(job, f"{trials.TRIALS} draws on either network")
        if job.active:
            return
    split = load.clean_split()
    if record and record.report.data == split and trials.is_same(record, config):
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
        f"{found[0].data}, {first.config.trials} draws, {first.config.clean} clean images a class; "
        f"T for {first.config.fpr:.0%}. Attack success: {first.definition}."
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
    if study is None or study.about.weights_sha256.lgm != load.card(name).weights_sha256:
        return
    rows = study.frontier
    if not rows:
        return
    from lgm.experiments.adaptive_rows import frontier_meaning
    from lgm.experiments.records import outdated
    from lgm.plots.curves import frontier_chart

    st.markdown("## And if the attacker knows of the filter?")
    st.plotly_chart(frontier_chart(rows), key="frontier", config={"displaylogo": False}, alt="Success and detection")
    st.markdown(f"**{frontier_meaning(rows)}**")
    old = outdated(study.about.attack_revision)
    st.caption(
        f"LGM network `{name}`, {load.dataset().brief(study.about.data)}, {rows[0].n} attacks and "
        f"{rows[0].poisons} poisons for each γ, the weight of max(0, T − log p(f(x) | base)) in what the attacker "
        f"minimises. Bars are 95 % intervals.{f' **Old: {old}.**' if old else ''}"
    )


@st.fragment
def attackers_and_filters() -> None:
    """The map and the cell that is open. All else stays as it is, unless another network is chosen."""
    if state.link().network != st.session_state[_NETWORK]:
        st.rerun()
    with guard():
        board()
    state.push()


@st.fragment
def explore() -> None:
    """Everything that follows the controls; nothing waits for a craft."""
    lgm = load.model_name("lgm")
    threshold = None
    with guard():
        st.markdown("## A setting of your own")
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


def about() -> None:
    """What it all means."""
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(ABOUT)
        st.latex(r"D_w=\{(x,y)\in D_f\cup D_p:\ \log p(f(x)\mid y)>T\}")


title("Does filtering save the model?", LEAD)
st.session_state[_NETWORK] = state.link().network
attackers_and_filters()
explore()
