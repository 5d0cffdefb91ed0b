"""The Defend page without a browser: what it shows is what the package says, and every control does its work."""

import json
import shutil
import threading
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

import lgm.defense.example
from lgm.config import DefenseConfig
from lgm.data.base import Split
from lgm.data.registry import DATASETS
from lgm.defense.example import Attack, stage
from lgm.defense.report import DefenseReport
from lgm.experiments.adaptive_rows import frontier_meaning
from lgm.experiments.board.config import ATTACKERS, QUICK
from lgm.experiments.board.record import Absent, read_board
from lgm.experiments.board.replay import replay
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import read_attack
from lgm.experiments.records import Study, outdated, read_study
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features
from lgm.models.registry import SHIPPED, read_card
from lgm.utils.json import to_json
from tests.pages.test_pages import idle, opened, words
from tests.records import defense_report
from ui import board_attack, board_measure, defend_model, load, trials, verdict
from ui.defend_model import CraftedPoisons
from ui.jobs import runner
from ui.state import budget_text

pytestmark = pytest.mark.page

SETTING = DefenseConfig(classes=(4, 9), clean=5, poisons=5)
LINK = {"clean": "5", "poisons": "5"}
PENDING = "poisons to come"
_board = cache(read_board)


@pytest.fixture(scope="module")
def staged(bundled: Split) -> dict[str, Attack]:
    """The attack of `LINK`, as the package makes it."""
    found = {}
    for loss in ("lgm", "softmax"):
        model, card = load_checkpoint(f"mnist-{loss}")
        z = read_features(f"mnist-{loss}").splits["bundled"].z
        found[loss] = stage(model, card, bundled, SETTING, z=z)
    return found


@dataclass(frozen=True)
class Made:
    """The page once it has crafted the attack of `LINK` on either network, and the poisons that it has kept."""

    apps: dict[str, AppTest]
    kept: dict[str, CraftedPoisons]


@pytest.fixture(scope="module")
def made(bundled: Split) -> Made:
    start_anew({})
    return Made({loss: crafted(page(network=loss)) for loss in ("lgm", "softmax")}, dict(defend_model._crafted()))


@pytest.fixture(autouse=True)
def only_these_are_crafted(made: Made) -> None:
    """No test finds what another one has crafted or measured, and none waits for the poisons of `LINK`."""
    start_anew(made.kept)


def start_anew(poisons: dict[str, CraftedPoisons]) -> None:
    for job in runner().jobs.values():
        job.cancel()
    for kept in (defend_model._crafted(), trials._measured(), board_measure._measured(), runner().jobs):
        kept.clear()
    defend_model._crafted().update(poisons)


