"""Features and their Jacobian by hand, where the network is a plain chain of convolutions: faster than autograd."""

import math
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lgm.attacks.jacobian.autograd import Rows
from lgm.attacks.jacobian.winograd import LARGEST_KERNEL, WinogradConv
from lgm.models.classifier import Classifier, device_of

_TOGETHER = 32  # images that go through the layers together: with more, none goes faster and the memory grows
_FEW = 8  # with fewer channels than this there is nothing to multiply


class FastJacobian:
    """Forward and reverse mode by hand through a chain of convolutions, ReLU and pooling, in float32 on a CPU.

    Convolutions go by Winograd's way. Batch norm with fixed statistics is linear: it becomes part of the convolution
    before it. In between, images are (H, W, N, C) and rows (H, W, M, D, C). On the shipped networks features are off by
    a hundred-thousandth of their range, rows by 0.2 % of their length; where neighbours are equal, as in an empty
    background, it is up to rounding which of them a pooling window's slope goes to.
    """

    def __init__(self, model: Classifier) -> None:
        self.normalise = model.normalise
        self.layers: list[_Layer] = []
        modules, size = _without_batch_norm(model), model.image_shape[-1]
        for i, module in enumerate(modules):
            layer = _LAYERS[type(module)](module, size)
            size = layer.size
            pooled = i and isinstance(module, nn.MaxPool2d) and isinstance(modules[i - 1], nn.PReLU | nn.ReLU)
            # It rises, so the largest of a window stays the largest: pool first, and have less to do.
            self.layers.insert(len(self.layers) - (1 if pooled else 0), layer)

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
        size = math.ceil(len(x) / math.ceil(len(x) / _TOGETHER))  # of like parts: a small one is as slow as a large one
        parts = [self._forward(part) for part in x.split(size)]

        @torch.no_grad()
        def rows(kept: Tensor) -> Tensor:
            counts = torch.bincount(kept // size, minlength=len(parts)).tolist()
            each = zip(parts, (kept % size).split(counts), strict=True)
            return torch.cat([self._backward(*part, positions) for part, positions in each if len(positions)])

        return torch.cat([z for z, _ in parts]), rows

    def _forward(self, x: Tensor) -> tuple[Tensor, list[Any]]:
        h, memos = self.normalise(x).permute(2, 3, 0, 1).contiguous(), []
        for layer in self.layers:
            h, memo = layer.forward(h)
            memos.append(memo)
        return h, memos

    def _backward(self, z: Tensor, memos: list[Any], kept: Tensor) -> Tensor:
        rows = torch.eye(z.shape[1]).expand(len(kept), -1, -1)
        for layer, memo in zip(reversed(self.layers), reversed(memos), strict=True):
            rows = layer.backward(rows, memo, kept)
        return rows.permute(2, 3, 4, 0, 1).flatten(2) / self.normalise.std


def _without_batch_norm(model: Classifier) -> list[nn.Module]:
    """The backbone's layers; one that cannot be folded stays, and fits nothing."""
    modules: list[nn.Module] = []
    for module in model.backbone.children():
        if isinstance(module, nn.BatchNorm2d) and modules and isinstance(modules[-1], nn.Conv2d) and not model.training:
            modules[-1] = fuse_conv_bn_eval(modules[-1], module)
        else:
            modules.append(module)
    return modules


def _of(memo: Tensor, kept: Tensor) -> Tensor:
    """What a layer remembers (..., N, C) of the images at these positions, for each of their rows (..., M, 1, C)."""
    memo = memo if len(kept) == memo.shape[-2] else memo.index_select(-2, kept)
    return memo.unsqueeze(-2)


class _Layer(Protocol):
    """A step of the chain."""

    size: int  # of a side of the images that come out

    def __init__(self, module: Any, size: int) -> None: ...

    @staticmethod
    def fits(module: Any) -> bool: ...

    def forward(self, h: Tensor) -> tuple[Tensor, Any]:
        """The output, and what the way back needs."""
        ...

    def backward(self, rows: Tensor, memo: Any, kept: Tensor) -> Tensor:
        """The rows of the images ``kept`` by what came in, from those by what came out."""
        ...


class _Conv:
    def __init__(self, module: nn.Conv2d, size: int) -> None:
        self.module = module
        self.padding, taps = int(module.padding[0]), module.kernel_size[0]
        self.size = size + 2 * self.padding - taps + 1
        self.inner = min(module.in_channels, module.out_channels) >= _FEW
        if self.inner:
            weight = module.weight.detach()
            back = weight.flip(2, 3).transpose(0, 1)  # the way back is a convolution too
            self.there = WinogradConv(weight, size, self.padding, module.bias)
            self.back = WinogradConv(back, self.size, taps - 1 - self.padding)

    @staticmethod
    def fits(module: nn.Conv2d) -> bool:
        simple = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
        square = module.kernel_size[0] == module.kernel_size[1] and module.padding[0] == module.padding[1]
        return simple and square and not isinstance(module.padding, str) and module.kernel_size[0] <= LARGEST_KERNEL

    def forward(self, h: Tensor) -> tuple[Tensor, int]:
        size = len(h)
        if self.inner:
            return self.there(h), size
        taps = self.module.kernel_size[0]
        windows = functional.pad(h, (0, 0, 0, 0, *[self.padding] * 4)).unfold(0, taps, 1).unfold(1, taps, 1)
        seen = windows.permute(3, 4, 5, 0, 1, 2).flatten(0, 2).flatten(1)
        out = functional.linear(seen.T, self.module.weight.flatten(1), self.module.bias)
        return out.unflatten(0, (self.size, self.size, -1)), size

    def backward(self, rows: Tensor, memo: int, kept: Tensor) -> Tensor:
        del kept
        images = rows.shape[2:4]
        rows = self.back(rows.flatten(2, 3)) if self.inner else self._directly(rows.flatten(2, 3), memo)
        return rows.unflatten(2, images)

    def _directly(self, rows: Tensor, size: int) -> Tensor:
        """The products for each tap of the kernel, moved to where the tap was, added up across, then down."""
        height, width, n, _ = rows.shape
        outputs, inputs, taps, _ = self.module.weight.shape
        kernel = self.module.weight.permute(3, 2, 1, 0).reshape(-1, outputs)
        products = (kernel @ rows.flatten(0, 2).T).view(taps, taps, inputs, height, width, n)
        lines = rows.new_zeros(taps, inputs, height, width + taps - 1, n)
        canvas = rows.new_zeros(inputs, height + taps - 1, width + taps - 1, n)
        for tap, product in enumerate(products):
            lines[:, :, :, tap : tap + width] += product
        for tap, line in enumerate(lines):
            canvas[:, tap : tap + height] += line
        inside = slice(self.padding, self.padding + size)
        return canvas[:, inside, inside].permute(1, 2, 3, 0)


class _ReLU:
    def __init__(self, module: nn.PReLU | nn.ReLU, size: int) -> None:
        self.slope = float(module.weight) if isinstance(module, nn.PReLU) else 0.0
        self.size = size

    @staticmethod
    def fits(module: nn.PReLU | nn.ReLU) -> bool:
        return isinstance(module, nn.ReLU) or (module.num_parameters == 1 and float(module.weight) >= 0)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = functional.leaky_relu_(h, self.slope)  # nobody else holds the output of the layer before
        return h, h

    def backward(self, rows: Tensor, memo: Tensor, kept: Tensor) -> Tensor:
        return torch.ops.aten.leaky_relu_backward.grad_input(rows, _of(memo, kept), self.slope, True, grad_input=rows)


class _MaxPool:
    def __init__(self, module: nn.MaxPool2d, size: int) -> None:
        self.size = -(-size // 2) if module.ceil_mode else size // 2

    @staticmethod
    def fits(module: nn.MaxPool2d) -> bool:
        return (module.padding, module.dilation) == (0, 1) and module.kernel_size == module.stride == 2

    def forward(self, h: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, int]]:
        """The memo says by how much the lower of two pixels is larger, and then the right one."""
        size, even = len(h), 2 * self.size
        h = functional.pad(h, (0, 0, 0, 0, 0, 1, 0, 1), value=-torch.inf) if even > size else h[:even, :even]
        upper, lower = h[::2], h[1::2]
        tall = torch.maximum(upper, lower)
        left, right = tall[:, ::2], tall[:, 1::2]
        return torch.maximum(left, right), (lower - upper, right - left, size)

    def backward(self, rows: Tensor, memo: tuple[Tensor, Tensor, int], kept: Tensor) -> Tensor:
        down, across, size = memo
        images, even = rows.shape[2:], 2 * self.size
        wide = rows.new_empty(self.size, even, *images)
        _divide(rows, _of(across, kept), (wide[:, ::2], wide[:, 1::2]))
        whole = (rows.new_zeros if size > even else rows.new_empty)(max(size, even), max(size, even), *images)
        _divide(wide, _of(down, kept), (whole[:even:2, :even], whole[1:even:2, :even]))
        return whole[:size, :size]


def _divide(rows: Tensor, second_by: Tensor, places: tuple[Tensor, Tensor]) -> None:
    """Write rows to the second place where ``second_by`` > 0, elsewhere to the first; 0 to the other one."""
    first, second = places
    torch.ops.aten.threshold_backward.grad_input(rows, second_by, 0, grad_input=second)
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

    def backward(self, rows: Tensor, memo: torch.Size, kept: Tensor) -> Tensor:
        del kept
        return rows.unflatten(2, memo).permute(3, 4, 0, 1, 2).contiguous()


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

    def backward(self, rows: Tensor, memo: None, kept: Tensor) -> Tensor:
        return rows @ self.module.weight


_LAYERS: dict[type[nn.Module], type[_Layer]] = {
    nn.Conv2d: _Conv,
    nn.PReLU: _ReLU,
    nn.ReLU: _ReLU,
    nn.MaxPool2d: _MaxPool,
    nn.Flatten: _Flatten,
    nn.Linear: _Linear,
}
