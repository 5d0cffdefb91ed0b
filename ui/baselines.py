"""Would something simpler do? Other detectors beside the likelihood, worked out once they are asked for."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from lgm.attacks.result import Poisons
from lgm.detection.compare import DECIDING, Comparison, Result, compare, in_words, rule_in_words
from lgm.detection.filters import gather_evidence
from ui import load
from ui.detection_view import Case, how_crafted
from ui.frame import guard

if TYPE_CHECKING:
    import plotly.graph_objects as go

Key = tuple[str, ...]  # the poisons, the network that sees them, the clean split
_MADE = {"shown": "the set on show", "softmax": "the softmax network's"}
_GROUPS = {"all": "all poisons", "collided": "those that collide"}
_ENDS = ("", "_low", "_high")  # of the columns of an estimate
_LOG = {"log": "logarithmic", "linear": "linear"}
_ABOUT = f"""
All detectors see the same features, rescaled alike, of the same images. In brackets: 95 % intervals; those of TPRs and
their differences come from drawing clean images and poisons anew, the same draws for all. {rule_in_words()} They are
not adjusted for being many. D_C is what the network was trained on, so its features lie closer together than those of
new images. A poison collides if the network that it was made on takes it for the target's class; poisons that were made
on the other network show what happens to an attacker who guessed wrong.
"""


@st.cache_resource(
    show_spinner="Running the detectors, and drawing both groups of images anew 1,000 times", max_entries=16
)
def _compared(key: Key, name: str, split: str, _poisons: Poisons) -> list[Comparison]:
    del key  # it also holds the hashes of the weights
    evidence = gather_evidence(
        load.model(name), load.card(name), load.features(name), load.embedded(name, split), _poisons
    )
    return compare(evidence)


@st.cache_resource(show_spinner=False, max_entries=16)
def _chart(key: Key, collided: bool, log: bool, _comparisons: list[Comparison]) -> "go.Figure":
    """The same object while nothing changes, so that zoom stays."""
    del key
    from lgm.plots.detection import roc_chart

    return roc_chart(_comparisons, collided=collided, log=log)


@st.fragment
def simpler_detectors(case: Case) -> None:
    """A section that is empty until it is opened: ROC curves and numbers of all detectors on the same images."""
    section = st.expander(
        "Would something simpler do?", icon=":material/balance:", key="baselines_open", on_change="rerun"
    )
    if section.open:
        with section, guard():
            _section(case)


def _section(case: Case) -> None:
    with st.container(horizontal=True, gap="medium"):
        made, seen = _pick("Poisons made on", _MADE), _pick("Features of", load.LOSSES)
        collided, log = _pick("Counted", _GROUPS) == "collided", _pick("FPR axis", _LOG) == "log"
    poisons, origin = case.poisons, case.key
    if made == "softmax":
        maker = load.model_name("softmax")
        poisons, origin = load.shipped_poisons(maker), (maker, load.card(maker).weights_sha256)
    name, split = load.model_name(seen), case.key[2]
    key = (*origin, name, load.card(name).weights_sha256, split)
    comparisons = _compared(key, name, split, poisons)
    st.markdown(in_words(comparisons))
    if collided and comparisons[0].collided is None:
        st.info("None of these poisons collides.", icon=":material/info:")
        return
    st.plotly_chart(
        _chart(key, collided, log, comparisons),
        key="baselines_roc",
        config={"displaylogo": False},
        alt="ROC curves of the likelihood and of simpler detectors; the table below has their numbers",
    )
    st.table(_rows(comparisons, collided))
    st.download_button(
        "Detectors (CSV)",
        lambda: table(comparisons).to_csv(index=False),
        "detect-baselines.csv",
        "text/csv",
        on_click="ignore",
        icon=":material/download:",
        help="One row a detector and group of poisons: AUC, TPR, difference, their intervals, verdict, source.",
    )
    st.caption(
        f"{how_crafted(poisons, case.dataset)}. Clean: {case.dataset.brief(split)}. Features of `{name}`. {_ABOUT}"
    )
    st.page_link(
        load.PAGES / "defend.py",
        label="Against attackers who choose the target, or know such a filter's T: Defend",
        icon=":material/arrow_forward:",
    )
    st.caption("Sources: " + "; ".join(f"**{c.title}**: {c.source}" for c in comparisons) + ".")


def _pick(label: str, titles: Mapping[str, str]) -> str:
    """One of a few; never none."""
    picked = st.segmented_control(
        label, list(titles), default=next(iter(titles)), required=True, format_func=titles.__getitem__
    )
    return picked or next(iter(titles))


def _groups(comparison: Comparison) -> Iterator[tuple[str, Result]]:
    yield "all", comparison.overall
    if comparison.collided is not None:
        yield "collided", comparison.collided


def _rows(comparisons: list[Comparison], collided: bool) -> pd.DataFrame:
    """For people: one group of poisons."""
    results = [(c, dict(_groups(c))["collided" if collided else "all"]) for c in comparisons]
    rows = [
        {
            "Detector": c.title,
            "AUC": result.auc.in_full(),
            **{f"TPR at {100 * fpr:g} % FPR": result.tpr_at_fpr[fpr].percent() for fpr in DECIDING},
            **{
                f"points more than {comparisons[0].against}, at {100 * fpr:g} %": (
                    result.tpr_difference[fpr].points() if fpr in result.tpr_difference else "–"
                )
                for fpr in DECIDING
            },
            "Verdict": result.verdict,
            "Needs": c.trusts,
        }
        for c, result in results
    ]
    return pd.DataFrame(rows).set_index("Detector")


def table(comparisons: list[Comparison]) -> pd.DataFrame:
    """Everything in numbers: a row a detector and group of poisons."""
    return pd.DataFrame(
        {
            "detector": c.title,
            "group": group,
            "poisons": result.n,
            **{f"auc{end}": number for end, number in zip(_ENDS, result.auc, strict=True)},
            **{
                f"tpr_at_{100 * fpr:g}_percent_fpr{end}": number
                for fpr, tpr in result.tpr_at_fpr.items()
                for end, number in zip(_ENDS, tpr, strict=True)
            },
            "against": c.against,
            **{f"auc_difference{end}": number for end, number in zip(_ENDS, result.difference, strict=True)},
            **{
                f"tpr_difference_at_{100 * fpr:g}_percent_fpr{end}": number
                for fpr in DECIDING
                for end, number in zip(_ENDS, result.tpr_difference.get(fpr, (0.0, None, None)), strict=True)
            },
            "verdict": result.verdict,
            "needs": c.trusts,
            "source": c.source,
        }
        for c in comparisons
        for group, result in _groups(c)
    )
