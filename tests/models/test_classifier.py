from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.distributions import MultivariateNormal

from lgm.config import ModelConfig
from lgm.data.base import Split
from lgm.models.backbones import small_cnn
from lgm.models.classifier import Normalise, autocast, build_model, fast_precision, to_device
from lgm.models.heads import LGMHead, SoftmaxHead
from lgm.models.prelu import PReLU
from lgm.models.scoring import check_images, embed, log_likelihood, require_mixture

TINY = ModelConfig(network="tiny-cnn")
VGG = ModelConfig(network="vgg19")

# Paper, appendix C.1: layer, output shape, parameters.
TABLE: list[tuple[type[nn.Module], tuple[int, ...], int]] = [
    (nn.Conv2d, (32, 28, 28), 832),
    (PReLU, (32, 28, 28), 1),
    (nn.Conv2d, (32, 28, 28), 25632),
    (PReLU, (32, 28, 28), 1),
    (nn.MaxPool2d, (32, 14, 14), 0),
    (nn.Conv2d, (64, 14, 14), 51264),
    (PReLU, (64, 14, 14), 1),
    (nn.Conv2d, (64, 14, 14), 102464),
    (PReLU, (64, 14, 14), 1),
    (nn.MaxPool2d, (64, 7, 7), 0),
    (nn.Conv2d, (128, 7, 7), 204928),
    (PReLU, (128, 7, 7), 1),
    (nn.Conv2d, (128, 7, 7), 409728),
    (PReLU, (128, 7, 7), 1),
    (nn.MaxPool2d, (128, 3, 3), 0),
    (nn.Flatten, (1152,), 0),
    (PReLU, (1152,), 1),
    (nn.Linear, (2,), 2306),
]


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_mnist_cnn_is_the_papers_layer_by_layer():
    network = small_cnn()
    x = torch.rand(2, 1, 28, 28)
    found = []
    for layer in network:
        x = layer(x)
        found.append((type(layer), tuple(x.shape[1:]), count(layer)))
    assert found == TABLE
    assert count(network) == 797_161


def test_prelu_is_that_of_pytorch_with_its_gradients():
    x = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    found = []
    for layer in (PReLU(), nn.PReLU()):
        own = x.clone().contiguous(memory_format=torch.channels_last).requires_grad_()
        y = layer(own)
        y.backward(x * 2 + 1)
        once = torch.autograd.grad(layer(own).square().sum(), [own, layer.weight], create_graph=True)
        twice = torch.autograd.grad(torch.stack([part.square().sum() for part in once]).sum(), [own, layer.weight])
        found.append((y.detach(), own.grad, layer.weight.grad, *twice))
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_softmax_layer_has_the_papers_size():
    model = build_model(ModelConfig(loss="softmax"))
    assert count(model.head) == 30
    assert model(torch.rand(2, 1, 28, 28)).shape == (2, 10)


def test_dimensions_follow_the_config():
    model = build_model(ModelConfig(network="tiny-cnn", n_dim=5, n_classes=3))
    x = torch.rand(4, 1, 28, 28)
    assert model.embed(x).shape == (4, 5)
    assert model(x).shape == (4, 3)


def test_normalisation_is_a_layer():
    assert Normalise()(torch.tensor([0.0, 0.5, 1.0])).tolist() == [-1.0, 0.0, 1.0]
    model, x = build_model(TINY), torch.rand(3, 1, 28, 28)
    torch.testing.assert_close(model.embed(x), model.backbone(2 * x - 1))


def test_embedding_does_not_depend_on_the_batch(few: Split):
    model, x = build_model(TINY), few.pixels()
    z = embed(model, x, batch_size=500)
    assert z.shape == (50, 2)
    assert z.dtype == torch.float32
    for batch_size in (1, 7, 50):
        torch.testing.assert_close(embed(model, x, batch_size), z, rtol=0, atol=1e-5)
    torch.testing.assert_close(z, model.embed(x).detach(), rtol=0, atol=1e-5)
    assert embed(model, x[:0]).shape == (0, 2)


