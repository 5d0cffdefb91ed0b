"""Where do I put the threshold, and what does it cost? Figures 1 and 5 of the paper."""

import streamlit as st

from lgm.attacks.export import archive, safetensors
from lgm.attacks.result import Poisons
from lgm.detection.metrics import detection_report, roc
from lgm.stats.intervals import Estimate, outward, percent_text
from lgm.utils.json import to_json
from ui import load, state
from ui.baselines import simpler_detectors
from ui.components.threshold import threshold_picture
from ui.detection_view import Case, how_crafted
from ui.frame import current_poison, guard, poison_strip, title
from ui.poison_sets import adopt_finished, choose_set, craft_panel, sets_for


@st.cache_resource(show_spinner="Scoring clean data and poisons", max_entries=8)
def case_of(key: tuple[str, str, str, str], _poisons: Poisons) -> Case:
    name, _, split, _ = key
    clean = load.embedded(name, split)
    return Case(
        key=key,
        features=load.features(name),
        clean=clean,
        poisons=_poisons,
        n_dim=load.card(name).config.model.n_dim,
        roc=roc(clean.score, _poisons.score),
        report=detection_report(clean.score, _poisons.score, _poisons.collided, 0.01),
        dataset=load.dataset(),
    )


def choose_case(name: str) -> Case:
    """The set of poisons, and the numbers that do not depend on T."""
    sets = sets_for(name)
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        picked = choose_set(sets)
        split = load.clean_split()
        case = case_of((name, load.card(name).weights_sha256, split, picked), sets[picked])
        show_metrics(case)
    clean = f"{case.dataset.brief(split)} ({len(case.clean.score):,})"
    st.caption(f"{how_crafted(case.poisons, case.dataset)}. Clean: {clean}. Network: `{name}`.")
    return case


def show_metrics(case: Case) -> None:
    """AUC and TPR at 1 % FPR, over all poisons and over those that collide, with their intervals."""
    report = case.report
    groups: list[tuple[str, Estimate | None, Estimate | None]]
    groups = [(f"all {report.poisons}", report.auc, report.tpr_at_fpr[0.01])]
    if report.collided is not None:
        groups.append((f"{report.collided} that collide", report.auc_collided, report.tpr_at_fpr_collided[0.01]))
    for group, auc, _ in groups:
        between = auc and "–".join(outward(auc.low, auc.high, 4))
        metric(
            "AUC",
            auc.text() if auc else "–",
            f"{group}: {between}" if auc else group,
            "Chance that a random poison is less likely than a random clean image: 1 is perfect, 0.5 is guessing. "
            "Below it the 95 % interval (Newcombe). A poison collides if the network takes it for the target's class. "
            "One that does not has not reached that class; whether it does harm is not measured here.",
        )
    for group, _, tpr in groups:
        between = tpr and "–".join(outward(100 * tpr.low, 100 * tpr.high, 0))
        metric(
            "TPR at 1 % FPR",
            percent_text(tpr.value if tpr else None),
            f"{group}: {between} %" if tpr else group,
            "Share of the poisons that is caught by the T that throws away at most 1 % of these clean images. Below it "
            "the 95 % interval: clean images, which fix T, and poisons are both drawn anew; never narrower than "
            "Wilson's, which takes T as given.",
        )


def metric(label: str, value: str, group: str, explained: str) -> None:
    st.metric(label, value, group, delta_color="off", delta_arrow="off", help=explained, width="content")


@st.fragment
def explore(case: Case, name: str) -> None:
    """Everything that follows T. The first paint does not wait for the images of the clean data."""
    threshold, split = load.threshold(name), case.key[2]
    own = current_poison(name)
    complete = load.in_memory(split)
    threshold_picture(case, threshold, None if own is None else own.score, keep_threshold, key="detect_threshold")
    trouble = st.container()
    downloads(case, threshold)
    simpler_detectors(case)
    craft_panel(name)
    explanation()
    poison_strip(name, threshold)
    state.push()
    if not complete:
        with trouble, guard():
            load.split(split)
            st.rerun()  # of the whole page: in a full run, which is the first, a fragment cannot rerun alone


def keep_threshold(threshold: float) -> None:
    state.put(threshold=threshold)


