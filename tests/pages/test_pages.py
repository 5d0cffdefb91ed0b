"""Overview, Features and Craft without a browser, and the state that links carry."""

import base64
import json
import re
import shutil
import threading
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from lgm.attacks.craft import craft_beta_path
from lgm.attacks.export import rounded
from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.config import BETA_GRID
from lgm.experiments.beta_sweep import BETAS
from lgm.experiments.records import provenance, read_study
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features
from lgm.plots.features import DRAWN, drawn, projection
from lgm.plots.theme import CLICKABLE
from tests.records import beta_row
from ui import beta_paths, defend_model, load
from ui.beta_paths import nearest, side_by_side
from ui.beta_table import beta_table
from ui.components.beta_explorer import packed_trajectory, shown_iterations
from ui.job_queue import Job, Runner
from ui.jobs import picture_runner
from ui.state import FIELDS

pytestmark = pytest.mark.page

EXACT = projection(read_features("mnist-lgm"))
ROUTER = Path(__file__).resolve().parents[2] / "ui" / "router.py"


def opened(page: str, **link: str) -> AppTest:
    """A page as its link opens it: the first thing that its session sees."""
    app = AppTest.from_file(str(ROUTER), default_timeout=120)
    for name, value in link.items():
        app.query_params[name] = value
    if page != "overview":
        app.switch_page(f"../pages/{page}.py")
    app.run()
    assert not app.exception
    return app


def idle(queue: Runner, seconds: float = 120) -> None:
    """Wait until no job is active, as somebody who looks on; to run the page meanwhile costs as much as the job."""
    deadline = time.monotonic() + seconds
    while (active := [job for job in list(queue.jobs.values()) if job.active]) and time.monotonic() < deadline:
        for job in active:
            job.watch()
        time.sleep(0.02)


def crafted(app: AppTest) -> AppTest:
    """The Craft page once nothing is being crafted any more; one job may follow another."""
    for _ in range(10):
        assert not app.exception
        if not app.get("progress"):
            return app
        idle(picture_runner())
        app.run()
    raise AssertionError("it was still crafting")


def hold_crafting(patch: pytest.MonkeyPatch) -> None:
    """Pictures are crafted for as long as the test takes: it is not about what comes out."""

    def held(*args: Any) -> None:
        job: Job = args[-1]
        while beta_paths._craft is held and job.report(0, 1):
            time.sleep(0.02)

    patch.setattr(beta_paths, "_craft", held)
    patch.setattr(defend_model, "_submit", lambda *_: None)


def crafting(app: AppTest) -> str:
    """What the progress bar says is being crafted."""
    (bar,) = app.get("progress")
    return str(bar.proto.text)


def words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.error, *app.warning, *app.info])