def test_logits_come_from_the_features(few: Split):
    model, x = build_model(TINY), few.pixels()
    torch.testing.assert_close(model(x), model.head.logits(model.embed(x)))


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (torch.rand(2, 28, 28), r"expected shape \(N, 1, 28, 28\), got \(2, 28, 28\)"),
        (torch.rand(2, 3, 28, 28), r"expected shape \(N, 1, 28, 28\), got \(2, 3, 28, 28\)"),
        (torch.rand(2, 1, 32, 32), r"expected shape \(N, 1, 28, 28\), got \(2, 1, 32, 32\)"),
        (torch.rand(2, 28, 28, 1), r"expected shape \(N, 1, 28, 28\), got \(2, 28, 28, 1\); the channels come first"),
        (torch.ones(2, 1, 28, 28, dtype=torch.uint8), r"got bytes of which none exceeds 1; convert them to float32"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.int64), r"expected floating-point pixels .* or bytes .*, got int64"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.bool), r"expected floating-point pixels .* or bytes .*, got bool"),
        (torch.zeros(2, 1, 28, 28, dtype=torch.complex64), r"expected floating-point .*, got complex64"),
        (torch.zeros(2, 1, 28, 28).to_sparse(), r"expected a dense tensor .*, got torch\.sparse_coo on cpu"),
        (torch.zeros(2, 1, 28, 28, device="meta"), r"expected a dense tensor with numbers in it, got .* on meta"),
        (torch.full((2, 1, 28, 28), 1.01), r"expected pixels in \[0, 1\], got 1\.01\.\.1\.01; divide by 255"),
        (torch.full((2, 1, 28, 28), torch.inf), r"expected pixels in \[0, 1\], got inf\.\.inf"),
        (torch.full((2, 1, 28, 28), -0.01), r"expected pixels in \[0, 1\], got -0\.01\.\.-0\.01"),
        (torch.full((2, 1, 28, 28), torch.nan), r"expected pixels in \[0, 1\], got nan\.\.nan"),
    ],
)
def test_bad_images_are_refused(images: Tensor, message: str):
    model = build_model(TINY)
    with pytest.raises(ValueError, match=message):
        check_images(images, (1, 28, 28))
    if images.layout == torch.strided and images.device.type == "cpu":  # what NumPy has too
        with pytest.raises(ValueError, match=message):
            log_likelihood(model, images.numpy(), np.zeros(2, np.int64))
    with pytest.raises(ValueError, match=message):
        embed(model, images)
    with pytest.raises(ValueError, match=message):
        log_likelihood(model, images, torch.zeros(2, dtype=torch.int64))


def test_vgg19_takes_colour_images_of_its_size_only():
    model = build_model(VGG).eval()
    assert model.image_shape == (3, 32, 32)
    assert embed(model, torch.rand(2, 3, 32, 32)).shape == (2, 2)
    with pytest.raises(ValueError, match=r"expected shape \(N, 3, 32, 32\), got \(2, 1, 28, 28\)"):
        embed(model, torch.rand(2, 1, 28, 28))


def test_batch_norm_has_to_be_in_eval_mode(rng: np.random.Generator):
    model = build_model(VGG)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    x = torch.from_numpy(rng.random((4, 3, 32, 32), np.float32))
    with pytest.raises(ValueError, match=r"expected batch norm in eval mode, got training mode; call model\.eval\(\)"):
        embed(model, x)
    z = embed(model.eval(), x)
    torch.testing.assert_close(embed(model, x[:1]), z[:1], rtol=0, atol=1e-5)
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_log_likelihood_is_the_gaussian_of_the_claimed_label(few: Split):
    model = build_model(TINY, seed=3)
    mixture = require_mixture(model)
    score = log_likelihood(model, few.pixels(), few.targets())
    z = embed(model, few.pixels()).double()
    means = mixture.means.detach().double()[few.targets()]
    expected = MultivariateNormal(means, torch.eye(2, dtype=torch.float64)).log_prob(z)
    torch.testing.assert_close(score.double(), expected, rtol=0, atol=1e-4)
    as_bytes = torch.from_numpy(few.labels.astype(np.uint8))
    assert torch.equal(log_likelihood(model, few.pixels(), as_bytes), score)


