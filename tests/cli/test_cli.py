import argparse
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import lgm
from lgm.attacks.export import rounded
from lgm.attacks.result import Poisons, read_poisons
from lgm.cli.main import main
from lgm.cli.options import split_of
from lgm.config import BETA_GRID, ModelConfig, Phase, PoisonConfig, TrainConfig
from lgm.data.base import DataError, Dataset, Split, class_subset
from lgm.data.registry import DATASETS, find_dataset
from lgm.data.store import register
from lgm.detection.filters import DETECTORS
from lgm.detection.metrics import outcome, roc
from lgm.detection.thresholds import conformal_threshold, conformal_words, empirical_threshold, nominal_fpr
from lgm.models.card import REGISTRATION, Card
from lgm.models.checkpoint import embed_split, load_checkpoint, save_checkpoint
from lgm.models.classifier import build_model
from lgm.models.features import read_features
from lgm.models.registry import read_card
from lgm.models.scoring import log_likelihood, posterior_and_log_likelihood, require_mixture
from lgm.stats.intervals import Estimate, auc_interval, wilson_interval
from lgm.training.presets import PRESETS
from lgm.utils.codec import encode
from lgm.utils.fields import fields_of
from lgm.utils.io import SaveError
from tests.detection.test_compare import forest_once  # noqa: F401 fixture

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
Capture = pytest.CaptureFixture[str]


def run(capsys: Capture, *arguments: object) -> dict[str, Any]:
    """The JSON a command prints: one object, and nothing else, on standard output."""
    capsys.readouterr()
    code = main([str(argument) for argument in arguments] + ["--json"])
    out, err = capsys.readouterr()
    assert code == 0, err
    assert out.count("\n") == 1
    return json.loads(out)


def fails(capsys: Capture, *arguments: object) -> str:
    """What a command says on standard error when it ends with code 1; standard output stays empty."""
    capsys.readouterr()
    assert main([str(argument) for argument in arguments]) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "Traceback" not in err
    return err