@pytest.mark.parametrize("name", ["overview", "features", "craft", "one_shot", "detect", "defend", "train"])
def test_a_page_asks_one_question_and_reports_no_error(
    bundled: object, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hold_crafting(monkeypatch)
    app = opened(name)
    assert len(app.title) == 1
    assert app.title[0].value.endswith("?")
    assert not app.error
    charts = [chart.proto for chart in app.get("plotly_chart")]
    clicked = [json.loads(chart.spec)["layout"] for chart in charts if chart.selection_mode]
    assert len(clicked) == {"features": 2, "defend": 1}.get(name, 0)
    assert all(layout.items() >= CLICKABLE.items() for layout in clicked), "takes a click as soon as it is drawn"


def test_the_overview_reports_what_was_shipped(bundled: object) -> None:
    study = read_study("mnist")
    assert study is not None
    ours, theirs = study.tradeoff.lgm, study.tradeoff.softmax
    at = ours.index(8e-3)
    text = words(opened("overview"))
    assert f"{ours.l2[at].mean():.2f} LGM, {theirs.l2[at].mean():.2f} softmax" in text
    assert f"{ours.collided[at].mean():.0%} and {theirs.collided[at].mean():.0%} of the cases" in text
    clean, poisons = read_features("mnist-lgm").splits["bundled"].score, read_shipped_poisons("mnist-lgm")
    below = np.mean([(clean > score).mean() + 0.5 * (clean == score).mean() for score in poisons.score])
    assert f"AUC {below:.4f} (" in text, "the AUC is the share of (clean, poison) pairs in the right order"
    gammas = ", ".join(f"{row.gamma:g}" for row in study.frontier)
    assert f"attackers with γ = {gammas} and random targets" in text
    assert provenance(study.about) in text


def test_the_overview_without_a_study_goes_by_the_poisons(bundled: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "study", lambda: None)
    ours, theirs = read_shipped_poisons("mnist-lgm"), read_shipped_poisons("mnist-softmax")
    text = words(opened("overview"))
    assert f"{ours.l2.mean():.2f} LGM, {theirs.l2.mean():.2f} softmax" in text
    assert text.count("**open**") == 5, "equal beta, matched collision, simpler filters, fine-tuning, who knows"


def test_the_craft_page_shows_what_beta_trades(bundled: object) -> None:
    app = opened("craft")
    assert not app.get("plotly_chart"), "nothing is drawn until it is opened"
    app.session_state["beta_open"] = True
    app.run()
    assert not app.exception
    assert "is the largest of the grid at which at least 90%" in words(app)
    assert len(app.get("plotly_chart")) == 1


def test_the_features_page_says_how_many_points_it_draws(bundled: object) -> None:
    charts = opened("features").get("plotly_chart")
    assert len(charts) == 2
    for chart in charts:
        assert f"training ({DRAWN:,} of 55,000 drawn)" in chart.proto.spec
        assert f"bundled digits ({DRAWN:,} of 5,000 drawn)" in chart.proto.spec
        assert "20 poisons" in chart.proto.spec


def test_the_craft_page_opens_on_the_shipped_example(bundled: object) -> None:
    app = opened("craft")
    example = read_shipped_poisons("mnist-lgm", "example")
    kept = app.session_state["current_poison"]
    stop = BETA_GRID.index(8e-3)
    np.testing.assert_array_equal(kept.image, example.images[stop])
    assert kept.score == pytest.approx(float(example.score[stop]))


def test_a_link_carries_pair_and_beta(bundled: object) -> None:
    example = read_shipped_poisons("mnist-lgm", "example")
    base, target = (str(int(index[0])) for index in (example.base_index, example.target_index))
    app = opened("craft", base=base, target=target, beta="0.1")
    assert app.session_state["current_poison"].beta == pytest.approx(0.1)
    assert app.query_params["beta"] == "0.1"
    assert app.query_params["base"] == base


def test_a_link_carries_an_attacker_who_knows_of_the_filter(bundled: object) -> None:
    plain = opened("craft", beta="0.001")
    knowing = crafted(opened("craft", beta="0.001", gamma="1"))
    assert knowing.query_params["gamma"] == "1"
    unaware, aware = (app.session_state["current_poison"] for app in (plain, knowing))
    threshold = np.quantile(read_features("mnist-lgm").splits["bundled"].score, 0.01)
    assert unaware.score < threshold < aware.score, "removed, and not"


@pytest.mark.parametrize(
    ("name", "value"),
    [("beta", "cake"), ("beta", "-1"), ("base", "1.5"), ("threshold", "nan"), ("gamma", "2"), ("gamma", "-0.1")],
)
def test_what_a_link_gets_wrong_falls_back(bundled: object, name: str, value: str) -> None:
    app = opened("overview", **{name: value})
    assert getattr(app.session_state["link"], name) == FIELDS[name].default
    assert FIELDS[name].doc in app.warning[0].value
    assert name not in app.query_params


def test_a_link_to_two_images_of_one_class_opens_the_example(bundled: object) -> None:
    app = opened("craft", base="0", target="1")
    example = read_shipped_poisons("mnist-lgm", "example")
    assert app.session_state["current_poison"].label == str(example.labels[0])


def test_the_iterations_on_show_end_where_nothing_moves_any_more() -> None:
    paths = [read_shipped_poisons(f"mnist-{loss}", "example") for loss in ("lgm", "softmax")]
    shown = shown_iterations(paths)
    end = 0
    for path in paths:
        for images in path.path_images:
            end = max([end, *(f for f in range(1, len(images)) if (images[f] != images[f - 1]).any())])
    np.testing.assert_array_equal(shown, paths[0].path_iteration[: end + 1])
    assert len(shown) < len(paths[0].path_iteration), "the example has no dead tail to leave out"
    assert shown_iterations([]).tolist() == [0]


def test_ways_recorded_at_different_iterations_are_shown_together() -> None:
    example = read_shipped_poisons("mnist-lgm", "example")
    every, some = np.array([0, 1, 2, 3, 4]), np.array([0, 3, 9])
    one, other = (
        replace(
            example,
            path_iteration=at,
            path=np.broadcast_to(at[None, :, None].astype(np.float32), (27, len(at), 2)),
            path_objective=np.broadcast_to(np.minimum(at, 3)[None, :, None].astype(np.float32), (27, len(at), 2)),
        )
        for at in (every, some)
    )
    shown = shown_iterations([one, other])
    assert shown.tolist() == [0, 1, 2, 3]
    for path, expected in ((one, [0, 1, 2, 3]), (other, [0, 0, 0, 3])):
        packed = packed_trajectory(path, shown, EXACT, images=False)["path"]
        sent = np.frombuffer(base64.b64decode(packed), np.float32).reshape(27, 4, 2)
        np.testing.assert_array_equal(sent[5, :, 0], expected)


def test_the_browser_gets_every_image_on_the_way_and_the_story_none() -> None:
    example = read_shipped_poisons("mnist-softmax", "example")
    shown = shown_iterations([example])
    way = packed_trajectory(example, shown, EXACT, images=True)
    changes = np.frombuffer(zlib.decompress(base64.b64decode(way["path_images"])), np.uint8).reshape(27, -1, 1, 28, 28)
    images = changes.cumsum(axis=1, dtype=np.uint8)
    np.testing.assert_array_equal(images, example.path_images[:, : len(shown)])
    assert way["path_score"] is None
    assert set(packed_trajectory(example, shown, EXACT, images=False)) == {"path", "terms"}


def test_the_third_term_is_what_a_knowing_attacker_pays() -> None:
    example = read_shipped_poisons("mnist-lgm", "example")
    shown = shown_iterations([example])
    config = {**example.manifest["config"], "gamma": 0.01, "threshold": -2.7}
    knowing = replace(example, manifest={**example.manifest, "config": config})
    for path, gamma in ((example, 0.0), (knowing, 0.01)):
        sent = np.frombuffer(base64.b64decode(packed_trajectory(path, shown, EXACT, images=False)["terms"]), np.float32)
        first, second, third = np.moveaxis(sent.reshape(27, len(shown), 3), 2, 0)
        np.testing.assert_array_equal(np.stack([first, second], 2), example.path_objective[:, : len(shown)])
        lacking = np.maximum(0, -2.7 + 0.02 - example.path_score[:, : len(shown)])
        np.testing.assert_allclose(third, gamma * lacking, rtol=1e-5, atol=1e-7)


def test_paths_of_different_stops_are_shown_at_those_that_both_have() -> None:
    whole = read_shipped_poisons("mnist-lgm", "example")
    some = whole[np.array([3, 8, 20])]
    found, betas = side_by_side({"lgm": some, "softmax": whole}, 8e-3)
    assert betas == (BETA_GRID[3], BETA_GRID[8], BETA_GRID[20])
    for path in found.values():
        assert path is not None
        np.testing.assert_array_equal(path.images, some.images)
    found, betas = side_by_side({"lgm": whole[np.array([3])], "softmax": whole[np.array([8, 9])]}, BETA_GRID[8])
    assert betas == (BETA_GRID[8], BETA_GRID[9]), "what is asked for is there for one of them"
    assert found["lgm"] is None
    assert side_by_side({"lgm": None, "softmax": None}, 0.0079)[1] == (8e-3,)


@pytest.fixture
def wide(fresh_home: Path, tiny_wide: Path) -> str:
    """A network with five features, among the user's; nothing was crafted on it yet."""
    st.cache_resource.clear()
    (fresh_home / "checkpoints").mkdir()
    for path in tiny_wide.parent.glob("tiny-wide.*"):
        shutil.copy(path, fresh_home / "checkpoints")
    return "tiny-wide"


def test_on_a_wide_network_the_beta_on_show_comes_first_and_few_stops_follow(wide: str) -> None:
    app = opened("craft", lgm=wide, beta="0.0063")
    assert not app.error
    assert f"Crafting β = 0.0063 on {wide}" in crafting(app)
    idle(picture_runner())
    app.run()
    assert f"Crafting {len(BETAS)} stops of β on {wide}" in crafting(app)
    assert app.session_state["current_poison"].beta == pytest.approx(0.0063), "the first is there already"
    assert app.session_state["current_poison"].model == wide
    crafted(app)
    sent = next(data for part in app.get("bidi_component") if "betas" in (data := json.loads(part.proto.json)))
    assert sent["betas"] == sorted({*BETAS, 0.0063})
    assert sent["networks"]["lgm"]["seen"] == ": 5 of them, seen with class means round a circle"
    assert sent["networks"]["lgm"]["cut"] is None, "a ring in a projection would cut nothing"
    assert not sent["more"]


def test_crafting_stops_when_told_and_goes_on_when_told(wide: str, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = threading.Event()

    def held_back(*args: Any, on_step: Any, **options: Any) -> Poisons:
        while not gate.wait(0.02) and on_step(0, 1):
            pass
        return craft_beta_path(*args, on_step=on_step, **options)

    monkeypatch.setattr("lgm.attacks.craft.craft_beta_path", held_back)
    app = opened("craft", lgm=wide, beta="0.001")
    next(button for button in app.button if button.label == "Cancel").click().run()
    assert "Crafting was stopped." in words(crafted(app))
    app.run()
    assert not app.get("progress"), "it began anew by itself"
    gate.set()
    next(button for button in app.button if button.label == "Go on crafting").click().run()
    crafted(app)
    assert "Crafting was stopped." not in words(app)
    assert app.session_state["current_poison"].beta == pytest.approx(0.001)
    assert app.session_state["current_poison"].model == wide


@pytest.mark.parametrize("name", ["overview", "features", "craft", "defend", "train"])
def test_pages_open_for_a_network_of_more_than_two_features(wide: str, name: str) -> None:
    app = opened(name, lgm=wide)
    assert not app.error
    if name == "features":
        assert "5 of them, seen with class means round a circle" in words(app)


def test_the_finished_poison_is_saved_and_what_8_bits_do_is_said(bundled: object) -> None:
    app = opened("craft")
    assert not app.get("download_button"), "nothing is embedded before it is asked for"
    app.session_state["save_open"] = True
    app.run()
    example = read_shipped_poisons("mnist-lgm", "example")[np.array([BETA_GRID.index(8e-3)])]
    after = rounded(load_checkpoint("mnist-lgm")[0], example)
    expected = f"log p(f(x)|4) is {example.score[0]:.3f} nats before, {after.score[0]:.3f} after."
    assert expected in words(app)
    labels = [button.proto.label for button in app.get("download_button")]
    assert labels == ["PNG, LGM network", "Array, LGM network", "PNG, Softmax network", "Array, Softmax network"]


def test_a_point_is_picked_by_class_and_number_without_a_pointer(bundled: object) -> None:
    app = opened("features")
    app.selectbox(key="layer_lgm").set_value(f"D_f, bundled digits ({DRAWN:,} of 5,000 drawn)").run()
    app.selectbox(key="class_lgm").set_value("3").run()
    app.number_input(key="number_lgm").set_value(1).run()
    assert not app.exception
    features = read_features("mnist-lgm")
    clean = features.splits["bundled"]
    away = np.linalg.norm(clean.z - features.means[3], axis=1)
    shown = np.isin(np.arange(len(away)), drawn(len(away)))  # of the points in the plane
    farthest = int(np.argmax(np.where((clean.labels == 3) & shown, away, -1)))
    assert f"Label 3, image {farthest:,}" in words(app)
    assert f"= **{clean.score[farthest]:.2f}**" in words(app)


def test_what_beta_trades_is_written_for_people() -> None:
    study = read_study("mnist")
    assert study is not None
    rows = study.tradeoff.lgm.rows()
    table = beta_table(rows)
    assert len(table) == len(rows)
    share, low, high = rows[0].collided
    share = f"{100 * share:.0f} % ({100 * low:.0f}–{100 * high:.0f} %)"
    assert table["Collide"].tolist()[0] == share
    assert not any("_" in name for name in table.columns)
    text = table.to_csv()
    assert not re.search(r"\d\.\d{5,}", text), "no number is longer than it is known"
    assert "None" not in text


def test_a_beta_at_which_nothing_collides_has_a_dash() -> None:
    measured = beta_row(1.0, attacks=20)
    table = beta_table([measured, replace(measured, auc_collided=None)])
    assert table["AUC, those that collide"].tolist() == ["0.6000 (0.5500–0.6500)", "–"]
    assert table["Attack succeeds"].tolist() == ["80 % (75–85 %)"] * 2
    assert "Attack succeeds" not in beta_table([beta_row(1.0, attacks=None)]).columns


@pytest.mark.parametrize("beta", BETA_GRID)
def test_every_beta_of_the_grid_is_its_own_stop(beta: float) -> None:
    assert BETA_GRID[nearest(beta)] == beta


def test_a_beta_between_two_stops_goes_to_the_nearer_by_ratio() -> None:
    assert BETA_GRID[nearest(0.0031)] == 2.5e-3  # 3.1 is nearer to 2.5 than to 4 by ratio
    assert BETA_GRID[nearest(0.0033)] == 4e-3
    assert BETA_GRID[nearest(1e-9)] == BETA_GRID[0]
