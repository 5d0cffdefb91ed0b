"""Poisons for other programs: what is written is what was crafted, and what rounding does is measured."""

import csv
import io
import json
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lgm.attacks.export import archive, arrays, rounded, safetensors
from lgm.attacks.result import Poisons, read_poisons, read_shipped_poisons
from lgm.data.base import Split
from lgm.data.registry import DATASETS
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed, log_likelihood

CLASSES = DATASETS["mnist"].classes


@pytest.fixture(scope="module")
def few_poisons() -> Poisons:
    return read_shipped_poisons("mnist-lgm")[np.arange(6)]


def rows(content: bytes) -> list[dict[str, str]]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        return list(csv.DictReader(io.StringIO(found.read("poisons.csv").decode())))


def test_rounding_is_that_of_an_image_file_and_judged_by_the_network(few_poisons: Poisons):
    model, _ = load_checkpoint("mnist-lgm")
    stored = rounded(model, few_poisons)
    through_file = np.stack([np.asarray(Image.open(io.BytesIO(png)))[None] for png in pngs(archive_of(few_poisons))])
    np.testing.assert_array_equal(255 * stored.images, through_file)
    images, labels = torch.from_numpy(through_file / np.float32(255)), torch.from_numpy(few_poisons.labels.astype(int))
    np.testing.assert_allclose(stored.score, log_likelihood(model, images, labels), atol=1e-4)
    np.testing.assert_allclose(stored.z, embed(model, images), atol=1e-5)
    np.testing.assert_array_equal(stored.predicted, model(images).argmax(1))
    change = (through_file - few_poisons.bases.astype(float)) / 255
    np.testing.assert_allclose(stored.l2, np.sqrt((change**2).sum((1, 2, 3))), rtol=1e-5)
    assert 0 < np.abs(stored.score - few_poisons.score).max() < 1, "rounding is felt, and is no other image"


def archive_of(poisons: Poisons) -> bytes:
    return archive(poisons, CLASSES)


def pngs(content: bytes) -> list[bytes]:
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        return [found.read(row["file"]) for row in rows(content)]


def test_the_table_says_of_each_image_what_was_crafted_and_what_rounding_does(few_poisons: Poisons):
    model, _ = load_checkpoint("mnist-lgm")
    content, stored = archive(few_poisons, CLASSES, model), rounded(model, few_poisons)
    table = rows(content)
    assert [int(row["base_position"]) for row in table] == few_poisons.base_index.tolist()
    assert [row["claimed_label"] for row in table] == [CLASSES[k] for k in few_poisons.labels]
    assert [row["collides"] for row in table] == ["yes" if hit else "no" for hit in few_poisons.collided]
    np.testing.assert_allclose([float(row["log_likelihood_nats"]) for row in table], few_poisons.score, rtol=1e-4)
    np.testing.assert_allclose([float(row["log_likelihood_nats_8_bit"]) for row in table], stored.score, rtol=1e-4)
    assert [row["predicted_8_bit"] for row in table] == [CLASSES[k] for k in stored.predicted]
    with zipfile.ZipFile(io.BytesIO(content)) as found:
        assert json.loads(found.read("poisons.json")) == few_poisons.manifest
        assert found.testzip() is None


def test_without_a_density_the_likelihood_is_empty(few_poisons: Poisons):
    table = rows(archive_of(replace(few_poisons, score=np.full(6, np.nan, np.float32))))
    assert {row["log_likelihood_nats"] for row in table} == {""}
    assert "nan" not in archive_of(few_poisons).decode("latin-1").lower().split("poisons.json")[-1]


def test_names_of_classes_cannot_leave_the_archive(few_poisons: Poisons):
    odd = tuple(f"../{name}/x y" for name in CLASSES)
    assert all(row["file"].count("/") == 1 and ".." not in row["file"] for row in rows(archive(few_poisons, odd)))


def test_arrays_come_back_without_a_pickle(few_poisons: Poisons):
    with np.load(io.BytesIO(arrays(few_poisons)), allow_pickle=False) as found:
        for name in ("images", "bases", "targets", "labels", "target_labels", "score"):
            np.testing.assert_array_equal(found[name], getattr(few_poisons, name))
        assert json.loads(str(found["config"])) == few_poisons.manifest


def test_safetensors_are_what_the_command_line_reads(few_poisons: Poisons, tmp_path: Path):
    path = tmp_path / "set.safetensors"
    path.write_bytes(safetensors(few_poisons))
    back = read_poisons(path)
    np.testing.assert_array_equal(back.path, few_poisons.path)
    assert back.manifest == few_poisons.manifest


def test_softmax_poisons_are_rounded_without_a_score(linear: Classifier, blobs: Split):
    from lgm.attacks.craft import craft_poisons
    from lgm.config import PoisonConfig

    first, second = (np.flatnonzero(blobs.labels == k)[:2] for k in (0, 3))
    poisons = craft_poisons(linear, blobs[first], blobs[second], PoisonConfig(iterations=3))
    stored = rounded(linear, poisons)
    assert np.isnan(stored.score).all()
    scaled = (stored.z - poisons.target_z) * linear.feature_scale.numpy()
    np.testing.assert_allclose(stored.collision, (scaled**2).sum(1), rtol=1e-4)
