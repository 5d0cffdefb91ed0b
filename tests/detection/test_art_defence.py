"""The adapter beside ART itself: its attack, its estimator, its evaluation."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from lgm.data.base import Split
from lgm.detection.art_defence import LikelihoodDefence
from lgm.models.checkpoint import load_checkpoint

pytestmark = pytest.mark.slow


class Wrapped(nn.Module):
    """A shipped network as ART wants it: images to logits, features in between."""

    def __init__(self, name: str) -> None:
        super().__init__()
        model, _ = load_checkpoint(name)
        self.features = nn.Sequential(model.normalise, model.backbone)
        self.head = _Logits(model.head)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(x))


class _Logits(nn.Module):
    def __init__(self, head: Any) -> None:
        super().__init__()
        self.head = head

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.head.logits(z)


@pytest.fixture(scope="module")
def classifier() -> Any:
    from art.estimators.classification import PyTorchClassifier

    network = Wrapped("mnist-lgm").eval()
    shape = (1, 28, 28)
    return PyTorchClassifier(network, nn.CrossEntropyLoss(), shape, 10, clip_values=(0, 1), device_type="cpu")


@pytest.fixture(scope="module")
def poisons(classifier: Any, bundled: Split) -> np.ndarray:
    """Three by ART's feature collision: zeros that have the features of a one."""
    from art.attacks.poisoning import FeatureCollisionAttack

    pixels = bundled.pixels().numpy()
    target = pixels[bundled.labels == 1][:1]
    settings: dict[str, Any] = {"learning_rate": 3.0, "max_iter": 30, "similarity_coeff": 0.0, "watermark": None}
    attack = FeatureCollisionAttack(classifier, target, "features", verbose=False, **settings)
    found, _ = attack.poison(pixels[bundled.labels == 0][:3])
    return found.astype(np.float32)


@pytest.mark.filterwarnings("ignore")
def test_poisons_of_art_are_found_and_counted_as_art_counts(classifier: Any, poisons: np.ndarray, bundled: Split):
    from art.defences.detector.poison import GroundTruthEvaluator

    clean, trusted = bundled[np.arange(0, 5000, 20)], bundled[np.arange(7, 5000, 10)]
    x = np.concatenate([clean.pixels().numpy(), poisons])
    y = np.concatenate([clean.labels, np.zeros(len(poisons), np.int64)])
    is_clean = np.arange(len(x)) < len(clean)
    vouching: dict[str, Any] = {"x_trusted": trusted.pixels().numpy(), "y_trusted": trusted.labels}
    defence = LikelihoodDefence(classifier, x, np.eye(10)[y], layer="features", **vouching)
    report, found = defence.detect_poison(fpr=0.05)
    assert found[len(clean) :] == [0] * len(poisons)
    assert np.mean(found[: len(clean)]) > 0.85
    assert report["removed"] == found.count(0)
    of_class = [y == k for k in range(10)]
    marked, truth = np.array(found), is_clean.astype(int)
    _, expected = GroundTruthEvaluator().analyze_correctness(
        [marked[mine] for mine in of_class], [truth[mine] for mine in of_class]
    )
    assert json.loads(defence.evaluate_defence(truth, fpr=0.05)) == json.loads(expected)


def test_a_truth_of_another_length_is_refused(classifier: Any, bundled: Split, tmp_path: Path):
    some = bundled[np.arange(0, 5000, 50)]
    x = some.pixels().numpy()
    defence = LikelihoodDefence(classifier, x, some.labels, x_trusted=x, y_trusted=some.labels, layer="features")
    with pytest.raises(ValueError, match="is_clean: expected one value for each of 100 images"):
        defence.evaluate_defence(np.ones(3))
