"""Cached loaders. What the first paint needs reads without torch; the network comes when it is asked for."""

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import streamlit as st

from lgm.attacks.result import NoPoisonsError, Poisons, read_shipped_poisons
from lgm.data.base import DataError, Dataset, Split, UnreadableError
from lgm.data.registry import DATASETS, load_split
from lgm.detection.thresholds import empirical_threshold
from lgm.experiments.board.record import Board, read_board
from lgm.experiments.records import ByLoss, Study, read_study
from lgm.models.card import Card, CheckpointError, require_same_data
from lgm.models.features import FeatureMap, Features, check_features, features_path, read_features
from lgm.models.registry import SHIPPED, locate, read_card, survey, user_folder
from ui import state
from ui.datasets import changed, find
from ui.period import period

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier

PAGES = Path(__file__).resolve().parent.parent / "pages"
LOSSES = {"lgm": "LGM network", "softmax": "Softmax network"}


# Not by Streamlit, whose look into a cache takes 0.1 ms: a page asks a hundred times.
@lru_cache(maxsize=1)
def _models(folders: str, when: int) -> tuple[dict[str, Card], list[str]]:
    del folders, when  # the key
    usable, unusable = survey()
    for name, card in list(usable.items()):
        try:
            check_features(features_path(locate(name)), card)
        except CheckpointError as error:  # the pages draw them
            unusable.append(str(error).replace(f"{locate(name).parent}{os.sep}", ""))
            del usable[name]
    return usable, unusable


def _survey() -> tuple[dict[str, Card], list[str]]:
    """The models with all their files, and what is wrong with those that cannot be used (shared: do not change them).

    Read anew when a file has come or gone, as the Train page makes them, and now and then.
    """
    return _models(" ".join(f"{folder} {changed(folder)}" for folder in (SHIPPED, user_folder())), period())


def _all_cards() -> dict[str, Card]:
    return _survey()[0]


def models() -> list[str]:
    """Names of all models that the pages can show, shipped ones first."""
    return list(_survey()[0])


def unusable() -> list[str]:
    """Each file in the folders for models that cannot be used: its name, why, and what to do."""
    return _survey()[1]


def networks(loss: str, of: str) -> list[str]:
    """Names of the usable networks of one loss, trained on the dataset ``of``; shipped ones first."""
    return [
        name
        for name, card in _all_cards().items()
        if card.config.model.loss == loss and card.config.dataset == of and _is_of_today(card)
    ]


def _is_of_today(card: Card) -> bool:
    """Whether the data are those it was trained on: a dataset of the user's own may have been registered anew since."""
    found = find(card.config.dataset)
    if found is None:
        return False
    try:
        require_same_data(card, found)
    except DataError:
        return False
    return True


def usable() -> list[str]:
    """Datasets with a network of either loss."""
    names = [*DATASETS, *sorted({card.config.dataset for card in _all_cards().values()} - set(DATASETS))]
    return [name for name in names if _has_both_networks(name)]


def _has_both_networks(of: str) -> bool:
    return all(networks(loss, of) for loss in LOSSES)


def one_loss() -> dict[str, str]:
    """Registered datasets that have a network of one loss alone, and the loss that is missing."""
    made = {(card.config.dataset, card.config.model.loss) for card in _all_cards().values() if _is_of_today(card)}
    own = {name for name, _ in made} - set(DATASETS) - set(usable())
    return {name: next(loss for loss in LOSSES if (name, loss) not in made) for name in sorted(own)}


def dataset() -> Dataset:
    """The URL's dataset if there are networks for it, else MNIST."""
    wanted = state.link().dataset
    found = find(wanted) if _has_both_networks(wanted) else None
    return found or DATASETS["mnist"]


def example_classes() -> tuple[int, int]:
    """Of base and target where nobody chose: 4 and 9, which people confuse too; of few classes the first two."""
    return (4, 9) if len(dataset().classes) > 9 else (0, 1)


def class_name(label: int) -> str:
    """What a label means."""
    return dataset().classes[label]


def clean_splits() -> list[str]:
    """What may serve as D_f: what is on this machine, else what is stored with the network, without its images."""
    chosen = dataset()
    at_hand = [name for name in chosen.clean if chosen.at_hand(name)]
    return at_hand or [name for name in chosen.clean if name in features(model_name("lgm")).splits]


def clean_split() -> str:
    """Name of D_f: the URL's if this machine has it, else the first that it has."""
    wanted, options = state.link().data, clean_splits()
    return wanted if wanted in options else options[0]


def closed_data() -> str | None:
    """Why this account cannot read data of the chosen dataset that may well be on this machine; None if it can."""
    chosen = dataset()
    for name in chosen.clean:
        if not chosen.at_hand(name):
            try:
                chosen.load(name)
            except UnreadableError as error:
                return str(error)
            except DataError:
                continue
    return None


