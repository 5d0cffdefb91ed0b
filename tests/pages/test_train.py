"""The Train page without a browser: what it refuses, what it starts, and that nothing existing is ever replaced."""

import errno
import json
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from safetensors.torch import save
from streamlit.testing.v1 import AppTest

import lgm.models.checkpoint
from lgm.config import Loss
from lgm.data.base import DataError, OnFile, Split, per_class
from lgm.data.registry import DATASETS, load_split
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import weights_sha256
from lgm.models.classifier import build_model
from lgm.models.features import read_features
from lgm.models.registry import list_checkpoints, locate, read_card, user_folder
from lgm.utils.io import SaveError
from lgm.utils.outputs import reserved
from ui import recipes, training_runs, uploads
from ui.job_queue import Job
from ui.jobs import duration, runner
from ui.training_runs import Run, Unfinished

pytestmark = pytest.mark.page

ROUTER = Path(__file__).resolve().parents[2] / "ui" / "router.py"
QUICK = replace(
    recipes.recipe(DATASETS["mnist"], "tiny-cnn", "lgm", split="bundled-train", epochs=2, seed=1), limit=100
)


@pytest.fixture(autouse=True)
def _no_job_outlives_its_home(fresh_home: Path) -> Iterator[None]:
    yield
    for job in list(runner().jobs.values()):
        job.cancel()
        wait(job)
    runner().jobs.clear()


@pytest.fixture
def open_page(fresh_home: Path) -> Callable[[], AppTest]:
    def opened() -> AppTest:
        app = AppTest.from_file(str(ROUTER), default_timeout=240)
        app.switch_page("../pages/train.py").run()
        assert not app.exception
        return app

    return opened


def wait(job: Job) -> Job:
    for _ in range(2400):
        if not job.active:
            return job
        job.watch()
        time.sleep(0.1)
    raise AssertionError(f"{job.key} is still {job.state}")


def ended(run: Run) -> Run:
    error = wait(run.job).error
    if error is not None:
        raise error
    return run


def press(app: AppTest, label: str) -> AppTest:
    return next(button for button in app.button if button.label == label).click().run()


def words(app: AppTest) -> str:
    parts = [*app.markdown, *app.caption, *app.error, *app.warning, *app.success, *app.info]
    return "\n".join(str(part.value) for part in parts)


def film(app: AppTest) -> dict[str, Any]:
    """What the picture was given."""
    return json.loads(app.get("bidi_component")[0].proto.json)


# Before a run.


def test_the_page_shows_the_shipped_network_before_any_run(open_page: Callable[[], AppTest]) -> None:
    app = open_page()
    assert "Trained before: **`mnist-lgm`**" in words(app)
    assert not app.error
    seen = training_runs.held_out(read_features("mnist-lgm").splits["bundled"], "mnist")
    assert f"held-out accuracy **{100 * (seen.predicted == seen.labels).mean():.1f} %**" in words(app)


def test_softmax_has_no_margin_no_likelihood_and_no_covariance(open_page: Callable[[], AppTest]) -> None:
    app = open_page()
    of_lgm = [app.number_input(key="train_margin"), app.number_input(key="train_weight")]
    assert not any(widget.disabled for widget in [*of_lgm, app.selectbox(key="train_covariance")])
    app.button_group(key="train_loss").set_value("softmax").run()
    of_lgm = [app.number_input(key="train_margin"), app.number_input(key="train_weight")]
    assert all(widget.disabled for widget in [*of_lgm, app.selectbox(key="train_covariance")])
    assert "Trained before: **`mnist-softmax`**" in words(app)


def test_a_name_that_is_bad_or_taken_starts_nothing(open_page: Callable[[], AppTest]) -> None:
    app = open_page()
    for name in ("../escape", "a b", "-x", "mnist-lgm", "MNIST-LGM"):
        app.text_input(key="train_name").set_value(name)
        press(app, "Train")
        assert len(app.error) == 1, name
        assert name in app.error[0].value
        assert not runner().jobs


def test_official_digits_to_train_on_are_offered_only_where_they_are(
    open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert open_page().selectbox(key="train_split_mnist").options == ["4,000 bundled digits"]
    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], at_hand=lambda split: True))
    monkeypatch.setattr("ui.load.clean_split", lambda: "bundled")
    assert len(open_page().selectbox(key="train_split_mnist").options) == 2


