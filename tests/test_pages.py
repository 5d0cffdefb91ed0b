"""Overview, Features and Craft without a browser, and the state that links carry."""

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from lgm.cards import SHIPPED, read_features
from lgm.config import BETA_GRID
from lgm.figures import projection
from lgm.poisons import read_shipped_poisons
from lgm.tradeoff import Tradeoff
from ui import load
from ui.lab import _way, nearest_stop, shown_iterations
from ui.state import FIELDS

EXACT = projection(read_features("mnist-lgm"))
ROUTER = Path(__file__).resolve().parent.parent / "ui" / "router.py"


def opened(page: str, **link: str) -> AppTest:
    """A page as its link opens it."""
    app = AppTest.from_file(str(ROUTER), default_timeout=120)
    for name, value in link.items():
        app.query_params[name] = value
    app.run()
    if page != "overview":
        app.switch_page(f"../pages/{page}.py").run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    return "\n".join(str(part.value) for part in [*app.markdown, *app.caption, *app.error, *app.warning, *app.info])


@pytest.mark.parametrize("name", ["overview", "features", "craft", "detect", "defend", "train"])
def test_a_page_asks_one_question_and_reports_no_error(bundled: object, name: str) -> None:
    app = opened(name)
    assert len(app.title) == 1
    assert app.title[0].value.endswith("?")
    assert not app.error


def test_the_overview_reports_what_was_shipped(bundled: object) -> None:
    study = json.loads((SHIPPED / "mnist.study.json").read_text())
    ours, theirs = (Tradeoff.from_dict(study["tradeoff"][loss]) for loss in ("lgm", "softmax"))
    at = ours.index(8e-3)
    text = words(opened("overview"))
    assert f"{ours.l2[at].mean():.2f} LGM, {theirs.l2[at].mean():.2f} softmax" in text
    assert f"{ours.collided[at].mean():.0%} and {theirs.collided[at].mean():.0%} of the cases" in text
    clean, poisons = read_features("mnist-lgm").splits["bundled"].score, read_shipped_poisons("mnist-lgm")
    below = np.mean([(clean > score).mean() + 0.5 * (clean == score).mean() for score in poisons.score])
    assert f"AUC {below:.4f} (" in text, "the AUC is the share of (clean, poison) pairs in the right order"
    assert f"the worst of {len(study['frontier'])} values of γ" in text


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


def test_the_features_page_draws_every_point_of_both_networks(bundled: object) -> None:
    charts = opened("features").get("plotly_chart")
    assert len(charts) == 2
    for chart in charts:
        assert "55,000" in chart.proto.spec
        assert "bundled digits (5,000)" in chart.proto.spec
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
    knowing = opened("craft", beta="0.001", gamma="1")
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
    assert app.session_state[f"s_{name}"] == FIELDS[name].default
    assert FIELDS[name].title in app.warning[0].value
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
        packed = _way(path, shown, EXACT, images=False)["path"]
        sent = np.frombuffer(base64.b64decode(packed), np.float32).reshape(27, 4, 2)
        np.testing.assert_array_equal(sent[5, :, 0], expected)


def test_the_browser_gets_every_image_on_the_way_and_the_story_none() -> None:
    example = read_shipped_poisons("mnist-softmax", "example")
    shown = shown_iterations([example])
    way = _way(example, shown, EXACT, images=True)
    changes = np.frombuffer(zlib.decompress(base64.b64decode(way["path_images"])), np.uint8).reshape(27, -1, 1, 28, 28)
    images = changes.cumsum(axis=1, dtype=np.uint8)
    np.testing.assert_array_equal(images, example.path_images[:, : len(shown)])
    assert way["path_score"] is None
    assert set(_way(example, shown, EXACT, images=False)) == {"path", "terms"}


@pytest.mark.parametrize("beta", BETA_GRID)
def test_every_beta_of_the_grid_is_its_own_stop(beta: float) -> None:
    assert BETA_GRID[nearest_stop(beta)] == beta


def test_a_beta_between_two_stops_goes_to_the_nearer_by_ratio() -> None:
    assert BETA_GRID[nearest_stop(0.0031)] == 2.5e-3  # 3.1 is nearer to 2.5 than to 4 by ratio
    assert BETA_GRID[nearest_stop(0.0033)] == 4e-3
    assert BETA_GRID[nearest_stop(1e-9)] == BETA_GRID[0]
