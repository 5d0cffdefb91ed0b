"""The hinge of the attacker who knows: against torch.distributions, and its minima against SLSQP."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.distributions import Independent, Normal

from lgm.attacks.adaptive import MARGIN, Evasion, multipliers
from lgm.attacks.craft import craft_beta_path, craft_poisons
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.mixture import GaussianMixture
from lgm.models.scoring import embed, log_likelihood, require_mixture
from tests.attacks.test_craft import N, closed_form, digits, float32, grey, linear_model  # noqa: F401 fixtures

pytestmark = pytest.mark.slow

CONFIG = PoisonConfig(beta=0.02, iterations=40, tolerance=0)


@pytest.fixture
def evasion() -> Evasion:
    mixture = GaussianMixture(torch.randn(3, 4, generator=torch.Generator().manual_seed(1)))
    mixture.log_variance.data = torch.linspace(-1, 1, 12).view(3, 4)
    return Evasion(0.7, mixture.requires_grad_(False), torch.tensor([2, 0, 1]), torch.full((3,), -6.0))


def test_the_hinge_is_gamma_times_the_nats_that_are_missing(evasion: Evasion):
    owner = torch.arange(3).repeat(20)
    z = 3 * torch.randn(60, 4, generator=torch.Generator().manual_seed(2))
    y = evasion.labels[owner]
    spread = (0.5 * evasion.mixture.log_variance).exp()
    score = Independent(Normal(evasion.mixture.means[y], spread[y]), 1).log_prob(z)
    missing = (evasion.threshold[owner] + MARGIN - score).clamp(min=0)
    assert 0 < int((missing > 0).sum()) < 60, "both sides of the kink"
    torch.testing.assert_close(evasion.cost(z, owner), 0.7 * missing)


def test_a_pull_to_target_and_mean_is_one_to_a_point_between(evasion: Evasion):
    generator = torch.Generator().manual_seed(3)
    owner, scale = torch.tensor([0, 1, 2]), torch.tensor([0.2, 1.0, 2.0, 0.5])
    target, multiplier = torch.randn(3, 4, generator=generator), torch.tensor([0.0, 0.3, 5.0])
    pulled, scales = evasion.pulled(target, scale, owner, multiplier)
    torch.testing.assert_close(pulled[0], target[0])
    torch.testing.assert_close(scales[0], scale)
    z = torch.randn(50, 3, 4, generator=generator)
    mean, precision = evasion.mixture.means[evasion.labels], evasion.mixture.precision[evasion.labels]
    both = (scale * (z - target)).square().sum(-1) + multiplier / 2 * (precision * (z - mean).square()).sum(-1)
    one = (scales * (z - pulled)).square().sum(-1)
    torch.testing.assert_close(both - both[0], one - one[0], atol=1e-4, rtol=1e-4)


def test_multipliers_reach_from_0_to_gamma():
    share = torch.linspace(0, 1, 9, dtype=torch.float64)
    weights = multipliers(share, 30.0, torch.tensor([0.1, 0.2], dtype=torch.float64))
    np.testing.assert_allclose(weights[[0, -1]], [0, 30], atol=1e-12)
    assert (weights.diff() > 0).all()


def slsqp(model: Classifier, data: tuple[Split, Split], config: PoisonConfig, i: int) -> float:
    """The least objective of poison ``i`` on a linear network: over its features and the height of the hinge."""
    at_base, at_target = (embed(model, split.pixels()).double().numpy()[i] for split in data)
    linear, mixture = model.backbone[1], require_mixture(model)  # type: ignore[index]
    a = 2 * linear.weight.double().numpy()
    cost_of_moving = np.linalg.inv(a @ a.T)  # the least |x - b|^2 for features moved by q is q' (A A')^-1 q
    s, mean = model.feature_scale.double().numpy(), mixture.means[int(data[0].labels[i])].double().numpy()
    assert config.threshold is not None
    aim = config.threshold + MARGIN

    def lacking(q: np.ndarray) -> float:
        return aim + np.log(2 * np.pi) + 0.5 * ((at_base + q - mean) ** 2).sum()

    def value(v: np.ndarray) -> float:
        q, height = v[:2], v[2]
        near = ((s * (at_base + q - at_target)) ** 2).sum()
        return near + config.beta * q @ cost_of_moving @ q + config.gamma * height

    start = np.r_[0, 0, max(0, lacking(np.zeros(2)))]
    above = [{"type": "ineq", "fun": lambda v: v[2] - lacking(v[:2])}, {"type": "ineq", "fun": lambda v: v[2]}]
    found = minimize(value, start, method="SLSQP", constraints=above, options={"ftol": 1e-10, "maxiter": 500})
    assert found.success, found.message
    return float(found.fun)


def test_linear_network_gives_the_minimum_on_either_side_of_the_cut_and_on_it(grey: tuple[Split, Split]):  # noqa: F811
    model = linear_model()
    y = torch.from_numpy(grey[0].labels)
    at_base, at_target = (log_likelihood(model, split.pixels(), y).numpy() for split in grey)
    between = float(np.median(np.r_[at_base, at_target]))  # for some poisons the target lies beyond T, for some not
    sides = set()
    # A hinge that pulls some to the cut, one that holds all others on it, and one that none can reach.
    for threshold, gamma, iterations in ((between, 0.05, 20), (between, 5.0, 40), (0.0, 0.05, 15)):
        config = replace(CONFIG, gamma=gamma, threshold=threshold, iterations=iterations)
        poisons = craft_poisons(model, *grey, config)
        assert 0 < poisons.images.min() < poisons.images.max() < 1, "or the box would be part of the problem"
        lacking = threshold + MARGIN - poisons.score
        ours = poisons.objective + gamma * lacking.clip(min=0)
        best = np.array([slsqp(model, grey, config, i) for i in range(N)])
        np.testing.assert_allclose(ours, best, rtol=2e-3, atol=1e-5)
        sides |= {-1 if gap < -1e-2 else 1 if gap > 1e-2 else 0 for gap in lacking}
    assert sides == {-1, 0, 1}, "poisons inside the cut, on it and outside"


def test_where_nothing_lacks_the_hinge_changes_nothing(grey: tuple[Split, Split]):  # noqa: F811
    evading = craft_poisons(linear_model(), *grey, replace(CONFIG, gamma=10.0, threshold=-1e4))
    np.testing.assert_allclose(evading.images, closed_form(linear_model(), *grey, evading.beta), atol=2e-5)


def test_a_heavy_hinge_brings_digits_past_the_filter(tiny_lgm: Path, digits: tuple[Split, Split]):  # noqa: F811
    model, bases = load_checkpoint(tiny_lgm)[0], digits[0]
    score = log_likelihood(model, bases.pixels(), torch.from_numpy(bases.labels)).numpy()
    threshold = float(score.min()) - 0.1  # every base passes
    plain = craft_poisons(model, *digits, CONFIG)
    assert (plain.score <= threshold).any(), "nothing to evade"
    evading = craft_poisons(model, *digits, replace(CONFIG, gamma=10.0, threshold=threshold))
    assert (evading.score > threshold).all()
    assert evading.collision.sum() > plain.collision.sum()  # what it costs the attacker


def test_poisons_of_one_pair_know_of_the_filter_too(tiny_lgm: Path, few: Split):
    model, card = load_checkpoint(tiny_lgm)
    pair = (int(np.flatnonzero(few.labels == 4)[0]), int(np.flatnonzero(few.labels == 9)[0]))
    score = float(log_likelihood(model, few.pixels(slice(pair[0], pair[0] + 1)), torch.tensor([4]))[0])
    config = PoisonConfig(gamma=10.0, threshold=score - 0.1)
    path = craft_beta_path(model, card, few, pair, config, betas=(1e-4, 1e-3, 1e-2))
    assert (path.score > score - 0.1).all()
    assert path.manifest["config"]["gamma"] == 10.0


def test_softmax_has_no_filter_to_know(tiny_softmax: Path, digits: tuple[Split, Split]):  # noqa: F811
    model = load_checkpoint(tiny_softmax)[0]
    with pytest.raises(ValueError, match="softmax"):
        craft_poisons(model, *digits, replace(CONFIG, gamma=1.0, threshold=-3.0))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"gamma": -1.0}, "gamma"),
        ({"gamma": np.nan}, "gamma"),
        ({"gamma": 1.0}, "gamma"),
        ({"gamma": 1.0, "threshold": -np.inf}, "threshold"),
        ({"gamma": 1.0, "threshold": -3.0, "method": "fbs"}, "gamma"),
    ],
)
def test_a_hinge_needs_a_weight_and_a_threshold(wrong: dict[str, Any], named: str):
    with pytest.raises(ValueError, match=named):
        PoisonConfig(**wrong)
