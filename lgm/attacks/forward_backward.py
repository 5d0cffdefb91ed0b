"""Forward-backward splitting on eq. (1), the paper's method, for a batch of poisons."""

from collections.abc import Iterator

import torch
from torch import Tensor

from lgm.attacks.solver import Problem, Solver, per_image
from lgm.config import PoisonConfig
from lgm.models.classifier import autocast, fast_precision


class ForwardBackward(Solver):
    """Forward-backward splitting, one step size a poison. Finished poisons leave the batch, so it gets cheaper.

    Source: paper, eq. (1); Shafahi et al. 2018, algorithm 1. Deviations: a step size per poison that grows after a
    success and shrinks after a failure, where nothing is kept; the backward step is the exact proximal map of the
    second term and the box.
    """

    def __init__(self, problem: Problem, config: PoisonConfig) -> None:
        super().__init__(problem, config)
        self.x = problem.start.clone(memory_format=torch.channels_last)
        self.used = torch.zeros(len(self.x), dtype=torch.int64)

    def run(self) -> Iterator[int]:
        """Descend; yields poison-iterations done after each iteration."""
        fast = fast_precision(self.x.device)
        # The bulk in the fast precision, the last tenth and all that is reported in float32.
        switch = 0 if fast == torch.float32 else self.limit - max(1, self.limit // 10)
        progress = 0
        for dtype, until in ((fast, switch), (torch.float32, self.limit)):
            for done in self._phase(dtype, until):
                progress = max(progress, done)  # a poison that seemed finished may move again in float32
                yield progress
        self._fill_path()

    def _phase(self, dtype: torch.dtype, until: int) -> Iterator[int]:
        self.dtype = dtype
        everyone = torch.arange(len(self.x), device=self.x.device)
        self.z, self.terms, self.gradient = self._evaluate(self.x, everyone)
        self.step = 1 / self.gradient.flatten(1).norm(dim=1).clamp(min=1e-12)  # first move: L2 length 1
        active, before = everyone, self._objective()
        while self.iteration < until and len(active) and not self.stop:
            self._record()
            self._advance(active)
            self.iteration += 1
            self.used[active.cpu()] = self.iteration
            if self.iteration % self.config.patience == 0:
                now = self._objective()
                active = active[((before - now) >= self.config.tolerance * before)[active]]
                before = now
            finished = len(self.x) - len(active)
            yield finished * until + len(active) * self.iteration

    def _advance(self, active: Tensor) -> None:
        """One forward-backward step of the active poisons, kept where the objective does not rise."""
        b, x, beta = self.problem.b[active], self.x[active], self.problem.beta[active]
        step = self.step[active]
        forward = x - per_image(step) * self.gradient[active]
        pull = per_image(2 * step * beta)
        proposal = ((forward + pull * b) / (1 + pull)).clamp(0, 1)
        z, terms, gradient = self._evaluate(proposal, active)
        better = self._value(z, terms, active) <= self._objective()[active]
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
            terms = self._terms(z, x.detach(), active)
            (gradient,) = torch.autograd.grad(terms[:, 0].sum(), x)
        return z.detach(), terms.detach(), gradient

    def _objective(self) -> Tensor:
        return self._value(self.z, self.terms, torch.arange(len(self.x), device=self.x.device))
