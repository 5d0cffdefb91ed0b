"""The Detect page without a browser: what it says follows from the scores, and every flow ends well."""

import base64
import json
import shutil
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lgm.attacks.craft import craft_random
from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.cli.main import main
from lgm.data.base import DataError, Split
from lgm.data.registry import DATASETS
from lgm.detection.compare import Comparison, compare, in_words
from lgm.detection.filters import gather_evidence
from lgm.detection.metrics import detection_report, outcome, roc
from lgm.detection.thresholds import empirical_threshold, is_removed
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features
from lgm.models.registry import SHIPPED, read_card, user_folder
from lgm.stats.intervals import outward
from lgm.utils.codec import encode
from lgm.utils.json import to_json
from tests.pages.test_pages import idle
from ui import baselines, load
from ui.components import threshold
from ui.components.threshold import LEAST_LIKELY, RATES, axis, pack, quick_thresholds
from ui.detection_view import Case, how_crafted
from ui.frame import CurrentPoison
from ui.jobs import runner

pytestmark = pytest.mark.page

ROUTER = Path(__file__).resolve().parents[2] / "ui" / "router.py"
MODEL = "mnist-lgm"


@pytest.fixture(scope="module")
def case() -> Case:
    features, poisons = read_features(MODEL), read_shipped_poisons(MODEL)
    clean = features.splits["bundled"]
    card = read_card(MODEL)
    return Case(
        key=(MODEL, card.weights_sha256, "bundled", "shipped"),
        features=features,
        clean=clean,
        poisons=poisons,
        n_dim=card.config.model.n_dim,
        roc=roc(clean.score, poisons.score),
        dataset=DATASETS["mnist"],
        report=detection_report(clean.score, poisons.score, poisons.collided, 0.01),
    )


@pytest.fixture
def open_page(bundled: object) -> Callable[..., AppTest]:
    """The page as a link opens it; ``state`` is what the session knows already."""

    def opened(link: dict[str, str] | None = None, **state: object) -> AppTest:
        app = AppTest.from_file(str(ROUTER), default_timeout=120)
        for name, value in (link or {}).items():
            app.query_params[name] = value
        for name, value in state.items():
            app.session_state[name] = value
        app.switch_page("../pages/detect.py").run()
        assert not app.exception
        return app

    return opened


def words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.error, *app.warning])


def sent(app: AppTest) -> dict[str, Any]:
    """What the browser has to draw with."""
    (component,) = app.get("bidi_component")
    return json.loads(component.proto.json)


def test_the_page_shows_the_report(open_page: Callable[..., AppTest], case: Case) -> None:
    app = open_page()
    report, groups = case.report, (f"all {case.report.poisons}", f"{case.report.collided} that collide")
    tprs = report.tpr_at_fpr[0.01], report.tpr_at_fpr_collided[0.01]
    assert report.auc_collided is not None
    assert tprs[1] is not None
    both = zip(groups, (report.auc, report.auc_collided), strict=True)
    aucs = [(auc.text(), "–".join(outward(*auc[1:], 4)), group) for group, auc in both]
    rates = [(f"{100 * tpr.value:.1f} %", ends(tpr[1:]), group) for group, tpr in zip(groups, tprs, strict=True) if tpr]
    shown = [(metric.value, metric.delta) for metric in app.metric]
    assert shown == [(value, f"{group}: {between}") for value, between, group in aucs + rates]
    assert how_crafted(case.poisons, case.dataset) in words(app)
    assert len(app.get("bidi_component")) == 1
    assert not app.error


def ends(shares: tuple[float, ...]) -> str:
    low, high = outward(100 * shares[0], 100 * shares[1], 0)
    return f"{low}–{high} %"