@pytest.fixture(scope="module")
def crafted(tiny_lgm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("crafted") / "poisons.safetensors"
    command = ["craft", str(tiny_lgm), "--poisons", "12", "--iterations", "30", "--seed", "4", "--out", str(out)]
    assert main(command) == 0
    return out


def test_module_runs_and_helps():
    command = [sys.executable, "-W", "error", "-m", "lgm", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0
    assert done.stderr == ""
    for word in ("train", "evaluate", "craft", "detect", "defend", "examples:", "models:"):
        assert word in done.stdout


@pytest.mark.parametrize("command", ["train", "evaluate", "craft", "detect", "defend"])
def test_each_command_helps(command: str, capsys: Capture):
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    assert "--json" in out
    assert "--device" in out
    assert "None" not in out
    assert "False" not in out, "what is the default of a switch needs no word"


def test_an_option_has_the_default_and_help_of_its_field(capsys: Capture):
    with pytest.raises(SystemExit):
        main(["craft", "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for name in ("beta", "method", "iterations", "tolerance", "gamma"):
        field = fields_of(PoisonConfig)[name]
        assert field.doc
        assert f"{field.doc} (default: {getattr(PoisonConfig(), name)})" in out


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["evaluate"],
        ["evaluate", "m", "--data", "validation"],
        ["train", "no-preset"],
        ["train", "tiny-lgm", "--epochs", "many"],
        ["craft", "m"],
        ["detect", "m"],
        ["defend"],
        ["defend", "m", "--task", "three"],
    ],
    ids=" ".join,
)
def test_bad_usage_ends_with_2(arguments: list[str], capsys: Capture):
    with pytest.raises(SystemExit) as end:
        main(arguments)
    assert end.value.code == 2
    assert "usage: python -m lgm" in capsys.readouterr().err


def test_evaluate(tiny_lgm: Path, capsys: Capture):
    result = run(capsys, "evaluate", tiny_lgm)
    card = read_card(tiny_lgm)
    accuracy = card.accuracy["bundled"]
    assert (result["model"], result["data"], result["n"]) == ("tiny-lgm", "bundled", 5000)
    assert result["accuracy"] == pytest.approx(accuracy, abs=4e-4)  # batches may round a digit across a border
    assert result["interval"] == pytest.approx(list(wilson_interval(round(result["accuracy"] * 5000), 5000)))
    assert result["weights_sha256"] == card.weights_sha256
    assert result["closest_centers"] == card.closest_centers


def test_evaluate_on_chosen_data(tiny_softmax: Path, capsys: Capture):
    result = run(capsys, "evaluate", tiny_softmax, "--data", "bundled-val")
    assert (result["data"], result["n"]) == ("bundled-val", 1000)
    assert result["mean_log_likelihood"] is None


def test_table_for_people(tiny_lgm: Path, capsys: Capture):
    capsys.readouterr()
    assert main(["evaluate", str(tiny_lgm)]) == 0
    lines = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert (lines["model"], lines["n"]) == ("tiny-lgm", "5000")
    assert float(lines["accuracy"]) == pytest.approx(read_card(tiny_lgm).accuracy["bundled"], abs=4e-4)


def test_craft_reports_what_it_saved(tiny_lgm: Path, bundled: Split, tmp_path: Path, capsys: Capture):
    out = tmp_path / "new folder" / "poisons.safetensors"
    arguments = ["--poisons", 8, "--iterations", 20, "--beta", 0.02, "--seed", 7, "--out", out]
    result = run(capsys, "craft", tiny_lgm, *arguments)
    poisons = read_poisons(out)
    assert len(poisons) == result["poisons"] == 8
    assert result["collided"] == poisons.collided.mean()
    assert result["objective"] == pytest.approx(poisons.objective.mean(), rel=1e-6)
    assert result["objective_median"] == pytest.approx(np.median(poisons.objective), rel=1e-6)
    assert result["l2"] == pytest.approx(poisons.l2.mean(), rel=1e-6)
    assert result["linf"] == pytest.approx(poisons.linf.mean(), rel=1e-6)
    assert result["iterations"] == poisons.iterations.mean() <= 20
    assert (poisons.beta == np.float32(0.02)).all()
    assert poisons.manifest["weights_sha256"] == read_card(tiny_lgm).weights_sha256
    assert poisons.manifest["split_sha256"] == bundled.sha256
    np.testing.assert_array_equal(poisons.bases, bundled.images[poisons.base_index])
    np.testing.assert_array_equal(poisons.target_labels, bundled.labels[poisons.target_index])
    again = tmp_path / "again.safetensors"
    run(capsys, "craft", tiny_lgm, *arguments[:-1], again)
    assert again.read_bytes() == out.read_bytes()


def test_craft_of_one_pair_over_all_betas(tiny_lgm: Path, bundled: Split, tmp_path: Path, capsys: Capture):
    out = tmp_path / "example.safetensors"
    result = run(capsys, "craft", tiny_lgm, "--pair", 10, 4000, "--iterations", 5, "--out", out)
    poisons = read_poisons(out)
    assert result["beta"] == [float(beta) for beta in poisons.beta]
    assert (result["poisons"], result["seed"]) == (len(BETA_GRID), None)
    assert poisons.manifest["pair"] == [10, 4000]
    for image in poisons.targets:
        np.testing.assert_array_equal(image, bundled.images[4000])
    np.testing.assert_array_equal(poisons.labels, bundled.labels[[10] * len(BETA_GRID)])


def test_craft_knows_of_the_filter_if_told(tiny_lgm: Path, bundled: Split, tmp_path: Path, capsys: Capture):
    model = load_checkpoint(tiny_lgm)[0]
    score = log_likelihood(model, bundled.pixels(), bundled.targets()).numpy()
    arguments = ["craft", tiny_lgm, "--poisons", 3, "--iterations", 10, "--gamma", 5]
    calibrated = run(capsys, *arguments, "--out", tmp_path / "a.safetensors")
    assert (calibrated["gamma"], calibrated["threshold"]) == (5.0, conformal_threshold(score, 0.01))
    assert calibrated["threshold_means"] == conformal_words(0.01, len(score))
    given = run(capsys, *arguments, "--threshold", -3.5, "--out", tmp_path / "b.safetensors")
    assert (given["threshold"], given["threshold_means"]) == (-3.5, None)
    lowest = [read_poisons(tmp_path / f"{name}.safetensors").score.min() for name in "ab"]
    assert lowest[0] < -3.5 < lowest[1]


def test_craft_replaces_a_file_only_when_told(tiny_lgm: Path, tmp_path: Path, capsys: Capture):
    out = tmp_path / "precious.safetensors"
    out.write_text("mine")
    arguments = ["craft", tiny_lgm, "--poisons", 2, "--iterations", 1, "--out", out]
    assert f"error: {out} exists already; choose another --out, or replace it with --force" in fails(capsys, *arguments)
    assert out.read_text() == "mine"
    run(capsys, *arguments, "--force")
    assert len(read_poisons(out)) == 2


@pytest.mark.parametrize("out", ["poisons.txt", "folder.safetensors", "/proc/p.safetensors"])
def test_craft_refuses_a_place_before_the_work(
    out: str, tiny_lgm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    (tmp_path / "folder.safetensors").mkdir()
    monkeypatch.setattr("lgm.attacks.craft.craft_random", lambda *_, **__: pytest.fail("the work began"))
    err = fails(capsys, "craft", tiny_lgm, "--poisons", 2, "--out", tmp_path / out, "--force")
    assert err.startswith("error: ") and out in err
    assert [path.name for path in tmp_path.iterdir()] == ["folder.safetensors"]


def test_craft_writes_what_other_programs_read_and_detect_reads_it(tiny_lgm: Path, tmp_path: Path, capsys: Capture):
    arguments = ["craft", tiny_lgm, "--poisons", 6, "--iterations", 20]
    run(capsys, *arguments, "--out", tmp_path / "all.safetensors")
    run(capsys, *arguments, "--out", tmp_path / "some.npz")
    folder = run(capsys, *arguments, "--out", tmp_path / "pictures")
    poisons, model = read_poisons(tmp_path / "all.safetensors"), load_checkpoint(tiny_lgm)[0]
    assert folder["collided_8_bit"] == rounded(model, poisons).collided.mean()
    known = run(capsys, "detect", tiny_lgm, tmp_path / "all.safetensors")
    assert run(capsys, "detect", tiny_lgm, tmp_path / "some.npz") == known
    near = run(capsys, "detect", tiny_lgm, tmp_path / "pictures")
    assert near.keys() == known.keys()
    assert near["crafted_on"] == known["crafted_on"] == "tiny-lgm"
    assert near["auc"] == pytest.approx(known["auc"], abs=0.05)
    err = fails(capsys, *arguments, "--out", tmp_path / "pictures")
    assert "poisons.csv exists already; choose another --out, or replace it with --force" in err
    assert run(capsys, "craft", tiny_lgm, "--poisons", 2, "--out", tmp_path / "pictures", "--force")["poisons"] == 2
    assert len(list((tmp_path / "pictures" / "poisons").iterdir())) == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").touch()
    assert "expected a new or empty folder, or one of poisons" in fails(capsys, *arguments, "--out", tmp_path / "mine")


def test_craft_keeps_its_poisons_where_there_is_room(
    tiny_lgm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    save, out = Poisons.save, tmp_path / "out" / "p.safetensors"

    def full(poisons: Poisons, path: Path) -> None:
        if path == out:
            raise SaveError(f"{path}: cannot be written (No space left on device)")
        save(poisons, path)

    monkeypatch.setattr(Poisons, "save", full)
    monkeypatch.setattr("lgm.utils.outputs.tempfile.gettempdir", lambda: str(tmp_path))
    err = fails(capsys, "craft", tiny_lgm, "--poisons", 2, "--iterations", 1, "--out", out)
    (kept,) = tmp_path.rglob("p.safetensors")
    assert err.splitlines()[-1].endswith(f"(No space left on device); it is kept as {kept}")
    assert len(read_poisons(kept)) == 2
    assert not out.parent.exists()


def test_report_tries_its_places_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    monkeypatch.setattr("lgm.experiments.study.run_study", lambda *_, **__: pytest.fail("the work began"))
    out = tmp_path / "report.html"
    for more in (["--study", "/proc/study.json"], ["--study", tmp_path / "study.txt"]):
        assert str(more[1]) in fails(capsys, "report", "--out", out, *more)
    assert "/proc/report.html: cannot be written" in fails(capsys, "report", "--out", "/proc/report.html")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--poisons", "0"], "--poisons: expected 1..5000"),
        (["--poisons", "-1"], "--poisons: expected 1..5000 (one base image each), got -1"),
        (["--poisons", "5001"], "--poisons: expected 1..5000"),
        (["--poisons", "999999999999"], "--poisons: expected 1..5000 (one base image each), got 999999999999"),
        (["--iterations", "0"], "--iterations: expected at least 1"),
        (["--beta", "-1"], "--beta: expected a number >= 0"),
        (["--beta", "inf"], "--beta: expected a number >= 0, at most 1,000,000, got inf"),
        (["--beta", "nan"], "--beta: expected a number >= 0, at most 1,000,000, got nan"),
        (["--beta", "1e300"], "--beta: expected a number >= 0, at most 1,000,000, got 1e+300"),
        (["--tolerance", "nan"], "--tolerance: expected a share in [0, 1], got nan"),
        (["--seed", "-1"], "--seed: expected an integer in [0, 2**31), got -1"),
        (["--seed", str(2**40)], "--seed: expected an integer in [0, 2**31), got 1099511627776"),
        (["--gamma", "-1"], "--gamma: expected a number >= 0"),
        (["--gamma", "inf"], "--gamma: expected a number >= 0, at most 1,000,000, got inf"),
        (["--threshold", "-3"], "--threshold: expected --gamma with it"),
        (
            ["--gamma", "1", "--threshold", "nan"],
            "--threshold: expected a number of nats from -1,000,000 to 1,000,000, got nan",
        ),
        (["--gamma", "1", "--method", "fbs"], "--gamma: expected 0 for forward-backward splitting"),
        (["--device", "abacus"], "--device: expected one that torch can use here"),
        (["--device", "meta"], "--device: expected one that torch can use here, such as cpu, got 'meta'"),
        (["--pair", "0", "5000"], "--pair: expected positions in 0..4999, got 0 and 5000"),
        (["--pair", "0", "1"], "--pair: expected two classes"),
    ],
)
def test_craft_refuses_nonsense(arguments: list[str], message: str, tiny_lgm: Path, tmp_path: Path, capsys: Capture):
    out = tmp_path / "poisons.safetensors"
    assert message in fails(capsys, "craft", tiny_lgm, "--out", out, *arguments)
    assert not out.exists()


@pytest.fixture
def nothing_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """No network and no data: whoever looks for them fails in another way than by a message."""

    def read(*_: object) -> None:
        raise AssertionError("work before the check")

    monkeypatch.setattr("lgm.models.checkpoint.load_checkpoint", read)
    monkeypatch.setattr("lgm.training.train.load_split", read)
    monkeypatch.setattr("lgm.cli.options.load_split", read)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("craft m --out p.safetensors --beta inf", "--beta: expected a number >= 0"),
        ("craft m --out p.safetensors --iterations 0", "--iterations: expected at least 1"),
        ("craft m --out p.safetensors --gamma nan", "--gamma: expected a number >= 0"),
        ("craft m --out p.safetensors --gamma 1 --threshold inf", "--threshold: expected a number of nats"),
        ("craft m --out p.safetensors --seed -1", "--seed: expected an integer"),
        ("craft m --out p.safetensors --device meta", "--device: expected one that"),
        ("evaluate m --device nonsense", "--device: expected one that torch can use here, such as cpu, got 'nonsense'"),
        ("evaluate m --device cpu:x", "--device: expected one that torch can use here, such as cpu, got 'cpu:x'"),
        ("defend m --poisons -1", "--poisons: expected a number >= 0, got -1"),
        ("defend m --poisons 999999999999", "--poisons, --trials: expected a product of at most 1,000,000"),
        ("defend m --trials 1", "--trials: expected 2 to 10,000, for an interval, got 1"),
        ("defend m --trials 999999999999", "--trials: expected 2 to 10,000"),
        ("defend m --clean 0", "--clean: expected at least 1 image per class, got 0"),
        ("defend m --beta 1e300", "--beta: expected a number >= 0, at most 1,000,000, got 1e+300"),
        ("defend m --strength nan", "--strength: expected a number > 0, at most 1,000,000, got nan"),
        ("defend m --strength 0", "--strength: expected a number > 0"),
        ("defend m --watermark nan", "--watermark: expected an opacity in [0, 1), got nan"),
        ("defend m --fpr 2", "--fpr: expected a rate in (0, 1), got 2.0"),
        ("defend m --fpr 0", "--fpr: expected a rate in (0, 1), got 0.0"),
        ("defend m --seed 1099511627776", "--seed: expected an integer in [0, 2**31), got 1099511627776"),
        ("detect m p.safetensors --fpr nan", "--fpr: expected a rate in [0, 1], got nan"),
        ("detect m p.safetensors --seed -1", "--seed: expected an integer"),
        ("bench craft --pairs 0", "--pairs: expected at least 1, got 0"),
        ("bench craft --beta nan", "--beta: expected a number >= 0"),
        ("bench craft --iterations -5", "--iterations: expected at least 1, got -5"),
        ("report --out r.html --seed -1", "--seed: expected an integer"),
        ("train tiny-lgm --epochs 0", "--epochs: expected at least 1, got 0"),
        ("train tiny-lgm --limit -1", "--limit: expected at least 1 image per class, got -1"),
        ("train tiny-lgm --margin inf", "--margin: expected a number >= 0, at most 1,000,000, got inf"),
        ("train tiny-lgm --likelihood-weight nan", "--likelihood-weight: expected a number >= 0"),
        (
            "train tiny-lgm --center-radius 1e300",
            "--center-radius: expected a number >= 0, at most 1,000,000, got 1e+300",
        ),
        ("train tiny-lgm --device meta", "--device: expected one that"),
    ],
)
def test_a_number_without_sense_is_refused_by_its_option_before_any_work(
    command: str, message: str, nothing_is_read: None, fresh_home: Path, capsys: Capture
):
    assert f"error: {message}" in fails(capsys, *command.split())


