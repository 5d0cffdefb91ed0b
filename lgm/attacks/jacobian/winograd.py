"""Convolution by Winograd's minimal filtering F(m x m, r x r), for the many passes of crafting.

A direct convolution multiplies each pixel by each entry of the kernel. In one dimension, m outputs of a filter g of
r entries over a tile d of m + r - 1 inputs are ``A^T ((G g) * (B^T d))``: m + r - 1 products instead of m r. Nested
with itself, ``A^T (U * V) A`` with ``U = G g G^T`` and ``V = B^T d B`` gives a tile of an image; over the channels,
the products at each of the (m + r - 1)^2 positions are one matrix product (GEMM). With kernels of 5 x 5 and outputs
of 7 x 7 these are 121 products for 49 pixels, where a direct convolution takes 1,225.

Source: Lavin and Gray 2016, section 4; names are theirs. Deviation: larger tiles, their matrices by Toom and Cook's
construction instead of from a table.
"""

import math
import threading
from typing import NamedTuple

import torch
from torch import Tensor

# Interpolation points, besides infinity. Of 5,000 sets with the first seven, the last three lose the fewest digits on
# random images. The first is 1: evaluating there maps a constant to itself, so the bias can be added there.
_POINTS = (1.0, 0.0, -1.0, 2.0, -2.0, 0.5, -0.5, -0.75, 0.75, -4.0)
_TILES_PER_GEMM = 2  # along a line; the zeros in the transforms of more of them would cost more
LARGEST_KERNEL = len(_POINTS)  # leaves m = 2


class WinogradConv:
    """``conv2d`` with stride 1 for square images of one size, (H, H, N, C) -> (H', H', N, K), float32, no gradient.

    Pixels come first: then each step is a matrix product with long contiguous rows. Rounding grows with the input tile:
    for m + r - 1 = 11 the outputs are off by 5e-5 of their spread.
    """

    def __init__(self, weight: Tensor, size: int, padding: int, bias: Tensor | None = None) -> None:
        """Weight (K, C, r, r), images of ``size`` x ``size`` with ``padding`` zeros on each side, bias (K,)."""
        outputs, inputs, r, _ = weight.shape
        self.size = size + 2 * padding - r + 1
        self.tiles, self.m = tiling(self.size, r)
        self.bias = bias
        input_transform, kernel_transform, output_transform = minimal_filter(self.m, r)
        self.alpha = len(input_transform)
        kernel = weight.permute(2, 3, 1, 0).reshape(r * r, -1)
        nested = torch.kron(kernel_transform, kernel_transform).float()
        self.kernels = (nested @ kernel).view(-1, inputs, outputs)  # U: G g G^T of all channels
        self.output_transform = output_transform.float()
        self.input_transforms: list[Tensor] = []  # of each tile, without the columns that meet padding
        self.input_pixels: list[slice] = []
        for first in range(-padding, self.tiles * self.m - padding, self.m):
            pixels = slice(max(first, 0), min(first + self.alpha, size))
            inside = input_transform[:, pixels.start - first : pixels.stop - first]
            self.input_transforms.append(inside.float().contiguous())
            self.input_pixels.append(pixels)
        self.blocks = [self._block(first) for first in range(0, self.tiles, _TILES_PER_GEMM)]

    def _block(self, first: int) -> "_Block":
        last = min(first + _TILES_PER_GEMM, self.tiles)
        count = last - first
        read = slice(self.input_pixels[first].start, self.input_pixels[last - 1].stop)
        written = slice(first * self.m, min(last * self.m, self.size))
        input_transform = torch.zeros(self.alpha, count, read.stop - read.start)
        output_transform = torch.zeros(count, self.m, self.alpha, count)
        for i, tile in enumerate(range(first, last)):
            own = self.input_pixels[tile]
            input_transform[:, i, own.start - read.start : own.stop - read.start] = self.input_transforms[tile]
            output_transform[i, :, :, i] = self.output_transform
        output_transform = output_transform.view(-1, self.alpha * count)[: written.stop - written.start]
        return _Block(count, read, written, input_transform.flatten(0, 1), output_transform)

    def __call__(self, x: Tensor) -> Tensor:
        """See the class."""
        n, (inputs, outputs) = x.shape[2], self.kernels.shape[1:]
        x = x.reshape(*x.shape[:2], -1)
        y = x.new_empty(self.size, self.size, n * outputs)
        columns, *memory = _scratch((self.alpha, *x.shape[1:]), *self.blocks[0].shapes(n, inputs, outputs))
        steps = [(block, *map(_shaped, memory, block.shapes(n, inputs, outputs))) for block in self.blocks]
        lines = zip(self.input_transforms, self.input_pixels, range(0, self.size, self.m), strict=True)
        for input_transform, pixels, first in lines:
            # B^T d down the columns of a line of tiles, then (B^T d) B along its rows, some tiles at a time: more of
            # them would not stay in the cache.
            torch.mm(input_transform, x[pixels].flatten(1), out=columns.flatten(1))
            line = y[first : first + self.m]
            for block, v, products, rows in steps:
                torch.bmm(block.input_transform.expand(self.alpha, -1, -1), columns[:, block.read], out=v)
                self._multiply(v.view(-1, block.tiles * n, inputs), products.view(-1, block.tiles * n, outputs))
                torch.bmm(block.output_transform.expand(self.alpha, -1, -1), products, out=rows)
                torch.mm(self.output_transform[: len(line)], rows.flatten(1), out=line[:, block.written].flatten(1))
        return y.unflatten(2, (n, outputs))

    def _multiply(self, v: Tensor, products: Tensor) -> None:
        """V U, and the bias: (positions, tiles and images, C) -> (positions, tiles and images, K)."""
        torch.bmm(v, self.kernels, out=products)
        if self.bias is not None:
            products[0] += self.bias


