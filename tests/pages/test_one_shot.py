"""The One shot page on a stand-in for the network: six features, the mean of each colour in either half."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from streamlit.testing.v1 import AppTest
from torch import Tensor, nn

from lgm.attacks import one_shot as attack
from lgm.data.store import register
from lgm.models.classifier import Classifier
from lgm.models.heads import SoftmaxHead
from lgm.utils.images import png
from tests.pages.test_pages import idle, opened, words
from ui import one_shot
from ui.jobs import cancel_all, runner

pytestmark = pytest.mark.page


class Halves(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(1), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.gain * x.unflatten(-1, (2, 16)).mean((2, 4)).flatten(1)


def stand_in(name: str, n_classes: int) -> Classifier:
    del name
    return Classifier(Halves(), SoftmaxHead(6, n_classes).requires_grad_(False), (3, 32, 32)).eval()


@pytest.fixture(autouse=True)
def _nothing_is_left() -> Iterator[None]:
    yield
    cancel_all()
    runner().jobs.clear()
    one_shot._memory().clear()


@pytest.fixture
def squares(bundled: object, fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Twenty pictures of each of two colours."""
    rng = np.random.default_rng(1)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 60, 200))):
        folder = tmp_path / "squares" / label
        folder.mkdir(parents=True)
        for i in range(20):
            shade = np.array(colour)[:, None, None] + rng.integers(-30, 30, (3, 1, 1))
            (folder / f"{i:02}.png").write_bytes(png((shade + rng.integers(-9, 9, (3, 32, 32))).astype(np.uint8)))
    register("squares", tmp_path / "squares")
    monkeypatch.setattr(attack, "frozen_network", stand_in)
    return "squares"


def until(app: AppTest, done: Any) -> AppTest:
    """The page once ``done`` holds; it is looked at when a job has ended, or after a second."""
    for _ in range(60):
        assert not app.exception
        if done(app):
            return app
        idle(runner(), 1)
        app.run()
    raise AssertionError("it never was")


def labels(app: AppTest) -> list[str]:
    return [button.label for button in app.button]


def press(app: AppTest, label: str) -> AppTest:
    next(button for button in app.button if button.label == label).click()
    return app.run()


@pytest.fixture
def ready(squares: str) -> AppTest:
    return until(opened("one_shot"), lambda app: "Craft the poison" in labels(app))


def test_without_photos_the_page_says_how_to_add_some(bundled: object, fresh_home: Path) -> None:
    text = words(opened("one_shot"))
    assert "`lgm data add NAME FOLDER`" in text


def test_without_the_network_the_page_says_how_to_install_it(squares: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(one_shot, "_MODULES", ("no_such_module",))
    assert "`pip install 'lgm[photos]'`" in words(opened("one_shot"))


def test_one_poison_is_crafted_and_judged(ready: AppTest) -> None:
    assert [box.options for box in ready.selectbox] == [["squares"], ["blue", "red"], ["red"]]
    app = until(press(ready, "Craft the poison"), lambda app: app.metric)
    shown = {metric.label: metric.value for metric in app.metric}
    (job,) = [job for job in runner().jobs.values() if job.key.startswith("one-shot ") and job.result]
    found = job.result.attack
    assert shown["P(red) of the target, without the poison"] == f"{found.before:.1%}"
    assert shown["P(red) of the target, with it"] == f"{found.after:.1%}"
    assert shown["L2 of the change"] == f"{found.l2:.2f}"
    said = "The attack succeeds" if found.success else "The attack fails"
    assert said in words(app)
    table = app.dataframe[0].value
    for title, key in zip(table["Filter"], job.result.score, strict=True):
        (cell,) = table.loc[table["Filter"] == title, "T for 10 % FPR"]
        caught = job.result.score[key] <= job.result.threshold[key][0.1]
        assert cell == ("caught" if caught else "passes")
    assert (table["T for 1 % FPR"] == "too few photos calibrate").all()
    change, factor = one_shot.amplified(job.result)
    there = job.result.base / 255 + (change - 0.5) / factor
    np.testing.assert_allclose(there, job.result.poison, atol=1e-5)


def test_what_was_stopped_begins_anew_when_asked_to(ready: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Halves.forward

    def forward(self: Halves, x: Tensor) -> Tensor:
        time.sleep(0.05)
        return slow(self, x)

    monkeypatch.setattr(Halves, "forward", forward)
    app = until(press(ready, "Craft the poison"), lambda app: "Cancel" in labels(app))
    press(app, "Cancel")
    until(app, lambda app: "It was stopped." in words(app))
    monkeypatch.setattr(Halves, "forward", slow)
    assert not app.metric
    until(press(app, "Craft the poison"), lambda app: app.metric)


def test_a_dataset_that_is_too_small_is_refused_in_a_sentence(
    squares: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for path in sorted((tmp_path / "squares" / "red").iterdir())[5:]:
        path.unlink()
    register("squares", tmp_path / "squares", replace=True)
    app = until(opened("one_shot"), lambda app: app.error)
    assert "expected at least 4 photos of each class" in app.error[0].value
    assert "Embed the photos" in labels(app)
