"""Ways to features and their Jacobian, one after the other on one thread: time an image, and what they are off by.

`python benchmarks/jacobian.py [NETWORK ...]`: by default `mnist-lgm` and `cifar10-lgm`.
Every row is the fastest of several passes over 32 images; the rows of docs/performance.md come from here.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for lgm, in a checkout

import torch
from torch import Tensor
from torch.nn import functional

from lgm.attacks.jacobian.autograd import exact_jacobian
from lgm.attacks.jacobian.cnn import FastJacobian
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier

_IMAGES, _PASSES = 32, 7
Way = Callable[[Tensor], tuple[Tensor, Tensor]]  # images (N, C, H, W) to features (N, D) and Jacobian (N, D, pixels)


def autograd(model: Classifier, x: Tensor, *, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """The exact way, optionally with convolutions in another type."""
    context = nullcontext() if dtype == torch.float32 else torch.autocast("cpu", dtype)
    with context:
        z, rows = exact_jacobian(model, x)
        return z.float(), rows(torch.arange(len(x))).float()


def nnpack(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    """Autograd through NNPACK's convolutions: FFT or Winograd, as it chooses."""

    def conv(inputs: Tensor, weight: Tensor, bias: Tensor | None, stride: object, padding: Any, *_: object) -> Tensor:
        del stride
        return torch.ops.aten._nnpack_spatial_convolution(inputs.contiguous(), weight.contiguous(), bias, padding)

    with patch.object(functional, "conv2d", conv):
        return autograd(model, x)


def by_hand(model: Classifier) -> Way:
    """What crafting uses."""
    fast = FastJacobian(model)

    def way(x: Tensor) -> tuple[Tensor, Tensor]:
        z, rows = fast(x)
        return z, rows(torch.arange(len(x)))

    return way


def compiled(model: Classifier) -> Way:
    """`torch.compile` of the features and a vector-Jacobian product for each of them."""

    def one(x: Tensor) -> tuple[Tensor, Tensor]:
        z, pullback, *_ = torch.func.vjp(model.embed, x)
        rows = [pullback(torch.eye(z.shape[1])[d].expand_as(z))[0].flatten(1) for d in range(z.shape[1])]
        return z, torch.stack(rows, dim=1)

    return torch.compile(one)


def ways(model: Classifier) -> Iterator[tuple[str, Callable[[], Way]]]:
    """By name; each is built only when its turn comes, for some cannot be on every machine."""
    yield "autograd", lambda: partial(autograd, model)
    yield "autograd in bfloat16", lambda: partial(autograd, model, dtype=torch.bfloat16)
    yield "torch.compile", lambda: compiled(model)
    yield "NNPACK's convolutions", lambda: partial(nnpack, model)
    yield "by hand, Winograd", lambda: by_hand(model)


def seconds(way: Way, x: Tensor) -> float:
    """Of the fastest pass."""
    way(x)
    times = []
    for _ in range(_PASSES):
        start = time.perf_counter()
        way(x)
        times.append(time.perf_counter() - start)
    return min(times)


def measure(name: str) -> Iterator[str]:
    """A row a way."""
    model = load_checkpoint(name)[0].requires_grad_(False)
    x = torch.rand(_IMAGES, *model.image_shape, generator=torch.Generator().manual_seed(0))
    exact_z, exact = autograd(model, x)
    for label, build in ways(model):
        try:
            way = build()
            z, jacobian = way(x)
            took = 1000 * seconds(way, x) / len(x)
        except Exception as error:  # noqa: BLE001 a compiler that is not there is a row as well
            yield f"| {label} | | | {type(error).__name__} |"
            continue
        off = float((model.feature_scale * (z - exact_z)).abs().max())
        error = float(((jacobian - exact).norm(dim=2) / exact.norm(dim=2)).median())
        yield f"| {label} | {took:.2f} | {off:.1e} | {error:.1e} |"


def main() -> None:
    """Print a table a network."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, {os.cpu_count()} cores")
    for name in sys.argv[1:] or ["mnist-lgm", "cifar10-lgm"]:
        print(f"\n{name}\n| way | ms an image | features off by, of [-1, 1] | rows off by, median |\n|---|---|---|---|")
        for row in measure(name):
            print(row, flush=True)


if __name__ == "__main__":
    main()
