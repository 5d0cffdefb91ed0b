"""Convolution by minimal filtering against NumPy's correlation and torch's convolution."""

import threading

import numpy as np
import pytest
import torch
from torch.nn import functional

from lgm.attacks.jacobian.winograd import LARGEST_KERNEL, WinogradConv, minimal_filter, tiling


@pytest.mark.parametrize("r", range(1, LARGEST_KERNEL + 1))
def test_the_matrices_correlate(r: int):
    rng = np.random.default_rng(r)
    for m in range(1, LARGEST_KERNEL + 3 - r):
        input_transform, kernel_transform, output_transform = (matrix.numpy() for matrix in minimal_filter(m, r))
        data, kernel = rng.standard_normal(m + r - 1), rng.standard_normal(r)
        found = output_transform @ ((kernel_transform @ kernel) * (input_transform @ data))
        np.testing.assert_allclose(found, np.correlate(data, kernel), rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("r", [1, 3, 4, 5])
@pytest.mark.parametrize("size", [2, 5, 7, 11, 14, 28, 32])
def test_a_convolution(size: int, r: int):
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(3, 8, size, size, generator=generator)
    weight, bias = torch.randn(12, 8, r, r, generator=generator), torch.randn(12, generator=generator)
    for padding in range(r):
        if size + 2 * padding < r:
            continue
        for b in (None, bias):
            exact = functional.conv2d(x.double(), weight.double(), None if b is None else b.double(), padding=padding)
            found = WinogradConv(weight, size, padding, b)(x.permute(2, 3, 0, 1)).permute(2, 3, 0, 1)
            assert found.shape == exact.shape
            error = (found - exact) / exact.std()
            assert float(error.square().mean().sqrt()) < 2e-4
            assert float(error.abs().max()) < 5e-3


def test_shipped_sizes_are_cut_into_tiles_of_seven_and_eight():
    assert [tiling(size, 5) for size in (28, 14, 7)] == [(4, 7), (2, 7), (1, 7)]
    assert [tiling(size, 3) for size in (32, 16, 8, 4, 2)] == [(4, 8), (2, 8), (1, 8), (1, 4), (1, 2)]


def test_threads_do_not_write_to_each_others_memory():
    x, weight = torch.randn(28, 28, 16, 8), torch.randn(8, 8, 5, 5)
    conv = WinogradConv(weight, 28, 2)
    alone = [conv(x * (i + 1)) for i in range(4)]
    found: list[list[torch.Tensor]] = [[] for _ in alone]

    def work(i: int) -> None:
        for _ in range(10):
            found[i].append(conv(x * (i + 1)))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, each in zip(alone, found, strict=True):
        assert len(each) == 10
        for y in each:
            torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-4)
