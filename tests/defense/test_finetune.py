"""A head, and all layers, against slow and independent ways to the same."""

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from lgm.defense.finetune import Examples, LinearHead, fine_tune, fine_tune_layers
from lgm.models.classifier import Classifier
from lgm.models.heads import SoftmaxHead
from lgm.models.scoring import embed


@pytest.fixture
def network() -> Classifier:
    """Two features of tiny images, through batch norm with statistics of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 2))
        model = Classifier(layers, SoftmaxHead(2, 3), (1, 4, 4))
    layers[1].running_mean = torch.tensor([0.1, -0.2, 0.3])
    model.feature_scale = torch.tensor([0.5, 2.0])
    return model.eval().requires_grad_(False)


def examples(model: Classifier, n: int, n_classes: int, rng: np.random.Generator) -> Examples:
    pixels = rng.random((n, 1, 4, 4), np.float32)
    z = embed(model, torch.from_numpy(pixels)).numpy() * model.feature_scale.numpy()
    labels = np.arange(n) % n_classes * 2 + 1  # labels are not positions
    return Examples(z, labels, np.zeros(n), np.zeros(n, bool), pixels)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_the_head_is_scikit_learns(network: Classifier, n_classes: int, rng: np.random.Generator) -> None:
    those, points = examples(network, 60, n_classes, rng), rng.normal(size=(500, 2))
    expected = LogisticRegression(C=7.0, max_iter=5000).fit(those.z, those.labels)
    head = fine_tune(those, 7.0)
    np.testing.assert_array_equal(head(points), expected.predict(points))
    logits = points @ head.weight.T + head.bias
    share = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(share, expected.predict_proba(points), atol=1e-9)


def test_layers_that_do_not_move_say_what_the_head_says(network: Classifier, rng: np.random.Generator) -> None:
    those, others = examples(network, 30, 3, rng), examples(network, 40, 3, rng)
    head = fine_tune(those)
    unmoved = fine_tune_layers(network, those, head, lr=0.0, batch_size=7)
    np.testing.assert_array_equal(unmoved(others.pixels), head(others.z))


def test_a_step_is_adams(network: Classifier, rng: np.random.Generator) -> None:
    """Adam's first step moves each weight by the learning rate, against the sign of its gradient."""
    lr = 0.05
    those, others = examples(network, 30, 3, rng), examples(network, 300, 3, rng)
    head = LinearHead(np.array([1, 3, 5]), rng.normal(size=(3, 2)), rng.normal(size=3))
    predicted = fine_tune_layers(network, those, head, lr=lr, steps=1)(others.pixels)

    norm: Any = network.backbone[1]  # type: ignore[bad-index]
    weights: list[Any] = [*network.backbone.parameters(), torch.tensor(head.weight), torch.tensor(head.bias)]
    weights = [weight.detach().clone().float().requires_grad_() for weight in weights]

    def logits(pixels: np.ndarray) -> torch.Tensor:
        x = nn.functional.conv2d((torch.from_numpy(pixels) - 0.5) / 0.5, weights[0], weights[1])
        kept = (norm.running_mean, norm.running_var)
        x = nn.functional.batch_norm(x, *kept, weights[2], weights[3], training=False, eps=norm.eps).flatten(1)
        return (x @ weights[4].T + weights[5]) * torch.tensor([0.5, 2.0]) @ weights[6].T + weights[7]

    share = logits(those.pixels).log_softmax(1)[range(30), (those.labels - 1) // 2]
    (-share.mean()).backward()
    with torch.no_grad():
        for weight in weights:
            weight.sub_(lr * weight.grad.sign())
        best = logits(others.pixels)
    top = best.sort(1).values
    clear = (top[:, 2] - top[:, 1] > 1e-2).numpy()  # gradients near 0 make smaller steps
    assert clear.mean() > 0.8
    np.testing.assert_array_equal(predicted[clear], head.classes[best.argmax(1).numpy()][clear])
    assert (predicted != head(others.z)).any()
