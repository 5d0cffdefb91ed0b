"""CIFAR-10 on a machine without its files: what the twenty images that come with a package are enough for."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import streamlit as st

from lgm.attacks.result import read_shipped_poisons
from lgm.config import DefenseConfig
from lgm.data.base import Split
from lgm.data.registry import DATASETS, load_split
from lgm.defense.example import Attack, stage
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.models.features import read_features
from tests.pages.test_pages import crafted, hold_crafting, opened, words
from tests.pages.test_train import wait
from ui import beta_paths
from ui.jobs import runner

pytestmark = [pytest.mark.page, pytest.mark.slow]

BASE, TARGET = 9, 18  # an automobile and a ship


@pytest.fixture(autouse=True)
def _no_data(fresh_home: object) -> None: ...


def test_a_pair_of_the_twenty_is_crafted_live(monkeypatch: pytest.MonkeyPatch) -> None:
    def first_stop(*order: Any) -> tuple[list[str], tuple[float, ...]]:
        lacking, betas = all_stops(*order)
        mine = [name for name in lacking if name == "cifar10-lgm"]  # the other is crafted alike
        return (mine, betas) if mine and len(betas) == 1 else ([], ())

    all_stops = beta_paths.next_work
    monkeypatch.setattr(beta_paths, "next_work", first_stop)  # the others take VGG19 a minute
    settled = beta_paths.Recipe.config
    monkeypatch.setattr(beta_paths.Recipe, "config", lambda recipe: replace(settled(recipe), iterations=3))
    app = crafted(opened("craft", dataset="cifar10", base=str(BASE), target=str(TARGET), beta="0.008"))
    assert not app.error
    assert (app.query_params["base"], app.query_params["target"]) == (str(BASE), str(TARGET))
    kept = app.session_state["current_poison"]
    assert (kept.label, kept.target_label) == ("automobile", "ship")
    base = load_split("bundled", "cifar10").images[BASE] / 255
    assert 0 < np.abs(kept.image - base).max() < 0.2


def test_only_images_that_are_here_are_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    hold_crafting(monkeypatch)
    app = opened("craft", dataset="cifar10", base="500", target="501")
    example = read_shipped_poisons("cifar10-lgm", "example")
    assert app.session_state["current_poison"].label == "cat", "the example, in the place of images that are not here"
    y = load_split("bundled", "cifar10").labels
    offered = app.button_group(key=f"class_base_{example.base_index[0]}_8")
    assert len(offered.options) == len(set(y.tolist()) - {8})
    for _ in range(2):
        next(button for button in app.button if button.label == "Random pair").click().run()
        assert not app.exception
        assert max(int(app.query_params["base"]), int(app.query_params["target"])) < 20
    assert not app.error


def test_an_attack_of_the_twenty_is_crafted_against_a_head_on_the_stored_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_poison(model: Classifier, card: Card, images: Split, config: DefenseConfig, **named: Any) -> Attack:
        return stage(model, card, images, replace(config, poisons=min(1, config.poisons)), **named)

    monkeypatch.setattr("lgm.defense.example.stage", first_poison)
    y = load_split("bundled", "cifar10").labels
    app = opened("defend", dataset="cifar10", poisons="10", network="softmax", task="two")
    (job,) = (job for job in runner().jobs.values() if job.key.startswith("attack cifar10-softmax"))
    job.cancel()  # even one takes VGG19 a while; `stage` is tested on a small network
    assert not app.error
    assert not app.warning
    assert "With K = 4: this machine has so many images of frog. The others are known as features." in words(app)
    options = next(box for box in app.selectbox if box.label == "Poisons claim").options
    assert options == [DATASETS["cifar10"].classes[k] for k in sorted(set(y.tolist()))]
    assert len(app.get("plotly_chart")) == 6, "the clean head is there at once"
    assert wait(job).state == "cancelled"  # a process that ends while torch computes is aborted


@pytest.mark.parametrize("page", ["overview", "features", "craft"])
def test_without_the_package_a_page_says_where_the_images_would_be(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgm.data.cifar10._bundled_files", list)
    st.cache_resource.clear()  # in which the example has its images still
    app = opened(page, dataset="cifar10")
    assert len(read_features("cifar10-lgm").splits["test"].labels) == 1000
    if page == "overview":
        assert "Base and target of these poisons are images of CIFAR-10, the official test set, which this" in words(
            app
        )
    if page == "craft":
        assert "cifar10.npz is missing" in words(app)
    st.cache_resource.clear()
