"""Documents say what the records say, and notice when a record is changed or old."""

import json
import re
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import lgm.experiments.records
import lgm.reports.documents
from lgm.cli.main import main
from lgm.config import ATTACK_REVISION
from lgm.experiments.board.record import read_board
from lgm.experiments.records import outdated, provenance, read_study, stored_study
from lgm.experiments.study import stored_findings
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, read_card
from lgm.reports.documents import DOCUMENTS, ROOT, DatasetRecord, problems, render, write_documents
from lgm.training.presets import PRESETS
from lgm.utils.codec import encode

Capture = pytest.CaptureFixture[str]
_read, _read_once = DatasetRecord.read, cache(DatasetRecord.read)
_board, _findings = cache(read_board), cache(stored_findings)


@pytest.fixture
def copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The documents in a folder of their own, and records that may be changed."""
    for name in DOCUMENTS:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    records = tmp_path / "checkpoints"
    records.mkdir()
    for path in SHIPPED.glob("*.study.json"):
        shutil.copy(path, records)
    monkeypatch.setattr(lgm.experiments.records, "SHIPPED", records)
    monkeypatch.setattr(lgm.reports.documents, "ROOT", tmp_path)
    # What is not the study of MNIST stays as it is, whatever a test does.
    monkeypatch.setattr(lgm.reports.documents, "read_board", _board)
    monkeypatch.setattr(lgm.reports.documents, "stored_findings", _findings)
    monkeypatch.setattr(DatasetRecord, "read", lambda name: (_read if name == "mnist" else _read_once)(name))
    return tmp_path


def edit(folder: Path, change: Any) -> None:
    path = folder / "checkpoints" / "mnist.study.json"
    study = json.loads(path.read_text())
    change(study)
    path.write_text(json.dumps(study))


def test_the_documents_are_what_the_records_say(capsys: Capture):
    assert main(["results", "--check"]) == 0, capsys.readouterr().err


@pytest.mark.slow
def test_an_edited_record_is_noticed(copy: Path, capsys: Capture):
    def change(study: dict[str, Any]) -> None:
        report = next(r for r in study["defense"] if (r["poisons"], r["clean"], r["task"]) == (10, 10, "two"))
        report["attack_success"]["unfiltered"] -= 0.1

    edit(copy, change)
    assert main(["results", "--check"]) == 1
    error = capsys.readouterr().err
    assert "README.md: differs from the records in line" in error
    assert "docs/results.md: differs from the records in line" in error
    assert main(["results"]) == 0
    capsys.readouterr()
    assert main(["results", "--check"]) == 0, "rendered anew, it says what the record says"


@pytest.mark.slow
def test_a_number_changed_by_hand_is_noticed_and_put_right(copy: Path):
    document = copy / "README.md"
    before = document.read_text()
    number = re.search(r"(\d+) % \(", before.split("<!-- results: success mnist -->")[1])
    assert number is not None
    start, rest = before.split("<!-- results: success mnist -->")
    document.write_text(f"{start}<!-- results: success mnist -->{rest.replace(number[0], '7 % (', 1)}")
    (problem,) = problems(copy)
    pairs = zip(before.split("\n"), document.read_text().split("\n"), strict=True)
    line = next(i for i, (a, b) in enumerate(pairs, start=1) if a != b)
    assert f"README.md: differs from the records in line {line};" in problem
    assert write_documents(copy) == ["README.md"]
    assert document.read_text() == before


@pytest.mark.slow
def test_a_record_older_than_the_attack_is_noticed(copy: Path, capsys: Capture):
    edit(copy, lambda study: study["about"].update(attack_revision=None))
    write_documents(copy)
    assert main(["results", "--check"]) == 1
    said = "made with {} of the attack, and today's is " + str(ATTACK_REVISION)
    assert f"mnist.study.json: {said.format('an unnamed revision')}" in capsys.readouterr().err
    assert outdated(ATTACK_REVISION - 1) == said.format("revision 0")


@pytest.mark.slow
def test_a_record_of_other_weights_is_noticed(copy: Path):
    edit(copy, lambda study: study["about"]["weights_sha256"].update(lgm="0" * 64))
    write_documents(copy)
    assert any("mnist.study.json: mnist-lgm has other weights now" in problem for problem in problems(copy))


@pytest.mark.slow
def test_networks_of_seeds_by_another_recipe_are_noticed(copy: Path, monkeypatch: pytest.MonkeyPatch):
    now = PRESETS["mnist-softmax"]
    monkeypatch.setitem(PRESETS, "mnist-softmax", now.with_last(lr=0.5))
    assert any("mnist-softmax-1 was trained by another recipe" in problem for problem in problems(copy))


@pytest.mark.slow
def test_visibility_of_another_study_is_noticed(copy: Path):
    edit(copy, lambda study: study["about"].update(data_sha256="0" * 64))
    assert any("mnist.visibility.json: of other images than the study" in problem for problem in problems(copy))


def test_a_block_that_there_is_not_is_named():
    with pytest.raises(CheckpointError, match=r"results: nothing mnist: expected a macro of results\.md\.jinja"):
        render("<!-- results: nothing mnist -->\n<!-- end of results -->", {"mnist": DatasetRecord.read("mnist")})


def test_every_block_is_rendered():
    for name in DOCUMENTS:
        text = (ROOT / name).read_text()
        assert not re.search(r"-->\n\s*<!-- end of results", text), "an empty block"
        assert text.count("<!-- results: ") == text.count("<!-- end of results -->")


def test_a_study_says_where_it_comes_from():
    study = read_study("mnist")
    assert study is not None
    about = study.about
    line = provenance(about)
    for part in (about.made, about.data, f"revision {ATTACK_REVISION}", "`mnist-lgm`", about.machine):
        assert part in line


def test_the_stored_study_serves_what_it_was_measured_on_and_nothing_else(
    bundled: Any, monkeypatch: pytest.MonkeyPatch
):
    names = {"lgm": "mnist-lgm", "softmax": "mnist-softmax"}
    assert encode(stored_study(names, bundled, 1)) == encode(read_study("mnist"))
    assert stored_study(names, bundled, 2) is None
    assert stored_study(names, bundled[:100], 1) is None
    assert stored_study({"lgm": "cifar10-lgm", "softmax": "mnist-softmax"}, bundled, 1) is None
    monkeypatch.setattr(lgm.experiments.records, "ATTACK_REVISION", ATTACK_REVISION + 1)
    assert stored_study(names, bundled, 1) is None


def test_accuracies_are_those_of_the_cards():
    for network in DatasetRecord.read("mnist").networks:
        assert network.accuracy.value == pytest.approx(read_card(network.card.name).accuracy["test"])
        assert f"**{100 * network.accuracy.value:.2f} %**" in (ROOT / "docs" / "results.md").read_text()
