"""Features and their Jacobian by hand, where the network is a plain chain of convolutions: faster than autograd."""

import math
from itertools import pairwise
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lgm.attacks.jacobian.autograd import Rows
from lgm.attacks.jacobian.winograd import LARGEST_KERNEL, WinogradConv
from lgm.models.classifier import Classifier, device_of
from lgm.models.prelu import PReLU

_CHUNK = 32  # images that go through the layers together: with more, none goes faster and the memory grows
_WINOGRAD_CHANNELS = 8  # with fewer, the transforms cost more than the products that they save


class FastJacobian:
    """Forward and reverse mode by hand through a chain of convolutions, ReLU and max-pooling, in float32 on a CPU.

    Convolutions use minimal filtering; batch norm with fixed statistics is folded into the convolution before it.
    Activations are (H, W, N, C), and rows of the Jacobian, propagated backwards, (H, W, M, D, C). On the shipped
    networks features are off by a hundred-thousandth of their range, rows by 0.2 % of their length; where pixels of a
    pooling window are equal, as in an empty background, rounding decides which of them has the gradient.
    """

    def __init__(self, model: Classifier) -> None:
        self.normalise = model.normalise
        self.layers: list[_Layer] = []
        size = model.image_shape[-1]
        for module in _pooled_first(_without_batch_norm(model)):
            self.layers.append(_LAYERS[type(module)](module, size))
            size = self.layers[-1].size

    @staticmethod
    def fits(model: Classifier) -> bool:
        """Whether this is a CPU, images are square, and the network has only layers that are written out here."""
        if device_of(model).type != "cpu" or model.image_shape[-1] != model.image_shape[-2]:
            return False
        modules = _without_batch_norm(model)
        return isinstance(modules[-1], nn.Linear) and all(
            type(module) in _LAYERS and _LAYERS[type(module)].fits(module) for module in modules
        )

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Rows]:
        """Features (N, D) as `Classifier.embed` gives them, and the rows."""
        size = math.ceil(
            len(x) / math.ceil(len(x) / _CHUNK)
        )  # of equal chunks: a small one takes as long as a large one
        chunks = [self._forward(chunk) for chunk in x.split(size)]

        @torch.no_grad()
        def rows(kept: Tensor) -> Tensor:
            counts = torch.bincount(kept // size, minlength=len(chunks)).tolist()
            each = zip(chunks, (kept % size).split(counts), strict=True)
            return torch.cat([self._backward(*chunk, positions) for chunk, positions in each if len(positions)])

        return torch.cat([z for z, _ in chunks]), rows

    def _forward(self, x: Tensor) -> tuple[Tensor, list[Any]]:
        h, saved = self.normalise(x).permute(2, 3, 0, 1).contiguous(), []
        for layer in self.layers:
            h, for_backward = layer.forward(h)
            saved.append(for_backward)
        return h, saved

    def _backward(self, z: Tensor, saved: list[Any], kept: Tensor) -> Tensor:
        rows = torch.eye(z.shape[1]).expand(len(kept), -1, -1)
        for layer, for_backward in zip(reversed(self.layers), reversed(saved), strict=True):
            rows = layer.backward(rows, for_backward, kept)
        return (rows.permute(2, 3, 4, 0, 1) / self.normalise.std).flatten(2)


def _without_batch_norm(model: Classifier) -> list[nn.Module]:
    """The backbone's layers; one that cannot be folded stays, and fits nothing."""
    modules: list[nn.Module] = []
    for module in model.backbone.children():
        if isinstance(module, nn.BatchNorm2d) and modules and isinstance(modules[-1], nn.Conv2d) and not model.training:
            modules[-1] = fuse_conv_bn_eval(modules[-1], module)
        else:
            modules.append(module)
    return modules


def _pooled_first(modules: list[nn.Module]) -> list[nn.Module]:
    """ReLU before max-pooling becomes max-pooling before ReLU: the two commute, and ReLU has less to do."""
    modules = list(modules)
    for i, (first, second) in enumerate(pairwise(modules)):
        if isinstance(first, nn.PReLU | nn.ReLU) and isinstance(second, nn.MaxPool2d):
            modules[i : i + 2] = second, first
    return modules


def _at(saved: Tensor, kept: Tensor) -> Tensor:
    """A saved tensor (..., N, C) at the positions ``kept`` (M,), broadcast over rows: (..., M, 1, C)."""
    saved = saved if len(kept) == saved.shape[-2] else saved.index_select(-2, kept)
    return saved.unsqueeze(-2)


def _step(x: Tensor, below: float = 0.0) -> Tensor:
    """1 where x > 0, ``below`` elsewhere. Comparing and selecting takes torch five times as long."""
    return functional.threshold(x.sign(), 0.0, below)


class _Layer(Protocol):
    """A layer of the chain."""

    size: int  # height and width of the output

    def __init__(self, module: Any, size: int) -> None: ...

    @staticmethod
    def fits(module: Any) -> bool: ...

    def forward(self, h: Tensor) -> tuple[Tensor, Any]:
        """The output, and what `backward` needs."""
        ...

    def backward(self, rows: Tensor, saved: Any, kept: Tensor) -> Tensor:
        """Vector-Jacobian products: from rows with respect to the output to rows with respect to the input.

        May overwrite ``rows``, which are those of the images at the positions ``kept``.
        """
        ...


class _Conv:
    def __init__(self, module: nn.Conv2d, size: int) -> None:
        self.module = module
        self.padding, r = int(module.padding[0]), module.kernel_size[0]
        self.size = size + 2 * self.padding - r + 1
        self.winograd = min(module.in_channels, module.out_channels) >= _WINOGRAD_CHANNELS
        if self.winograd:
            weight = module.weight.detach()
            transposed = weight.flip(2, 3).transpose(0, 1)  # the gradient of a convolution is a convolution too
            self.conv = WinogradConv(weight, size, self.padding, module.bias)
            self.transposed_conv = WinogradConv(transposed, self.size, r - 1 - self.padding)

    @staticmethod
    def fits(module: nn.Conv2d) -> bool:
        simple = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
        square = module.kernel_size[0] == module.kernel_size[1] and module.padding[0] == module.padding[1]
        return simple and square and not isinstance(module.padding, str) and module.kernel_size[0] <= LARGEST_KERNEL

    def forward(self, h: Tensor) -> tuple[Tensor, int]:
        size = len(h)
        if self.winograd:
            return self.conv(h), size
        r = self.module.kernel_size[0]
        windows = functional.pad(h, (0, 0, 0, 0, *[self.padding] * 4)).unfold(0, r, 1).unfold(1, r, 1)
        columns = windows.permute(3, 4, 5, 0, 1, 2).flatten(0, 2).flatten(1)  # im2col
        out = functional.linear(columns.T, self.module.weight.flatten(1), self.module.bias)
        return out.unflatten(0, (self.size, self.size, -1)), size

    def backward(self, rows: Tensor, saved: int, kept: Tensor) -> Tensor:
        del kept
        images = rows.shape[2:4]
        rows = rows.flatten(2, 3)
        return (self.transposed_conv(rows) if self.winograd else self._col2im(rows, saved)).unflatten(2, images)

    def _col2im(self, rows: Tensor, size: int) -> Tensor:
        """The products for each entry of the kernel, shifted to where it was, and summed: along rows, then columns."""
        height, width, n, _ = rows.shape
        outputs, inputs, r, _ = self.module.weight.shape
        kernel = self.module.weight.permute(3, 2, 1, 0).reshape(-1, outputs)
        products = (kernel @ rows.flatten(0, 2).T).view(r, r, inputs, height, width, n)
        padded = rows.new_zeros(inputs, height + r - 1, width + r - 1, n)
        lines = rows.new_zeros(r, inputs, height, width + r - 1, n)
        for j in range(r):
            lines[:, :, :, j : j + width] += products[j]
        for i in range(r):
            padded[:, i : i + height] += lines[i]
        inside = slice(self.padding, self.padding + size)
        return padded[:, inside, inside].permute(1, 2, 3, 0)


class _ReLU:
    def __init__(self, module: nn.PReLU | nn.ReLU, size: int) -> None:
        self.slope = float(module.weight) if isinstance(module, nn.PReLU) else 0.0
        self.size = size

    @staticmethod
    def fits(module: nn.PReLU | nn.ReLU) -> bool:
        return isinstance(module, nn.ReLU) or (module.num_parameters == 1 and float(module.weight) >= 0)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = functional.leaky_relu_(h, self.slope)  # in place: nothing else holds the output of the layer before
        return h, h

    def backward(self, rows: Tensor, saved: Tensor, kept: Tensor) -> Tensor:
        return rows.mul_(_step(_at(saved, kept), self.slope))


class _MaxPool:
    def __init__(self, module: nn.MaxPool2d, size: int) -> None:
        self.size = -(-size // 2) if module.ceil_mode else size // 2

    @staticmethod
    def fits(module: nn.MaxPool2d) -> bool:
        return (module.padding, module.dilation) == (0, 1) and module.kernel_size == module.stride == 2

    def forward(self, h: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, int]]:
        """Saves by how much the lower of two pixels is larger, and then the right one."""
        size, even = len(h), 2 * self.size
        h = functional.pad(h, (0, 0, 0, 0, 0, 1, 0, 1), value=-torch.inf) if even > size else h[:even, :even]
        upper, lower = h[::2], h[1::2]
        tall = torch.maximum(upper, lower)
        left, right = tall[:, ::2], tall[:, 1::2]
        return torch.maximum(left, right), (lower - upper, right - left, size)

    def backward(self, rows: Tensor, saved: tuple[Tensor, Tensor, int], kept: Tensor) -> Tensor:
        down, across, size = saved
        images, even = rows.shape[2:], 2 * self.size
        wide = rows.new_empty(self.size, even, *images)
        _route(rows, _at(across, kept), wide[:, ::2], wide[:, 1::2])
        whole = (rows.new_zeros if size > even else rows.new_empty)(max(size, even), max(size, even), *images)
        _route(wide, _at(down, kept), whole[:even:2, :even], whole[1:even:2, :even])
        return whole[:size, :size]


def _route(rows: Tensor, difference: Tensor, first: Tensor, second: Tensor) -> None:
    """Write rows to ``second`` where ``difference`` > 0, else to ``first``, and 0 to the other one."""
    torch.mul(rows, _step(difference), out=second)
    torch.sub(rows, second, out=first)


class _Flatten:
    def __init__(self, module: nn.Flatten, size: int) -> None:
        del module
        self.size = size

    @staticmethod
    def fits(module: nn.Flatten) -> bool:
        return (module.start_dim, module.end_dim) == (1, -1)

    def forward(self, h: Tensor) -> tuple[Tensor, torch.Size]:
        h = h.permute(2, 3, 0, 1)
        return h.flatten(1), h.shape[1:]

    def backward(self, rows: Tensor, saved: torch.Size, kept: Tensor) -> Tensor:
        del kept
        return rows.unflatten(2, saved).permute(3, 4, 0, 1, 2).contiguous()


class _Linear:
    def __init__(self, module: nn.Linear, size: int) -> None:
        self.module = module
        self.size = size

    @staticmethod
    def fits(module: nn.Linear) -> bool:
        del module
        return True

    def forward(self, h: Tensor) -> tuple[Tensor, None]:
        return self.module(h), None

    def backward(self, rows: Tensor, saved: None, kept: Tensor) -> Tensor:
        return rows @ self.module.weight


_LAYERS: dict[type[nn.Module], type[_Layer]] = {
    nn.Conv2d: _Conv,
    PReLU: _ReLU,
    nn.PReLU: _ReLU,
    nn.ReLU: _ReLU,
    nn.MaxPool2d: _MaxPool,
    nn.Flatten: _Flatten,
    nn.Linear: _Linear,
}