@pytest.mark.parametrize(("device", "there"), [("cuda", torch.cuda.is_available()), ("mps", False)])
def test_a_device_that_is_not_here(device: str, there: bool, nothing_is_read: None, capsys: Capture):
    if there:  # then it is not refused, and the network is looked for
        with pytest.raises(AssertionError, match="work before the check"):
            main(["evaluate", "m", "--device", device])
    else:
        err = fails(capsys, "evaluate", "m", "--device", device)
        assert f"--device: expected one that torch can use here, such as cpu, got '{device}'" in err
        assert err.count("\n") == 1


def test_bench_names_its_own_option(tiny_lgm: Path, capsys: Capture):
    message = "--pairs: expected 1..5000 (one base image each), got 999999999999"
    assert message in fails(capsys, "bench", "craft", "--model", tiny_lgm, "--pairs", 999999999999)


def test_a_report_is_of_two_networks_of_the_losses_that_their_options_name(
    tiny_lgm: Path, tiny_softmax: Path, tmp_path: Path, capsys: Capture
):
    out = ["report", "--quick", "--out", tmp_path / "report.html"]
    same = fails(capsys, *out, "--lgm", tiny_lgm, "--softmax", tiny_lgm)
    assert f"error: --softmax: expected a network trained with softmax, got '{tiny_lgm}', trained with lgm" in same
    swapped = fails(capsys, *out, "--lgm", tiny_softmax, "--softmax", tiny_lgm)
    assert f"error: --lgm: expected a network trained with lgm, got '{tiny_softmax}', trained with softmax" in swapped
    assert not list(tmp_path.iterdir())


