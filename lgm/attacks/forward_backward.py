"""Forward-backward splitting on eq. (1), the paper's method, for a batch of poisons."""

import torch
from torch import Tensor

from lgm.attacks.batches import BatchProgress
from lgm.attacks.objective import Problem, per_image
from lgm.attacks.trajectory import Solution, Trajectory, max_iterations
from lgm.config import PoisonConfig
from lgm.models.classifier import autocast, fast_precision


def forward_backward(
    problem: Problem, config: PoisonConfig, progress: BatchProgress, *, record_images: bool = False
) -> Solution:
    """Forward-backward splitting from the bases, one step size a poison; converged poisons leave the batch.

    Source: paper, eq. (1); Shafahi et al. 2018, algorithm 1. Deviations: a step size per poison that grows after a
    success and shrinks after a failure, where nothing is kept; the backward step is the exact proximal map of the
    second term and the box.
    """
    return _ForwardBackward(problem, config, progress, record_images=record_images).solve()


class _ForwardBackward:
    def __init__(self, problem: Problem, config: PoisonConfig, progress: BatchProgress, *, record_images: bool) -> None:
        self.problem, self.config, self.progress = problem, config, progress
        self.limit, self.iteration = max_iterations(config), 0
        self.x = problem.b.clone(memory_format=torch.channels_last)
        self.iterations = torch.zeros(len(problem), dtype=torch.int64)
        self.trajectory = Trajectory(self.limit, images=record_images)

    def solve(self) -> Solution:
        fast = fast_precision(self.x.device)
        # The bulk in the fast precision, the last tenth and all that is reported in float32.
        switch = 0 if fast == torch.float32 else self.limit - max(1, self.limit // 10)
        for dtype, until in ((fast, switch), (torch.float32, self.limit)):
            self._phase(dtype, until)
        self.trajectory.finish(self.z, self.terms, self.x)
        return Solution(self.x, self.iterations, self.trajectory)

    def _phase(self, dtype: torch.dtype, until: int) -> None:
        self.dtype = dtype
        everyone = self.problem.everyone()
        self.z, self.terms, self.gradient = self._evaluate(self.x, everyone)
        self.step = 1 / self.gradient.flatten(1).norm(dim=1).clamp(min=1e-12)  # first move: L2 length 1
        active, before = everyone, self._objective()
        while self.iteration < until and len(active) and not self.progress.stopped:
            self.trajectory.record(self.iteration, self.z, self.terms, self.x)
            self._advance(active)
            self.iteration += 1
            self.iterations[active.cpu()] = self.iteration
            if self.iteration % self.config.patience == 0:
                now = self._objective()
                active = active[((before - now) >= self.config.tolerance * before)[active]]
                before = now
            converged = len(self.x) - len(active)
            self.progress.report(converged * until + len(active) * self.iteration)

    def _advance(self, active: Tensor) -> None:
        """One forward-backward step of the active poisons, kept where the objective does not rise."""
        b, x, beta = self.problem.b[active], self.x[active], self.problem.beta[active]
        step = self.step[active]
        forward = x - per_image(step) * self.gradient[active]
        pull = per_image(2 * step * beta)
        proposal = ((forward + pull * b) / (1 + pull)).clamp(0, 1)
        z, terms, gradient = self._evaluate(proposal, active)
        better = self.problem.value(z, terms, active) <= self._objective()[active]
        kept = active[better]
        self.x[kept], self.z[kept] = proposal[better], z[better]
        self.terms[kept], self.gradient[kept] = terms[better], gradient[better]
        self.step[active] = step * torch.where(better, self.config.growth, self.config.shrink)

    def _evaluate(self, x: Tensor, active: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Features (n, D), both terms (n, 2), gradient of the first term (n, C, H, W)."""
        x = x.detach().requires_grad_()
        with torch.enable_grad(), autocast(x.device, self.dtype):
            z = self.problem.model.embed(x)
        with torch.enable_grad():
            z = z.float()
            terms = self.problem.terms(z, x.detach(), active)
            (gradient,) = torch.autograd.grad(terms[:, 0].sum(), x)
        return z.detach(), terms.detach(), gradient

    def _objective(self) -> Tensor:
        return self.problem.value(self.z, self.terms, self.problem.everyone())