def test_one_percent_is_one_threshold_wherever_it_is_told(
    open_page: Callable[..., AppTest], case: Case, capsys: pytest.CaptureFixture[str]
) -> None:
    """The picture, its button, the strip, the files, and `python -m lgm detect`: and all of it is what that T does."""
    expected = empirical_threshold(case.clean.score, 0.01)
    mine = CurrentPoison(np.zeros((1, 28, 28), np.float32), MODEL, "3", "7", "7", score=-11.5, beta=0.01)
    app = open_page(current_poison=mine)
    picture = sent(app)
    assert picture["threshold"] == expected
    assert {"rate": 0.01, "threshold": expected} in picture["quick"]
    assert f"T = {expected:.2f}" in words(app)
    table, summary = case.table(load.threshold(MODEL)), encode(case.summary(load.threshold(MODEL)))
    removed = table[table.removed].group.value_counts()
    poisons = str(SHIPPED / f"{MODEL}.poisons.safetensors")
    assert main(["detect", MODEL, poisons, "--data", "bundled", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    for report in (told, summary["at_1_percent_fpr"]):
        assert report["threshold"] == report["threshold_at_fpr"]["0.01"] == expected
        assert (report["caught"], report["wrongly_removed"]) == (removed["poison"], removed["clean"])
        assert report["tpr_at_fpr"]["0.01"] == removed["poison"] / len(case.poisons)
        assert report["auc"] == pytest.approx(case.roc.auc, abs=1e-6)
        assert report["auc_interval"] == pytest.approx(list(case.report.auc[1:]), abs=1e-5)
    at = summary["at_threshold"]
    assert (at["threshold_nats"], at["caught"], at["wrongly_removed"]) == (
        expected,
        removed["poison"],
        removed["clean"],
    )
    curve = case.roc_table()
    assert curve[curve.fpr <= 0.01].tpr.max() == told["tpr"]
    assert is_removed(case.clean.score, expected).sum() == 50


@pytest.mark.parametrize("cut", [-5.0, -7.25, -12.0])
def test_the_link_sets_the_threshold(open_page: Callable[..., AppTest], cut: float) -> None:
    assert sent(open_page({"threshold": str(cut)}))["threshold"] == cut


def test_images_come_in_the_order_of_their_scores(
    open_page: Callable[..., AppTest], case: Case, bundled: Split
) -> None:
    data = sent(open_page())
    poisons = case.poisons
    by_score = sorted(range(len(poisons)), key=lambda i: (poisons.score[i], i))
    np.testing.assert_array_equal(numbers(data["poison"], "<f4"), poisons.score[by_score])
    np.testing.assert_array_equal(numbers(data["classes"]["poison"]["labels"], "u1"), poisons.labels[by_score])
    np.testing.assert_array_equal(numbers(data["classes"]["poison"]["predicted"], "u1"), poisons.predicted[by_score])
    images = unpacked(data["pictures"]["poison"])
    assert np.abs(images / 255 - poisons.images[by_score, 0]).max() <= 0.5 / 255 + 1e-7

    clean = case.clean
    least = sorted(range(len(clean.score)), key=lambda i: (clean.score[i], i))[:LEAST_LIKELY]
    np.testing.assert_array_equal(numbers(data["clean"], "<f4")[:LEAST_LIKELY], clean.score[least])
    np.testing.assert_array_equal(numbers(data["classes"]["clean"]["labels"], "u1"), bundled.labels[least])
    np.testing.assert_array_equal(numbers(data["classes"]["clean"]["predicted"], "u1"), clean.predicted[least])
    np.testing.assert_array_equal(unpacked(data["pictures"]["clean"]), bundled.images[least, 0])


def numbers(text: str, kind: str) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), kind)


