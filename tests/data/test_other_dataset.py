"""Every page on another dataset than MNIST: with its images, and on a machine that has none of them."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from lgm.attacks.craft import craft_beta_path, craft_random
from lgm.config import ModelConfig, Phase, PoisonConfig, TrainConfig
from lgm.data.base import DataError, Split
from lgm.data.registry import DATASETS
from lgm.models.card import Card
from lgm.models.checkpoint import load_checkpoint, save_measured
from lgm.models.classifier import build_model
from tests.pages.test_pages import opened, words

pytestmark = pytest.mark.page

NAME = "fashion-mnist"
CLASSES = DATASETS[NAME].classes
PAGES = ["overview", "features", "craft", "detect", "defend", "train"]


def images(name: str, count: int) -> Split:
    """Noise with labels in turn: enough for pages, which only show what networks say of it."""
    pixels = np.random.default_rng(len(name)).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)
    return Split(name, pixels, np.arange(count) % 10, NAME)


SPLITS = {"test": images("test", 600), "held-out": images("held-out", 80)}


@pytest.fixture(scope="module")
def networks(session_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network of either loss with 10 poisons and an example each."""
    folder = tmp_path_factory.mktemp("networks")
    for loss in ("lgm", "softmax"):
        model = ModelConfig(network="tiny-cnn", loss=loss)
        card = Card(
            name=f"clothes-{loss}", config=TrainConfig(phases=(Phase(model=model),), dataset=NAME), weights_sha256=""
        )
        path = save_measured(build_model(model).eval(), card, list(SPLITS.values()), folder)
        loaded, card = load_checkpoint(path)
        few = PoisonConfig(iterations=2)
        craft_random(loaded, card, SPLITS["test"], 10, few, seed=1).save(folder / f"{card.name}.poisons.safetensors")
        example = craft_beta_path(loaded, card, SPLITS["test"], (3, 9), few)
        example.save(folder / f"{card.name}.example.safetensors")
    return folder


@pytest.fixture
def with_networks(networks: Path, fresh_home: Path) -> None:
    """These networks in the user's folder."""
    shutil.copytree(networks, fresh_home / "checkpoints")


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    st.cache_resource.clear()
    st.cache_data.clear()


def have_images(monkeypatch: pytest.MonkeyPatch, *, there: bool) -> None:
    def load(name: str) -> Split:
        if not there:
            raise DataError(f"{name} is missing; here is how to get it")
        return SPLITS[name]

    known = replace(DATASETS[NAME], at_hand=lambda name: there and name in SPLITS, load=load)
    monkeypatch.setitem(DATASETS, NAME, known)


def choices(app: AppTest) -> list[Selectbox]:
    """Dataset, data and both networks, which head every page."""
    return [box for box in app.selectbox if str(box.key).startswith("w_")]


def shown(page: str) -> AppTest:
    return opened(page, dataset=NAME)


def test_every_page_works_with_the_images_and_calls_classes_by_their_names(
    with_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_images(monkeypatch, there=True)
    apps = {page: shown(page) for page in PAGES}
    for page, app in apps.items():
        assert not app.error, page
        assert choices(app)[0].value == DATASETS[NAME].title, page
    assert len(apps["defend"].get("plotly_chart")) == 3
    poison = apps["craft"].session_state["current_poison"]
    assert (poison.label, poison.target_label) == (CLASSES[3], CLASSES[9])
    assert f"To people it shows **{CLASSES[3]}**" in words(apps["overview"])


def test_every_page_shows_what_it_can_without(with_networks: None, monkeypatch: pytest.MonkeyPatch) -> None:
    have_images(monkeypatch, there=False)
    for page in PAGES:
        app = shown(page)
        missing = [error.value for error in app.error]
        # Craft needs images to pick from, Detect those that the filter throws away, Defend all; each says so, and goes
        # on.
        assert len(missing) == {"craft": 2, "detect": 1, "defend": 1}.get(page, 0), page
        assert all("is missing; here is how to get it" in text for text in missing)
        if page in ("overview", "craft", "detect"):
            assert app.get("bidi_component"), "the picture that came with the networks"
        if page == "features":
            assert len(app.get("plotly_chart")) == 2


def test_a_dataset_without_networks_is_not_offered(fresh_home: Path) -> None:
    app = shown("overview")
    assert choices(app)[0].options == ["MNIST", "CIFAR-10"]
    assert choices(app)[0].value == "MNIST"


def test_another_dataset_puts_its_own_networks_and_images_in_place(
    with_networks: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    have_images(monkeypatch, there=True)
    app = opened("detect", base="5", target="6", threshold="-9")
    choices(app)[0].set_value(DATASETS[NAME].title).run()
    assert not app.exception
    assert [box.value for box in choices(app)][2:] == ["clothes-lgm", "clothes-softmax"]
    assert (app.session_state["link"].base, app.session_state["link"].threshold) == (None, None)
    choices(app)[0].set_value("MNIST").run()
    assert [box.value for box in choices(app)][2:] == ["mnist-lgm", "mnist-softmax"]
