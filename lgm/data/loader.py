"""Images of a registered dataset, read while a network works on those before: memory holds a few batches."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lgm.data.arrays import row_of
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image
from lgm.data.row_images import RowImages

Batch = tuple[Tensor, Tensor]  # positions (n,) and pixels (n, C, H, W) uint8 of the images that read


class FileImages(Dataset[tuple[int, Tensor]]):
    """Files as (position, pixels (C, H, W) uint8); a file that has become unreadable since is (-1, zeros)."""

    def __init__(self, root: Path, paths: Sequence[str], shape: tuple[int, int, int]) -> None:
        self.root, self.paths, self.shape = root, paths, shape

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, Tensor]:
        try:
            return index, torch.from_numpy(fit_to(read_image(read_content(self.root / self.paths[index])), self.shape))
        except ImageFileError:
            return -1, torch.zeros(self.shape, dtype=torch.uint8)


def open_images(root: Path, paths: Sequence[str], shape: tuple[int, int, int]) -> Dataset[tuple[int, Tensor]]:
    """Images by position in ``paths``, which start from ``root``; several threads may read them at a time."""
    return (RowImages if len(paths) and row_of(root, paths[0]) else FileImages)(root, paths, shape)


def read_batch(images: Dataset[tuple[int, Tensor]], positions: Sequence[int]) -> Batch:
    """Those of the images at these positions that read."""
    many = getattr(images, "__getitems__", None)  # as a DataLoader looks for it
    items = many(list(positions)) if many else [images[position] for position in positions]
    return _readable([torch.tensor([at for at, _ in items]), torch.stack([pixels for _, pixels in items])])


def batch_readers(
    images: Dataset[tuple[int, Tensor]], batches: Sequence[Sequence[int]], workers: int = 0
) -> Iterator[Callable[[], Batch]]:
    """For each batch of positions what gives it, in their order.

    Without workers, the reading is left to whoever calls: to several threads side by side. With workers, processes
    have read it by then, two batches each ahead.
    """
    if not workers:
        yield from (partial(read_batch, images, batch) for batch in batches)
        return
    for loaded in DataLoader(images, batch_sampler=batches, num_workers=workers):  # type: ignore[bad-argument-type]
        yield partial(_readable, loaded)


def _readable(loaded: Sequence[Tensor]) -> Batch:
    positions, pixels = loaded
    return positions[positions >= 0], pixels[positions >= 0]
