"""The fast Jacobian against autograd, and autograd against finite differences."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from lgm.attacks.jacobian import jacobian_of
from lgm.attacks.jacobian.autograd import Linearise, Rows, exact_jacobian
from lgm.attacks.jacobian.cnn import FastJacobian
from lgm.config import ModelConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier, build_model


@pytest.fixture
def digits(few: Split) -> Tensor:
    """With a little noise: where pixels are equal, which of a window is the largest is up to rounding."""
    digits = few.pixels(np.arange(0, 50, 4))
    return (digits + 0.1 * torch.rand(digits.shape, generator=torch.Generator().manual_seed(0))).clamp(0, 1)


def network(*layers: nn.Module) -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(*layers), build_model(ModelConfig()).head).eval().requires_grad_(False)


def batch_norm(channels: int) -> nn.BatchNorm2d:
    """One that has seen data: nothing in it is 0 or 1."""
    module = nn.BatchNorm2d(channels)
    for values in (module.weight, module.bias, module.running_mean, module.running_var):
        assert values is not None
        nn.init.uniform_(values, 0.2, 0.8)
    return module


def relative_error(found: Tensor, exact: Tensor) -> Tensor:
    return (found - exact).norm(dim=2) / exact.norm(dim=2)


def everywhere(linearise: Linearise, x: Tensor) -> tuple[Tensor, Tensor]:
    """Features (N, D) and Jacobian (N, D, pixels)."""
    z, rows = linearise(x)
    return z, rows(torch.arange(len(x)))


def by_autograd(model: Classifier, x: Tensor) -> tuple[Tensor, Tensor]:
    return everywhere(partial(exact_jacobian, model), x)


def test_exact_is_the_slope(tiny_lgm: Path, digits: Tensor):
    model = load_checkpoint(tiny_lgm)[0].double()
    x = digits.double()
    z, jacobian = by_autograd(model, x)
    torch.testing.assert_close(z, model.embed(x))
    direction = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    step = 1e-7 * direction
    slope = (model.embed(x + step) - model.embed(x - step)) / 2e-7
    torch.testing.assert_close(torch.einsum("ndp,np->nd", jacobian, direction.flatten(1)), slope, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["mnist-lgm", "mnist-softmax"])
def test_fast_on_the_shipped_networks(name: str, digits: Tensor):
    model = load_checkpoint(name)[0]
    assert FastJacobian.fits(model)
    z, jacobian = everywhere(jacobian_of(model), digits)
    exact_z, exact = by_autograd(model, digits)
    off = (model.feature_scale * (z - exact_z)).abs()
    assert float(off.max()) < 1e-4  # of features between -1 and 1
    error = relative_error(jacobian, exact)
    assert float(error.median()) < 0.005
    assert float(error.mean()) < 0.01  # a ReLU whose input is nearly 0 may be taken for its other side


CHAINS: list[Callable[[], list[nn.Module]]] = [
    lambda: [nn.Flatten(), nn.Linear(784, 3)],
    lambda: [nn.Conv2d(1, 8, 5, padding=2), nn.PReLU(), nn.Flatten(), nn.Linear(8 * 784, 2)],
    lambda: [nn.Conv2d(1, 8, 3), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3), nn.Flatten(), nn.Linear(16 * 11 * 11, 2)],
    lambda: [nn.Conv2d(1, 3, 5), nn.ReLU(), nn.Conv2d(3, 9, 3, bias=False), nn.Flatten(), nn.Linear(9 * 22 * 22, 2)],
    lambda: [
        *(nn.Conv2d(1, 16, 3, padding=1), nn.PReLU(init=0.1), nn.Conv2d(16, 8, 4), nn.PReLU(), nn.MaxPool2d(2)),
        *(nn.Conv2d(8, 8, 3, padding=1), nn.PReLU(init=0.0), nn.MaxPool2d(2)),  # 25, 12, 6 pixels: one is left over
        *(nn.Flatten(), nn.PReLU(), nn.Linear(8 * 6 * 6, 4), nn.PReLU(), nn.Linear(4, 2)),
    ],
    lambda: [
        *(nn.Conv2d(1, 8, 3, padding=1), batch_norm(8), nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)),
        *(nn.Conv2d(8, 8, 4), batch_norm(8), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)),  # 11 pixels become 6
        *(nn.Flatten(), nn.Linear(8 * 6 * 6, 2)),
    ],
]


@pytest.mark.parametrize("layers", CHAINS)
def test_fast_for_every_chain_that_fits(layers: Callable[[], list[nn.Module]], digits: Tensor):
    model = network(*layers())
    assert FastJacobian.fits(model)
    z, jacobian = everywhere(FastJacobian(model), digits)
    exact_z, exact = by_autograd(model, digits)
    torch.testing.assert_close(z, exact_z, rtol=1e-3, atol=1e-4)
    error = relative_error(jacobian, exact)
    assert float(error.median()) < 1e-3
    assert float(error.max()) < 0.1


@pytest.mark.parametrize("way", [exact_jacobian, lambda model, x: FastJacobian(model)(x)])
def test_rows_of_some_images(way: Callable[[Classifier, Tensor], tuple[Tensor, Rows]], digits: Tensor):
    model = network(*CHAINS[-2]())
    x = digits.repeat(8, 1, 1, 1)  # more than go through the layers together
    rows = way(model, x)[1]
    jacobian = by_autograd(model, x)[1]
    for chosen in ([0], [3, 4, 50], list(range(40, 60)), list(range(1, len(x)))):
        error = relative_error(rows(torch.tensor(chosen)), jacobian[chosen])
        assert float(error.median()) < 1e-3
        assert float(error.max()) < 0.1


def test_the_first_of_equals_gets_the_slope_of_a_window():
    # A constant picture makes all four pixels of every window equal.
    layers = nn.Conv2d(1, 8, 1), nn.MaxPool2d(2), nn.Conv2d(8, 8, 1), nn.Flatten(), nn.Linear(8 * 14 * 14, 2)
    model, x = network(*layers), torch.full((2, 1, 28, 28), 0.5)
    exact, found = (
        everywhere(way, x)[1].view(2, 2, 28, 28) for way in (partial(exact_jacobian, model), FastJacobian(model))
    )
    assert (exact[..., 1::2, :] == 0).all()
    assert (found[..., 1::2, :] == 0).all()
    assert (found[..., ::2, 1::2] == 0).all()
    torch.testing.assert_close(found, exact, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize(
    "layers",
    [
        [nn.Conv2d(1, 4, 5, stride=2), nn.Flatten(), nn.Linear(4 * 12 * 12, 2)],
        [nn.Conv2d(1, 4, (3, 5)), nn.Flatten(), nn.Linear(4 * 26 * 24, 2)],
        [nn.Conv2d(1, 4, 11), nn.Flatten(), nn.Linear(4 * 18 * 18, 2)],
        [nn.Conv2d(1, 4, 5), nn.PReLU(4), nn.Flatten(), nn.Linear(4 * 24 * 24, 2)],  # a slope for each channel
        [nn.Conv2d(1, 4, 5), nn.PReLU(init=-0.1), nn.Flatten(), nn.Linear(4 * 24 * 24, 2)],  # falls: pooling goes first
        [nn.Conv2d(1, 4, 5), nn.MaxPool2d(3), nn.Flatten(), nn.Linear(4 * 8 * 8, 2)],
        [nn.Conv2d(1, 4, 5), nn.Sigmoid(), nn.Flatten(), nn.Linear(4 * 24 * 24, 2)],
        [nn.Flatten(), nn.Linear(784, 2), nn.PReLU()],
        [nn.Conv2d(1, 4, 5), nn.ReLU(), batch_norm(4), nn.Flatten(), nn.Linear(4 * 24 * 24, 2)],  # not behind it
    ],
)
def test_what_does_not_fit_is_done_exactly(layers: list[nn.Module], digits: Tensor):
    model = network(*layers)
    assert not FastJacobian.fits(model)
    torch.testing.assert_close(everywhere(jacobian_of(model), digits)[1], by_autograd(model, digits)[1], rtol=0, atol=0)


def test_a_switch_asks_for_autograd_everywhere(digits: Tensor, monkeypatch: pytest.MonkeyPatch):
    model = load_checkpoint("mnist-lgm")[0]
    monkeypatch.setenv("LGM_EXACT_JACOBIAN", "1")
    found = everywhere(jacobian_of(model), digits)
    for part, exact in zip(found, by_autograd(model, digits), strict=True):
        torch.testing.assert_close(part, exact, rtol=0, atol=0)
