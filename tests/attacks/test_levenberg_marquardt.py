"""Levenberg-Marquardt against closed forms and slow but sure ways; what both methods share is in test_poisoning.py."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from lgm.attacks import beta_path as beta_path_module
from lgm.attacks import multi_start as multi_start_module
from lgm.attacks.batches import BatchProgress, Progress
from lgm.attacks.beta_path import BetaPathOptions, beta_path, prune, values
from lgm.attacks.box_step import damped_step
from lgm.attacks.craft import craft_beta_path, craft_poisons
from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.jacobian.autograd import Linearise, exact_jacobian
from lgm.attacks.levenberg_marquardt import Candidates, LMOptions, advance, initial_candidates
from lgm.attacks.multi_start import MultiStartOptions, multi_start
from lgm.attacks.objective import Problem
from lgm.attacks.result import Poisons, pick_pairs
from lgm.attacks.trajectory import Solution
from lgm.config import BETA_GRID, PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed

CONFIG = PoisonConfig(method="lm", tolerance=0)
PAIR = 2001, 4502


@pytest.fixture(scope="module")
def tiny(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0].requires_grad_(False)


@pytest.fixture(scope="module")
def digits(bundled: Split) -> tuple[Split, Split]:
    bases, targets = pick_pairs(bundled.labels, 12, seed=2)
    return bundled[bases], bundled[targets]


@pytest.fixture(scope="module")
def crafted(tiny: Classifier, digits: tuple[Split, Split]) -> Poisons:
    return craft_poisons(tiny, *digits, CONFIG)


@pytest.fixture(scope="module")
def path(tiny_lgm: Path, bundled: Split) -> Poisons:
    """One pair at every beta."""
    return craft_beta_path(*load_checkpoint(tiny_lgm), bundled, PAIR, CONFIG)


def objective(poisons: Poisons) -> np.ndarray:
    terms = poisons.path_objective.astype(np.float64)
    return terms[..., 0] + poisons.beta[:, None] * terms[..., 1]


def step_problem(n_dim: int) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(n_dim)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(shape, generator=generator, dtype=torch.float64)

    x, b = uniform(4, 1, 3, 5), uniform(4, 1, 3, 5)
    jacobian, r = 2 * uniform(4, n_dim, 15) - 1, 4 * uniform(4, n_dim) - 2
    return x, b, jacobian, r, 0.01 + 0.2 * uniform(4), 0.01 + 0.2 * uniform(4)


@pytest.mark.parametrize("n_dim", [1, 2, 7])
def test_a_step_is_the_minimum_in_the_box(n_dim: int):
    x, b, jacobian, r, betas, dampings = step_problem(n_dim)
    p, predicted = damped_step(x, b, jacobian, r, beta=betas, damping=dampings)
    on_bounds = 0
    for i in range(len(x)):
        xi, bi, ji, ri = (part[i].numpy() for part in (x.flatten(1), b.flatten(1), jacobian, r))
        beta, mu = float(betas[i]), float(dampings[i])

        def linearised(q: np.ndarray, x: np.ndarray = xi, j: np.ndarray = ji, r: np.ndarray = ri) -> np.ndarray:
            return r + j @ (q - x)

        def damped(q: np.ndarray, x: np.ndarray = xi, b: np.ndarray = bi, beta: float = beta, mu: float = mu) -> float:
            return float((linearised(q) ** 2).sum() + beta * ((q - b) ** 2).sum() + mu * ((q - x) ** 2).sum())

        found = minimize(damped, xi, bounds=[(0, 1)] * 15, method="L-BFGS-B", options={"ftol": 1e-15, "gtol": 1e-9})
        q = p[i].flatten().numpy()
        assert damped(q) <= found.fun + 1e-9
        np.testing.assert_allclose(q, found.x, atol=1e-3)
        assert float(predicted[i]) == pytest.approx(damped(q) - mu * float(((q - xi) ** 2).sum()))
        on_bounds += int(((q == 0) | (q == 1)).sum())
    assert on_bounds, "the box was no part of the problem"


def test_the_jacobian_is_that_of_the_rescaled_features(tiny: Classifier, digits: tuple[Split, Split]):
    problem = problem_of(tiny, digits)
    found = initial_candidates(problem, jacobian_of(tiny), problem.b, problem.everyone(), LMOptions())

    def rescaled(image: Tensor) -> Tensor:
        return tiny.feature_scale * tiny.embed(image[None])[0]

    for i in range(len(problem)):
        expected = torch.autograd.functional.jacobian(rescaled, problem.b[i]).flatten(1)
        torch.testing.assert_close(found.jacobian[i], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_lower_than_a_thousand_steps_of_the_papers_method(
    tiny: Classifier, digits: tuple[Split, Split], crafted: Poisons
):
    ours = crafted.objective
    theirs = craft_poisons(tiny, *digits, PoisonConfig(method="fbs", tolerance=0)).objective
    assert np.median(ours) < np.median(theirs)
    assert ours.mean() < theirs.mean()


def problem_of(model: Classifier, pairs: tuple[Split, Split], *, one_pair: bool = False) -> Problem:
    """Four poisons, of four pairs or of one."""
    b, t = (part.pixels(np.zeros(4, int) if one_pair else np.arange(4)) for part in pairs)
    return Problem(model, b=b, target=embed(model, t), beta=torch.logspace(-3, -1, 4))


def never_stopped() -> BatchProgress:
    return BatchProgress(Progress(1, None), 0)


@pytest.mark.parametrize("one_pair", [False, True])
def test_every_step_has_the_jacobian_of_its_point(
    tiny: Classifier, digits: tuple[Split, Split], one_pair: bool, monkeypatch: pytest.MonkeyPatch
):
    problem, taken = problem_of(tiny, digits, one_pair=one_pair), []

    def checked(problem: Problem, linearise: Linearise, found: Candidates, options: LMOptions) -> Candidates:
        _, rows = exact_jacobian(tiny, found.x)
        expected = rows(torch.arange(len(found))) * tiny.feature_scale[:, None]
        torch.testing.assert_close(found.jacobian, expected, rtol=2e-3, atol=1e-5)
        taken.append(int(found.active.sum()))
        return advance(problem, linearise, found, options)

    monkeypatch.setattr(beta_path_module if one_pair else multi_start_module, "advance", checked)
    config, targets = replace(CONFIG, iterations=24, tolerance=0.3), digits[1].pixels(np.arange(4))
    if one_pair:  # a window of 1, so that candidates converge which other betas will take over
        options = BetaPathOptions(betas_per_start=1, share_at=(4, 8), window=1)
        beta_path(problem, targets[:1], jacobian_of(tiny), config, progress=never_stopped(), options=options)
    else:
        multi_start(problem, targets, jacobian_of(tiny), config, progress=never_stopped())
    assert min(taken) < max(taken), "no candidate converged or was restarted"


def test_a_poison_that_converges_far_from_the_target_is_restarted_near_it(
    tiny: Classifier, digits: tuple[Split, Split]
):
    b, t = (part.pixels() for part in digits)
    problem = Problem(tiny, b=b, target=embed(tiny, t), beta=torch.full((len(b),), CONFIG.beta))
    solve = partial(multi_start, problem, t, jacobian_of(tiny), replace(CONFIG, tolerance=1e-3))
    # No share of the objective is over 1, every share is over 0.
    once, twice = (
        solve(progress=never_stopped(), options=MultiStartOptions(restart_above=above)) for above in (1.0, 0.0)
    )
    starts = [embed(tiny, (1 - share) * b + share * t) for share in (1 / 2, 7 / 8)]
    torch.testing.assert_close(once.trajectory.features()[:, 0], starts[0], rtol=0, atol=1e-3)
    again = ((twice.trajectory.features()[:, 0] - starts[1]).abs() < 1e-3).all(1)
    assert again.any(), "no second start was of use"
    assert not again.all(), "no first start was of use"
    assert (final_value(problem, twice)[again] < final_value(problem, once)[again]).all()
    # Restarts of the others leave no trace.
    torch.testing.assert_close(twice.x[~again], once.x[~again], rtol=0, atol=1e-4)
    for part in ("features", "terms"):
        ways = (getattr(solution.trajectory, part)()[~again] for solution in (twice, once))
        torch.testing.assert_close(*ways, rtol=0, atol=1e-4)


def final_value(problem: Problem, solution: Solution) -> Tensor:
    terms = solution.trajectory.terms()[:, -1]
    return terms[:, 0] + problem.beta * terms[:, 1]


@pytest.mark.parametrize("ratio", [1.01, 1.05])
def test_a_candidate_that_is_worse_for_every_beta_is_pruned(
    tiny: Classifier, digits: tuple[Split, Split], ratio: float
):
    problem, owner = problem_of(tiny, digits, one_pair=True), torch.arange(11) * 4 // 11
    share = torch.linspace(0, 1, 11)[:, None, None, None]
    x = (1 - share) * problem.b[owner] + share * digits[1].pixels(np.zeros(11, int))
    found = initial_candidates(problem, jacobian_of(tiny), x, owner, LMOptions())
    found = prune(problem, advance(problem, jacobian_of(tiny), found, LMOptions()), ratio)
    pays = torch.stack([found.terms[:, 0] + beta * found.terms[:, 1] for beta in problem.beta])
    torch.testing.assert_close(values(problem, found), pays)
    near = torch.tensor([any(row[i] <= ratio * row.min() for row in pays) for i in range(11)])
    torch.testing.assert_close(found.active, near)
    assert near.any()
    assert not near.all()


def test_candidates_are_pruned_on_the_way(tiny: Classifier, digits: tuple[Split, Split]):
    problem, config = problem_of(tiny, digits, one_pair=True), replace(CONFIG, iterations=3)
    seen: list[int] = []

    def count(done: int, total: int) -> None:
        del total
        seen.append(done)

    for ratio in (1.0, np.inf):
        beta_path(
            problem,
            digits[1].pixels(np.zeros(1, int)),
            jacobian_of(tiny),
            config,
            progress=BatchProgress(Progress(12, count), 0),
            options=BetaPathOptions(betas_per_start=1, prune_at={1: ratio}),
        )
    assert seen[0] > seen[3], "poisons whose candidates are dropped are counted as done"


def test_the_recorded_way_leads_down_from_a_start(tiny: Classifier, digits: tuple[Split, Split], crafted: Poisons):
    poisons = crafted
    bases, targets = (part.pixels() for part in digits)
    starts = torch.stack([embed(tiny, (1 - share) * bases + share * targets) for share in (1 / 2, 7 / 8)], dim=1)
    gap = (starts - torch.from_numpy(poisons.path[:, :1])).abs().amax(-1).amin(-1)
    assert float(gap.max()) < 1e-3
    assert (np.diff(objective(poisons), axis=1) <= 1e-6).all()
    np.testing.assert_allclose(poisons.path[:, -1], poisons.z, atol=1e-3)


def test_tolerance_stops_each_poison_by_itself(tiny: Classifier, digits: tuple[Split, Split], crafted: Poisons):
    exact = crafted
    early = craft_poisons(tiny, *digits, replace(CONFIG, tolerance=1e-3))
    assert (exact.iterations == 100).all()
    assert len(set(early.iterations.tolist())) > 1
    assert early.iterations.mean() < 60
    assert early.objective.mean() < 1.02 * exact.objective.mean()


@pytest.mark.slow
def test_a_path_is_no_worse_than_its_poisons_alone(path: Poisons, tiny: Classifier, bundled: Split):
    # One point serves another beta: nowhere on the path is there a point that is better for a beta than its own.
    cross = path.collision[None] + path.beta[:, None].astype(np.float64) * path.perturbation[None]
    assert (path.objective[:, None] <= cross * (1 + 1e-5)).all()
    base, target = (np.full(len(BETA_GRID), position) for position in PAIR)
    alone = craft_poisons(tiny, bundled[base], bundled[target], CONFIG, beta=np.array(BETA_GRID, np.float32))
    assert np.median(path.objective / alone.objective) < 1.01
    assert (path.objective / alone.objective).max() < 1.3


def test_a_path_trades_one_term_for_the_other(path: Poisons):
    assert (np.diff(path.perturbation) <= 1e-5).all()
    assert (np.diff(path.collision) >= -1e-5).all()
    assert path.perturbation[0] > 2 * path.perturbation[-1]
