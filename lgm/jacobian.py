"""Features and their Jacobian: exact by autograd, or, where the processor has 8-bit integer dot products, faster.

A step of Levenberg-Marquardt needs f(x) to the last digit, because it decides what is kept, but the Jacobian only well
enough to point the way. So the forward pass is float32, and the D backward passes multiply integers.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from lgm.networks import Classifier, device_of

Evaluate = Callable[[Tensor], tuple[Tensor, Tensor]]
_ZERO = 128  # the byte that stands for 0
_LARGEST = 127  # and how far it goes to either side


def jacobian_of(model: Classifier) -> Evaluate:
    """The fastest way to features (N, D) and their Jacobian (N, D, pixels) for images (N, C, H, W) in [0, 1]."""
    return Int8Jacobian(model) if Int8Jacobian.fits(model) else partial(exact_jacobian, model)


def exact_jacobian(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and their Jacobian (N, D, pixels), float32, by autograd."""
    x = x.detach().contiguous(memory_format=torch.channels_last).requires_grad_()
    with torch.enable_grad():
        z = model.embed(x)
        *others, last = z.sum(0).unbind()
        rows = [torch.autograd.grad(f, x, retain_graph=True)[0] for f in others]
        rows += torch.autograd.grad(last, x)
    return z.detach(), torch.stack([row.flatten(1) for row in rows], dim=1)


