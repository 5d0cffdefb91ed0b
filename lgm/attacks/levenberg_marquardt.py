"""Levenberg-Marquardt on eq. (1), for a batch of poisons."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lgm.attacks.adaptive import multipliers
from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.jacobian.autograd import Rows
from lgm.attacks.solver import Problem, Solver, per_image
from lgm.config import PoisonConfig

_MU = 1e-2  # damping of the first step, in the units of beta
_MU_RANGE = (1e-6, 1e3)
_HALVINGS = 12  # of the range in which the weight of a step's hinge is looked for
_BOX_STEPS = 30  # Newton steps for the multipliers of one step in the box; three usually do
_RESTART_ABOVE = 1 / 4  # share of the feature term in eq. (1) above which a converged run is restarted
_STALL, _SHARED_STALL = 4, 3  # iterations over which convergence is judged: one poison; candidates shared over beta
# For the poisons of one pair, whose candidates are shared:
_PRUNE_AT = {4: 1.5, 6: 1.25}  # iteration -> candidates worse than this ratio to the best, for every beta, are dropped
_SHARE_AT = (12, 16)  # iterations after which each poison moves to the best candidate for its beta


class LevenbergMarquardt(Solver):
    """Damped Gauss-Newton steps on eq. (1), exact in the box.

    The residual r = s (f(x) - f(t)) has only D entries, so its Jacobian costs D backward passes and a step
    ``argmin |r + J (p - x)|^2 + beta |p - b|^2 + mu |p - x|^2, p in [0, 1]`` only a D x D solve. mu falls where the
    linear model held and rises where a step failed; a step is kept only if the objective falls.

    The valleys are curved, so a share of the last move goes into the next: Nesterov's, which grows with every step
    kept and begins anew after one that was not (O'Donoghue and Candes 2015).

    Deviation from the paper: another minimiser of the same objective, which finds lower values; see
    docs/performance.md. The problem is not convex: a run that converges to a poor local minimum is restarted once, and
    candidates of one pair are shared across beta (warm starts).
    """

    # Of all points, in one order:
    owner: Tensor  # which poison a point is for
    jacobian: Tensor  # where `_advance` needs it: see `_catch_up`
    mu: Tensor
    move: Tensor  # the last one that was kept; 0 after one that was not
    streak: Tensor  # steps kept since the last that was not
    active: Tensor

    def __init__(self, problem: Problem, config: PoisonConfig) -> None:
        super().__init__(problem, config)
        self.linearise = problem.linearise or jacobian_of(problem.model)
        begun = self._initial(problem.start, problem.owner)
        self.parts = tuple(begun)
        for name, part in begun.items():
            setattr(self, name, part)
        self.kept: tuple[Rows, Tensor, Tensor] | None = None
        self.used = torch.zeros(len(problem.b), dtype=torch.int64)

    def _initial(self, x: Tensor, owner: Tensor) -> dict[str, Tensor]:
        """All that is known of points (M, C, H, W) where a descent begins."""
        z, rows = self.linearise(x)
        terms = self._terms(z, x, owner)
        return {
            "owner": owner,
            "x": x.clone(memory_format=torch.channels_last),
            "z": z,
            "terms": terms,
            "jacobian": self._rescaled(rows, torch.arange(len(x), device=x.device)),
            "mu": torch.full_like(terms[:, 0], _MU),
            "move": torch.zeros_like(x),
            "streak": torch.zeros_like(terms[:, 0]),
            "active": torch.ones(len(x), dtype=torch.bool, device=x.device),
        }

    def run(self) -> Iterator[int]:
        """Descend; yields poison-iterations done after each iteration."""
        n, shared = len(self.problem.b), self.problem.shared
        self._record()
        before, since = self._objective(), 0
        stall = _SHARED_STALL if shared else _STALL
        while self.iteration < self.limit and self.active.any() and not self.stop:
            self._advance(self.active.nonzero().squeeze(1))
            self.iteration += 1
            self.used[self.owner[self.active].cpu()] = self.iteration
            self._record()
            if shared and self.iteration in _PRUNE_AT:
                self._prune(_PRUNE_AT[self.iteration])
            if shared and self.iteration in _SHARE_AT:
                self._exchange()
                before, since = self._objective(), self.iteration
            elif self.iteration == since + stall:
                now = self._objective()
                resting = self.active & (before - now < stall * self.config.tolerance * before)
                self.active &= ~resting
                self._restart(resting & (self.terms[:, 0] > _RESTART_ABOVE * now))
                before, since = self._objective(), self.iteration
            begun = len(self.x) >= n  # poisons of one pair may wait for the points of others
            working = len(self.owner[self.active].unique()) if begun else n
            yield (n - working) * self.limit + working * self.iteration
        if shared:
            self._exchange()
        else:
            self._keep_better()
        self._fill_path()

    def _advance(self, active: Tensor) -> None:
        self._catch_up()
        owner = self.owner[active]
        beta = self.problem.beta[owner]
        x, mu = self.x[active], self.mu[active]
        before = self._objective()[active]
        step = self._evading_step if self.problem.evasion else self._plain_step
        proposal, promised = step(active, (beta, mu))
        streak = self.streak[active]
        proposal = (proposal + per_image((streak + 1) / (streak + 3)) * self.move[active]).clamp(0, 1)
        z, rows = self.linearise(proposal)
        terms = self._terms(z, proposal, owner)
        fall = before - self._value(z, terms, owner)
        gain = fall / (before - promised).clamp(min=1e-12)
        better = fall > 0
        kept = active[better]
        self.move[active] = per_image(better) * (proposal - x)
        self.streak[active] = better * (streak + 1)
        if len(kept):
            self.x[kept], self.z[kept], self.terms[kept] = proposal[better], z[better], terms[better]
            self.kept = rows, kept, better.nonzero().squeeze(1)
        factor = torch.where(gain > 0.75, 0.25, torch.where(better, 1.0, 3.0))
        self.mu[active] = (mu * factor).clamp(*_MU_RANGE)

    def _catch_up(self) -> None:
        """Jacobians of the candidates that the last step has accepted, now that it is known which stay active."""
        if self.kept:
            rows, points, positions = self.kept
            going = self.active[points]
            if self.problem.shared and self.iteration <= _SHARE_AT[-1]:
                going = torch.ones_like(going)  # a converged candidate may yet be chosen by another beta
            if going.any():
                self.jacobian[points[going]] = self._rescaled(rows, positions[going])
            self.kept = None

    def _plain_step(self, active: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """Where the active points go (n, C, H, W), and the value that the linear model promises there (n,)."""
        owner = self.owner[active]
        r = self.problem.scale * (self.z[active] - self.problem.target[owner])
        return damped_step(self.x[active], self.problem.b[owner], self.jacobian[active], r, weights)

    def _evading_step(self, active: Tensor, weights: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The same with the hinge, exact as well.

        To the dual problem the hinge is a pull to the mean with a weight between 0 and gamma: 0 if the features come to
        lie inside the cut without it, gamma if they stay outside with it, else the one that brings them onto the cut.
        """
        owner, evasion, scale = self.owner[active], self.problem.evasion, self.problem.scale
        assert evasion is not None, "see `_advance`"
        x, z, jacobian = self.x[active], self.z[active], self.jacobian[active]
        b, target = self.problem.b[owner], self.problem.target[owner]

        def step(share: Tensor) -> tuple[Tensor, Tensor]:
            """The point for this share of the weights, and its linear features."""
            pulled, scales = evasion.pulled(target, scale, owner, multipliers(share, evasion.gamma, scale))
            p, _ = damped_step(x, b, jacobian * (scales / scale)[:, :, None], scales * (z - pulled), weights)
            return p, z + torch.einsum("ndp,np->nd", jacobian, (p - x).flatten(1)) / scale

        low, high = torch.zeros_like(weights[1]), torch.ones_like(weights[1])
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            outside = evasion.excess(step(middle)[1], owner) > 0
            low, high = torch.where(outside, middle, low), torch.where(outside, high, middle)
        p, features = step(torch.where(low == 0, low, high))  # never needed: no hinge at all
        return p, self._value(features, self._terms(features, p, owner), owner)

    def _rescaled(self, rows: Rows, chosen: Tensor) -> Tensor:
        """Jacobian of the rescaled features (n, D, pixels) at the chosen ones of the points just evaluated."""
        return rows(chosen) * self.problem.scale[:, None]

    def _objective(self) -> Tensor:
        return self._value(self.z, self.terms, self.owner)

    def _prune(self, ratio: float) -> None:
        """Drop candidates that are over ``ratio`` times as bad as the best one, for every poison."""
        values = self._values()
        self.active &= (values <= ratio * values.amin(1, keepdim=True)).any(0)

    def _restart(self, far: Tensor) -> None:
        """Restart from the reserve every poison whose first run converged ``far`` (M,) from the target."""
        owner = far[: len(self.problem.b)].nonzero().squeeze(1)
        if self.problem.reserve is None or not len(owner):
            return
        begun = self._initial(self.problem.reserve[owner], owner)
        for name, part in begun.items():
            setattr(self, name, torch.cat([getattr(self, name), part]))
        waiting = torch.cat([begun["z"], begun["terms"]], dim=1)
        self.path = [torch.cat([frame, waiting]) for frame in self.path]

    def _keep_better(self) -> None:
        """Each poison keeps the better one of its points."""
        n, value = len(self.problem.b), self._objective()
        better = n + (value[n:] < value[self.owner[n:]]).nonzero().squeeze(1)
        self._take(torch.arange(n, device=value.device).index_copy(0, self.owner[better], better))

    def _exchange(self) -> None:
        """Each poison continues from the candidate that is best for its beta, whichever poison it was for."""
        self._catch_up()
        chosen = self._values().argmin(1)
        owner = torch.arange(len(chosen), device=chosen.device)
        self._take(chosen)
        self.active |= self.owner != owner
        self.owner = owner

    def _take(self, chosen: Tensor) -> None:
        """Go on with these points."""
        for name in self.parts:
            setattr(self, name, getattr(self, name)[chosen])
        self.path = [frame[chosen] for frame in self.path]
        self.images = [frame[chosen.cpu()] for frame in self.images]

    def _values(self) -> Tensor:
        """What each poison of the pair would pay at each point (n, M)."""
        hinge = self.problem.hinge(self.z, self.owner)  # of the one pair that all are of
        return self.terms[:, 0] + hinge + self.problem.beta[:, None] * self.terms[:, 1]


def damped_step(
    x: Tensor, b: Tensor, jacobian: Tensor, r: Tensor, weights: tuple[Tensor, Tensor]
) -> tuple[Tensor, Tensor]:
    """Minimise the linearised objective over the box.

    Solves ``min |r + J (p - x)|^2 + beta |p - b|^2 + mu |p - x|^2`` over p in [0, 1] through its D multipliers
    l = r + J (p - x): for given l every pixel follows by itself, and l solves a piecewise linear equation by Newton's
    method.

    Args:
        x: (n, C, H, W) current points.
        b: (n, C, H, W) bases.
        jacobian: (n, D, pixels) of the residuals.
        r: (n, D) residuals at x.
        weights: (n,) beta and (n,) mu; their sum must be > 0.

    Returns:
        The minimisers (n, C, H, W), and the objective of eq. (1) that the linear model promises there (n,).
    """
    beta, mu = weights
    flat, base = x.flatten(1), b.flatten(1)
    weight = (beta + mu)[:, None]
    rest = (beta[:, None] * base + mu[:, None] * flat) / weight  # where p goes if features do not matter
    pull = jacobian / weight[:, None]
    identity = torch.eye(r.shape[1], dtype=r.dtype, device=r.device)
    multipliers, direction, p = torch.zeros_like(r), torch.zeros_like(r), flat
    share, smallest = torch.zeros_like(mu), torch.full_like(mu, torch.inf)
    for _ in range(_BOX_STEPS):
        tried = multipliers - share[:, None] * direction
        free = rest - torch.einsum("ndp,nd->np", pull, tried)
        p_tried = free.clamp(0, 1)
        error = tried - r - torch.einsum("ndp,np->nd", jacobian, p_tried - flat)
        size = error.norm(dim=1)
        nearer = size < smallest
        inside = (free == p_tried).to(r.dtype)
        slope = identity + torch.einsum("ndp,nep->nde", jacobian * inside[:, None], pull)
        newton = torch.linalg.solve(slope, error)
        multipliers, direction = (
            torch.where(nearer[:, None], *pair) for pair in ((tried, multipliers), (newton, direction))
        )
        p = torch.where(nearer[:, None], p_tried, p)
        smallest = torch.where(nearer, size, smallest)
        share = torch.where(nearer, 1.0, share / 2)  # Newton's method overshoots where many pixels meet a bound
        if (smallest <= 1e-5 * (1 + r.norm(dim=1))).all():
            break
    linear = r + torch.einsum("ndp,np->nd", jacobian, p - flat)
    promised = linear.square().sum(-1) + beta * (p - base).square().sum(-1)
    return p.view_as(x), promised
