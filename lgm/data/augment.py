"""Data augmentation: random shift, horizontal flip, random crop, low-resolution epochs."""

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
    x = cropped(x, phase.crop, generator)
    if epoch < phase.small_epochs:
        size = (phase.small_size, phase.small_size)
        x = functional.interpolate(x, size, mode="bilinear", antialias=True)
    return x


def shifted(x: Tensor, shift: int, generator: torch.Generator) -> Tensor:
    """Each image moved by up to ``shift`` pixels both ways, black moving in, (N, C, H, W) -> the same."""
    if not shift:
        return x
    height, width = x.shape[2:]
    return _windows(functional.pad(x, [shift] * 4), height, width, generator)


def cropped(x: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """A random square of ``size`` pixels a side of each image, (N, C, H, W) -> (N, C, size, size); 0: whole images.

    Raises:
        ValueError: larger than the images.
    """
    if not size:
        return x
    if size > min(x.shape[2:]):
        raise ValueError(f"crop: expected at most {min(x.shape[2:])} pixels, got {size}")
    return _windows(x, size, size, generator)


def _windows(x: Tensor, height: int, width: int, generator: torch.Generator) -> Tensor:
    """A window of each image, its place drawn at random: (N, C, H, W) -> (N, C, height, width)."""
    n = len(x)
    top, left = (
        torch.randint(0, whole - part + 1, (n, 1), generator=generator)
        for whole, part in zip(x.shape[2:], (height, width), strict=True)
    )
    rows = (top + torch.arange(height))[:, None, :, None]
    columns = (left + torch.arange(width))[:, None, None, :]
    images = torch.arange(n)[:, None, None, None]
    channels = torch.arange(x.shape[1])[None, :, None, None]
    return x[images, channels, rows, columns]
