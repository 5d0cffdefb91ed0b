"""Features and their Jacobian, exact, by autograd."""

from collections.abc import Callable

import torch
from torch import Tensor

from lgm.models.classifier import Classifier

Rows = Callable[[Tensor], Tensor]
Linearise = Callable[[Tensor], tuple[Tensor, Rows]]


def exact_jacobian(model: Classifier, x: Tensor) -> tuple[Tensor, Rows]:
    """The same for any network, by autograd."""
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        z = model.embed(x)
        sums = z.sum(0).unbind()

    def rows(kept: Tensor) -> Tensor:
        each = [torch.autograd.grad(feature, x, retain_graph=True)[0][kept].flatten(1) for feature in sums]
        return torch.stack(each, dim=1)

    return z.detach(), rows
