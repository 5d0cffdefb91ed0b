"""The Detect page without a browser: what it says follows from the scores, and every flow ends well."""

import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lgm.cards import CheckpointError, read_card, read_features
from lgm.detection import detection_report, is_removed, outcome, roc
from lgm.poisons import Poisons, read_shipped_poisons
from ui import load
from ui.case import Case, auc_text, describe
from ui.frame import CurrentPoison
from ui.threshold import RATES, axis, quick_thresholds

ROUTER = Path(__file__).resolve().parent.parent / "ui" / "router.py"
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
        app.run()
        app.switch_page("../pages/detect.py").run()
        assert not app.exception
        return app

    return opened


def words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.error, *app.warning])


def test_the_page_shows_the_report(open_page: Callable[..., AppTest], case: Case) -> None:
    app = open_page()
    values = [metric.value for metric in app.metric]
    rates = case.report["tpr_at_fpr"]["0.01"], case.report["tpr_at_fpr_collided"]["0.01"]
    assert values[:2] == [auc_text(case.report["auc"]), auc_text(case.report["auc_collided"])]
    assert values[2:] == [f"{100 * rate:.1f} %" for rate in rates]
    assert describe(case.poisons) in words(app)
    assert len(app.get("bidi_component")) == 1
    assert not app.error


@pytest.mark.parametrize("threshold", [-5.0, -7.25, -12.0])
def test_the_link_sets_the_threshold(open_page: Callable[..., AppTest], case: Case, threshold: float) -> None:
    app = open_page({"threshold": str(threshold)})
    at = case.outcome(threshold)
    n_clean, n_poisons = len(case.clean.score), len(case.poisons)
    text = words(app)
    assert f"**Caught**: {at.caught:,} of {n_poisons:,} poisons" in text
    assert f"**Missed**: {at.missed:,} of {n_poisons:,} poisons" in text
    assert f"**Wrongly thrown away**: {at.wrongly_removed:,} of {n_clean:,} clean" in text


def test_a_threshold_below_everything_catches_nobody(open_page: Callable[..., AppTest]) -> None:
    app = open_page({"threshold": "-9999"})
    assert words(app).count("None at this T.") == 2


def test_thumbnails_are_those_nearest_to_the_threshold(open_page: Callable[..., AppTest], case: Case) -> None:
    app = open_page({"threshold": "-7.25"})
    galleries = [part.proto.body for part in app.get("html") if "<figure>" in part.proto.body]
    at = case.outcome(-7.25)
    assert [gallery.count("<img") for gallery in galleries] == [
        min(12, count) for count in (at.caught, at.missed, at.wrongly_removed)
    ]
    caught = case.poisons.score[is_removed(case.poisons.score, -7.25)]
    assert f"{caught.max():.2f} nats".replace("-", "−") in galleries[0]


def test_the_current_poison_is_on_the_strip(open_page: Callable[..., AppTest]) -> None:
    image = np.zeros((1, 28, 28), np.float32)
    mine = CurrentPoison(image, MODEL, label=3, target_label=7, predicted=7, score=-11.5, beta=0.01)
    app = open_page({"threshold": "-8"}, current_poison=mine)
    assert "**-11.50** nats, T = -8.00" in words(app)


def test_crafting_makes_a_set_of_ones_own(open_page: Callable[..., AppTest]) -> None:
    app = open_page()
    app.slider(key="detect_count").set_value(10)
    app.number_input(key="detect_seed").set_value(4)
    press(app, "Craft")
    finish(app)
    assert app.selectbox(key="poison_set").options[1] == "mine: 10, β = 0.008, seed 4"
    assert app.metric[0].delta == "all 10"
    assert "10 poisons, Levenberg–Marquardt, β = 0.008, " in words(app)

    app.switch_page("../pages/overview.py").run()
    app.switch_page("../pages/detect.py").run()
    assert app.metric[0].delta == "all 10", "the choice of poisons was lost on the way"
    app.selectbox(key="poison_set").set_value("shipped").run()
    assert app.metric[0].delta != "all 10"


def test_crafting_can_be_cancelled(open_page: Callable[..., AppTest]) -> None:
    app = open_page()
    app.slider(key="detect_count").set_value(200)
    app.selectbox(key="detect_method").set_value("fbs")
    press(app, "Craft")
    press(app, "Cancel")
    finish(app)
    assert len(app.selectbox(key="poison_set").options) == 1


def press(app: AppTest, label: str) -> None:
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception


def finish(app: AppTest) -> None:
    """Rerun as the panel's timer would, until no job is on show."""
    for _ in range(240):
        if "craft_job" not in app.session_state:
            return
        time.sleep(0.5)
        app.run()
        assert not app.exception
    pytest.fail("the job did not end")


def test_without_shipped_poisons_the_page_says_so_and_crafts(
    open_page: Callable[..., AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(name: str) -> Poisons:
        raise CheckpointError(f"{name} has no poisons")

    monkeypatch.setattr(load, "shipped_poisons", missing)
    app = open_page()
    assert "has no poisons" in words(app)
    app.slider(key="detect_count").set_value(10)
    press(app, "Craft")
    finish(app)
    assert app.metric[0].delta == "all 10"
    assert not app.error


@pytest.mark.parametrize("rate", RATES)
def test_a_quick_threshold_is_short_and_removes_the_same_images(case: Case, rate: float) -> None:
    exact = case.roc.threshold_at(rate)
    (short,) = (entry["threshold"] for entry in quick_thresholds(case) if entry["rate"] == rate)
    assert case.outcome(short).fpr == case.outcome(exact).fpr <= rate
    assert case.outcome(short).caught == case.outcome(exact).caught
    assert len(str(short)) <= len(str(exact))


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
    assert poisons.collided.sum() == case.report["collided"]
    assert table.relative_likelihood.between(0, 1 + 1e-6).all()


def test_the_summary_is_json_even_where_nothing_is_removed(case: Case) -> None:
    summary = json.loads(json.dumps(case.summary(-1e6), allow_nan=False))
    assert summary["at_threshold"]["precision"] is None
    assert summary["at_threshold"]["fpr"] == summary["at_threshold"]["nominal_fpr"] == 0
    assert summary["poisons"]["weights_sha256"] == summary["weights_sha256"]


def test_an_auc_reads_as_perfect_only_if_it_is() -> None:
    assert [auc_text(value) for value in (1.0, 0.99996, 0.9786, None)] == ["1.000", "> 0.999", "0.979", "–"]
