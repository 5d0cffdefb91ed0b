"""From a folder of images to the list of what to keep."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lgm.attacks.result import read_shipped_poisons
from lgm.cli.main import main
from lgm.data.base import Split
from lgm.detection.thresholds import conformal_threshold
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features
from lgm.models.scoring import log_likelihood
from lgm.utils.images import png

pytestmark = pytest.mark.slow


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert main([*map(str, arguments), "--json"]) == 0, capsys.readouterr().err
    return json.loads(capsys.readouterr().out)


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    assert main([*map(str, arguments)]) == 1
    return capsys.readouterr().err


def write(folder: Path, images: np.ndarray, labels: np.ndarray, kind: str) -> None:
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        path = folder / str(label) / f"{kind}-{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(image))


@pytest.fixture
def digits(bundled: Split, fresh_home: Path, tmp_path: Path) -> Path:
    """295 digits, 20 shipped poisons under the labels that they claim, and odd files."""
    folder = tmp_path / "digits"
    write(folder, bundled.images[::17], bundled.labels[::17], "clean")
    poisons = read_shipped_poisons("mnist-lgm")
    collided = np.flatnonzero(poisons.collided)[:20]
    write(folder, poisons.images[collided], poisons.labels[collided], "poison")
    (folder / "3" / "odd.png").write_bytes(b"no image")
    (folder / "readme.txt").write_text("beside")
    return folder


def test_poisons_are_left_out_of_what_is_kept(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    added = run(capsys, "data", "add", "mine", digits)
    assert added["dataset"]["images"] == 315
    assert added["dataset"]["shape"] == [1, 28, 28]
    assert [entry["path"] for entry in added["skipped"]] == ["3/odd.png", "readme.txt"]
    out = tmp_path / "kept.csv"
    result = run(capsys, "filter", "mine", "--model", "mnist-lgm", "--fpr", "0.02", "--out", out)
    with out.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == result["images"] == 315
    removed = [row["path"] for row in rows if row["kept"] == "0"]
    assert len(removed) == result["removed"] == sum(result["removed_per_class"].values())
    assert sum("poison" in path for path in removed) >= 18
    assert sum("clean" in path for path in removed) <= 12
    assert [entry["path"] for entry in result["skipped"]] == ["3/odd.png", "readme.txt"]


def test_scores_and_threshold_are_those_of_the_package(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(capsys, "data", "add", "mine", digits)
    result = run(capsys, "filter", "mine", "--model", "mnist-lgm", "--out", tmp_path / "kept.csv")
    held_out = read_features("mnist-lgm").splits["bundled"]
    assert result["threshold"] == pytest.approx(conformal_threshold(held_out.score, 0.02), rel=1e-5)
    assert result["calibrated_on"] == 5000
    model, _ = load_checkpoint("mnist-lgm")
    expected = log_likelihood(model, bundled.images[::17], bundled.labels[::17]).numpy()
    with (tmp_path / "kept.csv").open(newline="") as file:
        rows = {row["path"].split("-")[-1]: row for row in csv.DictReader(file) if "clean" in row["path"]}
    found = [float(rows[f"{i:04}.png"]["score"]) for i in range(295)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("score", ["gaussian", "log-odds", "knn"])
def test_other_scores_with_trusted_images(
    score: str, digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "trusted", bundled.images[5::13], bundled.labels[5::13], "trusted")
    run(capsys, "data", "add", "mine", digits)
    run(capsys, "data", "add", "trusted", tmp_path / "trusted")
    options = ["--model", "mnist-softmax", "--trusted", "trusted", "--score", score, "--fpr", "0.05"]
    result = run(capsys, "filter", "mine", *options, "--out", tmp_path / "kept.csv")
    shared = np.intersect1d(np.arange(0, 5000, 17), np.arange(5, 5000, 13))
    trusted = len(range(5, 5000, 13)) - len(shared)
    assert result["calibrated_on"] == pytest.approx(trusted if score == "log-odds" else trusted / 2, abs=6)
    assert 0 < result["removed"] < 60


def test_the_list_of_a_class_that_nobody_knows_is_refused(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (digits / "9").rename(digits / "nine")
    run(capsys, "data", "add", "mine", digits)
    said = refused(capsys, "filter", "mine", "--model", "mnist-lgm", "--out", tmp_path / "kept.csv")
    assert "--score: the network knows the classes 0, 1, 2" in said
    assert "claim to be nine" in said
    assert not (tmp_path / "kept.csv").exists()
    assert "gaussian and knn go by other images of these instead" in said


def test_a_class_that_no_trusted_image_is_of_is_judged_by_the_data_themselves(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (digits / "9").rename(digits / "nine")
    run(capsys, "data", "add", "mine", digits)
    options = ["--model", "mnist-lgm", "--score", "gaussian"]
    result = run(capsys, "filter", "mine", *options, "--out", tmp_path / "k.csv")
    assert (result["trusted"], result["removed"]) == ("none", 6)
    assert "no rate is promised" in result["promise"]
    assert "no image held out of the network's training is of nine" in result["notes"][0]
    write(tmp_path / "trusted", bundled.images[5::13], bundled.labels[5::13], "trusted")
    run(capsys, "data", "add", "trusted", tmp_path / "trusted")
    said = refused(capsys, "filter", "mine", *options, "--trusted", "trusted", "--out", tmp_path / "l.csv")
    assert "--trusted: no image of nine, which the data claim to hold" in said


def test_a_rate_that_too_few_can_promise_is_refused(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "trusted", bundled.images[3::250], bundled.labels[3::250], "trusted")
    run(capsys, "data", "add", "mine", digits)
    run(capsys, "data", "add", "few", tmp_path / "trusted")
    said = refused(capsys, "filter", "mine", "--model", "mnist-lgm", "--trusted", "few", "--out", tmp_path / "kept.csv")
    assert "--fpr: 19 trusted images calibrate T, and a rate of 2 % needs at least 49; allow 5 %" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "add", "Mine!", "{}"], "error: name: expected up to 64 of a-z"),
        (["data", "add", "mnist", "{}"], "name: mnist has a meaning already"),
        (["data", "add", "mine", "{}/3"], "no image in any class"),
        (["data", "add", "mine", "{}/nowhere"], "cannot be read"),
        (["data", "add", "mine", "{}", "--size", "0"], "--size: expected a number of pixels from 1 to 1024, got 0"),
        (["data", "check", "mine"], "no dataset 'mine' is registered (none yet)"),
        (["filter", "mine", "--model", "mnist-lgm", "--out", "k.csv"], "no dataset 'mine' is registered"),
        (["data", "check", "../mine"], "expected the name of a registered dataset, got '../mine'"),
        (["filter", "mine", "--model", "mnist-lgm", "--out", "k.txt"], "--out: expected a name that ends in .csv"),
    ],
)
def test_what_cannot_be_done_is_said(arguments: list[str], said: str, digits: Path, capsys: pytest.CaptureFixture[str]):
    assert said in refused(capsys, *[argument.format(digits) for argument in arguments])


def test_what_is_registered_is_listed_and_checked(digits: Path, capsys: pytest.CaptureFixture[str]):
    assert run(capsys, "data", "list") == []
    run(capsys, "data", "add", "mine", digits)
    assert [each["name"] for each in run(capsys, "data", "list")] == ["mine"]
    assert "registered already" in refused(capsys, "data", "add", "mine", digits)
    assert run(capsys, "data", "check", "mine") == {"missing": [], "changed": [], "unreadable": []}
    first, second, third = sorted((digits / "1").iterdir())[:3]
    first.unlink()
    second.write_bytes(third.read_bytes())
    third.write_bytes(b"no image")
    changes = run(capsys, "data", "check", "mine")
    assert changes["missing"] == [f"1/{first.name}"]
    assert changes["changed"] == [f"1/{second.name}"]
    assert changes["unreadable"] == [{"path": f"1/{third.name}", "reason": "not an image"}]
    assert run(capsys, "data", "add", "mine", digits, "--force")["dataset"]["images"] == 313