class Int8Jacobian:
    """Reverse mode by hand through a chain of convolutions, ReLU and pooling, the convolutions in 8-bit integers.

    Batch norm with fixed statistics is linear: it becomes part of the convolution before it. Each row of each image is
    divided by its own largest entry before it becomes integers, and multiplied by it in the end; that is exact, for
    the backward pass is linear. Relative error of a row: 2 to 3 % on the shipped CNNs, 2 to 4 % on VGG19.
    """

    def __init__(self, model: Classifier) -> None:
        self.normalise = model.normalise
        self.layers: list[_Layer] = []
        modules = _without_batch_norm(model)
        for i, module in enumerate(modules):
            pooled = i and isinstance(module, nn.MaxPool2d) and isinstance(modules[i - 1], nn.PReLU | nn.ReLU)
            # It rises, so the largest of a window stays the largest: pool first, and have less to do.
            self.layers.insert(len(self.layers) - (1 if pooled else 0), _LAYERS[type(module)](module))

    @staticmethod
    def fits(model: Classifier) -> bool:
        """Whether this machine has the instructions and this network only layers that are written out here."""
        if device_of(model).type != "cpu" or not torch.cpu._is_vnni_supported():
            return False
        modules = _without_batch_norm(model)
        return isinstance(modules[-1], nn.Linear) and all(
            type(module) in _LAYERS and _LAYERS[type(module)].fits(module) for module in modules
        )

    @torch.no_grad()
    def __call__(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Features (N, D) as `Classifier.embed` gives them, and their Jacobian (N, D, pixels)."""
        z, memos = self.normalise(x.contiguous(memory_format=torch.channels_last)), []
        for layer in self.layers:
            z, memo = layer.forward(z)
            memos.append(memo)
        n, d = z.shape
        rows = torch.eye(d).expand(n, d, d)
        scale = torch.full((n, d), 1 / self.normalise.std)
        for layer, memo in zip(reversed(self.layers), reversed(memos), strict=True):
            rows, scale = layer.backward(rows, scale, memo)
        return z, rows.flatten(2) * scale[..., None]


def _without_batch_norm(model: Classifier) -> list[nn.Module]:
    """The backbone's layers; one that cannot be folded stays, and fits nothing."""
    modules: list[nn.Module] = []
    for module in model.backbone.children():
        if isinstance(module, nn.BatchNorm2d) and modules and isinstance(modules[-1], nn.Conv2d) and not model.training:
            modules[-1] = fuse_conv_bn_eval(modules[-1], module)
        else:
            modules.append(module)
    return modules


class _Layer(Protocol):
    """A step of the chain. ``rows`` are (N, D, ...) with channels last, as floats or as bytes."""

    def __init__(self, module: Any) -> None: ...

    @staticmethod
    def fits(module: Any) -> bool: ...

    def forward(self, h: Tensor) -> tuple[Tensor, Any]:
        """The output, and what the way back needs."""
        ...

    def backward(self, rows: Tensor, scale: Tensor, memo: Any) -> tuple[Tensor, Tensor]: ...


class _Conv:
    def __init__(self, module: nn.Conv2d) -> None:
        self.module = module
        weight = module.weight.detach().flip(2, 3).transpose(0, 1).contiguous()  # the way back is a convolution too
        self.padding = [k - 1 - int(p) for k, p in zip(module.kernel_size, module.padding, strict=True)]
        self.scales = weight.abs().amax((1, 2, 3)) / _LARGEST
        self.zeros = torch.zeros(len(weight), dtype=torch.int)
        integers = (weight / self.scales[:, None, None, None]).round().to(torch.int8)
        self.packed = torch.ops.onednn.qconv_prepack(
            integers, self.scales, 1 / _LARGEST, _ZERO, [1, 1], self.padding, [1, 1], 1, None
        )

    @staticmethod
    def fits(module: nn.Conv2d) -> bool:
        simple = module.stride == module.dilation == (1, 1) and module.groups == 1 and module.padding_mode == "zeros"
        return simple and not isinstance(module.padding, str)

    def forward(self, h: Tensor) -> tuple[Tensor, torch.Size]:
        return self.module(h), h.shape[-2:]

    def backward(self, rows: Tensor, scale: Tensor, memo: torch.Size) -> tuple[Tensor, Tensor]:
        if rows.is_floating_point():
            if self.module.in_channels < 4:  # too few outputs for the integer kernel: a plain product is faster
                return self._to_pixels(rows, memo), scale
            rows, scale = _to_bytes(rows, scale)
        out = torch.ops.onednn.qconv2d_pointwise(
            *(rows.flatten(0, 1).permute(0, 3, 1, 2), 1 / _LARGEST, _ZERO),
            *(self.packed, self.scales, self.zeros, None),
            *([1, 1], self.padding, [1, 1], 1),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        return out.permute(0, 2, 3, 1).unflatten(0, scale.shape), scale

    def _to_pixels(self, rows: Tensor, size: torch.Size) -> Tensor:
        flat = rows.flatten(0, 1).flatten(1, 2).transpose(1, 2)  # (N D, channels, places)
        columns = self.module.weight.flatten(1).t() @ flat
        pixels = F.fold(columns, size, self.module.kernel_size, padding=self.module.padding)  # pyright: ignore
        return pixels.unflatten(0, rows.shape[:2])


class _ReLU:
    def __init__(self, module: nn.PReLU | nn.ReLU) -> None:
        self.slope = float(module.weight) if isinstance(module, nn.PReLU) else 0.0

    @staticmethod
    def fits(module: nn.PReLU | nn.ReLU) -> bool:
        return isinstance(module, nn.ReLU) or (module.num_parameters == 1 and float(module.weight) >= 0)

    def forward(self, h: Tensor) -> tuple[Tensor, Tensor]:
        h = F.leaky_relu_(h, self.slope)  # nobody else holds the output of the layer before
        return h, h

    def backward(self, rows: Tensor, scale: Tensor, memo: Tensor) -> tuple[Tensor, Tensor]:
        memo = memo.movedim(1, -1)[:, None]
        return torch.ops.aten.leaky_relu_backward(rows, memo, self.slope, True), scale


class _MaxPool:
    def __init__(self, module: nn.MaxPool2d) -> None:
        self.ceil_mode = module.ceil_mode

    @staticmethod
    def fits(module: nn.MaxPool2d) -> bool:
        return (module.padding, module.dilation) == (0, 1) and module.kernel_size == module.stride == 2

    def forward(self, h: Tensor) -> tuple[Tensor, tuple[list[Tensor], torch.Size]]:
        """The memo holds a mask for each corner of the windows: 255 where it was the largest, the first of equals."""
        size = h.shape[-2:]
        if self.ceil_mode and any(n % 2 for n in size):  # windows that reach over the edge see nothing there
            h = F.pad(h, (0, size[1] % 2, 0, size[0] % 2), value=-torch.inf)
        out = F.max_pool2d(h, 2)
        masks, open_ = [], torch.ones_like(out, dtype=torch.bool)
        for corner in self._corners(h, out.shape[-2:]):
            largest = (corner == out).logical_and_(open_)
            open_ ^= largest
            masks.append(largest.view(torch.uint8).neg_().movedim(1, -1)[:, None])
        return out, (masks, size)

    def backward(self, rows: Tensor, scale: Tensor, memo: tuple[list[Tensor], torch.Size]) -> tuple[Tensor, Tensor]:
        masks, size = memo
        rows, scale = _to_bytes(rows, scale)  # while they are few
        rows ^= _ZERO  # now 0 stands for 0
        whole = [max(n, 2 * windows) for n, windows in zip(size, rows.shape[2:4], strict=True)]
        wide = torch.zeros((*scale.shape, *whole, rows.shape[-1]), dtype=torch.uint8)
        places = self._corners(wide.movedim(-1, 2), rows.shape[2:4])
        for place, mask in zip(places, masks, strict=True):
            torch.bitwise_and(rows, mask, out=place.movedim(2, -1))
        wide ^= _ZERO
        return wide[:, :, : size[0], : size[1]].contiguous(), scale

    @staticmethod
    def _corners(h: Tensor, windows: torch.Size) -> list[Tensor]:
        """For each corner of the 2 x 2 windows, its pixel in all of them."""
        whole = h[..., : 2 * windows[0], : 2 * windows[1]]
        return [whole[..., i::2, j::2] for i in (0, 1) for j in (0, 1)]


class _Flatten:
    def __init__(self, module: nn.Flatten) -> None:
        pass

    @staticmethod
    def fits(module: nn.Flatten) -> bool:
        return (module.start_dim, module.end_dim) == (1, -1)

    def forward(self, h: Tensor) -> tuple[Tensor, torch.Size]:
        return h.flatten(1), h.shape[1:]

    def backward(self, rows: Tensor, scale: Tensor, memo: torch.Size) -> tuple[Tensor, Tensor]:
        return rows.unflatten(2, memo).movedim(2, -1).contiguous(), scale


class _Linear:
    def __init__(self, module: nn.Linear) -> None:
        self.module = module

    @staticmethod
    def fits(module: nn.Linear) -> bool:
        del module
        return True

    def forward(self, h: Tensor) -> tuple[Tensor, None]:
        return self.module(h), None

    def backward(self, rows: Tensor, scale: Tensor, memo: None) -> tuple[Tensor, Tensor]:
        return rows @ self.module.weight, scale


_LAYERS: dict[type[nn.Module], type[_Layer]] = {
    nn.Conv2d: _Conv,
    nn.PReLU: _ReLU,
    nn.ReLU: _ReLU,
    nn.MaxPool2d: _MaxPool,
    nn.Flatten: _Flatten,
    nn.Linear: _Linear,
}


def _to_bytes(rows: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (N, D, H, W, C) as bytes, and the scale times what they were divided by."""
    largest = rows.abs().amax((2, 3, 4)).clamp_(min=1e-30)
    factor = (_LARGEST / largest)[:, :, None, None, None]
    half_up = torch.tensor(_ZERO + 0.5)  # rounds, because what follows cuts off
    return torch.addcmul(half_up, rows, factor).to(torch.uint8), scale * largest
