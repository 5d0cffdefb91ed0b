"""Batches of a dataset are its images in their order, whatever they come from and whoever reads them."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from lgm.data.image_files import fit_to
from lgm.data.loader import batch_readers, open_images
from lgm.data.store import read_columns, read_images, register
from lgm.utils.images import picture, png

IMAGES = np.random.default_rng(0).integers(0, 256, (23, 3, 8, 8), dtype=np.uint8)
LABELS = np.arange(23) % 3


@pytest.fixture(params=["files", "stored rows", "packed rows"])
def source(request: pytest.FixtureRequest, fresh_home: Path, tmp_path: Path) -> Path:
    if request.param != "files":
        (np.savez if request.param == "stored rows" else np.savez_compressed)(
            tmp_path / "x.npz", images=IMAGES, labels=LABELS
        )
        return tmp_path / "x.npz"
    for at, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (tmp_path / "x" / str(label)).mkdir(parents=True, exist_ok=True)
        (tmp_path / "x" / str(label) / f"{at:02}.png").write_bytes(png(image))
    return tmp_path / "x"


def read(
    paths: Sequence[str], root: Path, shape: tuple[int, int, int], workers: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    fours = [range(at, min(at + 4, len(paths))) for at in range(0, len(paths), 4)]
    found = [load() for load in batch_readers(open_images(root, paths, shape), fours, workers)]
    return tuple(torch.cat(part).numpy() for part in zip(*found, strict=True))  # type: ignore[return-value]


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 5, 5)])
@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=[pytest.mark.multiprocess, pytest.mark.slow])])
def test_batches_are_the_images_in_their_order(source: Path, shape: tuple[int, int, int], workers: int):
    made, found = register("mine", source)
    order = [int(image.path[-10:].strip("/.png").split("/")[-1]) for image in found.images]
    expected = np.stack([fit_to(picture(IMAGES[at]), shape) for at in order])
    positions, pixels = read([image.path for image in found.images], made.root, shape, workers)
    np.testing.assert_array_equal(positions, np.arange(23))
    np.testing.assert_array_equal(pixels, expected)


def test_any_selection_reads(source: Path):
    made, found = register("mine", source)
    chosen = [7, 7, 20, 2, 3, 4, 1]
    _, every = read([image.path for image in found.images], made.root, (3, 8, 8))
    _, some = read(read_columns("mine").paths[chosen].tolist(), made.root, (3, 8, 8))
    np.testing.assert_array_equal(some, every[chosen])


def test_threads_read_side_by_side(source: Path):
    made, found = register("mine", source)
    images = open_images(made.root, [image.path for image in found.images], (3, 8, 8))
    expected = [images[at][1] for at in range(23)]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            for at, (position, pixels) in enumerate(pool.map(images.__getitem__, range(23))):
                assert position == at and torch.equal(pixels, expected[at])


def test_an_archive_that_ends_early_loses_its_last_rows(fresh_home: Path, tmp_path: Path):
    np.savez(tmp_path / "x.npz", images=IMAGES, labels=LABELS)
    made, found = register("mine", tmp_path / "x.npz")
    np.savez(tmp_path / "x.npz", images=IMAGES[:9], labels=LABELS[:9])
    positions, pixels = read([image.path for image in found.images], made.root, (3, 8, 8))
    assert positions.tolist() == list(range(8))  # batches of four, and the third is not whole
    np.testing.assert_array_equal(pixels, IMAGES[:8])
    (tmp_path / "x.npz").write_bytes(b"")
    assert len(read([image.path for image in found.images], made.root, (3, 8, 8))[0]) == 0


def test_columns_are_the_records(source: Path):
    register("mine", source)
    columns, records = read_columns("mine"), read_images("mine")
    assert columns.paths.tolist() == [image.path for image in records]
    assert columns.labels.tolist() == [image.label for image in records]
    assert columns.splits.tolist() == [image.split for image in records]
    assert [bytes(each).hex() for each in columns.sha256] == [image.sha256 for image in records]
