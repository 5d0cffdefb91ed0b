"""Levenberg-Marquardt on eq. (1): the step, for a batch of candidates. `multi_start` and `beta_path` iterate it."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from lgm.attacks.adaptive import multipliers
from lgm.attacks.box_step import damped_step
from lgm.attacks.jacobian.autograd import Linearise
from lgm.attacks.objective import Problem, per_image


@dataclass(frozen=True, kw_only=True)
class LMOptions:
    """Of a step. The defaults are those of every number in this project; see docs/performance.md."""

    initial_damping: float = 1e-2  # in the units of beta
    damping_range: tuple[float, float] = (1e-6, 1e3)
    good_ratio: float = 0.75  # actual over predicted reduction above which the damping falls
    decrease: float = 0.25  # factor of the damping then ...
    increase: float = 3.0  # ... and after a step that is rejected
    hinge_bisections: int = 12  # of the range in which the weight of a step's hinge is looked for


@dataclass(frozen=True)
class Candidates:
    """M points and all that their descent depends on. Every field has one row a candidate.

    Attributes:
        owner: (M,) which poison of the problem each is for.
        x: (M, C, H, W) points in [0, 1].
        z: (M, D) features.
        terms: (M, 2) terms of the objective.
        jacobian: (M, D, pixels) of the residuals.
        damping: (M,) mu.
        velocity: (M, C, H, W) last step; 0 if it was rejected.
        streak: (M,) steps accepted since the last that was rejected.
        active: (M,) bool; the others have converged or are pruned.
    """

    owner: Tensor
    x: Tensor
    z: Tensor
    terms: Tensor
    jacobian: Tensor
    damping: Tensor
    velocity: Tensor
    streak: Tensor
    active: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, rows: Tensor) -> "Candidates":
        return Candidates(*(getattr(self, field.name)[rows] for field in fields(self)))

    def with_rows(self, rows: Tensor, new: "Candidates") -> "Candidates":
        """The same with ``new`` in place of the candidates at ``rows`` (n,)."""
        return Candidates(
            *(getattr(self, field.name).index_copy(0, rows, getattr(new, field.name)) for field in fields(self))
        )

    @staticmethod
    def cat(parts: "Sequence[Candidates]") -> "Candidates":
        """One after the other."""
        return Candidates(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Candidates)))

    def value(self, problem: Problem) -> Tensor:
        """(M,) objective of each candidate, for its own poison."""
        return problem.value(self.z, self.terms, self.owner)


def initial_candidates(
    problem: Problem, linearise: Linearise, x: Tensor, owner: Tensor, options: LMOptions
) -> Candidates:
    """Candidates at points x (M, C, H, W), before their first step."""
    z, rows = problem.linearise(linearise, x, owner)
    terms = problem.terms(z, x, owner)
    return Candidates(
        owner=owner,
        x=x.clone(),
        z=z,
        terms=terms,
        jacobian=rows(torch.arange(len(x), device=x.device)),
        damping=torch.full_like(terms[:, 0], options.initial_damping),
        velocity=torch.zeros_like(x),
        streak=torch.zeros_like(terms[:, 0]),
        active=torch.ones(len(x), dtype=torch.bool, device=x.device),
    )


def advance(problem: Problem, linearise: Linearise, candidates: Candidates, options: LMOptions) -> Candidates:
    """`lm_step` of those that are active; the others stay as they are."""
    if candidates.active.all():
        return lm_step(problem, linearise, candidates, options)
    rows = candidates.active.nonzero().squeeze(1)
    return candidates.with_rows(rows, lm_step(problem, linearise, candidates[rows], options))


def settle(candidates: Candidates, before: Tensor, now: Tensor, *, share: float) -> tuple[Candidates, Tensor]:
    """Deactivate those whose objective fell by less than this share of ``before`` (M,); and which these are (M,)."""
    converged = candidates.active & (before - now < share * before)
    return replace(candidates, active=candidates.active & ~converged), converged


def lm_step(problem: Problem, linearise: Linearise, c: Candidates, options: LMOptions) -> Candidates:
    """One damped Gauss-Newton step of each candidate, exact in the box, accepted only if the objective falls.

    The residual r = s (f(x) - f(t)) has only D entries, so its Jacobian costs D backward passes and a step
    ``argmin |r + J (p - x)|^2 + beta |p - b|^2 + mu |p - x|^2, p in [0, 1]`` only a D x D solve.

    The valleys are curved, so a share of the last step is added to the next: Nesterov's momentum, which grows with
    every step accepted and begins anew after one that is rejected (O'Donoghue and Candes 2015).

    Deviation from the paper: another minimiser of the same objective, which finds lower values; see
    docs/performance.md.
    """
    before = c.value(problem)
    minimiser = _hinge_step if problem.evasion else _plain_step
    proposal, predicted = minimiser(problem, c, options)
    proposal = (proposal + per_image((c.streak + 1) / (c.streak + 3)) * c.velocity).clamp(0, 1)
    z, rows = problem.linearise(linearise, proposal, c.owner)
    terms = problem.terms(z, proposal, c.owner)
    reduction = before - problem.value(z, terms, c.owner)
    ratio = reduction / (before - predicted).clamp(min=1e-12)
    accepted = reduction > 0
    factor = torch.where(ratio > options.good_ratio, options.decrease, torch.where(accepted, 1.0, options.increase))
    jacobian, kept = c.jacobian, accepted.nonzero().squeeze(1)
    if len(kept):
        jacobian = jacobian.index_copy(0, kept, rows(kept))
    return replace(
        c,
        x=torch.where(per_image(accepted), proposal, c.x),
        z=torch.where(accepted[:, None], z, c.z),
        terms=torch.where(accepted[:, None], terms, c.terms),
        jacobian=jacobian,
        damping=(c.damping * factor).clamp(*options.damping_range),
        velocity=per_image(accepted) * (proposal - c.x),
        streak=accepted * (c.streak + 1),
    )


def _plain_step(problem: Problem, c: Candidates, options: LMOptions) -> tuple[Tensor, Tensor]:
    """Minimisers (n, C, H, W) of the damped linear model, and the objective that it predicts there (n,)."""
    del options
    r = problem.residual(c.z, c.owner)
    return damped_step(c.x, problem.b[c.owner], c.jacobian, r, beta=problem.beta[c.owner], damping=c.damping)


def _hinge_step(problem: Problem, c: Candidates, options: LMOptions) -> tuple[Tensor, Tensor]:
    """The same with the hinge, exact as well.

    In the dual problem the hinge is a pull to the mean with a weight between 0 and gamma: 0 if the features come to lie
    above the threshold without it, gamma if they stay below with it, else the one that brings them onto the threshold.
    """
    evasion, scale, owner = problem.evasion, problem.scale, c.owner
    assert evasion is not None, "see `lm_step`"
    b, beta, target = problem.b[owner], problem.beta[owner], problem.target[owner]

    def step(share: Tensor) -> tuple[Tensor, Tensor]:
        """The point for this share of the weights, and its linear features."""
        pulled, scales = evasion.pulled(target, scale, owner, multipliers(share, evasion.gamma, scale))
        jacobian, r = c.jacobian * (scales / scale)[:, :, None], scales * (c.z - pulled)
        p, _ = damped_step(c.x, b, jacobian, r, beta=beta, damping=c.damping)
        return p, c.z + torch.einsum("ndp,np->nd", c.jacobian, (p - c.x).flatten(1)) / scale

    low, high = torch.zeros_like(c.damping), torch.ones_like(c.damping)
    for _ in range(options.hinge_bisections):
        middle = (low + high) / 2
        outside = evasion.excess(step(middle)[1], owner) > 0
        low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
    p, features = step(torch.where(low == 0, low, high))  # never needed: no hinge at all
    return p, problem.value(features, problem.terms(features, p, owner), owner)
