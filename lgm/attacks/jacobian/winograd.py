"""Convolution by Winograd's minimal filtering, for the many passes of crafting.

A direct convolution multiplies each pixel by each entry of the kernel. Polynomials can be multiplied by evaluating them
at a few points, multiplying there, and interpolating (Toom and Cook). So can a tile of an image and a kernel, and the
products at each point are products of matrices over the channels. With kernels of 5 x 5 and tiles of 7 x 7 these are
121 products for 49 pixels, where a direct convolution takes 1,225.

Source: Lavin and Gray 2016, section 4.
"""

import math
import threading
from typing import NamedTuple

import torch
from torch import Tensor

# Where polynomials are evaluated, besides infinity. Of 5,000 sets with the first seven, the last three lose the fewest
# digits on random images. The first is 1: evaluating there maps a constant to itself, so the bias
# can be added there.
_POINTS = (1.0, 0.0, -1.0, 2.0, -2.0, 0.5, -0.5, -0.75, 0.75, -4.0)
_ABREAST = 2  # tiles along a line that go through a product together; the zeros between more of them would cost more
LARGEST_KERNEL = len(_POINTS)  # leaves tiles of two pixels


class WinogradConv:
    """``conv2d`` with stride 1 for square images of one size, (H, H, N, C) -> (H', H', N, O), float32, no gradient.

    Images come and go with their places first: then each step is a product of matrices with long contiguous rows.
    Rounding grows with the window, tile and kernel together: for 11 pixels the outputs are off by 5e-5 of their spread.
    """

    def __init__(self, weight: Tensor, size: int, padding: int, bias: Tensor | None = None) -> None:
        """Weight (O, C, R, R), images of ``size`` x ``size`` with ``padding`` zeros on each side, bias (O,)."""
        outputs, inputs, taps, _ = weight.shape
        self.size = size + 2 * padding - taps + 1
        self.tiles, self.tile = tiling(self.size, taps)
        self.bias = bias
        spread, evaluate, gather = minimal_filter(self.tile, taps)
        self.window = len(spread)
        by_tap = weight.permute(2, 3, 1, 0).reshape(taps * taps, -1)
        self.kernels = (torch.kron(evaluate, evaluate).float() @ by_tap).view(-1, inputs, outputs)
        self.gather = gather.float()
        self.spread: list[Tensor] = []  # for each tile, what it sees of a line to its points
        self.seen: list[slice] = []
        for first in range(-padding, self.tiles * self.tile - padding, self.tile):
            seen = slice(max(first, 0), min(first + self.window, size))
            self.spread.append(spread[:, seen.start - first : seen.stop - first].float().contiguous())
            self.seen.append(seen)
        self.blocks = [self._block(first) for first in range(0, self.tiles, _ABREAST)]

    def _block(self, first: int) -> "_Block":
        last = min(first + _ABREAST, self.tiles)
        seen = slice(self.seen[first].start, self.seen[last - 1].stop)
        place = slice(first * self.tile, min(last * self.tile, self.size))
        spread = torch.zeros(self.window, last - first, seen.stop - seen.start)
        gather = torch.zeros(last - first, self.tile, self.window, last - first)
        for i, part in enumerate(range(first, last)):
            own = self.seen[part]
            spread[:, i, own.start - seen.start : own.stop - seen.start] = self.spread[part]
            gather[i, :, :, i] = self.gather
        gather = gather.view(-1, self.window * (last - first))[: place.stop - place.start]
        return _Block(last - first, seen, place, spread.flatten(0, 1), gather)

    def __call__(self, x: Tensor) -> Tensor:
        """See the class."""
        n, (inputs, outputs) = x.shape[2], self.kernels.shape[1:]
        x = x.reshape(*x.shape[:2], -1)
        y = x.new_empty(self.size, self.size, n * outputs)
        columns, *memory = _scratch((self.window, *x.shape[1:]), *self.blocks[0].shapes(n, inputs, outputs))
        steps = [(block, *map(_shaped, memory, block.shapes(n, inputs, outputs))) for block in self.blocks]
        for spread, seen, first in zip(self.spread, self.seen, range(0, self.size, self.tile), strict=True):
            # Values at each point down the columns of a line of tiles, then, some tiles at a time, along the rows as
            # well: more of them would not stay in the cache.
            torch.mm(spread, x[seen].flatten(1), out=columns.flatten(1))
            lines = y[first : first + self.tile]
            for block, values, products, rows in steps:
                torch.bmm(block.spread.expand(self.window, -1, -1), columns[:, block.seen], out=values)
                self._multiply(values.view(-1, block.tiles * n, inputs), products.view(-1, block.tiles * n, outputs))
                torch.bmm(block.gather.expand(self.window, -1, -1), products, out=rows)
                torch.mm(self.gather[: len(lines)], rows.flatten(1), out=lines[:, block.place].flatten(1))
        return y.unflatten(2, (n, outputs))

    def _multiply(self, values: Tensor, products: Tensor) -> None:
        """At each point, (points, tiles and images, C) -> (points, tiles and images, O)."""
        torch.bmm(values, self.kernels, out=products)
        if self.bias is not None:
            products[0] += self.bias


