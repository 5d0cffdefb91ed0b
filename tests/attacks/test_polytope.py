"""Bullseye and convex polytope against eq. (1), SciPy, and plain descents by autograd."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lgm.attacks.bullseye_polytope import bullseye_objective, craft_bullseye
from lgm.attacks.convex_polytope import convex_objective, craft_convex, simplex_coefficients
from lgm.attacks.craft import craft_poisons
from lgm.attacks.result import Poisons
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed

K, ATTACKS = 3, 4
STEPS = 100  # of Adam
CONFIG = PoisonConfig(beta=8e-3)
Craft = Callable[..., Poisons]
Objective = Callable[..., np.ndarray]
both = pytest.mark.parametrize(
    ("craft", "objective"), [(craft_bullseye, bullseye_objective), (craft_convex, convex_objective)]
)


@pytest.fixture(scope="module")
def tiny(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0].requires_grad_(False)


@pytest.fixture(scope="module")
def attacks(bundled: Split) -> tuple[Split, Split]:
    """Bases of one class an attack, and its target K times."""
    rng, bases, targets = np.random.default_rng(2), [], []
    for _ in range(ATTACKS):
        base, target = rng.permutation(10)[:2]
        bases += rng.permutation(np.flatnonzero(bundled.labels == base))[:K].tolist()
        targets += [int(rng.choice(np.flatnonzero(bundled.labels == target)))] * K
    return bundled[np.array(bases)], bundled[np.array(targets)]


@pytest.fixture(scope="module")
def bullseye(tiny: Classifier, attacks: tuple[Split, Split]) -> Poisons:
    return craft_bullseye(tiny, *attacks, CONFIG, group=K)


@pytest.fixture(scope="module")
def convex(tiny: Classifier, attacks: tuple[Split, Split]) -> Poisons:
    return craft_convex(tiny, *attacks, CONFIG, group=K)


def first(of: tuple[Split, Split], n: int) -> tuple[Split, Split]:
    return of[0][np.arange(n)], of[1][np.arange(n)]


@both
def test_one_poison_an_attack_is_eq_1(
    craft: Craft, objective: Objective, tiny: Classifier, attacks: tuple[Split, Split]
):
    expected = craft_poisons(tiny, *attacks, CONFIG)
    found = craft(tiny, *attacks, CONFIG, group=1)
    np.testing.assert_allclose(found.objective, expected.objective, rtol=0.02)
    assert found.objective.mean() < 1.005 * expected.objective.mean()
    value = objective(tiny, *attacks, found.images, beta=CONFIG.beta, group=1)
    np.testing.assert_allclose(value, found.objective, rtol=1e-5)


def slow_objective(
    model: Classifier, b: Tensor, t: Tensor, x: Tensor, *, beta: float, coefficients: list[Tensor]
) -> Tensor:
    """As it is printed in the papers, an attack after the other; ``coefficients`` of each."""
    total, z, target = [], model.embed(x), model.embed(t)
    for i, c in enumerate(coefficients):
        mine = range(i * K, (i + 1) * K)
        mean = sum(c[k] * z[j] for k, j in enumerate(mine))
        gap = model.feature_scale * (mean - target[i * K])
        total.append((gap**2).sum() + beta / K * sum(((x[j] - b[j]) ** 2).sum() for j in mine))
    return torch.stack(total)


def as_fractions(raw: Tensor) -> list[Tensor]:
    return list(raw.softmax(1))


@both
def test_as_low_as_adam_over_images_and_coefficients(
    craft: Craft,
    objective: Objective,
    tiny: Classifier,
    attacks: tuple[Split, Split],
    request: pytest.FixtureRequest,
):
    learnt = craft is craft_convex
    poisons = request.getfixturevalue("convex" if learnt else "bullseye")
    b, t = (part.pixels() for part in attacks)
    x = ((b + t) / 2).requires_grad_()
    raw = torch.zeros(ATTACKS, K, requires_grad=learnt)
    adam = torch.optim.Adam([{"params": [x], "lr": 0.02}, {"params": [raw] if learnt else [], "lr": 0.1}])
    for _ in range(STEPS):
        adam.zero_grad()
        slow_objective(tiny, b, t, x, beta=CONFIG.beta, coefficients=as_fractions(raw)).sum().backward()
        adam.step()
        x.data.clamp_(0, 1)
    x.requires_grad_(False)
    ours, theirs = (objective(tiny, *attacks, y, beta=CONFIG.beta, group=K) for y in (poisons.images, x))
    assert ours.mean() < 1.01 * theirs.mean()
    with torch.no_grad():
        slow = slow_objective(tiny, b, t, x, beta=CONFIG.beta, coefficients=as_fractions(raw)).numpy()
    # Ours takes the best coefficients, where Adam's are what it has come to.
    np.testing.assert_array_less(theirs, slow + 1e-4)
    if not learnt:
        np.testing.assert_allclose(theirs, slow, rtol=1e-4, atol=1e-5)


def test_a_polytope_is_cheaper_than_its_centre(
    tiny: Classifier, attacks: tuple[Split, Split], bullseye: Poisons, convex: Poisons
):
    how = {"beta": CONFIG.beta, "group": K}
    at_centre = bullseye_objective(tiny, *attacks, bullseye.images, **how)
    assert (convex_objective(tiny, *attacks, bullseye.images, **how) <= at_centre + 1e-6).all()
    assert (convex_objective(tiny, *attacks, convex.images, **how) <= at_centre).all()
    alone = craft_poisons(tiny, *attacks, replace(CONFIG, beta=CONFIG.beta / K)).objective.reshape(-1, K).min(1)
    assert (convex_objective(tiny, *attacks, convex.images, **how) <= 1.01 * alone + 1e-6).all()


@pytest.mark.parametrize(("n_dim", "corners"), [(2, 3), (2, 6), (5, 4)])
def test_coefficients_are_those_of_the_nearest_point(n_dim: int, corners: int, rng: np.random.Generator):
    spread = np.array([0.01, 0.3, 1, 1])[:, None, None]
    a = spread * rng.normal(size=(4, corners, n_dim)) + np.array([0, 0, 0, 1])[:, None, None]
    found = simplex_coefficients(torch.from_numpy(a)).numpy()
    assert found.min() >= 0
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-12)
    for each, c in zip(a, found, strict=True):

        def distance(c: np.ndarray, each: np.ndarray = each) -> float:
            return float(np.square(c @ each).sum())

        whole = {"type": "eq", "fun": lambda c: c.sum() - 1}
        best = minimize(
            distance,
            np.full(corners, 1 / corners),
            bounds=[(0, 1)] * corners,
            constraints=whole,
            options={"ftol": 1e-14, "maxiter": 500},
        )
        assert distance(c) <= best.fun + 1e-6


def test_of_several_combinations_that_are_as_good_the_one_nearest_to_equal_counts():
    square = torch.tensor([[[1.0, 1.0], [-1.0, 1.0], [1.0, -1.0], [-1.0, -1.0]]])
    torch.testing.assert_close(simplex_coefficients(square), torch.full((1, 4), 0.25))
    torch.testing.assert_close(simplex_coefficients(torch.ones(2, 3, 2)), torch.full((2, 3), 1 / 3))


def test_the_record_has_each_poison_and_the_way_of_its_attack(
    tiny: Classifier, attacks: tuple[Split, Split], bullseye: Poisons
):
    z = embed(tiny, bullseye.images)
    np.testing.assert_allclose(bullseye.z, z, atol=1e-5)
    own = (tiny.feature_scale * (z - embed(tiny, attacks[1].pixels()))).square().sum(1)
    np.testing.assert_allclose(bullseye.collision, own, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bullseye.path[:, -1], bullseye.z, atol=1e-3)
    assert (bullseye.beta == np.float32(CONFIG.beta)).all()
    way = bullseye.path_objective.astype(np.float64)
    value = way[..., 0] + CONFIG.beta * way[..., 1]
    assert (np.diff(value, axis=1) <= 1e-6).all()
    expected = bullseye_objective(tiny, *attacks, bullseye.images, beta=CONFIG.beta, group=K)
    np.testing.assert_allclose(value[:, -1], expected.repeat(K), rtol=1e-3)
    assert bullseye.images.min() >= 0
    assert bullseye.images.max() <= 1


@both
def test_batches_make_no_difference_beyond_rounding(
    craft: Craft, objective: Objective, tiny: Classifier, attacks: tuple[Split, Split]
):
    config = replace(CONFIG, iterations=4, tolerance=0)
    whole, single = (craft(tiny, *attacks, replace(config, batch_size=size), group=K) for size in (2 * K, 1))
    np.testing.assert_allclose(whole.images, single.images, atol=1e-3)
    values = [objective(tiny, *attacks, each.images, beta=CONFIG.beta, group=K) for each in (whole, single)]
    np.testing.assert_allclose(*values, rtol=1e-3)


@both
def test_progress_and_stopping(craft: Craft, objective: Objective, tiny: Classifier, attacks: tuple[Split, Split]):
    del objective
    seen: list[tuple[int, int]] = []

    def until(done: int, total: int) -> bool:
        seen.append((done, total))
        return len(seen) < 3

    poisons = craft(tiny, *attacks, replace(CONFIG, tolerance=0), group=K, on_step=until)
    assert len(poisons) == ATTACKS * K
    assert len(seen) == 3
    assert {total for _, total in seen} == {ATTACKS * 100}
    assert all(0 < done <= ATTACKS * 100 for done, _ in seen)

    def tell(done: int, total: int) -> None:
        seen.append((done, total))

    craft(tiny, *first(attacks, K), replace(CONFIG, iterations=2), group=K, on_step=tell)
    assert seen[-1] == (2, 2)


def test_further_starts_are_taken_where_they_end_lower(
    tiny: Classifier, attacks: tuple[Split, Split], bullseye: Poisons
):
    seen: list[tuple[int, int]] = []
    how = {"beta": CONFIG.beta, "group": K}

    def tell(done: int, total: int) -> None:
        seen.append((done, total))

    more = craft_bullseye(tiny, *attacks, CONFIG, group=K, starts=4, on_step=tell)
    once, best = (bullseye_objective(tiny, *attacks, each.images, **how) for each in (bullseye, more))
    assert (best <= once * (1 + 1e-5)).all()
    assert (best < 0.999 * once).any(), "no other start was of use"
    same = np.isclose(best, once, rtol=1e-6).repeat(K)
    np.testing.assert_allclose(more.images[same], bullseye.images[same], atol=1e-4)
    value = more.path_objective[:, -1].astype(np.float64) @ [1, CONFIG.beta]
    np.testing.assert_allclose(value, best.repeat(K), rtol=1e-3)
    assert seen == sorted(seen)
    assert seen[-1] == (ATTACKS * 100, ATTACKS * 100)
    with pytest.raises(ValueError, match="starts: expected at least 1"):
        craft_bullseye(tiny, *attacks, CONFIG, group=K, starts=0)


@both
def test_what_is_refused(craft: Craft, objective: Objective, tiny: Classifier, attacks: tuple[Split, Split]):
    for group, config, message in (
        (5, CONFIG, "bases: expected 5 for each attack, got 12"),
        (0, CONFIG, "group: expected at least 1"),
        (6, CONFIG, "targets: expected the same one for the 6 poisons of an attack"),
        (K, replace(CONFIG, method="fbs"), "method: expected lm"),
        (K, replace(CONFIG, gamma=1.0, threshold=-3.0), "gamma: expected 0"),
    ):
        with pytest.raises(ValueError, match=message):
            craft(tiny, *attacks, config, group=group)
    with pytest.raises(ValueError, match="images: expected 3 for each attack"):
        objective(tiny, *attacks, np.zeros((2, 1, 28, 28), np.float32), beta=0.1, group=K)
    with pytest.raises(ValueError, match="targets: expected one per base"):
        craft(tiny, attacks[0], first(attacks, K)[1], CONFIG, group=K)
    with pytest.raises(ValueError, match="bases: expected 3 for each attack, got 0"):
        craft(tiny, *first(attacks, 0), CONFIG, group=K)
