"""Gradient matching against gradients of a plain network, one parameter after the other."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from lgm.attacks.gradient_matching import craft_gradient_matching, matching_objective, matchings_of
from lgm.attacks.result import Poisons
from lgm.config import MatchingConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.linear_head import LinearHead
from lgm.models.scoring import embed

K, ATTACKS = 2, 2
CONFIG = MatchingConfig(eps=0.2, steps=12)


@pytest.fixture(scope="module")
def tiny(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0].requires_grad_(False)


@pytest.fixture(scope="module")
def attacks(bundled: Split) -> tuple[Split, Split]:
    """Two digits 3 that are to become a 5, two digits 7 for a 1."""
    bases = [np.flatnonzero(bundled.labels == base)[:K] for base in (3, 7)]
    targets = [np.flatnonzero(bundled.labels == target)[:1].repeat(K) for target in (5, 1)]
    return bundled[np.concatenate(bases)], bundled[np.concatenate(targets)]


@pytest.fixture(scope="module")
def heads() -> list[LinearHead]:
    rng = np.random.default_rng(1)
    return [LinearHead(np.array(classes), rng.normal(size=(2, 2)), rng.normal(size=2)) for classes in ((3, 5), (1, 7))]


@pytest.fixture(scope="module")
def poisons(tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead]) -> Poisons:
    return craft_gradient_matching(tiny, *attacks, CONFIG, group=K, heads=heads)


class FineTuned(nn.Module):
    """The network that is fine-tuned, as one module."""

    def __init__(self, model: Classifier, head: LinearHead) -> None:
        super().__init__()
        self.normalise, self.backbone, self.scale = model.normalise, model.backbone, model.feature_scale
        self.head = nn.Linear(*head.weight.shape[::-1])
        self.head.weight.data = torch.from_numpy(head.weight).float()
        self.head.bias.data = torch.from_numpy(head.bias).float()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.scale * self.backbone(self.normalise(x)))


def slow_objective(
    model: Classifier, attacks: tuple[Split, Split], images: np.ndarray, heads: list[LinearHead]
) -> list[float]:
    """By `backward`, an image at a time."""
    values = []
    for i, head in enumerate(heads):
        network = FineTuned(model, head).requires_grad_(True)
        claimed = torch.tensor([list(head.classes).index(attacks[0].labels[i * K])])

        def gradient(x: torch.Tensor, network: nn.Module = network, claimed: torch.Tensor = claimed) -> np.ndarray:
            network.zero_grad()
            nn.CrossEntropyLoss()(network(x), claimed).backward()
            found = [parameter.grad for parameter in network.parameters()]
            return np.concatenate([part.double().numpy().ravel() for part in found if part is not None])

        mine = torch.from_numpy(images[i * K : (i + 1) * K])
        mean = np.mean([gradient(x[None]) for x in mine], axis=0)
        its = gradient(attacks[1].pixels(slice(i * K, i * K + 1)))
        values.append(1 - mean @ its / np.linalg.norm(mean) / np.linalg.norm(its))
        network.requires_grad_(False)
    return values


def test_the_objective_is_the_cosine_of_plain_gradients(
    tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead], poisons: Poisons
):
    for images in (attacks[0].pixels().numpy(), poisons.images):
        value = matching_objective(tiny, *attacks, images, group=K, heads=heads)
        np.testing.assert_allclose(value, slow_objective(tiny, attacks, images, heads), atol=1e-4)
    assert not any(parameter.requires_grad for parameter in tiny.parameters())


def test_its_derivative_is_a_difference_quotient(
    tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead]
):
    matching = matchings_of(tiny, *attacks, group=K, heads=heads)[0]
    exact = replace(
        matching,
        network=matching.network.double(),
        weight=matching.weight.double(),
        bias=matching.bias.double(),
        direction=tuple(part.double() for part in matching.direction),
    )
    x = attacks[0].pixels(slice(0, K)).double().requires_grad_()
    (gradient,) = torch.autograd.grad(exact.mismatch(x, twice=True)[0], x)
    way = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=x.dtype)
    ahead, behind = (float(exact.mismatch(x.detach() + h * way)[0]) for h in (1e-7, -1e-7))
    assert float((gradient * way).sum()) == pytest.approx((ahead - behind) / 2e-7, rel=1e-3)


def test_poisons_match_better_than_their_bases_and_stay_within_the_bound(
    tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead], poisons: Poisons
):
    how = {"group": K, "heads": heads}
    before, after = (matching_objective(tiny, *attacks, x, **how) for x in (attacks[0].pixels(), poisons.images))
    assert (after < before - 0.05).all()
    assert poisons.linf.max() <= CONFIG.eps + 1e-6
    assert poisons.images.min() >= 0
    assert poisons.images.max() <= 1
    np.testing.assert_allclose(poisons.path_objective[:, -1, 0], after.repeat(K), atol=1e-4)
    np.testing.assert_allclose(poisons.path_objective[:, 0, 0], before.repeat(K), atol=1e-4)
    np.testing.assert_allclose(poisons.path_objective[:, -1, 1], poisons.perturbation, rtol=1e-3)
    assert poisons.path_objective[..., 0].min() >= after.min() - 1e-4, "the best point on the way is what counts"
    np.testing.assert_allclose(poisons.z, embed(tiny, poisons.images), atol=1e-5)


def test_a_restart_is_taken_where_it_ends_lower(
    tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead], poisons: Poisons
):
    how = {"group": K, "heads": heads}
    twice = craft_gradient_matching(tiny, *attacks, replace(CONFIG, restarts=3), **how)
    once, more = (matching_objective(tiny, *attacks, each.images, **how) for each in (poisons, twice))
    assert (more <= once + 1e-5).all()
    again = craft_gradient_matching(tiny, *attacks, replace(CONFIG, restarts=3), **how)
    assert np.array_equal(again.images, twice.images)


def test_progress_and_stopping(tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead]):
    seen: list[tuple[int, int]] = []
    craft_gradient_matching(
        tiny, *attacks, CONFIG, group=K, heads=heads, on_step=lambda done, total: seen.append((done, total))
    )
    assert seen[-1] == (ATTACKS * CONFIG.steps, ATTACKS * CONFIG.steps)
    stopped = craft_gradient_matching(
        tiny, *attacks, CONFIG, group=K, heads=heads, on_step=lambda done, total: done < 3
    )
    assert len(stopped) == ATTACKS * K
    assert stopped.iterations.max() <= 3


def test_what_is_refused(tiny: Classifier, attacks: tuple[Split, Split], heads: list[LinearHead]):
    bases, targets = attacks
    wide = LinearHead(np.array([3, 5]), np.zeros((2, 4)), np.zeros(2))
    for group, given, message in (
        (3, heads, "bases: expected 3 for each attack"),
        (K, heads[:1], "heads: expected 2, one an attack, got 1"),
        (K, heads[::-1], "heads: expected one that knows the claimed label 3"),
        (K, [wide, wide], r"heads: expected weights \(2, 2\)"),
        (2 * K, heads[:1], "targets: expected the same one"),
    ):
        with pytest.raises(ValueError, match=message):
            craft_gradient_matching(tiny, bases, targets, CONFIG, group=group, heads=given)
    with pytest.raises(ValueError, match="bases: expected one class"):
        mixed = np.array([0, 2, 1, 3])
        craft_gradient_matching(tiny, bases[mixed], targets, CONFIG, group=K, heads=heads)
    with pytest.raises(ValueError, match="images: expected 4, one a base"):
        matching_objective(tiny, bases, targets, np.zeros((3, 1, 28, 28), np.float32), group=K, heads=heads)
    for eps in (0.0, 1.5, np.nan):
        with pytest.raises(ValueError, match="eps: expected a change of pixels"):
            MatchingConfig(eps=eps)
