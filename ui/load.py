"""Cached loaders. What the first paint needs reads without torch; the network comes when it is asked for."""

from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import streamlit as st

from lgm import cards, datasets, poisons
from lgm.cards import Card, CheckpointError, FeatureMap, Features
from lgm.data import Split
from lgm.poisons import Poisons
from ui import state

if TYPE_CHECKING:
    from lgm.networks import Classifier

PAGES = Path(__file__).resolve().parent.parent / "pages"
SPLIT_TITLES = {"test": "MNIST official test set (10,000)", "bundled": "MNIST bundled digits (5,000)"}


def choose_data() -> None:
    """The sidebar: which dataset, which clean fine-tuning data D_f, which two networks."""
    st.selectbox("Dataset", ["MNIST"], help="CIFAR-10 follows.")
    splits = ["test", "bundled"] if datasets.DATASETS["mnist"].at_hand("test") else ["bundled"]
    _choice("Fine-tuning data D_f", "data", splits, clean_split(), SPLIT_TITLES)
    if not datasets.DATASETS["mnist"].at_hand("test"):
        st.caption("The official MNIST files are not on this machine. The Train page can fetch them.")
    for loss, title in (("lgm", "LGM network"), ("softmax", "Softmax network")):
        names = [name for name in cards.list_checkpoints() if card(name).config.model.loss == loss]
        if names:
            _choice(title, loss, names, model_name(loss), {})


def _choice(title: str, name: str, options: list[str], current: str, titles: dict[str, str]) -> None:
    index = options.index(current) if current in options else 0
    shown = [titles.get(option, option) for option in options]
    # A choice made elsewhere is part of the key: a widget that is already there would take it back.
    label = st.selectbox(title, shown, index=index, key=f"w_{name}_{current}_{shown}")
    picked = options[shown.index(label)] if label else current
    if picked != current:
        state.put(name, picked)
        state.put("base", None)  # positions and thresholds belong to the data and the network they were chosen on
        state.put("target", None)
        state.put("threshold", None)
        st.rerun()


def clean_split() -> str:
    """Name of D_f: the URL's if this machine has it, else the default."""
    wanted = state.get("data")
    if wanted == "bundled" or (wanted == "test" and datasets.DATASETS["mnist"].at_hand("test")):
        return wanted
    return datasets.default_split()


def model_name(loss: str) -> str:
    """The chosen LGM or softmax network; the shipped one if the URL names one that is not here or of another loss."""
    wanted = state.get(loss)
    shipped = f"mnist-{loss}"
    try:
        return wanted if card(wanted).config.model.loss == loss else shipped
    except CheckpointError:
        return shipped


@st.cache_data(show_spinner=False, max_entries=64, ttl=10)
def card(name: str) -> Card:
    """A model's card; re-read now and then, because the Train page may replace it."""
    return cards.read_card(name)


@st.cache_resource(show_spinner=False, max_entries=16)
def _features(name: str, weights_sha256: str) -> FeatureMap:
    del weights_sha256  # part of the key: a retrained model has other features
    return cards.read_features(name)


def features(name: str) -> FeatureMap:
    """The stored features of a model (shared between sessions: do not change them)."""
    return _features(name, card(name).weights_sha256)


@st.cache_resource(show_spinner=False)
def _in_memory() -> set[str]:
    return set()


@st.cache_resource(show_spinner=False, max_entries=8)
def split(name: str) -> Split:
    """A split of the data (shared: do not change it)."""
    found = datasets.load_split(name)
    _in_memory().add(name)
    return found


def at_hand(name: str) -> bool:
    """Whether `split` answers at once: the first time, the images have to be read from disk."""
    return name in _in_memory()


@st.cache_resource(show_spinner=False, max_entries=6)
def _model(name: str, weights_sha256: str) -> "Classifier":
    del weights_sha256
    from lgm.checkpoints import load_checkpoint

    return load_checkpoint(name)[0]


def model(name: str) -> "Classifier":
    """The network itself, frozen (shared: do not change it)."""
    return _model(name, card(name).weights_sha256)


@st.cache_resource(show_spinner=False, max_entries=16)
def _embedded(name: str, weights_sha256: str, split_name: str) -> Features:
    from lgm.checkpoints import embed_split

    return embed_split(_model(name, weights_sha256), split(split_name))


def embedded(name: str, split_name: str) -> Features:
    """A split as a network sees it: stored with the model, else computed once."""
    stored = features(name).splits.get(split_name)
    return stored if stored is not None else _embedded(name, card(name).weights_sha256, split_name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _shipped_poisons(name: str, weights_sha256: str) -> Poisons:
    del weights_sha256
    return poisons.read_shipped_poisons(name)


def shipped_poisons(name: str) -> Poisons:
    """The poisons beside a checkpoint. Raises CheckpointError for a model that has none yet."""
    return _shipped_poisons(name, card(name).weights_sha256)


def poisons_or_none(name: str) -> Poisons | None:
    """The same, or None for a model that has none yet."""
    try:
        return shipped_poisons(name)
    except CheckpointError:
        return None


def image(split_name: str, index: int) -> np.ndarray | None:
    """One image, or None if the official files that hold it are not on this machine."""
    if split_name in ("train", "test") and not datasets.DATASETS["mnist"].at_hand(split_name):
        return None
    return split(split_name).images[index]


def posterior(name: str, z: np.ndarray, label: int) -> tuple[np.ndarray, float]:
    """p(k | z) of one feature vector (D,), and log p(z | label) in nats (NaN for softmax)."""
    from lgm.networks import describe

    return describe(model(name), z, label)


def threshold(name: str) -> float:
    """The current T in nats for an LGM network; where nobody chose one, the T that removes 1 % of D_f."""
    chosen = state.get("threshold")
    return float(np.quantile(embedded(name, clean_split()).score, 0.01)) if chosen is None else cast(float, chosen)
