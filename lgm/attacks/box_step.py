"""The step of Levenberg-Marquardt within the box [0, 1]: a least-squares problem with bounds, solved by its dual."""

import torch
from torch import Tensor


def damped_step(
    x: Tensor, b: Tensor, jacobian: Tensor, r: Tensor, *, beta: Tensor, damping: Tensor, max_newton_steps: int = 30
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
        beta: (n,) weights of the distance to the base; beta + damping must be > 0.
        damping: (n,) weights mu of the distance to the current point.
        max_newton_steps: At most; three usually do.

    Returns:
        The minimisers (n, C, H, W), and the objective of eq. (1) that the linear model predicts there (n,).
    """
    flat, base = x.flatten(1), b.flatten(1)
    weight = (beta + damping)[:, None]
    unconstrained = (beta[:, None] * base + damping[:, None] * flat) / weight  # the minimiser for multipliers of 0
    pull = jacobian / weight[:, None]
    identity = torch.eye(r.shape[1], dtype=r.dtype, device=r.device)
    multipliers, direction, p = torch.zeros_like(r), torch.zeros_like(r), flat
    share, smallest = torch.zeros_like(damping), torch.full_like(damping, torch.inf)
    for _ in range(max_newton_steps):
        tried = multipliers - share[:, None] * direction
        free = unconstrained - torch.einsum("ndp,nd->np", pull, tried)
        p_tried = free.clamp(0, 1)
        error = tried - r - torch.einsum("ndp,np->nd", jacobian, p_tried - flat)
        size = error.norm(dim=1)
        nearer = size < smallest
        inside = (free == p_tried).to(r.dtype)
        slope = identity + torch.einsum("ndp,nep->nde", jacobian * inside[:, None], pull)
        newton = torch.linalg.solve(slope, error)
        multipliers = torch.where(nearer[:, None], tried, multipliers)
        direction = torch.where(nearer[:, None], newton, direction)
        p = torch.where(nearer[:, None], p_tried, p)
        smallest = torch.where(nearer, size, smallest)
        share = torch.where(nearer, 1.0, share / 2)  # Newton's method overshoots where many pixels meet a bound
        if (smallest <= 1e-5 * (1 + r.norm(dim=1))).all():
            break
    linear = r + torch.einsum("ndp,np->nd", jacobian, p - flat)
    predicted = linear.square().sum(-1) + beta * (p - base).square().sum(-1)
    return p.view_as(x), predicted