class _Block(NamedTuple):
    """Some tiles along a line, the same for every line of tiles."""

    tiles: int
    seen: slice  # of the pixels that come in
    place: slice  # of those that go out
    spread: Tensor  # pixels to (points, tiles); what lies outside is 0
    gather: Tensor  # and back

    def shapes(self, n: int, inputs: int, outputs: int) -> tuple[tuple[int, ...], ...]:
        """Of n images: values at the points, products there, and rows of pixels."""
        width, across = self.gather.shape
        window = across // self.tiles
        return (window, across, n * inputs), (window, across, n * outputs), (window, width, n * outputs)


_kept = threading.local()


def _scratch(*shapes: tuple[int, ...]) -> list[Tensor]:
    """Tensors to write to and forget, in memory that each thread keeps: the system takes long to give new."""
    sizes = [math.prod(shape) for shape in shapes]
    if getattr(_kept, "size", 0) < sum(sizes):
        _kept.size, _kept.memory = sum(sizes), torch.empty(sum(sizes))
    parts = _kept.memory[: sum(sizes)].split(sizes)
    return [part.view(shape) for part, shape in zip(parts, shapes, strict=True)]


def _shaped(memory: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The beginning of it as a tensor of this shape."""
    return memory.flatten()[: math.prod(shape)].view(shape)


def tiling(size: int, taps: int) -> tuple[int, int]:
    """How many tiles across, and how large, cover ``size`` pixels with the fewest products; the smallest of equals."""
    tiles = range(1 if taps > 1 else 2, len(_POINTS) + 3 - taps)  # the point 1 has to be among them
    return min(((-(-size // tile), tile) for tile in tiles), key=lambda t: (t[0] * (t[1] + taps - 1), t[1]))


def minimal_filter(tile: int, taps: int) -> tuple[Tensor, Tensor, Tensor]:
    """Matrices B, G, A with ``A ((G g) * (B d)) = correlate(d, g)``, float64.

    Args:
        tile: M, outputs.
        taps: R, entries of the filter g; the data d has M + R - 1.

    Returns:
        B (M + R - 1, M + R - 1), G (M + R - 1, R) and A (M, M + R - 1).
    """
    window = tile + taps - 1
    points = torch.tensor(_POINTS[: window - 1], dtype=torch.float64)

    def values(terms: int) -> Tensor:
        """A polynomial's values at the points and at infinity, by its coefficients, (window, terms)."""
        at_infinity = torch.zeros(1, terms, dtype=torch.float64)
        at_infinity[0, -1] = 1
        return torch.cat([points[:, None] ** torch.arange(terms), at_infinity])

    # Interpolation undoes evaluation. A filter is the transpose of a product, so it is what the data go through.
    spread, kernel = torch.linalg.inv(values(window)).T, values(taps)
    size = spread.abs().amax(1, keepdim=True)  # either side may be scaled: values of like size lose fewer digits
    return spread / size, kernel * size, values(tile).T
