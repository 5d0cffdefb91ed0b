"""The one-shot attack: scales, heads, and poisons that are image files."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lgm.attacks.one_shot import craft_one_shot, feature_scale, frozen_network, set_head
from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.models.pretrained import LITE0, load_extractor
from lgm.models.scoring import embed


def pairs(blobs: Split) -> tuple[Split, Split]:
    bases = np.array([np.flatnonzero(blobs.labels == k)[0] for k in range(4)])
    targets = np.array([np.flatnonzero(blobs.labels == (k + 1) % 4)[1] for k in range(4)])
    return blobs[bases], blobs[targets]


def test_a_feature_that_no_image_changes_is_left_out(rng: np.random.Generator):
    z = np.column_stack([rng.uniform(-3, 5, 50), np.full(50, 7.0), rng.uniform(0, 0.1, 50)])
    scale = feature_scale(z)
    assert np.ptp(z * scale, axis=0) == pytest.approx([2, 0, 2], rel=1e-5)
    assert scale[1] == 0


def test_the_networks_head_is_the_one_on_rescaled_features(blobs: Split, linear: Classifier, rng: np.random.Generator):
    weight, bias = rng.normal(size=(4, 2)), rng.normal(size=4)
    before = {name: tensor.clone() for name, tensor in linear.head.state_dict().items()}
    try:
        set_head(linear, weight, bias)
        with torch.inference_mode():
            found = linear(blobs.pixels(slice(0, 9))).numpy()
        rescaled = embed(linear, blobs.pixels(slice(0, 9))).numpy() * linear.feature_scale.numpy()
        np.testing.assert_allclose(found, rescaled @ weight.T + bias, rtol=1e-4, atol=1e-4)
    finally:
        linear.head.load_state_dict(before)


def test_poisons_are_8_bit_images_with_the_targets_features(blobs: Split, linear: Classifier):
    bases, targets = pairs(blobs)
    poisons = craft_one_shot(linear, bases, targets, beta=1e-4, iterations=200)
    bytes_ = 255 * poisons.images
    assert np.abs(bytes_ - bytes_.round()).max() < 1e-4
    assert poisons.images.min() >= 0
    assert poisons.images.max() <= 1
    there = embed(linear, targets.pixels()).numpy()
    start = np.linalg.norm(embed(linear, bases.pixels()).numpy() - there, axis=1)
    assert (np.linalg.norm(embed(linear, poisons.images).numpy() - there, axis=1) < 0.05 * start).all()
    np.testing.assert_allclose(poisons.z, embed(linear, poisons.images).numpy(), atol=1e-5)
    change = poisons.images - bases.pixels().numpy()
    np.testing.assert_allclose(poisons.l2, np.sqrt(np.square(change).sum((1, 2, 3))), rtol=1e-5)


def test_finished_poisons_are_read_and_not_crafted_again(blobs: Split, linear: Classifier, tmp_path: Path):
    bases, targets = pairs(blobs)
    options = {"beta": 1e-3, "iterations": 20, "cache": tmp_path}
    first = craft_one_shot(linear, bases, targets, **options)
    steps: list[int] = []
    again = craft_one_shot(linear, bases, targets, on_step=lambda done, total: steps.append(done), **options)
    assert np.array_equal(first.images, again.images)
    assert len(steps) == len(list(tmp_path.iterdir())) == 2  # a file for two poisons, and nothing in between


@pytest.mark.slow
def test_a_frozen_network_sees_pixels_as_the_weights_were_trained():
    model = frozen_network(LITE0, 3)
    pixels = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = load_extractor(LITE0)((255 * pixels - 127) / 128)
    torch.testing.assert_close(embed(model, pixels), expected, rtol=1e-3, atol=1e-3)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.head.logits(expected).shape == (2, 3)
