"""The frame around every page: title line, errors, the strip with the current poison, downloads."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st
from PIL import Image

from lgm.attacks.result import NoPoisonsError, Poisons
from lgm.data.base import DataError
from lgm.experiments.records import Study, outdated, provenance
from lgm.models.card import CheckpointError
from lgm.plots.theme import ROLE
from lgm.utils.images import picture
from lgm.utils.io import SaveError
from ui.choices import choose_data
from ui.words import STYLE, explain

_CSS = """
<style>
[data-testid="stMainBlockContainer"] {padding-top: 4.2rem; padding-bottom: 2rem; max-width: 1500px;}
[data-testid="stMetricValue"], .lgm-num {font-variant-numeric: tabular-nums;}
[data-testid="stMetricValue"] {font-size: 1.35rem;}
[data-testid="stImage"] img {image-rendering: pixelated; border-radius: 4px;}
[data-testid="stCaptionContainer"] {color: inherit; opacity: .8;}
h1 {font-size: 1.7rem !important; padding: 0 0 .1rem 0 !important;}
/* In the dark no single colour can be both text on the page and ground for white text. */
[data-testid="stBaseButton-primary"], [data-testid="stBaseButton-primary"]:hover
  {background-color: #0B6BB8; border-color: #0B6BB8; color: #FFFFFF;}
h2 {font-size: 1.25rem !important; padding: .4rem 0 .2rem 0 !important;}
.st-key-title_row {margin-bottom: -1rem;}
/* On a phone it would share its line with the buttons. */
:is(.st-key-defend_threshold, .st-key-defend_softmax_threshold) {min-width: min(18rem, 100%);}
.lgm-lead {opacity: .85; margin: 0 0 .6rem 0; max-width: 62rem;}
.lgm-chip {display: inline-block; padding: 0 .5rem; border-radius: 1rem; border: 2px solid;
  font-weight: 600; font-size: .85rem;}
</style>
"""


def style() -> None:
    """Spacing, tabular numbers, crisp enlarged images, words that explain themselves."""
    st.html(_CSS.replace("</style>", f"{STYLE}</style>"))


def title(question: str, lead: str, *, choices: bool = True) -> None:
    """The one question a page answers, what it is about, and one sentence that says what to do.

    ``choices``: whether the page is about the dataset and the networks that are the same on all pages.
    """
    row: dict[str, Any] = {"horizontal": True, "vertical_alignment": "center", "horizontal_alignment": "distribute"}
    with st.container(key="title_row", **row):
        st.title(question, anchor=False, width="content")
        if choices:
            with guard():
                choose_data()
    st.html(f'<p class="lgm-lead">{explain(lead)}</p>')


@contextmanager
def guard() -> Iterator[None]:
    """Turn the errors a user can mend into a message; everything else stays a traceback."""
    try:
        yield
    except NoPoisonsError as normal:
        st.info(str(normal), icon=":material/science:")
    except (CheckpointError, DataError, SaveError) as error:
        st.error(str(error), icon=":material/error:")


def enlarged(image: np.ndarray, size: int = 140) -> Image.Image:
    """A picture of (1, H, W) or (3, H, W), as `lgm.utils.images.picture`, ``size`` pixels high without blur."""
    return picture(image).resize((size, size), Image.Resampling.NEAREST)


@dataclass(frozen=True)
class CurrentPoison:
    """The poison that goes along from page to page; ``image`` is (C, H, W) float32 in [0, 1].

    Labels are the names of classes.
    """

    image: np.ndarray
    model: str
    label: str
    target_label: str
    predicted: str
    score: float
    beta: float


def keep_poison(poisons: Poisons, index: int, model: str, classes: tuple[str, ...]) -> None:
    """Remember one of these poisons, crafted on ``model``; ``classes`` are the names of the labels."""
    label, target, predicted = (
        classes[group[index]] for group in (poisons.labels, poisons.target_labels, poisons.predicted)
    )
    st.session_state["current_poison"] = CurrentPoison(
        image=poisons.images[index],
        model=model,
        label=label,
        target_label=target,
        predicted=predicted,
        score=float(poisons.score[index]),
        beta=float(poisons.beta[index]),
    )


def current_poison(model: str) -> CurrentPoison | None:
    """The remembered poison, if it was crafted on this network."""
    poison = st.session_state.get("current_poison")
    return poison if poison is not None and poison.model == model else None


def poison_strip(model: str, threshold: float) -> None:
    """One line at the foot of a page: the current poison and what the filter says of it."""
    poison = current_poison(model)
    if poison is None:
        st.caption("No poison of your own yet: make one on the Craft page and it appears here and on the plots.")
        return
    removed = poison.score <= threshold
    with st.container(horizontal=True, vertical_alignment="center", border=True):
        st.image(enlarged(poison.image, 56), width=56, alt=f"Your poison, claimed label {poison.label}")
        verdict, role = ("removed by the filter", "clean") if removed else ("passes the filter", "poison")
        text = (
            f"**Your poison** claims **{poison.label}**, the network sees **{poison.predicted}** "
            f"(target {poison.target_label}, β = {poison.beta:g}). "
            f"log p(f(x)|{poison.label}) = **{poison.score:.2f}** nats, T = {threshold:.2f}: "
        )
        st.markdown(explain(text, "log p(f(x)|y)"), unsafe_allow_html=True)
        st.html(f'<span class="lgm-chip" style="border-color:{ROLE[role]}">{verdict}</span>')


def age(found: Study | None) -> None:
    """What a study was made of, when and with what, below its numbers; and a warning if it is older than the attack."""
    if found is None:
        return
    if why := outdated(found.about.attack_revision):
        st.warning(f"These numbers are old: {why}.", icon=":material/history:")
    st.caption(provenance(found.about))
