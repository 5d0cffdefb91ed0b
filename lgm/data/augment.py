"""Data augmentation: random shift, horizontal flip, smaller images."""

import torch
from torch import Tensor
from torch.nn import functional

from lgm.config import Phase


def augment(x: Tensor, phase: Phase, epoch: int, generator: torch.Generator) -> Tensor:
    """A batch as the network meets it in an epoch, counted from 0: (N, C, H, W) -> (N, C, H', W')."""
    x = shifted(x, phase.shift, generator)
    if phase.flip:
        mirrored = torch.rand(len(x), generator=generator) < 0.5
        x = torch.where(mirrored[:, None, None, None], x.flip(-1), x)
    if epoch < phase.small_epochs:
        size = phase.small_size
        if phase.small_by == "crop":
            return centre(x, size)
        x = functional.interpolate(x, (size, size), mode="bilinear", antialias=True)
    return x


def centre(x: Tensor, size: int) -> Tensor:
    """The centre of each image, ``size`` pixels a side, (N, C, H, W) -> (N, C, size, size).

    Raises:
        ValueError: larger than the images.
    """
    height, width = x.shape[2:]
    if size > min(height, width):
        raise ValueError(f"small_size: expected at most {min(height, width)} pixels, got {size}")
    top, left = (height - size) // 2, (width - size) // 2
    return x[:, :, top : top + size, left : left + size]


def shifted(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``shift`` pixels both ways, black moving in, (N, C, H, W) -> the same."""
    if not shift:
        return x
    n, _, height, width = x.shape
    padded = functional.pad(x, [shift] * 4)
    offset = torch.randint(0, 2 * shift + 1, (2, n, 1), generator=generator)
    rows = (offset[0] + torch.arange(height))[:, None, :, None]
    columns = (offset[1] + torch.arange(width))[:, None, None, :]
    images = torch.arange(n)[:, None, None, None]
    channels = torch.arange(x.shape[1])[None, :, None, None]
    return padded[images, channels, rows, columns]