def unpacked(text: str) -> np.ndarray:
    """What the browser makes of packed images."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), np.uint8).reshape(-1, 28, 28)


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_packed_images_are_the_images(kind: type, rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (3, 1, 28, 28)).astype(np.uint8)
    images = pixels if kind is np.uint8 else (pixels / 255).astype(np.float32)
    np.testing.assert_array_equal(unpacked(pack(images)), pixels[:, 0])


def test_a_release_packs_nothing_again(open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page()
    before = sent(app)
    monkeypatch.setattr(threshold, "pack", lambda images: pytest.fail("packed again"))
    app.session_state["link"] = replace(app.session_state["link"], threshold=-6.25)
    app.run()
    assert not app.exception
    assert sent(app) == {**before, "threshold": -6.25}


def test_the_first_paint_does_not_wait_for_the_clean_images(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    mounted, mount = [], threshold._mount

    def watched(**given: Any) -> object:
        mounted.append((load.in_memory("bundled"), given["data"]["pictures"]["clean"] is not None))
        return mount(**given)

    st.cache_resource.clear()
    monkeypatch.setattr(threshold, "_mount", watched)
    open_page()
    assert mounted == [(False, False), (True, True)]


def test_clean_images_that_cannot_be_read_leave_the_rest_of_the_page(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str, of: str) -> Split:
        raise DataError(f"{name} is damaged")

    st.cache_resource.clear()
    monkeypatch.setattr(load, "load_split", damaged)
    app = open_page()
    assert [error.value for error in app.error] == ["bundled is damaged"]
    assert sent(app)["pictures"]["clean"] is None
    assert sent(app)["pictures"]["poison"]


def test_the_current_poison_is_on_the_strip(open_page: Callable[..., AppTest]) -> None:
    image = np.zeros((1, 28, 28), np.float32)
    mine = CurrentPoison(image, MODEL, label="3", target_label="7", predicted="7", score=-11.5, beta=0.01)
    app = open_page({"threshold": "-8"}, current_poison=mine)
    assert "**-11.50** nats, T = -8.00" in words(app)


def test_crafting_makes_a_set_that_other_sessions_find_too(open_page: Callable[..., AppTest]) -> None:
    app = open_page()
    app.slider(key="detect_count").set_value(10)
    app.number_input(key="detect_seed").set_value(4)
    press(app, "Craft")
    finish(app)
    made = "made here: 10, β = 0.008, seed 4"
    assert made in app.selectbox(key="poison_set").options
    assert app.metric[0].delta.startswith("all 10: ")
    assert "10 poisons, Levenberg–Marquardt, β = 0.008, " in words(app)
    assert "**Your poison** claims" in words(app), "one of the set goes along"
    assert "No poison of your own yet" not in words(app)
    assert [button.proto.label for button in app.get("download_button")][3:] == [
        "Poisons (safetensors)",
        "Poisons (PNG, zip)",
    ]

    app.switch_page("../pages/overview.py").run()
    app.switch_page("../pages/detect.py").run()
    assert app.metric[0].delta.startswith("all 10: "), "the choice of poisons was lost on the way"
    app.selectbox(key="poison_set").set_value("shipped").run()
    assert not app.metric[0].delta.startswith("all 10: ")

    other = open_page()
    box = other.selectbox(key="poison_set")
    assert box.value == "shipped", "what others craft is offered, not imposed"
    assert made in box.options


def shipped_ones(model: object, card: object, split: object, count: int, *args: object, **named: object) -> Poisons:
    """In the place of crafting, where a test is about what comes before and after."""
    return read_shipped_poisons(MODEL)[np.arange(count)]


def test_crafting_can_be_cancelled(open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    def held_back(*args: Any, on_step: Any, **options: Any) -> Poisons:
        while on_step(0, 1):
            time.sleep(0.02)
        return craft_random(*args, on_step=on_step, **options)

    monkeypatch.setattr("lgm.attacks.craft.craft_random", held_back)  # it must not be done before it is cancelled
    app = open_page()
    before = app.selectbox(key="poison_set").options
    app.slider(key="detect_count").set_value(10)
    app.selectbox(key="detect_method").set_value("fbs")
    press(app, "Craft")
    other = open_page()
    assert any("from another window" in bar.proto.text for bar in other.get("progress"))
    press(other, "Cancel")  # whoever sees it
    finish(app)
    assert app.selectbox(key="poison_set").options == before


def test_a_craft_that_failed_is_told_after_a_reload_until_another_one_is_begun(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: object, **named: object) -> None:
        raise DataError("the images are gone")

    monkeypatch.setattr("lgm.attacks.craft.craft_random", shipped_ones)
    app = open_page()
    app.slider(key="detect_count").set_value(10)
    app.number_input(key="detect_seed").set_value(5)
    with monkeypatch.context() as patch:
        patch.setattr("lgm.attacks.craft.craft_random", fails)
        press(app, "Craft")
        idle(runner())
        app.run()  # it stays on the panel
    assert [error.value for error in app.error] == ["the images are gone"]
    reloaded = open_page()
    assert [error.value for error in reloaded.error] == ["the images are gone"]
    reloaded.slider(key="detect_count").set_value(10)
    press(reloaded, "Craft")
    finish(reloaded)
    assert not open_page().error


@pytest.fixture
def few_resamples(monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_resource.clear()
    monkeypatch.setattr(baselines, "compare", partial(compare, resamples=40))


def test_other_detectors_are_worked_out_only_when_asked_for(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_resource.clear()
    monkeypatch.setattr(baselines, "gather_evidence", lambda *given: pytest.fail("nobody asked"))
    open_page()


def test_other_detectors_beside_the_likelihood_and_on_the_other_network(
    open_page: Callable[..., AppTest], few_resamples: None
) -> None:
    app = open_page(baselines_open=True)
    shown, expected = app.table[0].value, compared("mnist-lgm", "mnist-lgm")
    assert [str(name) for name in shown.index] == [each.title for each in expected]
    for row, each in zip(shown.to_dict("records"), expected, strict=True):
        assert row["AUC"] == each.overall.auc.in_full()
        for fpr in (0.01, 0.05):
            assert row[f"TPR at {100 * fpr:g} % FPR"] == each.overall.tpr_at_fpr[fpr].percent()
            shown_difference = row[f"points more than LGM likelihood, at {100 * fpr:g} %"]
            if each is expected[0]:
                assert shown_difference == "–"
            else:
                assert shown_difference == each.overall.tpr_difference[fpr].points()
        assert (row["Verdict"], row["Needs"]) == (each.overall.verdict, each.trusts)
    assert in_words(expected) in words(app)
    assert len(app.get("plotly_chart")) == 1
    numbers = baselines.table(expected)
    assert len(numbers) == 2 * len(expected)
    assert numbers[numbers.group == "all"].auc.tolist() == [each.overall.auc.value for each in expected]
    others = numbers[numbers.verdict != "reference"]
    assert len(others) == 2 * len(expected) - 2
    assert (others.tpr_difference_at_1_percent_fpr_low < others.tpr_difference_at_1_percent_fpr_high).all()
    tile, row = app.metric[0].value, app.table[0].value["AUC"].iloc[0]
    assert row.startswith(f"{tile} ("), "one AUC, one text"
    spread = row.split(" (")[1].rstrip(")").replace(" to ", "–")
    assert app.metric[0].delta == f"all {expected[0].overall.n}: {spread}", "and one interval"
    see_the_other_network_and_its_poisons(app)


def see_the_other_network_and_its_poisons(app: AppTest) -> None:
    choose(app, {"Poisons made on": "softmax", "Features of": "softmax", "Counted": "collided"})
    expected = compared("mnist-softmax", "mnist-softmax")
    collided = [each.collided for each in expected if each.collided]
    assert [row.split(" (")[0] for row in app.table[0].value["AUC"]] == [each.auc.text() for each in collided]
    assert "LGM likelihood" not in app.table[0].value.index
    assert "points more than Gaussian fitted afterwards, at 1 %" in app.table[0].value
    assert "Features of `mnist-softmax`" in words(app)


def compared(made: str, seen: str) -> list[Comparison]:
    model, card = load_checkpoint(seen)
    features = read_features(seen)
    evidence = gather_evidence(model, card, features, features.splits["bundled"], read_shipped_poisons(made))
    return compare(evidence, resamples=40)


def choose(app: AppTest, wanted: dict[str, str]) -> None:
    for label, value in wanted.items():
        next(group for group in app.button_group if group.label == label).set_value(value)
    app.run()
    assert not app.exception


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception


def finish(app: AppTest) -> None:
    """Rerun, as the panel's timer would, once the job has ended."""
    for _ in range(3):
        if "craft_job" not in app.session_state:
            return
        idle(runner())
        app.run()
        assert not app.exception
    pytest.fail("the job did not end")


