"""The Defend page without a browser: what it shows is what the package says, and every control does its work."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lgm import cards
from lgm.cards import CheckpointError
from lgm.config import DefenseConfig
from lgm.data import Split
from lgm.demonstration import Attack
from lgm.study import frontier_meaning
from tests.test_pages import opened, words
from ui import attacks, load

SETTING = DefenseConfig(classes=(4, 9), clean=5, poisons=5)
LINK = {"clean": "5", "poisons": "5"}
Open = Callable[..., AppTest]


@pytest.fixture(scope="module")
def staged(bundled: Split) -> dict[str, Attack]:
    """The attack of `LINK`, as the page stages it and from the same cache."""
    model = {loss: f"mnist-{loss}" for loss in ("lgm", "softmax")}
    return {
        loss: attacks._staged(name, load.card(name).weights_sha256, "bundled", SETTING) for loss, name in model.items()
    }


def page(**link: str) -> AppTest:
    return opened("defend", **{**LINK, **link})


def planes(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")][:3]


def chips(app: AppTest) -> list[str]:
    parts: list[Any] = list(app.get("html"))
    return [part.value for part in parts if "lgm-chip" in part.value][:3]


def slider(app: AppTest) -> Any:
    return next(part for part in app.select_slider if part.label.startswith("T:"))


@pytest.mark.parametrize("loss", ["lgm", "softmax"])
def test_the_page_shows_what_the_package_says(staged: dict[str, Attack], loss: str) -> None:
    app, attack = page(network=loss), staged[loss]
    shown = attack.demonstrate()
    text = words(app)
    for arm in shown.arms.values():
        assert arm is not None
        assert f"accuracy **{arm.accuracy:.1%}**" in text
    assert f"caught {shown.poisons_removed} of 5 poisons, lost {shown.clean_removed} of 10 clean" in text
    assert [metric.value for metric in app.metric] == [
        f"{rate:.1%}" for rate in attack.rates(attack.threshold).values()
    ]
    assert slider(app).value == pytest.approx(attack.threshold)
    assert len(planes(app)) == 3


def test_moving_the_threshold_filters_anew_and_is_in_the_link(staged: dict[str, Attack]) -> None:
    app, attack = page(), staged["lgm"]
    nothing = attacks.stops(attack, attack.threshold)[0]
    slider(app).set_value(nothing).run()
    assert not app.exception
    assert "caught 0 of 5 poisons, lost 0 of 10 clean" in words(app)
    assert float(app.query_params["threshold"]) == pytest.approx(nothing)
    before, poisoned, filtered = chips(app)
    assert poisoned == filtered != before
    everything = attacks.stops(attack, nothing)[-1]
    slider(app).set_value(everything).run()
    assert "nothing is left to fine-tune on" in chips(app)[2]
    next(button for button in app.button if button.label.startswith("Calibrated")).click().run()
    assert "threshold" not in app.query_params
    assert slider(app).value == pytest.approx(attack.threshold)


def test_each_network_has_a_threshold_of_its_own() -> None:
    app = page(network="softmax", threshold="-9", softmax_threshold="-20")
    assert slider(app).value == -20
    next(part for part in app.segmented_control if part.label == "Network").set_value("lgm").run()
    assert slider(app).value == -9


def test_a_class_that_is_taken_changes_places() -> None:
    app = page()
    claim = next(box for box in app.selectbox if box.label == "Poisons claim")
    claim.set_value(9).run()
    assert not app.exception
    assert (app.query_params["base_class"], app.query_params["target_class"]) == ("9", "4")


def test_another_draw_is_another_attack(staged: dict[str, Attack]) -> None:
    app = page()
    next(button for button in app.button if button.label == "New draw").click().run()
    assert app.query_params["draw"] == "2"
    assert planes(app)[0] != planes(page())[0]


@pytest.mark.parametrize("link", [{"base_class": "9"}, {"base_class": "77", "target_class": "1"}, {"poisons": "3"}])
def test_a_link_that_makes_no_sense_opens_the_example(bundled: Split, link: dict[str, str]) -> None:
    app = page(**link)
    assert not app.exception
    assert [box.value for box in app.selectbox if box.label in ("Poisons claim", "Target is")] == [4, 9]


def test_too_few_images_are_a_message(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def stage(*args: object) -> Attack:
        raise ValueError("clean, poisons: expected at most 3 together")

    monkeypatch.setattr(attacks, "_staged", stage)
    app = page()
    assert "expected at most 3 together" in app.warning[0].value


@pytest.mark.parametrize("current", [-1e4, -2.0, -np.inf])
def test_thresholds_reach_from_nothing_to_everything(staged: dict[str, Attack], current: float) -> None:
    for attack in staged.values():
        stops = attacks.stops(attack, current)
        scores = attack.mixed.score
        assert stops == sorted(set(stops))
        assert stops[0] < scores.min()
        assert stops[-1] >= scores.max()
        assert attack.threshold in stops
        assert current in stops or not np.isfinite(current)


def test_the_table_has_every_image(staged: dict[str, Attack]) -> None:
    attack = staged["lgm"]
    shown = attack.demonstrate()
    table = attacks.table(attack, shown)
    assert table.group.tolist() == ["clean"] * 10 + ["poison"] * 5 + ["target"]
    stored = load.features("mnist-lgm").splits["bundled"]
    clean = table[table.group != "poison"]
    np.testing.assert_allclose(clean[["feature_1", "feature_2"]], stored.z[clean.position], rtol=1e-5)
    np.testing.assert_allclose(clean.log_likelihood_nats, stored.score[clean.position], atol=1e-4)
    np.testing.assert_array_equal(table.removed[:-1].astype(bool), table.log_likelihood_nats[:-1] <= shown.threshold)
    json.dumps(attack.to_dict(shown), allow_nan=False)


def report(loss: str, poisons: int, success: float, **changes: Any) -> dict[str, Any]:
    shared = {"data": "bundled", "task": "two", "clean": 5, "layers": "head", "classes": None, "watermark": 0.0}
    of_arm = {"unfiltered": success, "filtered": 0.0}
    return {
        **shared,
        "model": f"mnist-{loss}",
        "poisons": poisons,
        "trials": 7,
        "fpr": 0.01,
        "n": 7,
        "definition": "share",
        "attack_success": of_arm,
        "interval": {arm: [max(0, share - 0.1), min(1, share + 0.1)] for arm, share in of_arm.items()},
        **changes,
    }


def test_shipped_curves_are_those_of_the_setting(
    bundled: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = [report(loss, k, k / 20) for loss in ("lgm", "softmax") for k in (10, 5)]
    others = [report("lgm", 1, 0.9, clean=50), report("lgm", 1, 0.9, layers="all"), report("lgm", 1, 0.9, task="all")]
    study = json.loads((cards.SHIPPED / "mnist.study.json").read_text()) | {"defense": wanted + others}
    monkeypatch.setattr(load, "study", lambda: study)
    found = attacks.curves(replace(SETTING, clean=5))
    assert found == {"lgm": wanted[:2], "softmax": wanted[2:]}
    assert attacks.curves(replace(SETTING, clean=20)) is None
    app = page()
    chart = json.loads(app.get("plotly_chart")[3].proto.spec)
    assert [line["name"] for line in chart["data"] if line.get("name")][:1] == ["LGM, not filtered"]
    assert "7 draws" in words(app)
    assert frontier_meaning(study["frontier"]) in words(app)
    study["about"]["weights_sha256"]["lgm"] = "of another network"
    assert attacks.curves(replace(SETTING, clean=5)) is None


def test_the_shipped_study_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_data.clear()
    monkeypatch.setattr(cards, "SHIPPED", tmp_path)
    assert load._study("mnist") is None
    st.cache_data.clear()
    (tmp_path / "mnist.study.json").write_text('{"defense": []}')
    assert load._study("mnist") == {"defense": []}
    st.cache_data.clear()
    (tmp_path / "mnist.study.json").write_text('{"defense": [')
    with pytest.raises(CheckpointError, match="expected a study in JSON"):
        load._study("mnist")
    st.cache_data.clear()


def test_curves_are_measured_where_there_are_none(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attacks, "TRIALS", 2)
    monkeypatch.setattr(attacks, "POISONS", (0, 1, 2))
    monkeypatch.setattr(load, "study", lambda: None)
    app = page(clean="2", poisons="1")
    assert len(app.get("plotly_chart")) == 3
    next(button for button in app.button if button.label == "Measure").click().run()
    deadline = time.monotonic() + 300
    while len(app.get("plotly_chart")) < 4:
        assert time.monotonic() < deadline
        time.sleep(1)
        app.run()
        assert not app.exception
    found = next(iter(app.session_state["own_curves"].values()))
    assert {loss: [r["poisons"] for r in reports] for loss, reports in found.items()} == {
        "lgm": [1, 2],
        "softmax": [1, 2],
    }
    assert {r["clean"] for reports in found.values() for r in reports} == {2}