def test_of_a_warm_start_the_record_is_kept_but_no_picture(fresh_home: Path) -> None:
    first = QUICK.with_last(model=replace(QUICK.model, loss="softmax", n_dim=64, center_order=()), epochs=1)
    run = ended(training_runs.start(first.then(init="project", model=QUICK.model, epochs=2), "warmed"))
    told = [(epoch.record["epoch"], epoch.features is not None, epoch.means is not None) for epoch in run.job.log]
    assert told == [(1, False, False), (2, True, True), (3, True, True)]
    assert not training_runs.unfinished(), "the first phase is kept, but is no run to resume"


# Names.


def test_a_free_name_avoids_models_and_runs_of_any_kind(fresh_home: Path) -> None:
    assert training_runs.free_name("new") == "new"
    folder = user_folder()
    folder.mkdir()
    for file in ("new.json", "new-2.safetensors", "New-3.resume.safetensors"):
        (folder / file).touch()
    assert training_runs.free_name("new") == "new-4"
    with pytest.raises(CheckpointError, match="taken"), training_runs.claimed("new-3"):
        pass


def test_a_name_that_a_run_waits_with_is_taken(fresh_home: Path) -> None:
    first = training_runs.start(QUICK, "mine")
    with pytest.raises(CheckpointError, match="'mine-2'"):
        training_runs.start(QUICK, "mine")
    first.job.cancel()


# Runs.


def test_a_run_from_the_page_ends_as_a_network_to_use(
    open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "recipe", lambda *_, **__: QUICK)
    app = press(open_page(), "Train")
    run = app.session_state["train_run"]
    assert run.name == "my-lgm"
    ended(run)
    app.run()
    assert "**`my-lgm`** is trained and saved" in words(app)
    app.button(key="use_new").click().run()
    assert app.session_state["link"].lgm == "my-lgm"
    assert app.session_state["link"].threshold is None
    assert "In use on all pages" in [button.label for button in app.button]
    assert app.query_params["lgm"] == "my-lgm"


def test_two_sessions_each_follow_their_own_run(
    open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recipes, "recipe", lambda *_, **__: QUICK)
    one, other = press(open_page(), "Train"), press(open_page(), "Train")
    first, second = one.session_state["train_run"], other.session_state["train_run"]
    assert (first.name, second.name) == ("my-lgm", "my-lgm-2")
    assert first.job is not second.job
    ended(first)
    ended(second)
    assert "`my-lgm`** is trained" in words(one.run())
    assert "`my-lgm-2`** is trained" in words(other.run())


def until_cancelled(job: Job, *_: object, **__: object) -> None:
    while job.report(1, 10):
        time.sleep(0.01)


def test_a_run_is_found_and_cancelled_by_whoever_opens_the_page(
    open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_runs, "_train", until_cancelled)
    going, waiting = training_runs.start(QUICK, "found"), training_runs.start(QUICK, "behind-it")
    app = open_page()
    assert any("Training `found`" in bar.proto.text for bar in app.get("progress"))
    assert not next(button for button in app.button if button.label == "Train").disabled, "it is another's run"
    choice = next(box for box in app.selectbox if box.label == "Run")
    assert choice.options == ["found", "behind-it"]
    choice.set_value(waiting.job.key).run()
    assert any("Training `behind-it`" in bar.proto.text for bar in app.get("progress"))
    press(app, "Cancel")
    assert waiting.job.state == "cancelled"
    press(open_page(), "Cancel")
    assert wait(going.job).state == "cancelled"
    assert training_runs.active_runs() == []


def test_the_log_of_a_run_holds_what_each_epoch_looked_like(fresh_home: Path) -> None:
    run = ended(training_runs.start(QUICK, "logged"))
    untrained, first, last = run.job.log
    assert untrained.record == {"epoch": 0}
    assert [epoch.record["epoch"] for epoch in (first, last)] == [1, 2]
    radius = np.hypot(*untrained.means.T)
    np.testing.assert_allclose(radius, QUICK.model.center_radius, rtol=1e-5)
    saved = read_features("logged")
    np.testing.assert_allclose(last.means, saved.means)
    np.testing.assert_allclose(last.sigmas, 1)
    np.testing.assert_allclose(last.features.z, training_runs.held_out(saved.splits["bundled"], "mnist").z, atol=1e-4)
    assert np.abs(first.means - last.means).max() > 0.01


