"""PReLU with a fast gradient on CPUs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class PReLU(nn.PReLU):
    """PReLU with one slope for all channels: `torch.nn.PReLU`, whose gradient is 7 times as fast on CPUs.

    PyTorch's is not vectorised there, and takes an eighth of a training step of the paper's CNN.

    Source: He et al. 2015.
    """

    def forward(self, input: Tensor) -> Tensor:  # noqa: D102
        # Elsewhere reading the slope would wait for the device.
        return _PReLU.apply(input, self.weight) if input.device.type == "cpu" else super().forward(input)


class _PReLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return functional.leaky_relu(x, float(slope))

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,), (x, slope) = grad_outputs, ctx.saved_tensors
        of_x, of_slope = ctx.needs_input_grad
        if torch.is_grad_enabled():  # to be differentiated once more, as gradient matching does
            along_x = torch.where(x > 0, gradient, slope * gradient)
            return along_x, (x.clamp(max=0) * gradient).sum().reshape(1)
        return (
            torch.ops.aten.leaky_relu_backward(gradient, x, float(slope), False) if of_x else None,
            x.clamp(max=0).mul_(gradient).sum().reshape(1) if of_slope else None,
        )
