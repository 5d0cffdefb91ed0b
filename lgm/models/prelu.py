"""PReLU with a fast gradient on CPUs."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
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
        ctx.slope = float(slope)
        ctx.save_for_backward(x)
        return functional.leaky_relu(x, ctx.slope)

    @staticmethod
    @once_differentiable
    def backward(  # type: ignore[bad-override] by the decorator, which names no arguments
        ctx: Any, gradient: Tensor
    ) -> tuple[Tensor | None, Tensor | None]:
        (x,) = ctx.saved_tensors
        of_x, of_slope = ctx.needs_input_grad
        return (
            torch.ops.aten.leaky_relu_backward(gradient, x, ctx.slope, False) if of_x else None,
            x.clamp(max=0).mul_(gradient).sum().reshape(1) if of_slope else None,
        )