def test_no_command_has_a_device_that_it_does_not_use(capsys: Capture):
    for command in ("bench", "report"):
        with pytest.raises(SystemExit):
            main([command, "--help"])
        assert "--device" not in capsys.readouterr().out


def test_detect_says_what_the_scores_say(tiny_lgm: Path, crafted: Path, bundled: Split, capsys: Capture):
    result = run(capsys, "detect", tiny_lgm, crafted, "--fpr", 0.2)
    model, _ = load_checkpoint(tiny_lgm)
    poisons = read_poisons(crafted)
    clean = embed_split(model, bundled).score
    score = log_likelihood(model, torch.from_numpy(poisons.images), torch.from_numpy(poisons.labels)).numpy()
    np.testing.assert_allclose(score, poisons.score, atol=1e-4)
    curve = roc(clean, score)
    at = outcome(clean, score, result["threshold"])
    assert result["auc"] == pytest.approx(curve.auc, abs=1e-6)
    assert (result["clean"], result["poisons"]) == (5000, 12)
    assert result["collided"] == poisons.collided.sum()
    assert result["tpr"] == pytest.approx(curve.tpr_at(0.2))
    assert result["fpr"] <= 0.2
    assert (result["caught"], result["missed"]) == (at.caught, at.missed)
    assert (result["wrongly_removed"], result["kept"]) == (at.wrongly_removed, at.kept)
    peak = require_mixture(model).peak().numpy()
    assert result["nominal_fpr"] == pytest.approx(nominal_fpr(result["threshold"], peak, 2))
    assert (result["crafted_on"], result["wanted_fpr"]) == ("tiny-lgm", 0.2)
    assert result["threshold"] == empirical_threshold(clean, 0.2) == result["threshold_at_fpr"]["0.2"]
    assert result["threshold_means"] == "removes at most 20 % of these 5,000 clean images"
    assert result["auc_interval"] == list(auc_interval(result["auc"], 5000, 12))
    for fpr, tpr in result["tpr_at_fpr"].items():
        low, high = result["tpr_at_fpr_interval"][fpr]
        assert low <= tpr <= high
        assert high - low > 0.05, "twelve poisons leave much open, whatever they do"


