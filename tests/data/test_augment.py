from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from lgm.config import Phase
from lgm.data.augment import augment, centre, shifted

PLAIN = Phase(shift=0)


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def images(rng: np.random.Generator) -> Tensor:
    return torch.from_numpy(rng.random((40, 3, 8, 8), dtype=np.float32))


def moved(image: np.ndarray, down: int, right: int) -> np.ndarray:
    """One image moved with loops, black moving in."""
    height, width = image.shape
    out = np.zeros_like(image)
    for row in range(height):
        for column in range(width):
            if 0 <= row - down < height and 0 <= column - right < width:
                out[row, column] = image[row - down, column - right]
    return out


def halved(image: np.ndarray) -> np.ndarray:
    """One image at half the size with loops: each new pixel weighs those within two of its centre, near ones more."""
    half = len(image) // 2
    weight = np.zeros((half, len(image)))
    for i in range(half):
        for j in range(len(image)):
            weight[i, j] = max(0.0, 1 - abs((j + 0.5) - 2 * (i + 0.5)) / 2)
        weight[i] /= weight[i].sum()
    return weight @ image @ weight.T


def test_shift_against_a_slow_loop(rng: np.random.Generator):
    image = rng.random((6, 5), dtype=np.float32) + 0.1  # no pixel is black, so each move is told apart
    x = torch.from_numpy(np.tile(image, (300, 1, 1, 1)))
    moves = {moved(image, d, r).tobytes(): (d, r) for d in range(-2, 3) for r in range(-2, 3)}
    found = [moves[out.tobytes()] for out in shifted(x, 2, generator()).numpy()]  # KeyError: not such a move
    assert set(found) == set(moves.values()), "some moves never happen"


def test_shift_treats_channels_alike_and_0_changes_nothing(images: Tensor):
    x = images[:, :1].repeat(1, 3, 1, 1)
    out = shifted(x, 1, generator())
    assert out.shape == x.shape
    assert torch.equal(out[:, 0], out[:, 2])
    assert shifted(x, 0, generator()) is x


def test_plain_images_stay_as_they_are(images: Tensor):
    assert augment(images, PLAIN, 0, generator()) is images


def test_every_other_image_is_mirrored_and_nothing_else_changes(images: Tensor):
    out = augment(images, replace(PLAIN, flip=True), 0, generator()).numpy()
    mirrored = 0
    for before, after in zip(images.numpy(), out, strict=True):
        slow = np.empty_like(before)
        for column in range(before.shape[2]):
            slow[:, :, column] = before[:, :, before.shape[2] - 1 - column]
        assert (after == before).all() or (after == slow).all()
        mirrored += (after == slow).all()
    assert 10 < mirrored < 30
    shifts = replace(PLAIN, shift=2)
    moved_only = augment(images, shifts, 0, generator())
    both = augment(images, replace(shifts, flip=True), 0, generator())
    stayed = [i for i in range(40) if torch.equal(both[i], moved_only[i])]
    assert [i for i in range(40) if torch.equal(both[i], moved_only[i].flip(-1))] == sorted({*range(40)} - {*stayed})
    assert 10 < len(stayed) < 30


def test_early_epochs_see_small_images(images: Tensor):
    config = replace(PLAIN, epochs=3, small_epochs=2, small_size=4)
    for epoch in (0, 1):
        out = augment(images, config, epoch, generator())
        assert out.shape == (40, 3, 4, 4)
        np.testing.assert_allclose(out[7, 2].numpy(), halved(images[7, 2].numpy()), atol=1e-6)
    assert augment(images, config, 2, generator()) is images


def test_early_epochs_see_random_crops_whose_place_is_the_shift():
    x = torch.arange(42.0).reshape(1, 1, 7, 6).repeat(300, 1, 1, 1)
    assert centre(x, 4)[7, 0].tolist() == [[6.0 * i + j for j in range(1, 5)] for i in range(1, 5)]
    phase = replace(PLAIN, shift=1, epochs=2, small_epochs=1, small_size=4, small_by="crop")
    corners = {int(out[0, 0, 0]) for out in augment(x, phase, 0, generator())}
    assert corners == {6 * i + j for i in range(3) for j in range(3)}
    assert augment(x, phase, 1, generator()).shape == x.shape
    with pytest.raises(ValueError, match="small_size: expected at most 6 pixels, got 7"):
        centre(x, 7)
