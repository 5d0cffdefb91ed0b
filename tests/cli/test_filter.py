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


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.DictReader(file))


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


def test_poisons_are_left_out_by_the_scores_and_the_threshold_of_the_package(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    added = run(capsys, "data", "add", "mine", digits)
    assert added["dataset"]["images"] == 315
    assert added["dataset"]["shape"] == [1, 28, 28]
    assert [entry["path"] for entry in added["skipped"]] == ["3/odd.png", "readme.txt"]
    out = tmp_path / "kept.csv"
    result = run(capsys, "filter", "mine", "--model", "mnist-lgm", "--out", out)
    rows = rows_of(out)
    assert len(rows) == result["images"] == 315
    removed = [row["path"] for row in rows if row["kept"] == "0"]
    assert len(removed) == result["removed"] == sum(result["removed_per_class"].values())
    assert sum("poison" in path for path in removed) >= 18
    assert sum("clean" in path for path in removed) <= 12
    assert [entry["path"] for entry in result["skipped"]] == ["3/odd.png", "readme.txt"]
    held_out = read_features("mnist-lgm").splits["bundled"]
    assert result["threshold"] == pytest.approx(conformal_threshold(held_out.score, 0.02), rel=1e-5)
    assert result["calibrated_on"] == 5000
    model, _ = load_checkpoint("mnist-lgm")
    expected = log_likelihood(model, bundled.images[::17], bundled.labels[::17]).numpy()
    clean = {row["path"].split("-")[-1]: row for row in rows if "clean" in row["path"]}
    found = [float(clean[f"{i:04}.png"]["score"]) for i in range(295)]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_other_scores_with_trusted_images(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "trusted", bundled.images[5::13], bundled.labels[5::13], "trusted")
    run(capsys, "data", "add", "mine", digits)
    run(capsys, "data", "add", "trusted", tmp_path / "trusted")
    shared = np.intersect1d(np.arange(0, 5000, 17), np.arange(5, 5000, 13))
    trusted = len(range(5, 5000, 13)) - len(shared)
    for score in ("gaussian", "log-odds", "knn"):
        options = ["--model", "mnist-softmax", "--trusted", "trusted", "--score", score, "--fpr", "0.05"]
        result = run(capsys, "filter", "mine", *options, "--out", tmp_path / f"{score}.csv")
        assert result["calibrated_on"] == pytest.approx(trusted if score == "log-odds" else trusted / 2, abs=6), score
        assert 0 < result["removed"] < 60, score


def test_several_scores_stand_side_by_side_and_the_first_decides(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(capsys, "data", "add", "mine", digits)
    options = ["--model", "mnist-lgm", "--fpr", "0.05"]
    both = run(
        capsys,
        "filter",
        "mine",
        *options,
        "--score",
        "knn,likelihood",
        "--score",
        "confidence",
        "--out",
        tmp_path / "a.csv",
    )
    assert [each["score"] for each in both["scores"]] == ["knn", "likelihood", "confidence"]
    rows = rows_of(tmp_path / "a.csv")
    for each in both["scores"]:
        alone = run(
            capsys, "filter", "mine", *options, "--score", each["score"], "--out", tmp_path / f"{each['score']}.csv"
        )
        prefix = "" if each["score"] == "knn" else f"{each['score']} "
        for row, other in zip(rows, rows_of(tmp_path / f"{each['score']}.csv"), strict=True):
            assert [row[prefix + name] for name in ("score", "threshold", "kept")] == [
                other[name] for name in ("score", "threshold", "kept")
            ]
            assert (float(row[prefix + "score"]) > float(row[prefix + "threshold"])) == bool(int(row[prefix + "kept"]))
        assert (each["threshold"], each["removed"]) == (alone["threshold"], alone["removed"])
        kept = [(row["kept"], row[prefix + "kept"]) for row in rows]
        assert each["removed_by_both"] == kept.count(("0", "0"))


def test_a_report_links_and_a_summary_on_wish(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(capsys, "data", "add", "mine", digits)
    files = {"--out": "k.csv", "--report": "k.html", "--summary": "k.json", "--links": "links"}
    options = [str(part) for option, name in files.items() for part in (option, tmp_path / name)]
    result = run(capsys, "filter", "mine", "--model", "mnist-lgm", "--score", "likelihood,gaussian", *options)
    assert json.loads((tmp_path / "k.json").read_text()) == result
    rows = rows_of(tmp_path / "k.csv")
    for row in rows:
        link = tmp_path / "links" / ("kept" if row["kept"] == "1" else "removed") / row["path"]
        assert link.resolve() == (digits / row["path"]).resolve()
    assert sum(path.is_symlink() for path in (tmp_path / "links").rglob("*")) == len(rows)
    page = (tmp_path / "k.html").read_text()
    assert f"{result['images'] - result['removed']} of 315 images kept, {result['removed']} removed" in page
    assert page.count("data:image/png;base64,") == 24
    for row in sorted(rows, key=lambda row: float(row["score"]))[:24]:
        assert f"<code>{row['path']}</code>" in page
    assert "http" not in page.replace("http://www.w3.org", ""), "it needs no other file"
    assert not list((tmp_path / "home" / "filter").glob("*")), "features are forgotten once the list is saved"


@pytest.mark.parametrize("option", ["--out", "--report", "--summary", "--links"])
def test_what_is_there_is_refused_before_the_work(
    option: str, digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run(capsys, "data", "add", "mine", digits)
    names = {"--out": "k.csv", "--report": "k.html", "--summary": "k.json", "--links": "links"}
    (tmp_path / names[option]).write_text("before")
    monkeypatch.setattr("lgm.models.checkpoint.load_checkpoint", None)  # nobody comes that far
    options = [str(part) for each, name in names.items() for part in (each, tmp_path / name)]
    said = refused(capsys, "filter", "mine", "--model", "mnist-lgm", *options)
    assert f"exists already; choose another {option}, or replace it with --force" in said
    assert (tmp_path / names[option]).read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["digits", "home", names[option]])


def test_a_killed_run_goes_on(
    digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    run(capsys, "data", "add", "mine", digits)
    monkeypatch.setattr("lgm.detection.parts._CLOCKS", 0)
    options = ["filter", "mine", "--model", "mnist-lgm", "--out", tmp_path / "k.csv"]
    with monkeypatch.context() as patch:
        patch.setattr("lgm.detection.filter_run.KeptList", None)  # killed after the last batch
        with pytest.raises(TypeError):
            run(capsys, *options)
    assert len(list((tmp_path / "home" / "filter").glob("*/*.safetensors"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr("lgm.data.loader.read_content", None)  # nothing is read again
        resumed = run(capsys, *options)
    assert resumed == run(capsys, *options, "--no-resume", "--force")
    assert not list((tmp_path / "home" / "filter").glob("*"))


def test_trusted_images_that_are_among_the_data_calibrate_nothing(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    write(tmp_path / "trusted", bundled.images[5::13], bundled.labels[5::13], "trusted")
    run(capsys, "data", "add", "mine", digits)
    run(capsys, "data", "add", "trusted", tmp_path / "trusted")
    options = ["--model", "mnist-lgm", "--trusted", "trusted", "--out", tmp_path / "k.csv"]
    result = run(capsys, "filter", "mine", *options)
    shared = len(np.intersect1d(np.arange(0, 5000, 17), np.arange(5, 5000, 13)))
    assert result["calibrated_on"] == len(range(5, 5000, 13)) - shared
    assert f"{shared} images of trusted are among the data too, and calibrate nothing." in result["notes"]
    said = refused(capsys, "filter", "mine", *options[:-2], "--trusted", "mine", "--out", tmp_path / "l.csv")
    assert "--trusted: mine cannot vouch for itself" in said


def test_small_and_lopsided_classes_are_named(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    run(capsys, "data", "add", "mine", digits)
    chosen = [i for i in range(3, 5000, 13) if bundled.labels[i] not in (1, 4)]
    chosen += [*np.flatnonzero(bundled.labels == 4)[:3], *np.flatnonzero(bundled.labels == 1)]
    write(tmp_path / "trusted", bundled.images[chosen], bundled.labels[chosen], "trusted")
    run(capsys, "data", "add", "trusted", tmp_path / "trusted")
    options = ["--model", "mnist-lgm", "--trusted", "trusted", "--out", tmp_path / "k.csv"]
    notes = run(capsys, "filter", "mine", *options)["notes"]
    assert any("Few trusted images of 4 (" in note for note in notes)
    assert any("in other proportions than among the trusted images" in note for note in notes)


@pytest.fixture
def features(fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """Digits and 50 poisons as mnist-lgm sees them, and other digits; registered without their images."""
    digits, poisons = read_features("mnist-lgm").splits["bundled"], read_shipped_poisons("mnist-lgm")
    of = {
        "mine": (np.concatenate([digits.z[::5], poisons.z[:50]]), np.append(digits.labels[::5], poisons.labels[:50])),
        "vouching": (digits.z[1::5], digits.labels[1::5]),
        "wide": (np.tile(digits.z[1::5], 2), digits.labels[1::5]),
    }
    for name, (z, labels) in of.items():
        np.savez(tmp_path / f"{name}.npz", features=z, labels=labels.astype(str))
        run(capsys, "data", "add", name, tmp_path / f"{name}.npz")
    return ["filter", "mine", "--out", str(tmp_path / "k.csv")]


def test_features_without_images_need_no_network(
    features: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    options = ["--trusted", "vouching", "--fpr", "0.05", "--report", str(tmp_path / "k.html")]
    result = run(capsys, *features, *options)
    assert (result["score"], result["images"], result["calibrated_on"]) == ("gaussian", 1050, 500)
    rows = rows_of(tmp_path / "k.csv")
    assert all(row["kept"] == "0" for row in rows[1000:])
    assert sum(row["kept"] == "0" for row in rows[:1000]) < 100
    assert {row["predicted"] for row in rows} == {""}
    assert "<img" not in (tmp_path / "k.html").read_text()
    by_network = run(capsys, *features, "--model", "mnist-lgm", "--force")
    assert (by_network["score"], by_network["calibrated_on"]) == ("likelihood", 5000)
    assert "" not in {row["predicted"] for row in rows_of(tmp_path / "k.csv")}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (
            ["--score", "likelihood"],
            "--score: likelihood is what a network says: name one (--model), or go by gaussian",
        ),
        (["--trusted", "wide"], "--trusted: wide has 4 features a row, and mine 2"),
        (["--links", "links"], "--links: expected a dataset of image files, and mine is one file"),
    ],
)
def test_what_features_alone_cannot_do_is_said(
    options: list[str], said: str, features: list[str], capsys: pytest.CaptureFixture[str]
):
    assert said in refused(capsys, *features, *options)


def test_the_data_alone_where_nothing_is_trusted(digits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    run(capsys, "data", "add", "mine", digits)
    options = ["--model", "mnist-lgm", "--trusted", "none", "--score", "gaussian", "--fpr", "0.1"]
    result = run(capsys, "filter", "mine", *options, "--out", tmp_path / "k.csv", "--report", tmp_path / "k.html")
    assert (result["removed"], result["calibrated_on"], result["trusted"]) == (31, 315, "none")
    removed = [row["path"] for row in rows_of(tmp_path / "k.csv") if row["kept"] == "0"]
    assert sum("poison" in path for path in removed) >= 18
    page = (tmp_path / "k.html").read_text()
    assert "no rate is promised" in page
    assert "exchangeable" not in page


def test_a_class_that_the_network_does_not_know_is_judged_by_other_images_of_it_alone(
    digits: Path, bundled: Split, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    (digits / "9").rename(digits / "nine")
    run(capsys, "data", "add", "mine", digits)
    said = refused(capsys, "filter", "mine", "--model", "mnist-lgm", "--out", tmp_path / "kept.csv")
    assert "--score: the network knows the classes 0, 1, 2" in said
    assert "claim to be nine" in said
    assert not (tmp_path / "kept.csv").exists()
    assert "gaussian and knn go by other images of these instead" in said
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
        (
            ["filter", "mine", "--model", "mnist-lgm", "--out", "k.csv", "--score", "gut"],
            "--score: expected one of likel",
        ),
        (
            ["filter", "mine", "--model", "mnist-lgm", "--out", "k.csv", "--score", ","],
            "--score: expected one of likelih",
        ),
        (
            ["filter", "mine", "--model", "mnist-lgm", "--out", "k.csv", "--workers", "-1"],
            "--workers: expected a number",
        ),
        (
            ["filter", "mine", "--model", "mnist-lgm", "--out", "k.csv", "--report", "r"],
            "--report: expected a name that",
        ),
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
    assert main(["data", "check", "mine", "--json"]) == 1, "a script notices"
    changes = json.loads(capsys.readouterr().out)
    assert changes["missing"] == [f"1/{first.name}"]
    assert changes["changed"] == [f"1/{second.name}"]
    assert changes["unreadable"] == [{"path": f"1/{third.name}", "reason": "not an image"}]
    assert run(capsys, "data", "add", "mine", digits, "--force")["dataset"]["images"] == 313