def test_detect_notes_that_the_data_differ(tiny_lgm: Path, crafted: Path, capsys: Capture):
    capsys.readouterr()
    assert main(["detect", str(tiny_lgm), str(crafted), "--data", "bundled-val", "--json"]) == 0
    out, err = capsys.readouterr()
    assert "crafted from other data than 'bundled-val'" in err
    assert json.loads(out)["clean"] == 1000


def test_detect_needs_a_density(tiny_softmax: Path, crafted: Path, capsys: Capture):
    err = fails(capsys, "detect", tiny_softmax, crafted)
    assert "expected a network trained with the LGM loss, got softmax" in err


@pytest.mark.usefixtures("forest_once")
def test_detect_adds_what_simpler_detectors_do(tiny_lgm: Path, crafted: Path, bundled: Split, capsys: Capture):
    arguments = ["detect", tiny_lgm, crafted, "--fpr", 0.2, "--data", "bundled-val"]  # a fifth of the digits, and time
    plain = run(capsys, *arguments)
    result = run(capsys, *arguments, "--baselines", "--seed", 3)
    found = result.pop("baselines")
    assert result == plain
    assert [each["key"] for each in found] == list(DETECTORS)
    assert found[0]["auc"] == pytest.approx(plain["auc"], abs=1e-6)
    assert found[0]["tpr"] == pytest.approx(plain["tpr"])
    assert found[0]["n"] == plain["poisons"]
    model, card = load_checkpoint(tiny_lgm)
    clean, poisons = embed_split(model, lgm.load_split("bundled-val")), read_poisons(crafted)
    evidence = lgm.gather_evidence(model, card, read_features(tiny_lgm), clean, poisons)
    assert found == encode(lgm.compare(evidence, 3, fpr=0.2))