@pytest.mark.parametrize("loss", ["lgm", "softmax"])
def test_a_run_of_vgg19_lays_its_own_plane_through_all_features(loss: Loss) -> None:
    config = recipes.recipe(DATASETS["cifar10"], "vgg19", loss, split="train", epochs=3, seed=2)
    assert (config.model.loss, config.model.n_dim, config.model.covariance) == (loss, 2, "identity")
    *before, last = config.phases
    assert (last.epochs, last.seed, last.init) == (3, 2, "project")
    assert [(phase.model.n_dim, phase.init) for phase in before] == [(512, "fresh"), (512, "continue")]


def test_a_softmax_run_has_no_gaussians(fresh_home: Path) -> None:
    config = replace(
        recipes.recipe(DATASETS["mnist"], "tiny-cnn", "softmax", split="bundled-train", epochs=5, seed=1), limit=100
    )
    run = ended(training_runs.start(config, "plain"))
    assert {(epoch.means, epoch.sigmas) for epoch in run.job.log} == {(None, None)}


def test_a_stopped_run_goes_on_to_the_same_weights(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = QUICK.with_last(epochs=3)
    whole = ended(training_runs.start(config, "whole"))
    stopped = stop_after_first_epoch(config, "halved")
    assert stopped.job.state == "cancelled"
    (left,) = training_runs.unfinished()
    assert isinstance(left, Unfinished)
    assert (left.name, left.config, len(left.history)) == ("halved", config, 1)
    resumed = ended(training_runs.resume(left, stopped))
    assert training_runs.unfinished() == []
    assert [epoch.record["epoch"] for epoch in resumed.job.log] == [0, 1, 2, 3]
    assert all(epoch.features is not None for epoch in resumed.job.log)
    assert resumed.job.total == 2 * whole.job.total // 3, "progress counts what is left"
    mine, theirs = (load_file(locate(name)) for name in ("halved", "whole"))
    for tensor, value in mine.items():
        np.testing.assert_array_equal(value, theirs[tensor])


def stop_after_first_epoch(config: Any, name: str) -> Run:
    run = training_runs.start(config, name)
    while run.job.active:
        if len(run.job.log) == 2:
            run.job.cancel()
        time.sleep(0.001)
    return run


def test_a_stopped_run_is_resumed_or_begun_anew_and_never_overwritten(open_page: Callable[[], AppTest]) -> None:
    stop_after_first_epoch(QUICK.with_last(epochs=3), "halved")
    app = open_page()
    app.text_input(key="train_name").set_value("halved").run()
    labels = [button.label for button in app.button]
    assert "Train" not in labels and "Begin anew" in labels
    assert "`halved` is a stopped run. Kept: 1 of 3 epochs." in words(app)
    with pytest.raises(CheckpointError, match="taken"):
        training_runs.start(QUICK, "halved")
    anew = ended(training_runs.start_anew(QUICK, "halved"))
    assert [epoch.record["epoch"] for epoch in anew.job.log] == [0, 1, 2]
    assert read_card("halved").config == QUICK
    with pytest.raises(CheckpointError, match="no stopped run any more"):
        training_runs.start_anew(QUICK, "halved")


def test_what_a_command_line_trains_is_neither_free_nor_stopped(fresh_home: Path) -> None:
    stop_after_first_epoch(QUICK.with_last(epochs=3), "elsewhere")
    with reserved(user_folder() / "elsewhere.safetensors"):  # it goes on there
        assert training_runs.unfinished() == []
        training_runs.discard("elsewhere")
        with pytest.raises(CheckpointError, match="taken"), training_runs.claimed("elsewhere"):
            pass
    assert len(training_runs.unfinished()) == 1
    with reserved(user_folder() / "begins.safetensors"):  # it has not written anything yet
        assert training_runs.free_name("begins") == "begins-2"


def test_a_run_resumed_by_another_session_has_curves_but_no_old_clouds(fresh_home: Path) -> None:
    stop_after_first_epoch(QUICK.with_last(epochs=3), "orphan")
    (left,) = training_runs.unfinished()
    assert isinstance(left, Unfinished)
    resumed = ended(training_runs.resume(left, None))
    assert [epoch.features is None for epoch in resumed.job.log] == [True, False, False]


def test_the_page_resumes_and_deletes_what_it_finds_on_disk(
    open_page: Callable[[], AppTest],
) -> None:
    stop_after_first_epoch(QUICK.with_last(epochs=3), "found")
    stop_after_first_epoch(QUICK.with_last(epochs=3), "unwanted")
    app = open_page()
    assert "Stopped runs (2)" in [tab.label for tab in app.tabs]
    app.button(key="discard_unwanted").click().run()
    assert [one.name for one in training_runs.unfinished() if isinstance(one, Unfinished)] == ["found"]
    app.button(key="resume_found").click().run()
    ended(app.session_state["train_run"])
    assert read_card("found").history[-1]["epoch"] == 3


def test_the_state_of_a_run_that_does_not_read_says_so(fresh_home: Path) -> None:
    user_folder().mkdir()
    (user_folder() / "torn.resume.safetensors").write_bytes(b"torn")
    (problem,) = training_runs.unfinished()
    assert isinstance(problem, CheckpointError)
    assert "torn.resume.safetensors" in str(problem)


def test_a_run_that_collapses_says_why(open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    bad = QUICK.with_last(margin_ramp=0.0, lr=1.0)
    monkeypatch.setattr(recipes, "recipe", lambda *_, **__: bad)
    app = press(open_page(), "Train")
    wait(app.session_state["train_run"].job)
    app.run()
    assert len(app.error) == 1
    assert "lr" in app.error[0].value
    assert "my-lgm" not in list_checkpoints()


# Networks from outside.


def test_an_uploaded_network_is_measured_here(fresh_home: Path, tiny_lgm: Path) -> None:
    card = json.loads(tiny_lgm.with_suffix(".json").read_text())
    card["accuracy"] = {"bundled": 1.0, "test": 1.0}
    card["history"] = [{"epoch": 1, "loss": 0.5, "seconds": float("nan"), "note": "<b>"}]
    added = uploads.add_model("any.safetensors", tiny_lgm.read_bytes(), json.dumps(card).encode(), "theirs")
    assert added.accuracy.keys() == {"bundled"}
    assert added.accuracy["bundled"] == pytest.approx(read_card(tiny_lgm).accuracy["bundled"])
    assert added.history == [{"epoch": 1, "loss": 0.5}]
    assert read_card("theirs").note.startswith("Uploaded: any.safetensors")
    assert sorted(path.name for path in user_folder().iterdir()) == [
        f"theirs.{end}" for end in ("features.safetensors", "json", "safetensors")
    ]


def test_an_uploaded_network_may_have_more_features_than_two(fresh_home: Path, tiny_wide: Path) -> None:
    card = tiny_wide.with_suffix(".json").read_bytes()
    added = uploads.add_model("wide.safetensors", tiny_wide.read_bytes(), card, "theirs")
    assert added.config.model.n_dim == 5
    assert read_features("theirs").means.shape == (10, 5)


def test_weights_of_the_papers_own_code_need_no_card(
    fresh_home: Path, bundled: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = load_file(locate("mnist-lgm"))
    names = {"head.mixture.means": "lgm.centers"}
    theirs = {
        names.get(name, name.replace("backbone.", "base.")): torch.from_numpy(value)
        for name, value in state.items()
        if name not in ("head.mixture.log_variance", "head.mixture.prior_logits")
    }
    file = fresh_home / "paper.pt"
    torch.save(theirs, file)
    sample = per_class(bundled.labels, 0, 50)  # to measure it on all digits takes ten seconds
    for module in (uploads, lgm.models.checkpoint):
        monkeypatch.setattr(module, "load_split", lambda name, dataset="mnist": bundled[sample])
    added = uploads.add_model("paper.pt", file.read_bytes(), None, "paper")
    stored = read_features("mnist-lgm").splits["bundled"]
    assert added.accuracy["bundled"] == pytest.approx((stored.predicted == stored.labels)[sample].mean())


class Malicious:
    """A pickle of this runs a command when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize(
    "what", ["pickle", "text", "no card", "other card", "too many classes", "a line", "too many features", "taken"]
)
def test_a_wrong_upload_is_refused_and_leaves_nothing(fresh_home: Path, tiny_lgm: Path, what: str) -> None:
    marker = fresh_home / "executed"
    weights, card = tiny_lgm.read_bytes(), tiny_lgm.with_suffix(".json").read_bytes()
    other, line, wide = (json.loads(card) for _ in range(3))
    for values, field, value in ((other, "n_classes", 10**9), (line, "n_dim", 1), (wide, "n_dim", 10**9)):
        values["config"]["phases"][0]["model"][field] = value
    upload: dict[str, tuple[Any, ...]] = {
        "pickle": ("bad.pt", pickle.dumps(Malicious(marker)), None, "bad"),
        "text": ("bad.safetensors", b"hello", card, "bad"),
        "no card": ("bad.safetensors", weights, None, "bad"),
        "other card": ("bad.safetensors", weights, locate("mnist-lgm").with_suffix(".json").read_bytes(), "bad"),
        "too many classes": ("bad.safetensors", weights, json.dumps(other).encode(), "bad"),
        "a line": ("bad.safetensors", weights, json.dumps(line).encode(), "bad"),
        "too many features": ("bad.safetensors", weights, json.dumps(wide).encode(), "bad"),
        "taken": ("bad.safetensors", weights, card, "mnist-lgm"),
    }
    with pytest.raises(CheckpointError) as caught:
        uploads.add_model(*upload[what])
    assert str(user_folder()) not in str(caught.value), "the temporary folder is of no use to anybody"
    assert not marker.exists()
    assert not user_folder().exists() or not list(user_folder().iterdir())


def test_a_network_that_guesses_is_not_added(fresh_home: Path, tiny_lgm: Path) -> None:
    untrained = build_model(read_card(tiny_lgm).config.model, seed=1).state_dict()
    weights = {name: value.contiguous() for name, value in untrained.items()}
    card = json.loads(tiny_lgm.with_suffix(".json").read_text()) | {"weights_sha256": weights_sha256(weights)}
    with pytest.raises(CheckpointError, match="not added, for it is hardly better than guessing"):
        uploads.add_model("untrained.safetensors", save(weights), json.dumps(card).encode(), "untrained")
    assert not list(user_folder().iterdir())


def test_a_full_disk_is_said_of_an_upload_and_nothing_is_left(
    fresh_home: Path, tiny_lgm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(SaveError, match=f"{user_folder()}: .*No space left on device"):
        uploads.add_model("any.safetensors", tiny_lgm.read_bytes(), None, "theirs")
    assert not list(user_folder().iterdir())


def test_the_page_adds_an_upload_and_lists_it(open_page: Callable[[], AppTest], tiny_lgm: Path) -> None:
    app = open_page()
    app.file_uploader(key="upload_weights_0").set_value(("mine.safetensors", tiny_lgm.read_bytes(), "")).run()
    card = tiny_lgm.with_suffix(".json").read_bytes()
    app.file_uploader(key="upload_card_0").set_value(("mine.json", card, "application/json")).run()
    press(app, "Check and add")
    assert "**`uploaded`** is among the networks now" in words(app)
    assert "uploaded" in app.dataframe[0].value["name"].tolist()
    app.selectbox(key="train_pick").set_value("uploaded").run()
    assert len(app.get("download_button")) == 2


# The official digits.


def test_a_download_that_fails_says_why(open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(on_file: OnFile | None) -> None:
        assert on_file is not None
        on_file(0, 4, "train-images-idx3-ubyte")
        raise DataError("train-images-idx3-ubyte: no mirror could be reached")

    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], download=fails))
    app = press(open_page(), "Download the official MNIST files")
    wait(runner().jobs["download-mnist"])
    app.run()
    assert [error.value for error in app.error] == ["train-images-idx3-ubyte: no mirror could be reached"]
    assert app.session_state["link"].data == "bundled", "D_f must not change under the reader"


def test_a_download_stops_between_two_files(open_page: Callable[[], AppTest], monkeypatch: pytest.MonkeyPatch) -> None:
    files: list[int] = []

    def slow(on_file: OnFile | None) -> None:
        assert on_file is not None
        for done in range(4):
            on_file(done, 4, "file")
            files.append(done)
            runner().jobs["download-mnist"].cancel()

    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], download=slow))
    press(open_page(), "Download the official MNIST files")
    wait(runner().jobs["download-mnist"])
    assert files == [0]


# Small things.


@pytest.mark.parametrize(("seconds", "text"), [(0.2, "1 s"), (42.4, "42 s"), (89.9, "90 s"), (100, "2 min")])
def test_durations_are_as_precise_as_an_estimate(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_held_out_digits_are_the_ones_nobody_trains_on(bundled: Split) -> None:
    features = read_features("mnist-lgm").splits["bundled"]
    seen = training_runs.held_out(features, "mnist")
    np.testing.assert_array_equal(seen.labels, load_split("bundled-val").labels)
    assert training_runs.held_out(seen, "mnist") is seen
