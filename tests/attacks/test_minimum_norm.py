"""The least change that a network takes for another class, against the distance to a plane."""

import numpy as np
import pytest
import torch

from lgm.attacks.minimum_norm import least_change
from lgm.data.base import Split
from lgm.models.classifier import Classifier


def test_on_a_linear_network_it_is_the_distance_to_the_border(linear: Classifier, blobs: Split) -> None:
    pixels = blobs.pixels(slice(0, 40)).requires_grad_()
    logits = linear.head.logits(linear.embed(pixels))
    own, second = logits.topk(2).indices.T
    right = (own.numpy() == blobs.labels[:40]).nonzero()[0][:12]
    gap = (logits.gather(1, own[:, None]) - logits.gather(1, second[:, None])).squeeze(1)
    (slope,) = torch.autograd.grad(gap.sum(), pixels)
    distance = (gap / slope.flatten(1).norm(dim=1)).detach().numpy()
    found = least_change(linear, blobs[right], second.numpy()[right], steps=200)
    assert found == pytest.approx(distance[right], rel=0.03)
    assert (found >= distance[right] * (1 - 1e-4)).all(), "nothing nearer is of the other class"


def test_what_the_attack_does_not_find_is_infinite(linear: Classifier, blobs: Split) -> None:
    assert np.isinf(least_change(linear, blobs[:2], (blobs.labels[:2] + 2) % 4, steps=1)).any()


def test_its_own_class_is_refused(linear: Classifier, blobs: Split) -> None:
    with pytest.raises(ValueError, match="classes: expected another one for each of 3 bases"):
        least_change(linear, blobs[:3], blobs.labels[:3])