@pytest.mark.usefixtures("forest_once")
def test_detect_has_baselines_for_a_network_without_a_density(tiny_softmax: Path, crafted: Path, capsys: Capture):
    arguments = ["detect", str(tiny_softmax), str(crafted), "--data", "bundled-val", "--baselines"]
    result = run(capsys, *arguments)
    assert set(result) == {"model", "data", "crafted_on", "wanted_fpr", "baselines"}
    assert (result["model"], result["crafted_on"]) == ("tiny-softmax", "tiny-lgm")
    assert [each["key"] for each in result["baselines"]] == [key for key in DETECTORS if key != "likelihood"]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    for baseline in result["baselines"]:
        (line,) = (line for line in lines if line.startswith(baseline["title"]))
        assert f" {Estimate(baseline['auc'], *baseline['auc_interval']).in_full()} " in line
        for fpr in ("0.01", "0.05"):
            assert Estimate(baseline["tpr_at_fpr"][fpr], *baseline["tpr_at_fpr_interval"][fpr]).percent() in line
            if baseline["verdict"] != "reference":
                assert Estimate(*baseline["tpr_difference"][fpr]).points() in line
        assert line.endswith(baseline["verdict"])


def test_detect_refuses_other_files(tiny_lgm: Path, tmp_path: Path, capsys: Capture):
    err = fails(capsys, "detect", tiny_lgm, tiny_lgm)
    assert "expected poisons made by `python -m lgm craft`, or images and labels" in err
    assert "found no images and labels among backbone.0.bias" in err
    assert f"{tmp_path / 'missing.npz'}: no such file" in fails(capsys, "detect", tiny_lgm, tmp_path / "missing.npz")


@pytest.mark.usefixtures("forest_once")
def test_detect_scores_images_and_labels_from_elsewhere(tiny_lgm: Path, crafted: Path, tmp_path: Path, capsys: Capture):
    known, poisons = run(capsys, "detect", tiny_lgm, crafted), read_poisons(crafted)
    foreign = tmp_path / "theirs.npz"
    np.savez(foreign, x=poisons.images.transpose(0, 2, 3, 1).astype(np.float64), y=np.eye(10)[poisons.labels])
    found = run(capsys, "detect", tiny_lgm, foreign)
    assert found == {name: v for name, v in known.items() if "collided" not in name and name != "crafted_on"}
    assert main(["detect", str(tiny_lgm), str(foreign), "--data", "bundled-val", "--baselines"]) == 0
    out, err = capsys.readouterr()
    assert "what depends on them is left out" in err
    assert "LGM likelihood" in out
    assert "collide" not in out
    images_alone = tmp_path / "images.npy"
    np.save(images_alone, poisons.images)
    assert "np.savez('poisons.npz', images=images, labels=labels)" in fails(capsys, "detect", tiny_lgm, images_alone)


def test_detect_refuses_a_rate_that_is_none(tiny_lgm: Path, crafted: Path, capsys: Capture):
    assert "--fpr: expected a rate in [0, 1], got 2.0" in fails(capsys, "detect", tiny_lgm, crafted, "--fpr", 2)


def test_unknown_model_lists_the_known_and_the_way_to_one(fresh_home: Path, capsys: Capture):
    err = fails(capsys, "evaluate", "no-such-model")
    assert "no checkpoint named 'no-such-model'" in err
    assert "python -m lgm train" in err


def test_missing_data_names_the_file_and_the_fix(tiny_lgm: Path, fresh_home: Path, capsys: Capture):
    err = fails(capsys, "evaluate", tiny_lgm, "--data", "test")
    assert str(fresh_home / "data" / "MNIST" / "raw" / "t10k-images-idx3-ubyte") in err
    assert "--download" in err
    assert "LGM_DATA" in err


