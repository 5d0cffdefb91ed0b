"""Images of a registered dataset, read while a network works on those before: memory holds a few batches."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lgm.data.arrays import row_of
from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image
from lgm.data.row_images import RowImages


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


def batches(
    root: Path, paths: Sequence[str], shape: tuple[int, int, int], batch_size: int = 256, workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Positions (n,) and pixels (n, C, H, W) uint8 of all files that read, in their order.

    Args:
        root: What the paths start from.
        paths: Of the files, relative, or of an archive's rows (`lgm.data.arrays.row_path`).
        shape: (C, H, W) that images are scaled to.
        batch_size: Images at a time.
        workers: Processes that read; 0: this one does, in between.
    """
    loader = DataLoader(open_images(root, paths, shape), batch_size, num_workers=workers, persistent_workers=False)
    for positions, pixels in loader:
        readable = positions >= 0
        yield positions[readable], pixels[readable]
