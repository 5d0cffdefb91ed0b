"""Levenberg-Marquardt against closed forms and slow but sure ways; what both methods share is in test_poisoning.py."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lgm.attacks.craft import craft_path, craft_poisons
from lgm.attacks.jacobian.autograd import exact_jacobian
from lgm.attacks.levenberg_marquardt import LevenbergMarquardt, damped_step
from lgm.attacks.result import Poisons, pick_pairs
from lgm.attacks.solver import Problem
from lgm.config import BETA_GRID, PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed

CONFIG = PoisonConfig(method="lm", tolerance=0)


@pytest.fixture(scope="module")
def tiny(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0].requires_grad_(False)


@pytest.fixture
def digits(bundled: Split) -> tuple[Split, Split]:
    bases, targets = pick_pairs(bundled.labels, 12, seed=2)
    return bundled[bases], bundled[targets]


def objective(poisons: Poisons) -> np.ndarray:
    terms = poisons.path_objective.astype(np.float64)
    return terms[..., 0] + poisons.beta[:, None] * terms[..., 1]


def step_problem(n_dim: int) -> tuple[Tensor, Tensor, Tensor, Tensor, tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(n_dim)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    x, b = uniform(4, 1, 3, 5), uniform(4, 1, 3, 5)
    jacobian, r = 2 * uniform(4, n_dim, 15) - 1, 4 * uniform(4, n_dim) - 2
    return x, b, jacobian, r, (0.01 + 0.2 * uniform(4), 0.01 + 0.2 * uniform(4))


@pytest.mark.parametrize("n_dim", [1, 2, 7])
def test_a_step_is_the_minimum_in_the_box(n_dim: int):
    x, b, jacobian, r, weights = step_problem(n_dim)
    p, promised = damped_step(x, b, jacobian, r, weights)
    on_bounds = 0
    for i in range(len(x)):
        xi, bi, ji, ri = (part[i].numpy() for part in (x.flatten(1), b.flatten(1), jacobian, r))
        beta, mu = (float(weight[i]) for weight in weights)

        def linearised(q: np.ndarray, x: np.ndarray = xi, j: np.ndarray = ji, r: np.ndarray = ri) -> np.ndarray:
            return r + j @ (q - x)

        def damped(q: np.ndarray, x: np.ndarray = xi, b: np.ndarray = bi, beta: float = beta, mu: float = mu) -> float:
            return float((linearised(q) ** 2).sum() + beta * ((q - b) ** 2).sum() + mu * ((q - x) ** 2).sum())

        found = minimize(damped, xi, bounds=[(0, 1)] * 15, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
        q = p[i].flatten().numpy()
        assert damped(q) <= found.fun + 1e-9
        np.testing.assert_allclose(q, found.x, atol=1e-3)
        assert float(promised[i]) == pytest.approx(damped(q) - mu * float(((q - xi) ** 2).sum()))
        on_bounds += int(((q == 0) | (q == 1)).sum())
    assert on_bounds, "the box was no part of the problem"


def test_the_jacobian_is_that_of_the_rescaled_features(tiny: Classifier, digits: tuple[Split, Split]):
    b, t = (part.pixels(np.arange(3)) for part in digits)
    beta = torch.full((3,), 0.01)
    solver = LevenbergMarquardt(
        Problem(tiny, b=b, start=b, owner=torch.arange(len(b)), target=embed(tiny, t), beta=beta), CONFIG
    )

    def rescaled(image: Tensor) -> Tensor:
        return tiny.feature_scale * tiny.embed(image[None])[0]

    for i in range(3):
        expected = torch.autograd.functional.jacobian(rescaled, b[i]).flatten(1)
        torch.testing.assert_close(solver.jacobian[i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_lower_than_a_thousand_steps_of_the_papers_method(tiny: Classifier, digits: tuple[Split, Split]):
    ours = craft_poisons(tiny, *digits, CONFIG).objective
    theirs = craft_poisons(tiny, *digits, PoisonConfig(method="fbs", tolerance=0)).objective
    assert np.median(ours) < np.median(theirs)
    assert ours.mean() < theirs.mean()


def problem_of(model: Classifier, pairs: tuple[Split, Split], points: int, *, shared: bool) -> Problem:
    """Four poisons: of four pairs from half-way, or of one pair from so many points along the way."""
    b, t = (part.pixels(np.zeros(4, int) if shared else np.arange(4)) for part in pairs)
    owner = torch.arange(points) * 4 // points
    share = torch.linspace(0, 1, points)[:, None, None, None] if shared else 0.5
    start = (1 - share) * b[owner] + share * t[owner]
    return Problem(
        model, b=b, start=start, owner=owner, target=embed(model, t), beta=torch.logspace(-3, -1, 4), shared=shared
    )


@pytest.mark.parametrize("shared", [False, True])
def test_every_step_has_the_jacobian_of_its_point(
    tiny: Classifier, digits: tuple[Split, Split], shared: bool, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lgm.attacks.levenberg_marquardt._SHARE_AT", (4, 8))
    monkeypatch.setattr(
        "lgm.attacks.levenberg_marquardt._SHARED_STALL", 1
    )  # so that points rest which others will take over
    problem = problem_of(tiny, digits, 11 if shared else 4, shared=shared)
    solver = LevenbergMarquardt(replace(problem, reserve=problem.start), replace(CONFIG, iterations=24, tolerance=0.3))
    step, exchange, taken = solver._plain_step, solver._exchange, []

    def check(points: Tensor) -> None:
        _, rows = exact_jacobian(tiny, solver.x[points])
        expected = rows(torch.arange(len(points))) * tiny.feature_scale[:, None]
        torch.testing.assert_close(solver.jacobian[points], expected, rtol=2e-3, atol=1e-5)
        taken.append(len(points))

    def checked_step(active: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        check(active)
        return step(active, weights)

    def checked_exchange() -> None:
        exchange()
        if solver.iteration <= 8:  # from any of these points, also one that rested, a poison may go on
            check(torch.arange(len(solver.x)))

    monkeypatch.setattr(solver, "_plain_step", checked_step)
    monkeypatch.setattr(solver, "_exchange", checked_exchange)
    for _ in solver.run():
        pass
    assert min(taken) < max(taken), "nobody rested or began anew"


def test_who_rests_far_from_the_target_starts_again_near_it(
    tiny: Classifier, digits: tuple[Split, Split], monkeypatch: pytest.MonkeyPatch
):
    config = replace(CONFIG, tolerance=1e-3)
    found = {}
    for far in (1.0, 0.0):  # no share of the objective is over 1, every share over 0
        monkeypatch.setattr("lgm.attacks.levenberg_marquardt._RESTART_ABOVE", far)
        found[far] = craft_poisons(tiny, *digits, config)
    once, twice = found[1.0], found[0.0]
    bases, targets = (part.pixels() for part in digits)
    starts = [embed(tiny, (1 - share) * bases + share * targets).numpy() for share in (1 / 2, 7 / 8)]
    np.testing.assert_allclose(once.path[:, 0], starts[0], atol=1e-3)
    again = (np.abs(twice.path[:, 0] - starts[1]) < 1e-3).all(1)
    assert again.any(), "no second start was of use"
    assert not again.all(), "no first start was of use"
    assert (twice.objective[again] < once.objective[again]).all()
    for name in ("images", "z", "path"):  # the others' second points leave no trace
        np.testing.assert_allclose(getattr(twice, name)[~again], getattr(once, name)[~again], atol=1e-4)


@pytest.mark.parametrize("ratio", [1.01, 1.05])
def test_a_point_that_lags_behind_everywhere_is_given_up(
    tiny: Classifier, digits: tuple[Split, Split], ratio: float, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lgm.attacks.levenberg_marquardt._PRUNE_AT", {1: ratio})
    problem = problem_of(tiny, digits, 11, shared=True)
    solver = LevenbergMarquardt(problem, CONFIG)
    next(solver.run())
    pays = solver.terms[:, 0] + problem.beta[:, None] * solver.terms[:, 1]
    near = (pays <= ratio * pays.amin(1, keepdim=True)).any(0)
    torch.testing.assert_close(solver.active, near)
    assert near.any()
    assert not near.all()


def test_the_recorded_way_leads_down_from_a_start(tiny: Classifier, digits: tuple[Split, Split]):
    poisons = craft_poisons(tiny, *digits, CONFIG)
    bases, targets = (part.pixels() for part in digits)
    starts = torch.stack([embed(tiny, (1 - share) * bases + share * targets) for share in (1 / 2, 7 / 8)], dim=1)
    gap = (starts - torch.from_numpy(poisons.path[:, :1])).abs().amax(-1).amin(-1)
    assert float(gap.max()) < 1e-3
    assert (np.diff(objective(poisons), axis=1) <= 1e-6).all()
    np.testing.assert_allclose(poisons.path[:, -1], poisons.z, atol=1e-3)


def test_tolerance_stops_each_poison_by_itself(tiny: Classifier, digits: tuple[Split, Split]):
    exact = craft_poisons(tiny, *digits, CONFIG)
    early = craft_poisons(tiny, *digits, replace(CONFIG, tolerance=1e-3))
    assert (exact.iterations == 100).all()
    assert len(set(early.iterations.tolist())) > 1
    assert early.iterations.mean() < 60
    assert early.objective.mean() < 1.02 * exact.objective.mean()


@pytest.mark.slow
def test_a_path_is_no_worse_than_its_poisons_alone(tiny_lgm: Path, bundled: Split):
    model, card = load_checkpoint(tiny_lgm)
    pair = 2001, 4502
    path = craft_path(model, card, bundled, pair, CONFIG)
    # One point serves another beta: nowhere on the path is there a point that is better for a beta than its own.
    cross = path.collision[None] + path.beta[:, None].astype(np.float64) * path.perturbation[None]
    assert (path.objective[:, None] <= cross * (1 + 1e-5)).all()
    base, target = (np.full(len(BETA_GRID), position) for position in pair)
    alone = craft_poisons(model, bundled[base], bundled[target], CONFIG, beta=np.array(BETA_GRID, np.float32))
    assert np.median(path.objective / alone.objective) < 1.01
    assert (path.objective / alone.objective).max() < 1.3


def test_a_path_trades_one_term_for_the_other(tiny_lgm: Path, bundled: Split):
    model, card = load_checkpoint(tiny_lgm)
    path = craft_path(model, card, bundled, (2001, 4502), CONFIG)
    assert (np.diff(path.perturbation) <= 1e-5).all()
    assert (np.diff(path.collision) >= -1e-5).all()
    assert path.perturbation[0] > 2 * path.perturbation[-1]
