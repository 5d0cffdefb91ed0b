"""Stored studies: read to the last byte, or refused by file and field."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import lgm.experiments.records
from lgm.experiments.records import read_study, save_study
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED
from lgm.utils.json import to_json


@pytest.mark.parametrize("dataset", ["mnist", "cifar10"])
def test_shipped_studies_are_written_as_they_were_read(dataset: str, tmp_path: Path):
    study, shipped = read_study(dataset), (SHIPPED / f"{dataset}.study.json").read_bytes()
    assert study is not None
    assert to_json(study).encode() == shipped
    save_study(study, tmp_path / "study.json")
    assert (tmp_path / "study.json").read_bytes() == shipped


def test_of_a_dataset_without_a_study_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lgm.experiments.records, "SHIPPED", tmp_path)
    assert read_study("mnist") is None


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda study: study["about"].update(sead=1), r"unknown field sead @ \$\.about"),
        (lambda study: study["about"].pop("seed"), r"missing field @ \$\.about\.seed"),
        (lambda study: study["defense"][3].pop("interval"), r"missing field interval @ \$\.defense\[3\]"),
        (
            lambda study: study["defense"][0].update(trials=1),
            r"trials: expected 2 to 10,000.* @ \$\.defense\[0\]\.config",
        ),
        (
            lambda study: study["frontier"][0].update(gamma="1"),
            r"expected a number, got '1' @ \$\.frontier\[0\]\.gamma",
        ),
        (lambda study: study["tradeoff"].update(hinge={}), r"unknown field hinge @ \$\.tradeoff"),
        (
            lambda study: study["baselines"][0].update(poisons="hinge"),
            r"hinge not in literal.*\$\.baselines\[0\]\.poisons",
        ),
        (lambda study: study.clear(), r"missing field @ \$\.tradeoff; .*; and 2 more"),
    ],
)
def test_a_study_of_other_fields_is_refused_by_file_and_field(
    change: Callable[[Any], object], problem: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    study = json.loads((SHIPPED / "mnist.study.json").read_text())
    change(study)
    (tmp_path / "mnist.study.json").write_text(json.dumps(study))
    monkeypatch.setattr(lgm.experiments.records, "SHIPPED", tmp_path)
    with pytest.raises(CheckpointError, match=rf"mnist\.study\.json: expected a study in JSON, found {problem}"):
        read_study("mnist")
