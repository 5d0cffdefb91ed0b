"""Least visible change that a network takes for another class, by foolbox's minimum-norm attack.

The L2 that eq. (1) needs depends on how its price trades features for pixels: on a softmax network it goes on along a
ray where the class has long changed. How little would do is another question, and has attacks of its own.
"""

import warnings

import numpy as np
import torch
from torch import Tensor, nn

from lgm.data.base import Split
from lgm.models.classifier import Classifier, device_of

STEPS = 100


class _Logits(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head.logits(self.model.embed(x))


def least_change(model: Classifier, bases: Split, classes: np.ndarray, *, steps: int = STEPS) -> np.ndarray:
    """L2 of the least change with which the network takes each base for a given class, as far as DDN finds it.

    Args:
        model: Frozen network.
        bases: N images.
        classes: (N,) the class that each is to be taken for; not its own.
        steps: Of the attack, at least 1.

    Returns:
        (N,) L2 of pixels in [0, 1], an upper bound of the least; inf where the attack fails.

    Raises:
        ImportError: foolbox is not installed.
        ValueError: lengths that do not fit, or a base that is to be taken for its own class.

    Source: Rony et al. 2019, *Decoupling Direction and Norm* (targeted), by foolbox (Rauber et al. 2020).
    """
    if len(classes) != len(bases) or (classes == bases.labels).any():
        raise ValueError(f"classes: expected another one for each of {len(bases)} bases, got {classes.tolist()[:10]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # it imports names that SciPy has moved
        from foolbox import PyTorchModel
        from foolbox.attacks import DDNAttack
        from foolbox.criteria import TargetedMisclassification

    device = device_of(model)
    wrapped = PyTorchModel(_Logits(model).eval(), bounds=(0, 1), device=device)
    x, wanted = bases.pixels().to(device), torch.from_numpy(classes.astype(np.int64)).to(device)
    _, found, success = DDNAttack(steps=steps)(wrapped, x, TargetedMisclassification(wanted), epsilons=None)
    l2 = (found - x).flatten(1).norm(dim=1)
    return torch.where(success, l2, torch.inf).cpu().numpy()
