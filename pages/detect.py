"""Where do I put the threshold, and what does it cost? Figures 1 and 5 of the paper."""

import base64
import json
from collections.abc import Callable, Sequence

import numpy as np
import streamlit as st

from lgm.detection import detection_report, is_removed, roc, wilson_interval
from lgm.figures import ROLE
from lgm.poisons import Poisons
from ui import load, state
from ui.case import DATA, Case, auc_text, describe
from ui.frame import current_poison, guard, png, poison_strip, title
from ui.poison_sets import adopt_finished, choose_set, craft_panel, sets_for
from ui.threshold import threshold_picture

THUMBNAILS = 12  # a group

_GALLERY_CSS = """
<style>
.lgm-gallery {display: grid; grid-template-columns: repeat(auto-fill, minmax(8.1rem, 1fr)); gap: .4rem;}
.lgm-gallery figure {margin: 0; display: flex; align-items: center; gap: .4rem;}
.lgm-gallery img {width: 52px; height: 52px; image-rendering: pixelated; border-radius: 4px; border: 2px solid;
  box-sizing: content-box; flex: none;}
.lgm-gallery figcaption {font-size: .8rem; line-height: 1.3; font-variant-numeric: tabular-nums; white-space: nowrap;}
</style>
"""


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
    )


def choose_case(name: str) -> Case:
    """The set of poisons, and the numbers that do not depend on T."""
    sets = sets_for(name)
    with st.container(horizontal=True, vertical_alignment="top", gap="medium"):
        picked = choose_set(sets)
        split = load.clean_split()
        case = case_of((name, load.card(name).weights_sha256, split, picked), sets[picked])
        show_metrics(case)
    st.caption(f"{describe(case.poisons)}. Clean: {DATA[split]} ({len(case.clean.score):,}). Network: `{name}`.")
    return case


def show_metrics(case: Case) -> None:
    report = case.report
    n, collided = report["poisons"], report["collided"]
    all_of, some = f"all {n}", f"{collided} that collide"
    for group, auc in ((all_of, report["auc"]), (some, report["auc_collided"])):
        metric(
            "AUC",
            auc_text(auc),
            group,
            "Chance that a random poison is less likely than a random clean image: 1 is perfect, 0.5 is guessing. A "
            "poison collides if the network takes it for the target's class; only then can it do harm.",
        )
    rates = report["tpr_at_fpr"]["0.01"], report["tpr_at_fpr_collided"]["0.01"]
    for group, size, tpr in ((all_of, n, rates[0]), (some, collided, rates[1])):
        metric(
            "TPR at 1 % FPR",
            "–" if tpr is None else f"{100 * tpr:.1f} %",
            group if tpr is None else f"{group}: {interval_text(tpr, size)}",
            "Share of the poisons that is caught where 1 % of the clean images is thrown away, with its 95 % interval "
            "(Wilson).",
        )


def metric(label: str, value: str, group: str, explained: str) -> None:
    st.metric(label, value, group, delta_color="off", delta_arrow="off", help=explained, width="content")


def interval_text(share: float, n: int) -> str:
    low, high = wilson_interval(round(share * n), n)
    return f"{100 * low:.0f}–{100 * high:.0f} %"


@st.fragment
def explore(case: Case, name: str) -> None:
    """Everything that follows T; the last part waits for the images of the clean data."""
    threshold = load.threshold(name)
    own = current_poison(name)
    threshold_picture(case, threshold, None if own is None else own.score, keep_threshold, key="detect_threshold")
    st.caption(
        "FPR is counted on clean images, so it needs some that you trust. Nominal FPR needs none, only T: it is the "
        "share that would fall below T if the features of every class were exactly Gaussian. Intervals: 95 %."
    )
    fill_gallery = gallery(case, threshold)
    downloads(case, threshold)
    craft_panel(name)
    explanation()
    poison_strip(name, threshold)
    state.push()
    fill_gallery()


def keep_threshold(threshold: float) -> None:
    state.put("threshold", threshold)