def test_a_network_without_poisons_yet_is_nothing_wrong(
    open_page: Callable[..., AppTest], fresh_home: Path, tiny_lgm: Path
) -> None:
    user_folder().mkdir(parents=True)
    for path in tiny_lgm.parent.iterdir():
        shutil.copy(path, user_folder())
    app = open_page({"lgm": "tiny-lgm"})
    assert not app.error
    (said,) = (info.value for info in app.info)
    assert "No poisons have been crafted on tiny-lgm yet" in said
    assert f"python -m lgm craft tiny-lgm --out {user_folder() / 'tiny-lgm.poisons.safetensors'}" in said
    assert "Craft" in [button.label for button in app.button]


def test_poisons_that_do_not_read_are_an_error_and_can_be_crafted(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(name: str) -> Poisons:
        raise CheckpointError(f"{name} has damaged poisons")

    monkeypatch.setattr(load, "shipped_poisons", damaged)
    monkeypatch.setattr("lgm.attacks.craft.craft_random", shipped_ones)
    app = open_page()
    assert "has damaged poisons" in words(app)
    app.slider(key="detect_count").set_value(10)
    press(app, "Craft")
    finish(app)
    assert app.metric[0].delta.startswith("all 10: ")
    assert not app.error


@pytest.mark.parametrize("rate", RATES)
def test_a_button_has_the_threshold_of_that_rate(case: Case, rate: float) -> None:
    (threshold,) = (entry["threshold"] for entry in quick_thresholds(case) if entry["rate"] == rate)
    assert threshold == empirical_threshold(case.clean.score, rate)
    assert case.outcome(threshold).fpr <= rate
    assert case.outcome(threshold).tpr == case.roc.tpr_at(rate) == case.report.tpr_at_fpr[rate].value


def test_the_axis_holds_every_score_between_its_ends(case: Case) -> None:
    clean, poison = np.sort(case.clean.score), np.sort(case.poisons.score)
    floor, low, high, bins = axis(clean, poison, float(case.features.peak.max()))
    assert floor <= low < high
    assert bins >= 15
    assert outcome(clean, poison, floor).caught == outcome(clean, poison, floor).wrongly_removed == 0
    assert outcome(clean, poison, high).missed == outcome(clean, poison, high).kept == 0


def test_far_poisons_share_a_bin_and_do_not_stretch_the_axis() -> None:
    clean, poison = np.linspace(-9, -2, 500, dtype=np.float32), np.linspace(-900, -300, 50, dtype=np.float32)
    floor, low, high, _ = axis(clean, poison, -1.8)
    assert floor < -900
    assert high - low <= 105


def test_the_table_has_a_row_an_image(case: Case) -> None:
    table = case.table(-7.0)
    assert len(table) == len(case.clean.score) + len(case.poisons)
    at = case.outcome(-7.0)
    removed = table[table.removed].group.value_counts()
    assert (removed["poison"], removed["clean"]) == (at.caught, at.wrongly_removed)
    poisons = table[table.group == "poison"]
    assert poisons.collided.sum() == case.report.collided
    assert table.relative_likelihood.between(0, 1 + 1e-6).all()


def test_the_summary_is_json_even_where_nothing_is_removed(case: Case) -> None:
    summary = json.loads(to_json(case.summary(-1e6)))
    assert summary["at_threshold"]["precision"] is None
    assert summary["at_threshold"]["fpr"] == summary["at_threshold"]["nominal_fpr"] == 0
    assert summary["poisons"]["weights_sha256"] == summary["weights_sha256"]