def test_download_happens_only_when_asked(tiny_lgm: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    asked: list[str] = []

    def download(on_file: Any) -> None:
        on_file(0, 4, "train-images-idx3-ubyte")
        asked.append("download")
        raise DataError("no mirror could be reached")

    monkeypatch.setitem(DATASETS, "mnist", replace(DATASETS["mnist"], download=download))
    run(capsys, "evaluate", tiny_lgm, "--data", "bundled-val")
    assert not asked
    err = fails(capsys, "evaluate", tiny_lgm, "--data", "bundled-val", "--download")
    assert asked
    assert "download 0/4 train-images-idx3-ubyte" in err
    assert "error: no mirror could be reached" in err


@pytest.fixture
def clothes(bundled: Split, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    """Digits in the place of Fashion-MNIST: a dataset that is not the default one, wherever the tests run."""
    ranges = {"held-out": (0, 20), "train": (20, 120), "test": (120, 150)}

    def load(name: str) -> Split:
        return replace(class_subset(bundled, name, *ranges[name]), dataset="fashion-mnist")

    dataset = replace(DATASETS["fashion-mnist"], load=load, at_hand=lambda name: True)
    monkeypatch.setitem(DATASETS, "fashion-mnist", dataset)
    return dataset


def test_another_dataset_in_ten_dimensions_from_training_to_detection(
    clothes: Dataset, fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    preset = replace(PRESETS["tiny-lgm"], dataset="fashion-mnist", split="train", limit=None)
    monkeypatch.setitem(PRESETS, "tiny-lgm", preset.with_last(model=replace(preset.model, n_dim=10), epochs=12))
    trained = run(capsys, "train", "tiny-lgm", "--name", "clothes", "--out", tmp_path)
    assert set(trained["accuracy"]) == {"held-out", "train", "test"}
    model = tmp_path / "clothes.safetensors"
    features = read_features(model)
    assert (features.means.shape, features.regions.size) == ((10, 10), 0)
    assert len(read_card(model).feature_max) == 10

    result = run(capsys, "evaluate", model)
    assert (result["data"], result["n"]) == ("test", 300)
    assert result["accuracy"] == pytest.approx(trained["accuracy"]["test"], abs=1 / 150)
    assert run(capsys, "evaluate", model, "--data", "held-out")["n"] == 200
    message = "error: --data: expected one of train, test, held-out, which Fashion-MNIST has, or a registered dataset"
    assert message in fails(capsys, "evaluate", model, "--data", "bundled")

    out = tmp_path / "poisons.safetensors"
    crafted = run(capsys, "craft", model, "--poisons", 6, "--iterations", 20, "--out", out)
    poisons = read_poisons(out)
    assert (crafted["data"], poisons.manifest["split_sha256"]) == ("test", clothes.load("test").sha256)
    assert (poisons.z.shape, poisons.path.shape[::2]) == ((6, 10), (6, 10))
    assert (poisons.objective < poisons.path_objective[:, 0, 0]).all(), "they came no nearer to their targets"
    detected = run(capsys, "detect", model, out)
    assert (detected["data"], detected["clean"], detected["poisons"]) == ("test", 300, 6)
    network, _ = load_checkpoint(model)
    posterior, score = posterior_and_log_likelihood(network, poisons.z[0], int(poisons.labels[0]))
    assert posterior.sum() == pytest.approx(1, abs=1e-5)
    assert score == pytest.approx(poisons.score[0], abs=1e-3)


def test_evaluate_a_network_for_colour_images(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    images = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    asked = []
    dataset = replace(
        DATASETS["cifar10"],
        load=lambda name: Split(name, images, np.arange(20) % 10, "cifar10"),
        at_hand=lambda name: True,
        download=asked.append,
    )
    monkeypatch.setitem(DATASETS, "cifar10", dataset)
    config = TrainConfig(phases=(Phase(model=ModelConfig(network="vgg19")),), dataset="cifar10")
    card = Card(name="colours", config=config, weights_sha256="", feature_min=[-1.0, -1.0], feature_max=[1.0, 1.0])
    path = save_checkpoint(build_model(config.model), card, tmp_path)
    result = run(capsys, "evaluate", path, "--data", "test", "--download")
    assert (result["model"], result["data"], result["n"]) == ("colours", "test", 20)
    assert len(asked) == 1, "it is the model's dataset that is fetched"


def test_train_refuses_images_of_another_shape(
    clothes: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    model = ModelConfig(network="vgg19")
    monkeypatch.setitem(PRESETS, "tiny-lgm", TrainConfig(phases=(Phase(model=model),), dataset="fashion-mnist"))
    err = fails(capsys, "train", "tiny-lgm", "--out", tmp_path)
    assert "images: expected shape (N, 3, 32, 32), got (1, 1, 28, 28)" in err


def test_train_follows_its_options(fresh_home: Path, tmp_path: Path, capsys: Capture):
    out = tmp_path / "out"
    options = {"epochs": 4, "limit": 90, "seed": 5, "margin": 0.5, "likelihood-weight": 0.2, "center-radius": 4.0}
    flags = [str(part) for key, value in options.items() for part in (f"--{key}", value)]
    command = ["train", "tiny-lgm", "--name", "mine", "--out", out, "--covariance", "diagonal", "--learn-priors"]
    result = run(capsys, *command, "--data", "bundled-val", *flags)
    card = read_card(out / "mine.safetensors")
    model = card.config.model
    assert (card.config.split, card.config.epochs, card.config.limit) == ("bundled-val", 4, 90)
    assert [phase.seed for phase in card.config.phases] == [5]
    assert (model.margin, model.likelihood_weight, model.center_radius) == (0.5, 0.2, 4.0)
    assert (model.covariance, model.learn_priors, model.network) == ("diagonal", True, "tiny-cnn")
    assert (result["model"], result["folder"], result["epochs"]) == ("mine", str(out), 4)
    assert result["weights_sha256"] == card.weights_sha256
    assert result["accuracy"] == card.accuracy
    names = ["mine.features.safetensors", "mine.json", "mine.safetensors"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert run(capsys, "evaluate", out / "mine.safetensors")["model"] == "mine"


def test_train_refuses_a_start_for_means_that_an_earlier_phase_has_learnt(tmp_path: Path, capsys: Capture):
    err = fails(capsys, "train", "cifar10-lgm", "--center-radius", 4, "--out", tmp_path)
    assert "--center-radius: expected 5.0 as in the phase before (init: continue), got 4.0" in err
    assert not list(tmp_path.iterdir())


def test_train_refuses_a_name_that_is_taken(tiny_lgm: Path, tmp_path: Path, capsys: Capture):
    (tmp_path / "mine.safetensors").write_text("precious")
    err = fails(capsys, "train", "tiny-lgm", "--name", "mine", "--out", tmp_path)
    assert "a model named 'mine' exists already; choose another --name, or replace it with --force" in err
    assert [path.name for path in tmp_path.iterdir()] == ["mine.safetensors"]
    assert (tmp_path / "mine.safetensors").read_text() == "precious"


def test_train_refuses_the_name_of_a_shipped_model(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
):
    monkeypatch.setattr("lgm.cli.train.SHIPPED", tmp_path)
    (tmp_path / "tiny-lgm.safetensors").touch()
    assert "a model named 'tiny-lgm' exists already" in fails(capsys, "train", "tiny-lgm")


def test_train_replaces_a_model_when_told(fresh_home: Path, tmp_path: Path, capsys: Capture):
    (tmp_path / "mine.safetensors").write_text("old")
    command = ["train", "tiny-softmax", "--name", "mine", "--out", tmp_path, "--limit", 50, "--force"]
    result = run(capsys, *command)
    assert load_checkpoint(tmp_path / "mine.safetensors")[1].weights_sha256 == result["weights_sha256"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--name", "../x"], "name '../x': expected 1 to 64 letters"),
        (["--epochs", "0"], "--epochs: expected at least 1"),
        (["--margin", "-1"], "--margin: expected a number >= 0"),
        (["--data", "train"], "train-images-idx3-ubyte is missing; add --download to the command, or set LGM_DATA"),
        (["--data", "bundled"], "--data: expected one of train, test, bundled-train, bundled-val, as all of 'bundled'"),
        (["--device", "abacus"], "--device: expected one that torch can use here"),
        (["--limit", "5", "--epochs", "1", "--margin", "9", "--center-radius", "0"], "features have collapsed"),
    ],
)
def test_train_refuses_nonsense(arguments: list[str], message: str, fresh_home: Path, tmp_path: Path, capsys: Capture):
    assert message in fails(capsys, "train", "tiny-lgm", "--out", tmp_path / "out", *arguments)
    assert not list(tmp_path.rglob("*.json"))
    assert not (tmp_path / "out" / "tiny-lgm.safetensors").exists()


def test_interrupt_ends_with_130(tiny_lgm: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture):
    def interrupt(name: str, dataset: str) -> Split:
        raise KeyboardInterrupt

    monkeypatch.setattr("lgm.cli.options.load_split", interrupt)
    assert main(["evaluate", str(tiny_lgm)]) == 130
    assert capsys.readouterr().err.endswith("interrupted\n")


def test_a_mistake_in_the_program_is_not_hidden(tiny_lgm: Path, monkeypatch: pytest.MonkeyPatch):
    def broken(name: str, dataset: str) -> Split:
        raise ZeroDivisionError

    monkeypatch.setattr("lgm.cli.options.load_split", broken)
    with pytest.raises(ZeroDivisionError):
        main(["evaluate", str(tiny_lgm)])


def test_a_dataset_that_is_another_one_by_now_is_not_measured(fresh_home: Path, tmp_path: Path):
    """Labels are positions among the classes; and a network may have been trained on what is another split today."""
    del fresh_home
    for label in ("bees", "zebras"):
        (tmp_path / "photos" / label).mkdir(parents=True)
        for shade in range(10):
            Image.new("L", (8, 8), 9 * shade + len(label)).save(tmp_path / "photos" / label / f"{shade}.png")
    register("photos", tmp_path / "photos")
    args, digest = argparse.Namespace(data=None, download=False), find_dataset("photos").digest
    config = TrainConfig(phases=(Phase(model=ModelConfig(n_classes=2, n_dim=1)),), dataset="photos")
    card = Card(name="net", config=config, weights_sha256="", classes=("bees", "zebras"))
    card.data_sha256[REGISTRATION] = digest
    assert len(split_of(args, card)) == 4
    with pytest.raises(DataError, match=r"^photos: registered anew .* bees, zebras, and those .* ants, bees; train"):
        split_of(args, replace(card, classes=("ants", "bees")))
    register("photos", tmp_path / "photos", replace=True)
    assert find_dataset("photos").digest == digest  # looked at anew, and the same
    register("photos", tmp_path / "photos", seed=2, replace=True)
    with pytest.raises(DataError, match=r"^photos: registered anew since net was trained, with other images or splits"):
        split_of(args, card)