def gallery(case: Case, threshold: float) -> Callable[[], None]:
    """Who is caught, missed and wrongly thrown away, nearest to T first.

    Returns:
        What draws the clean images: they may have to be read from disk first.
    """
    poisons, clean = case.poisons, case.clean
    caught = is_removed(poisons.score, threshold)
    wrong = is_removed(clean.score, threshold)
    st.html(_GALLERY_CSS)
    left, middle, right = st.columns(3, gap="medium")
    with left:
        heading("Caught", caught, "poisons", poisons.collided)
        show_poisons(poisons, nearest(poisons.score, caught, threshold))
    with middle:
        heading("Missed", ~caught, "poisons", poisons.collided)
        show_poisons(poisons, nearest(poisons.score, ~caught, threshold))
    with right:
        heading("Wrongly thrown away", wrong, "clean")
        place = st.empty()
        place.skeleton(height=240)

    def fill() -> None:
        with place.container(), guard():
            show_clean(case, nearest(clean.score, wrong, threshold))

    return fill


def heading(what: str, members: np.ndarray, group: str, collided: np.ndarray | None = None) -> None:
    count = int(members.sum())
    st.markdown(f"**{what}**: {count:,} of {len(members):,} {group}")
    notes = [] if collided is None else [f"{int((members & collided).sum()):,} of them collide"]
    if count > THUMBNAILS:
        notes.append(f"here the {THUMBNAILS} nearest to T")
    st.caption(" · ".join(notes) or "all of them, nearest to T first")


def nearest(score: np.ndarray, members: np.ndarray, threshold: float) -> np.ndarray:
    """Positions of the members closest to T."""
    found = np.flatnonzero(members)
    return found[np.argsort(np.abs(score[found] - threshold), kind="stable")[:THUMBNAILS]]


def show_poisons(poisons: Poisons, chosen: np.ndarray) -> None:
    captions = [caption(poisons.labels[i], poisons.predicted[i], poisons.score[i]) for i in chosen]
    thumbnails([poisons.images[i] for i in chosen], captions, "poison")


def show_clean(case: Case, chosen: np.ndarray) -> None:
    clean = case.clean
    captions = [caption(clean.labels[i], clean.predicted[i], clean.score[i]) for i in chosen]
    images = load.split(case.key[2]).images[chosen] if len(chosen) else []
    thumbnails(list(images), captions, "clean")


def caption(label: np.ndarray, predicted: np.ndarray, score: np.ndarray) -> tuple[str, str, str]:
    return f"claims {label}", f"seen as {predicted}", f"{score:.2f} nats".replace("-", "−")


def thumbnails(images: Sequence[np.ndarray], captions: list[tuple[str, str, str]], role: str) -> None:
    if not images:
        st.caption("None at this T.")
        return
    figures = [
        f'<figure><img src="data:image/png;base64,{base64.b64encode(png(image)).decode()}" '
        f'style="border-color:{ROLE[role]}" alt="{role}, {", ".join(lines)}">'
        f"<figcaption>{'<br>'.join(lines)}</figcaption></figure>"
        for image, lines in zip(images, captions, strict=True)
    ]
    st.html(f'<div class="lgm-gallery">{"".join(figures)}</div>')


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
            lambda: json.dumps(case.summary(threshold), indent=1),
            "detect-report.json",
            "application/json",
            on_click="ignore",
            icon=":material/download:",
            help="All numbers at this T and at 1 % FPR, and how the poisons were made.",
        )


def explanation() -> None:
    with st.expander("What am I looking at?", icon=":material/help:"):
        st.markdown(
            """
Answers **figures 1 and 5** of the paper. Every image, clean or poison, has one number: how likely its features are
under the class that it claims. A poison claims the class it looks like but has the features of another, so its number
is low. The filter removes every image whose number is at most **T**.

- **Histogram.** Clean images go up, poisons go down, each in shares of its own group and on a scale of its own. What is
  removed is filled. *log-likelihood* is the number itself in nats, spaced by the distance from the class mean that it
  stands for; *likelihood* is relative to the peak of the Gaussian, from 0 to 1, as in the paper. Scores too low for the
  axis share the bin at its left end. A bin with a single image is still drawn high enough to be seen.
- **ROC.** Each T is a point: which share of the poisons it catches (TPR), and which share of the clean images it throws
  away (FPR). The knob is the current T; the dotted line is guessing. The logarithmic axis gives room to the costs that
  one can afford, 1 % and less. The dashed curve has only the poisons that collide, that is, which the network takes for
  the target's class: the others are harmless, and hard to tell from clean images for the same reason.
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
