"""What is asked of a dataset on the page "Your data": which, on which network, whom to trust, by which score."""

import streamlit as st

from lgm.config import FPR_GRID
from lgm.detection.scores import SCORES
from ui import load
from ui.markdown import plain
from ui.your_data import HELD_OUT, NOBODY, SHARE, Question, scores_for, trusted_for, unknown_classes, with_images
from ui.your_data_upload import CHOSEN, delete_button

_RATES = sorted({*FPR_GRID, 0.005, 0.02, 0.2})


def choose() -> Question:
    """The widgets in a line, and what they say.

    Raises:
        DataError, CheckpointError: a dataset or a network that cannot be read.
    """
    with st.container(horizontal=True, vertical_alignment="bottom", key="your_data_controls"):
        data = _choose_data()
        network = _choose_network(data)
        trusted = _pick(
            "Trusted images", trusted_for(data, network), lambda who: who_text(who, network), "trusted", 250
        )
        share = 0.5
        if trusted == SHARE:
            share = st.slider("Share trusted", 0.1, 0.9, 0.5, 0.1, format="percent", key="your_data_share", width=150)
        score = _pick("Score", scores_for(data, network), str, "score", 150)
        fpr = _choose_rate()
        delete_button(data)
    return Question(data, network, trusted, share, score, fpr)


def _choose_data() -> str:
    names = with_images()
    if st.session_state.get(CHOSEN) not in names:
        st.session_state[CHOSEN] = names[0]
    return st.selectbox("Dataset", names, key=CHOSEN, persist_state="session", width=250)


def _choose_network(data: str) -> str:
    """Those that know most of the classes first."""
    ranked = sorted(
        load.models(), key=lambda name: (len(unknown_classes(data, name)), load.card(name).config.model.loss)
    )
    return _pick("Network", ranked, str, f"network_{data}", 200)


def _pick(label: str, options: list[str], text: object, key: str, width: int) -> str:
    key = f"your_data_{key}"
    if st.session_state.get(key) not in options:
        st.session_state[key] = options[0]
    return st.selectbox(label, options, key=key, format_func=text, persist_state="session", width=width)  # type: ignore[arg-type]


def _choose_rate() -> float:
    return st.selectbox(
        "Clean images it may cost",
        _RATES,
        _RATES.index(0.02),
        format_func=lambda rate: f"{100 * rate:g} %",
        key="your_data_fpr",
        persist_state="session",
        width=180,
    )


def who_text(who: str, network: str) -> str:
    """Whose labels are right, in words."""
    words = {
        HELD_OUT: f"held out of {network}'s training",
        SHARE: "a share of the dataset itself",
        NOBODY: "none: fit to the data itself",
    }
    return words.get(who, who[1:])


def assumption(question: Question) -> str:
    """What has to hold for T to keep its promise, and why some scores are not offered."""
    words = {
        HELD_OUT: "Assumed: your clean images are like those held out of the network's training.",
        SHARE: f"Assumed: in {100 * question.share:g} % of each class, drawn at random, every label is right. These "
        "images are not judged. If some of them are poisons, T is too low, and poisons like them pass.",
        NOBODY: "Nothing is assumed to be right, so nothing is promised.",
    }
    if question.trusted == HELD_OUT and load.card(question.network).config.dataset == question.data:
        words[HELD_OUT] = (
            "Assumed: the labels of those images of this dataset that were held out of the network's training are "
            "right, and your clean images are like these."
        )
    name = question.trusted[1:]
    said = words.get(
        question.trusted, f"Assumed: every label of {name} is right, and your clean images are like these."
    )
    if unknown := unknown_classes(question.data, question.network):
        few = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        said += (
            f" {question.network} does not know the classes {few}: of these its own head says nothing, so only scores "
            "that are fitted to trusted images are offered."
        )
    return plain(f"Score: {SCORES[question.score]}. {said}")