@pytest.fixture
def never_crafts(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What would have been crafted."""
    submitted: list[object] = []
    monkeypatch.setattr(defend_model, "_submit", lambda *args: submitted.append(args))
    return submitted


def page(**link: str) -> AppTest:
    """Opened, before its poisons are there."""
    return opened("defend", **{**LINK, **link})


def crafted(app: AppTest) -> AppTest:
    """Once its poisons are there."""
    if any(PENDING in text for text in chips(app)):
        idle(runner())
        app.run()
    assert not app.exception
    assert not any(PENDING in text for text in chips(app))
    return app


def planes(app: AppTest) -> list[dict[str, Any]]:
    return [json.loads(chart.proto.spec) for chart in app.get("plotly_chart")][1:4]


def chips(app: AppTest) -> list[str]:
    parts: list[Any] = list(app.get("html"))
    return [part.value for part in parts if "lgm-chip" in part.value][:3]


def slider(app: AppTest) -> Any:
    return next(part for part in app.select_slider if part.label.startswith("T:"))


@pytest.mark.parametrize("loss", ["lgm", "softmax"])
def test_the_page_shows_what_the_package_says(made: Made, staged: dict[str, Attack], loss: str) -> None:
    app, attack = made.apps[loss], staged[loss]
    shown = attack.demonstrate()
    text = words(app)
    for arm in shown.arms.values():
        assert arm is not None
        assert f"accuracy **{arm.accuracy:.1%}**" in text
    assert f"caught {shown.poisons_removed} of 5 poisons, lost {shown.clean_removed} of 10 clean" in text
    assert [metric.value for metric in app.metric] == [
        f"{rate:.1%}" for rate in vars(attack.rates(attack.threshold)).values()
    ]
    assert slider(app).value == pytest.approx(attack.threshold)
    assert len(planes(app)) == 3


def test_moving_the_threshold_filters_anew_and_is_in_the_link(staged: dict[str, Attack]) -> None:
    app, attack = crafted(page()), staged["lgm"]
    nothing = defend_model.stops(attack, attack.threshold)[0]
    slider(app).set_value(nothing).run()
    assert not app.exception
    assert "caught 0 of 5 poisons, lost 0 of 10 clean" in words(app)
    assert float(app.query_params["threshold"]) == pytest.approx(nothing)
    before, poisoned, filtered = (chip.split("<br>")[1] for chip in chips(app))  # without the headings
    assert poisoned == filtered != before
    everything = defend_model.stops(attack, nothing)[-1]
    slider(app).set_value(everything).run()
    assert "nothing is left to fine-tune on" in chips(app)[2]
    button(app, "1 %:").click().run()
    assert "threshold" not in app.query_params
    assert slider(app).value == pytest.approx(attack.threshold)


def test_each_network_has_a_threshold_of_its_own() -> None:
    app = page(network="softmax", threshold="-9", softmax_threshold="-20")
    assert slider(app).value == -20
    next(part for part in app.segmented_control if part.label == "Network").set_value("lgm").run()
    assert slider(app).value == -9


def test_a_class_that_is_taken_changes_places() -> None:
    app = page(poisons="0")
    claim = next(box for box in app.selectbox if box.label == "Poisons claim")
    claim.set_value(9).run()
    assert not app.exception
    assert (app.query_params["base_class"], app.query_params["target_class"]) == ("9", "4")


def test_another_draw_is_another_attack(bundled: Split) -> None:
    app = page(poisons="0")
    before = planes(app)[0]
    button(app, "New draw").click().run()
    assert app.query_params["draw"] == "2"
    assert planes(app)[0] != before


@pytest.mark.parametrize("link", [{"base_class": "9"}, {"base_class": "77", "target_class": "1"}, {"poisons": "3"}])
def test_a_link_that_makes_no_sense_opens_the_example(link: dict[str, str], never_crafts: list[object]) -> None:
    app = page(**link)
    assert not app.exception
    assert [box.value for box in app.selectbox if box.label in ("Poisons claim", "Target is")] == [4, 9]


def button(app: AppTest, label: str) -> Any:
    return next(part for part in app.button if part.label.startswith(label))


@pytest.fixture
def held_up(only_these_are_crafted: None, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Nothing is crafted yet; crafting reports that it is half done, and goes on when this is set."""
    start_anew({})
    goes_on = threading.Event()

    def slow(*args: Any, on_step: Any = None, **named: Any) -> Attack:
        if args[3].poisons:
            while on_step(1, 2) and not goes_on.wait(0.05):
                pass
        return stage(*args, on_step=on_step, **named)

    monkeypatch.setattr(lgm.defense.example, "stage", slow)
    return goes_on


def test_clean_images_are_there_while_the_poisons_are_crafted(
    held_up: threading.Event,
) -> None:
    app = page()
    before, poisoned, filtered = chips(app)
    assert "the target is taken for 9" in before
    assert PENDING in poisoned
    assert PENDING in filtered
    kinds = [[trace.get("meta") for trace in plane["data"]] for plane in planes(app)]
    assert all("clean" in those and "target" in those and "poison" not in those for those in kinds)
    assert ["heatmap" in [trace["type"] for trace in plane["data"]] for plane in planes(app)] == [True, False, False]
    assert verdict.headline(trials.records("mnist-lgm")[-1].report)[:3] in words(app), "the many attacks do not wait"
    held_up.set()
    crafted(app)
    assert all("poison" in [trace.get("meta") for trace in plane["data"]] for plane in planes(app)[1:])
    assert " of 5 poisons, lost " in words(app)


def test_a_craft_can_be_cancelled_and_begun_again(held_up: threading.Event) -> None:
    app = page(poisons="1")
    (job,) = (job for job in runner().jobs.values() if job.active)
    button(app, "Cancel").click().run()
    assert job.cancelling
    assert PENDING in chips(app)[1]
    app.run()
    assert len([part for part in app.button if part.label == "Cancel"]) == 0, "it does not begin by itself"
    held_up.set()
    button(app, "Craft the poisons").click().run()
    assert PENDING not in chips(crafted(app))[1]


def test_a_change_ends_the_craft_before(held_up: threading.Event) -> None:
    app = page(poisons="1")
    (job,) = (job for job in runner().jobs.values() if job.active)
    button(app, "New draw").click().run()
    assert job.cancelling
    assert [each.cancelling for each in runner().jobs.values()] == [True, False]
    held_up.set()
    crafted(app)


def test_fewer_poisons_and_other_clean_images_need_no_craft(
    bundled: Split, staged: dict[str, Attack], never_crafts: list[object]
) -> None:
    name, other = "mnist-lgm", replace(SETTING, poisons=2, clean=10)
    app = page(poisons="2", clean="10")
    assert PENDING not in chips(app)[1]
    assert never_crafts == []
    model, card = load_checkpoint(name)
    alone = stage(model, card, bundled, other, z=read_features(name).splits["bundled"].z)
    joined = defend_model.CraftedPoisons.of(staged["lgm"]).joined(without_poisons(alone), 2)
    assert joined.config == alone.config
    for part in ("target", "bases", "clean", "evaluation", "calibration", "fresh"):
        np.testing.assert_array_equal(getattr(joined.trial, part), getattr(alone.trial, part))
    for part in ("clean", "poisons", "held_out"):
        np.testing.assert_array_equal(getattr(joined, part).labels, getattr(alone, part).labels)
        np.testing.assert_allclose(getattr(joined, part).z, getattr(alone, part).z, atol=0.02)
    assert (joined.threshold, len(joined.collided)) == (alone.threshold, 2)


def without_poisons(attack: Attack) -> Attack:
    """The same before any poison is there, from the package itself."""
    model, card = load_checkpoint(attack.model)
    config = replace(attack.config, poisons=0)
    return stage(
        model,
        card,
        DATASETS["mnist"].load(attack.data),
        config,
        z=read_features(attack.model).splits["bundled"].z,
    )


def test_too_few_images_are_a_message(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> Attack:
        raise ValueError("clean, poisons: expected at most 3 together")

    monkeypatch.setattr(defend_model, "_bare", refuse)
    app = page()
    assert "expected at most 3 together" in app.warning[0].value
    assert "In many attacks" in words(app)


@pytest.mark.parametrize("current", [-1e4, -2.0, -np.inf])
def test_thresholds_reach_from_nothing_to_everything(staged: dict[str, Attack], current: float) -> None:
    for attack in staged.values():
        stops = defend_model.stops(attack, current)
        scores = attack.mixed.score
        assert stops == sorted(set(stops))
        assert stops[0] < scores.min()
        assert stops[-1] >= scores.max()
        assert attack.threshold in stops
        assert current in stops or not np.isfinite(current)


def test_the_table_has_every_image(staged: dict[str, Attack]) -> None:
    attack = staged["lgm"]
    shown = attack.demonstrate()
    table = defend_model.table(attack, shown)
    assert table.group.tolist() == ["clean"] * 10 + ["poison"] * 5 + ["target"]
    stored = load.features("mnist-lgm").splits["bundled"]
    clean = table[table.group != "poison"]
    np.testing.assert_allclose(clean[["feature_1", "feature_2"]], stored.z[clean.position], rtol=1e-5)
    np.testing.assert_allclose(clean.log_likelihood_nats, stored.score[clean.position], atol=1e-4)
    np.testing.assert_array_equal(table.removed[:-1].astype(bool), table.log_likelihood_nats[:-1] <= shown.threshold)
    told = json.loads(to_json(attack.report(shown)))
    assert (told["poisons"], told["poisons_removed"], len(told["bases"])) == (5, shown.poisons_removed, 5)
    assert set(told["arms"]) == {"clean", "unfiltered", "filtered"}


def report(loss: str, poisons: int, **changes: Any) -> DefenseReport:
    """Of 20 attacks, as a study keeps it."""
    name = f"mnist-{loss}"
    given: dict[str, Any] = {
        "weights_sha256": read_card(name).weights_sha256,
        "clean": 5,
        "poisons": poisons,
        **changes,
    }
    return defense_report(model=name, **given)


def stored(monkeypatch: pytest.MonkeyPatch, reports: list[DefenseReport], **about: Any) -> Study:
    """The shipped study, with other reports of the defence."""
    shipped = read_study("mnist")
    assert shipped is not None
    study = replace(shipped, defense=reports, about=replace(shipped.about, **about))
    monkeypatch.setattr(load, "study", lambda: study)
    return study


BOTH = [report(loss, k) for loss in ("lgm", "softmax") for k in (10, 5)]


def test_what_is_stored_of_the_setting_stands_first(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    others = [report("lgm", 1, clean=50), report("lgm", 5, layers="all", n=3), report("lgm", 1, task="all")]
    study = stored(monkeypatch, BOTH + others)
    app = page()
    headings = [part.value for part in app.markdown if part.value.startswith("## ")]
    assert headings[:3] == ["## A setting of your own", "## In many attacks", "## One attack, as an example"]
    assert f"**{verdict.headline(BOTH[1])}** {verdict.finding(BOTH[1])}" in words(app)
    assert "20 draws of two classes" in words(app)
    assert "K = 5, 5 clean images a class, seed 1" in words(app)
    assert frontier_meaning(study.frontier) in words(app)
    curves = json.loads(app.get("plotly_chart")[4].proto.spec)["data"]
    lines = {line["name"]: line["x"] for line in curves if line.get("name")}
    assert set(lines) == {f"{loss}, {arm}" for loss in ("LGM", "softmax") for arm in ("not filtered", "filtered")}
    assert lines["LGM, filtered"] == [5, 10]
    assert not [part for part in app.button if part.label.startswith("Measure")]


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ({}, (5, 5, True)),
        ({"clean": 20}, (50, 1, False)),  # clean images first, then poisons
        ({"poisons": 2}, (5, 5, False)),
        ({"poisons": 20}, (5, 10, False)),
        ({"clean": 50, "poisons": 10, "task": "all"}, (20, 5, False)),
    ],
)
def test_the_nearest_setting_is_shown_for_what_it_is(
    monkeypatch: pytest.MonkeyPatch, wanted: dict[str, Any], expected: tuple[int, int, bool]
) -> None:
    stored(monkeypatch, [*BOTH, report("lgm", 1, clean=50), report("lgm", 5, clean=20, task="all")])
    found = trials.nearest(trials.records("mnist-lgm"), replace(SETTING, **wanted), "test")
    assert found is not None
    record, same = found
    assert (record.report.config.clean, record.report.config.poisons, same) == expected


def test_data_at_hand_decide_only_where_there_is_a_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(monkeypatch, [report("lgm", 5), report("lgm", 5, data="test", trials=7)])
    for split in ("test", "bundled"):
        found = trials.nearest(trials.records("mnist-lgm"), SETTING, split)
        assert found is not None
        assert (found[0].report.data, found[1]) == (split, True)


def test_records_are_of_these_weights_and_say_when_they_are_old(monkeypatch: pytest.MonkeyPatch) -> None:
    stored(monkeypatch, [report("lgm", 5, attack_revision=-1)], made="2020-02-02")
    (record,) = trials.records("mnist-lgm")
    assert record.outdated == outdated(-1)
    assert "revision -1" in str(record.outdated)
    assert "measured 2020-02-02" in record.setting
    stored(monkeypatch, [report("lgm", 5, weights_sha256="of another network")])
    assert trials.records("mnist-lgm") == []


def test_what_is_stored_needs_no_images(never_crafts: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    app = opened("defend", dataset="cifar10", network="softmax")  # VGG19 would craft for a minute
    assert never_crafts
    study = read_study("cifar10")
    assert study is not None
    stored = study.usual_defense.softmax
    assert stored is not None
    assert verdict.headline(stored) in words(app)
    assert len(app.get("plotly_chart")) == 6, (
        "the map, the curves, the frontier, and an example that is known by its features"
    )
    assert not app.error
    board = _board("cifar10")
    assert board is not None
    without = tuple(network for network in board.networks if network.model != "cifar10-lgm-9d")
    monkeypatch.setattr(load, "_board", lambda *_: replace(board, networks=without))
    other = opened("defend", dataset="cifar10", lgm="cifar10-lgm-9d")
    assert "To measure it, the images are needed: the official test set." in words(other)


def test_a_chosen_threshold_is_not_compared_with_the_trials(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    stored(monkeypatch, BOTH)
    app = crafted(page())
    assert "(of 20 attacks, 80% succeed unfiltered and 0% filtered)" in words(app)
    lowest = defend_model.stops(defend_model.bare("mnist-lgm", SETTING), -5.0)[0]
    assert "with a T of your own" in words(page(threshold=str(lowest)))


def test_the_shipped_study_is_read_or_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    st.cache_resource.clear()
    monkeypatch.setattr("lgm.experiments.records.SHIPPED", tmp_path)
    assert load._study("mnist", 0) is None
    st.cache_resource.clear()
    for text, found in (('{"defense": [', "Expecting value"), ('{"defense": []}', r"missing field @ \$\.tradeoff")):
        (tmp_path / "mnist.study.json").write_text(text)
        with pytest.raises(CheckpointError, match=rf"mnist\.study\.json: expected a study in JSON, found .*{found}"):
            load._study("mnist", 0)
        st.cache_resource.clear()
    shutil.copy(SHIPPED / "mnist.study.json", tmp_path)
    study = load._study("mnist", 0)
    assert study is not None
    assert study.about.dataset == "mnist"
    st.cache_resource.clear()


def test_what_is_not_measured_can_be(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trials, "TRIALS", 2)
    monkeypatch.setattr(trials, "POISONS", (0, 1, 2))
    stored(monkeypatch, [])
    app = crafted(page(clean="2", poisons="1"))
    assert "**Not measured yet** on this network." in words(app)
    button(app, "Measure").click().run()
    idle(runner())
    app.run()
    assert not app.exception
    for loss in ("lgm", "softmax"):
        found = [record.report for record in trials.records(f"mnist-{loss}")]
        assert [(r.config.poisons, r.config.clean, r.config.trials) for r in found] == [(1, 2, 2), (2, 2, 2)]
    assert "measured here" in words(app)
    assert len(app.get("plotly_chart")) >= 4


@pytest.mark.usefixtures("never_crafts")
@pytest.mark.parametrize(
    ("budget", "head", "name", "classes"),
    [((10, 50), "nearest-mean", "knn", 2), ((10, 10), "all-logistic", "gaussian", 10)],
)
def test_a_cell_that_a_link_names_is_open_with_one_of_its_attacks(
    bundled: Split, budget: tuple[int, int], head: str, name: str, classes: int
) -> None:
    board = _board("mnist")
    assert board is not None
    network = board.networks[1]
    link = {"network": "softmax", "head": head, "fpr": "0.05", "filter": name, "trial": "2"}
    app = page(attacker="edge", budget=budget_text(budget), **link)
    attack, stored = network.attack("edge", "nearest"), read_attack(board, "mnist-softmax", "edge", "nearest")
    assert attack is not None and stored is not None
    cell = attack.cell(budget, name, 0.05, head)
    assert cell is not None
    assert verdict.of_cell(board.config, attack, cell) in words(app)
    parts: list[Any] = list(app.get("html"))
    (table,) = (part.value for part in parts if "lgm-cell" in part.value)
    for share in (cell.attack_success, cell.untouched_bases):
        assert share.percent(0) in table
    board_map, *planes, _, _, _ = (json.loads(chart.proto.spec) for chart in app.get("plotly_chart")[:7])
    assert len([shape for shape in board_map["layout"]["shapes"] if shape["line"].get("width") == 3]) == 1
    z, labels = load.features("mnist-softmax").splits[board.split].z, bundled.labels
    shown = replay(
        Setting(load_checkpoint("mnist-softmax")[0], labels, z, board.config),
        stored,
        budget=budget,
        filter=name,
        fpr=0.05,
        head=head,
        trial=1,
    )
    poisons = cell.poisons
    removed, lost = int(shown.removed[-poisons:].sum()), int(shown.removed[:-poisons].sum())
    assert f"removed {removed} of {poisons} poisons, {lost} of {classes * cell.clean} clean" in words(app)
    assert [len([t for t in plane["data"] if t.get("meta") == "poison"]) > 0 for plane in planes] == [False, True, True]
    for plane, label in zip(planes, vars(shown.predicted).values(), strict=True):
        assert f"<b>taken for {label}</b>" in [note["text"] for note in plane["layout"]["annotations"]]
    app.number_input(key="defend_trial").set_value(3).run()
    assert app.query_params["trial"] == "3"


@pytest.mark.usefixtures("never_crafts")
@pytest.mark.parametrize("name", ["none", "likelihood", "knn"])
def test_all_layers_have_numbers_and_no_picture(name: str) -> None:
    board = _board("mnist")
    assert board is not None
    app = page(head="layers", attacker="gradient-matching", filter=name)
    assert not app.exception
    row = board.networks[0].attack("gradient-matching", "nearest")
    assert row is not None
    cell = row.cell(board.config.heaviest_of(row.attacker), name, board.config.aim, "layers")
    if cell is None:
        assert "All layers were fine-tuned without a filter and with *LGM likelihood* only" in words(app)
    else:
        assert verdict.of_cell(board.config, row, cell) in words(app)
        assert "No picture: where all layers are fine-tuned" in words(app)
    spec = json.loads(app.get("plotly_chart")[0].proto.spec)
    said = [note["text"].replace("<br>", " ") for note in spec["layout"]["annotations"]]
    assert "empty: on frozen features only" in said
    assert "*All layers* are fine-tuned from logistic regression" in words(app)


@pytest.mark.usefixtures("never_crafts")
def test_another_cell_is_chosen_without_a_mouse_and_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(board_attack, "_shipped", lambda *_: None)  # its attacks are not what this is about
    app = page(attacker="edge")
    app.selectbox(key="board_row").set_value(("collision", "random")).run()
    app.selectbox(key="board_filter").set_value("knn").run()
    chosen = {name: app.query_params[name] for name in ("attacker", "choice", "filter")}
    assert chosen == {"attacker": "collision", "choice": "random", "filter": "knn"}
    assert "its attacks cannot be drawn" in words(app)
    app.selectbox(key="board_row").set_value(None).run()
    assert not {"attacker", "trial"} & set(app.query_params)
    assert not app.exception


@pytest.mark.usefixtures("never_crafts")
@pytest.mark.parametrize(
    ("link", "said"),
    [
        ({"attacker": "hinge"}, "No *hinge* here: the hinge needs Gaussians."),
        ({"attacker": "edge", "filter": "likelihood"}, "has no filter *LGM likelihood*"),
        ({"attacker": "nobody"}, "The link's attacker is `nobody`, not collision"),
        ({"trial": "9999"}, "The link's number of the attack is 9,999, not one of"),
        ({"budget": "<b>3"}, "is `<b>3`, which the board has not"),
        ({"budget": "10-to-50"}, "is `10-to-50`, which the board has not: its heaviest is shown"),
        (
            {"head": "layers"},
            "The link's head is `all layers`, which was not measured on this network: logistic regression",
        ),
    ],
)
def test_a_cell_that_is_not_there_is_said(link: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    board = _board("mnist")
    assert board is not None
    frozen = tuple(attack for attack in board.networks[1].attacks if not ATTACKERS[attack.attacker].layers)
    network = replace(board.networks[1], absent=(Absent("hinge", "the hinge needs Gaussians"),), attacks=frozen)
    config = replace(board.config, attackers=("collision", "hinge", "edge"), budgets=((10, 10),))
    monkeypatch.setattr(load, "board", lambda: replace(board, config=config, networks=(network,)))
    app = page(network="softmax", **link)
    assert said in words(app)
    assert not app.exception


def test_a_network_without_a_board_can_be_measured(
    bundled: Split, never_crafts: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(QUICK, attackers=("collision",), choices=("random",), budgets=((1, 2),), trials=2)
    z = load.features("mnist-lgm").splits["bundled"].z  # to embed all images takes longer than all else
    monkeypatch.setattr(
        Setting, "of_split", lambda model, split, config, other: Setting(model, split.labels, z, config, other)
    )
    monkeypatch.setattr(board_measure, "CONFIG", config)
    monkeypatch.setattr(load, "board", lambda: None)
    app = page(attacker="collision", choice="random")
    assert "**Not measured yet**: which attacker gets past which filter of `mnist-lgm`" in words(app)
    button(app, "Measure 1 row").click().run()
    assert [part.label for part in app.button if part.key and part.key.startswith("cancel_board")] == ["Cancel"]
    idle(runner())
    app.run()
    assert not app.exception
    found = board_measure.measured("mnist-lgm")
    assert found is not None
    (attack,) = found.board.networks[0].attacks
    cell = attack.cell((1, 2), "likelihood", 0.01, "logistic")
    assert cell is not None
    assert verdict.of_cell(config, attack, cell) in words(app)
    assert "4 clean images and 1 poison" in words(app)