def downloads(case: Case, threshold: float) -> None:
    """Files are made when they are asked for."""
    with st.container(horizontal=True):
        st.download_button(
            "Scores (CSV)",
            lambda: case.table(threshold).to_csv(index=False),
            "detect-scores.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
            help="One row an image: group, position, claimed label, score, predicted, collided, removed at this T.",
        )
        st.download_button(
            "ROC curve (CSV)",
            lambda: case.roc_table().to_csv(index=False),
            "detect-roc.csv",
            "text/csv",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "Report (JSON)",
            lambda: to_json(case.summary(threshold), indent=1),
            "detect-report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            help="All numbers at this T and at 1 % FPR, and how the poisons were made.",
        )
        poison_downloads(case)


def poison_downloads(case: Case) -> None:
    """The set on show, for other programs."""

    def images() -> bytes:
        return archive(case.poisons, case.dataset.classes, load.model(case.key[0]))

    st.download_button(
        "Poisons (safetensors)",
        lambda: safetensors(case.poisons),
        f"poisons-{case.key[0]}.safetensors",
        "application/octet-stream",
        on_click="ignore",
        icon=":material/download:",
        help="Every bit of these poisons, as `python -m lgm detect` and `lgm.read_poisons` read them.",
    )
    st.download_button(
        "Poisons (PNG, zip)",
        images,
        f"poisons-{case.key[0]}.zip",
        "application/zip",
        on_click="ignore",
        icon=":material/download:",
        help="Images of 8 bits a channel, and a table (CSV) of what the network makes of each, before and after "
        "rounding to 8 bits.",
    )


def explanation() -> None:
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(
            """
Answers **figures 1 and 5** of the paper. Every image, clean or poison, has one number: how likely its features are
under the class that it claims. A poison claims the class it looks like but has the features of another, so its number
should be low. The filter removes every image whose number is at most **T**.

- **Histogram.** Clean images go up, poisons go down, each in shares of its own group and on a scale of its own. What is
  removed is filled. *log-likelihood* is the number itself in nats, spaced by the distance from the class mean that it
  stands for; *likelihood* is relative to the peak of the Gaussian, from 0 to 1, as in the paper. Scores too low for the
  axis share the bin at its left end. A bin with a single image is still drawn high enough to be seen.
- **ROC.** Each T is a point: which share of the poisons it catches (TPR), and which share of the clean images it throws
  away (FPR). The knob is the current T; the dotted line is guessing. The logarithmic axis gives room to the costs that
  one can afford, 1 % and less. The dashed curve has only the poisons that collide, that is, which the network takes for
  the target's class. The others have not reached that class, and are harder to tell from clean images. Whether they do
  harm is not measured on this page: poisons at the edge of what T lets pass can move a border without colliding.
- **T of "1 % FPR"** is the largest T, in six digits, that throws away at most 1 % of *these* clean images; the report,
  the files and the command line mean the same T. On the Defend page T for 1 % is another number for a reason: it is
  calibrated on other clean images, of the classes in play, and promises to throw away 1 % of *fresh* ones on average.
- **Nominal FPR.** In a Gaussian of D features, −2 (log p − log p at the mean) is chi-squared with D degrees of freedom.
  With two features and equal covariances the nominal FPR *is* the relative likelihood. The dashed outline in the
  histogram shows where clean images would then be. Where they lie further right, closer to the means, the nominal FPR
  is too pessimistic; where they lie further left, it promises too much.
- **Precision** depends on how many poisons there are among the clean images; here it is that of the two groups shown.
"""
        )
        st.latex(
            r"\text{remove}\iff \log p(f(x)\mid y)\le T,\qquad "
            r"\mathrm{FPR}_{\text{nominal}}(T)=P\big(\chi^2_D>-2\,(T-\log p(\mu_y\mid y))\big)"
        )


def main() -> None:
    title(
        "Where do I put the threshold, and what does it cost?",
        "The filter removes all images whose likelihood is at most T. Drag the line or the knob and see who is caught.",
    )
    name = load.model_name("lgm")
    adopt_finished()
    case = None
    with guard():
        case = choose_case(name)
    if case is not None:
        explore(case, name)
    else:
        with guard():
            craft_panel(name)


main()