def test_log_likelihood_refuses_what_has_no_answer(few: Split):
    softmax = build_model(ModelConfig(network="tiny-cnn", loss="softmax"))
    with pytest.raises(ValueError, match="softmax, which has no density"):
        log_likelihood(softmax, few.pixels(), few.targets())
    with pytest.raises(ValueError, match=r"labels: expected 0\.\.9, got 10\.\.10"):
        log_likelihood(build_model(TINY), few.pixels(), torch.full((50,), 10))
    with pytest.raises(ValueError, match=r"labels: expected one per image \(50\), got 49"):
        log_likelihood(build_model(TINY), few.pixels(), few.targets()[:49])
    with pytest.raises(ValueError, match=r"labels: expected whole numbers, got float32 with fractions or NaN"):
        log_likelihood(build_model(TINY), few.pixels(), few.targets() + 0.5)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", ">f4", ">f8"])
def test_pixels_of_any_width_are_the_same_pixels(few: Split, dtype: str):
    model, pixels = build_model(TINY, seed=3), few.pixels().numpy().astype(dtype)
    expected = embed(model, torch.from_numpy(pixels.astype(np.float32)))
    assert torch.equal(embed(model, pixels), expected)
    backwards = pixels[::-1, :, ::-1].copy()[::-1, :, ::-1]  # the same images, read from the end
    backwards.flags.writeable = False
    assert torch.equal(embed(model, backwards), expected)
    if dtype.startswith("float"):
        assert torch.equal(embed(model, torch.from_numpy(pixels)), expected)
    score = log_likelihood(model, torch.from_numpy(pixels.astype(np.float32)), few.targets())
    assert torch.equal(log_likelihood(model, pixels, few.labels), score)


def test_bytes_are_divided_by_255(few: Split):
    model, expected = build_model(TINY), embed(build_model(TINY), few.pixels())
    torch.testing.assert_close(embed(model, few.images), expected)
    torch.testing.assert_close(embed(model, torch.from_numpy(few.images)), expected)
    assert torch.equal(embed(model, np.zeros((2, 1, 28, 28), np.uint8)), embed(model, torch.zeros(2, 1, 28, 28)))


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.float32, np.float64, ">i4"])
def test_labels_of_any_type_and_one_hot_rows_are_the_same_labels(few: Split, dtype: Any):
    model = build_model(TINY, seed=3)
    expected = log_likelihood(model, few.pixels(), few.targets())
    assert torch.equal(log_likelihood(model, few.pixels(), few.labels.astype(dtype)), expected)
    assert torch.equal(log_likelihood(model, few.pixels(), np.eye(10, dtype=dtype)[few.labels]), expected)


def test_seed_decides_the_weights_and_nothing_else_changes():
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first, again, other = build_model(TINY, seed=1), build_model(TINY, seed=1), build_model(TINY, seed=2)
    assert torch.equal(torch.get_rng_state(), before)
    for name, value in first.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert not torch.equal(first.state_dict()["backbone.0.weight"], other.state_dict()["backbone.0.weight"])


def test_heads_are_what_the_config_says():
    assert isinstance(build_model(TINY).head, LGMHead)
    assert isinstance(build_model(ModelConfig(network="tiny-cnn", loss="softmax")).head, SoftmaxHead)


def test_unknown_device_is_named():
    with pytest.raises(ValueError, match=r"device: expected one that torch can use here.* got 'abacus'"):
        to_device(build_model(TINY), "abacus")


def test_autocast_changes_matrix_products_only_when_asked():
    a = torch.rand(4, 4)
    with autocast(torch.device("cpu"), torch.float32):
        assert (a @ a).dtype == torch.float32
    with autocast(torch.device("cpu"), torch.bfloat16):
        assert (a @ a).dtype == torch.bfloat16


@pytest.mark.parametrize("name", ["float32", "bfloat16"])
def test_the_precision_may_be_asked_for(name: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_PRECISION", name)
    assert fast_precision(torch.device("cpu")) is getattr(torch, name)


def test_an_unknown_precision_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LGM_PRECISION", "half")
    with pytest.raises(ValueError, match="LGM_PRECISION: expected float32 or bfloat16, or none, got 'half'"):
        fast_precision(torch.device("cpu"))