class _Block(NamedTuple):
    """The tiles along a line that share a GEMM; the same for every line of tiles."""

    tiles: int
    read: slice  # pixels of the input's line
    written: slice  # pixels of the output's line
    input_transform: Tensor  # (positions x tiles, pixels read)
    output_transform: Tensor  # (pixels written, positions x tiles)

    def shapes(self, n: int, inputs: int, outputs: int) -> tuple[tuple[int, ...], ...]:
        """Of n images: V, the products, and the rows of the output that they are transformed to."""
        width, across = self.output_transform.shape
        alpha = across // self.tiles
        return (alpha, across, n * inputs), (alpha, across, n * outputs), (alpha, width, n * outputs)


_kept = threading.local()


def _scratch(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Uninitialised tensors in memory that each thread keeps: the system takes long to give new."""
    sizes = [math.prod(shape) for shape in shapes]
    if getattr(_kept, "size", 0) < sum(sizes):
        _kept.size, _kept.memory = sum(sizes), torch.empty(sum(sizes))
    parts = _kept.memory[: sum(sizes)].split(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _shaped(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The beginning of it as a tensor of this shape."""
    return memory.flatten()[: math.prod(shape)].view(shape)


def tiling(size: int, r: int) -> tuple[int, int]:
    """How many tiles across, and their m, cover ``size`` outputs with the fewest products; the smallest m of equals."""
    sizes = range(1 if r > 1 else 2, len(_POINTS) + 3 - r)  # the point 1 has to be among them
    return min(((-(-size // m), m) for m in sizes), key=lambda t: (t[0] * (t[1] + r - 1), t[1]))


def minimal_filter(m: int, r: int) -> tuple[Tensor, Tensor, Tensor]:
    """The transforms of F(m, r): ``A^T ((G g) * (B^T d)) = correlate(d, g)``, float64.

    Args:
        m: outputs.
        r: entries of the filter g; the tile d has m + r - 1.

    Returns:
        B^T (m + r - 1, m + r - 1), the input transform; G (m + r - 1, r), the kernel transform; A^T (m, m + r - 1), the
        output transform.
    """
    alpha = m + r - 1
    points = torch.tensor(_POINTS[: alpha - 1], dtype=torch.float64)

    def evaluation(terms: int) -> Tensor:
        """From a polynomial's coefficients to its values at the points and at infinity, (alpha, terms)."""
        at_infinity = torch.zeros(1, terms, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([points[:, None] ** torch.arange(terms), at_infinity])

    # Interpolation inverts evaluation. A filter is the transpose of a product of polynomials, so its interpolation is
    # what the data go through.
    input_transform, kernel_transform = torch.linalg.inv(evaluation(alpha)).T, evaluation(r)
    size = input_transform.abs().amax(1, keepdim=True)  # either may be scaled: values of like size lose fewer digits
    return input_transform / size, kernel_transform * size, evaluation(m).T
