"""Bullseye polytope: the mean of K poisons' features is brought to the target's.

Source: Aghakhani, Meng, Wang, Kruegel, Vigna 2021, *Bullseye Polytope: A Scalable Clean-Label Poisoning Attack with
Improved Transferability*. Deviation: visibility has the price of eq. (1) in the place of a bound on each pixel.
"""

import numpy as np
import torch
from torch import Tensor

from lgm.attacks.polytope import check_groups, craft_polytope, polytope, polytope_objective
from lgm.attacks.result import Poisons
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.utils.progress import OnStep


def equal_coefficients(apart: Tensor) -> Tensor:
    """1/K for each of K poisons, (n, K), for ``apart`` (n, K, D)."""
    return torch.full_like(apart[..., 0], 1 / apart.shape[1])


def craft_bullseye(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig,
    *,
    group: int,
    on_step: OnStep | None = None,
) -> Poisons:
    """K poisons an attack whose mean features are the target's, the target in the middle of their polytope.

    Minimises ``|s (1/K sum_k f(x_k) - f(t))|^2 + beta/K sum_k |x_k - b_k|^2`` over x_k in [0, 1]; eq. (1) for K = 1.

    Args, returns and raises: see `lgm.attacks.polytope.craft_polytope`.
    """
    how = {"group": group, "coefficients": equal_coefficients}
    return craft_polytope(model, bases, targets, config, on_step=on_step, **how)


def bullseye_objective(
    model: Classifier, bases: Split, targets: Split, images: Tensor | np.ndarray, *, beta: float, group: int
) -> np.ndarray:
    """What `craft_bullseye` minimises, for any images (N K, C, H, W) in [0, 1]: (N,), one an attack.

    Raises:
        ValueError: lengths or shapes that do not fit; targets that differ within an attack.
    """
    check_groups(model, bases, targets, group)
    how = {"group": group, "coefficients": equal_coefficients}
    return polytope_objective(polytope(model, bases, targets, beta=beta, **how), images)