def model_name(loss: str) -> str:
    """The chosen LGM or softmax network; the first if the URL names one that is not here, or of another kind."""
    wanted, options = getattr(state.link(), loss), networks(loss, dataset().name)
    return wanted if wanted in options else options[0]


def card(name: str) -> Card:
    """A model's card (shared: do not change it)."""
    return _all_cards().get(name) or read_card(name)  # which says why it cannot


@st.cache_resource(show_spinner=False, max_entries=16)
def _features(name: str, weights_sha256: str) -> FeatureMap:
    del weights_sha256  # part of the key: a retrained model has other features
    return read_features(name)


def features(name: str) -> FeatureMap:
    """The stored features of a model (shared between sessions: do not change them)."""
    return _features(name, card(name).weights_sha256)


@st.cache_resource(show_spinner=False)
def _in_memory() -> set[tuple[str, str]]:
    return set()


@st.cache_resource(show_spinner=False, max_entries=8)
def _split(name: str, of: str) -> Split:
    found = load_split(name, of)
    _in_memory().add((name, of))
    return found


def split(name: str) -> Split:
    """A split of the chosen dataset (shared: do not change it)."""
    return _split(name, dataset().name)


def in_memory(name: str) -> bool:
    """Whether `split` answers at once: the first time, the images have to be read from disk."""
    return (name, dataset().name) in _in_memory()


@st.cache_resource(show_spinner=False, max_entries=6)
def _model(name: str, weights_sha256: str) -> "Classifier":
    del weights_sha256
    from lgm.models.checkpoint import load_checkpoint

    return load_checkpoint(name)[0]


def model(name: str) -> "Classifier":
    """The network itself, frozen (shared: do not change it)."""
    return _model(name, card(name).weights_sha256)


@st.cache_resource(show_spinner=False, max_entries=16)
def _embedded(name: str, weights_sha256: str, split_name: str) -> Features:
    from lgm.models.checkpoint import embed_split

    return embed_split(_model(name, weights_sha256), split(split_name))


def embedded(name: str, split_name: str) -> Features:
    """A split as a network sees it: stored with the model, else computed once."""
    stored = features(name).splits.get(split_name)
    return stored if stored is not None else _embedded(name, card(name).weights_sha256, split_name)


@st.cache_resource(show_spinner=False, max_entries=8)
def _shipped_poisons(name: str, weights_sha256: str) -> Poisons:
    del weights_sha256
    return read_shipped_poisons(name)


def shipped_poisons(name: str) -> Poisons:
    """The poisons beside a checkpoint. Raises CheckpointError for a model that has none yet."""
    return _shipped_poisons(name, card(name).weights_sha256)


def poisons_or_none(name: str) -> Poisons | None:
    """The same, or None for a model that has none yet."""
    try:
        return shipped_poisons(name)
    except NoPoisonsError:
        return None


def image(split_name: str, index: int) -> np.ndarray | None:
    """One image, or None if the files that hold it are not on this machine."""
    found = dataset().at_hand_of(split_name)
    images = split(found).images if found else ()
    return images[index] if index < len(images) else None


def posterior(name: str, z: np.ndarray, label: int) -> tuple[np.ndarray, float]:
    """p(k | z) of one feature vector (D,), and log p(z | label) in nats (NaN for softmax)."""
    from lgm.models.scoring import posterior_and_log_likelihood

    return posterior_and_log_likelihood(model(name), z, label)


def threshold(name: str) -> float:
    """The current T in nats for an LGM network; where nobody chose one, that of 1 % FPR on D_f."""
    chosen = state.link().threshold
    if chosen is not None:
        return cast(float, chosen)
    return empirical_threshold(embedded(name, clean_split()).score, 0.01)


@st.cache_resource(show_spinner=False, max_entries=4)
def _study(of: str, written: int) -> Study | None:
    del written  # part of the key
    return read_study(of)


def study() -> Study | None:
    """What was measured on the chosen dataset (shared: do not change it); see `read_study`."""
    of = dataset().name
    return _study(of, changed(SHIPPED / f"{of}.study.json"))


@st.cache_resource(show_spinner=False, max_entries=4)
def _board(of: str, written: int) -> Board | None:
    del written  # part of the key
    return read_board(of)


def board() -> Board | None:
    """What every attacker achieves against every defence on the chosen dataset (shared); see `read_board`."""
    of = dataset().name
    return _board(of, changed(SHIPPED / f"{of}.board.json"))


def study_of(lgm: str, softmax: str) -> Study | None:
    """The same, if it is of these very networks."""
    found = study()
    weights = ByLoss(card(lgm).weights_sha256, card(softmax).weights_sha256)
    return found if found and found.about.weights_sha256 == weights else None
