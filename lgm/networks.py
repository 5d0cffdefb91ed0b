"""Networks: normalise, backbone, head. Pixels in [0, 1] go in; normalisation is a layer."""

import contextlib
import os
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lgm.config import ModelConfig
from lgm.heads import Head, LGMHead, build_head, posterior
from lgm.pixels import Shape, check_shape, pixel_scale, to_labels, to_pixels


class Normalise(nn.Module):
    """(x - mean) / std. Constants, not weights: 0.5 and 0.5 as in the paper's code."""

    def __init__(self, mean: float = 0.5, std: float = 0.5) -> None:
        super().__init__()
        self.mean = mean
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return (x - self.mean) / self.std


def mnist_cnn(n_dim: int = 2) -> nn.Sequential:
    """The CNN of appendix C.1: (N, 1, 28, 28) -> (N, n_dim), layers in the table's order."""

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            layers += [nn.Conv2d(channels, outputs, kernel_size=5, padding=2), nn.PReLU()]
        return [*layers, nn.MaxPool2d(2)]

    tail = [nn.Flatten(), nn.PReLU(), nn.Linear(128 * 3 * 3, n_dim)]
    return nn.Sequential(*block(1, 32), *block(32, 64), *block(64, 128), *tail)


def tiny_cnn(n_dim: int = 2) -> nn.Sequential:
    """A small network for tests and quick tries: (N, 1, 28, 28) -> (N, n_dim)."""
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=5, stride=2, padding=2),
        nn.PReLU(),
        nn.Conv2d(8, 16, kernel_size=5, stride=2, padding=2),
        nn.PReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 64),
        nn.PReLU(),
        nn.Linear(64, n_dim),
    )


_VGG19 = (2, 2, 4, 4, 4)  # convolutions a block; each block halves the image
VGG19_WIDTH = 512


def vgg19(n_dim: int = 2) -> nn.Sequential:
    """VGG19 with batch norm for 32x32 images: (N, 3, 32, 32) -> (N, n_dim).

    The convolutions of torchvision's ``vgg19_bn``; its three wide linear layers, made for 7x7 places, are one. With
    ``n_dim`` 512 there is none: the features are the last block's own.
    """
    layers: list[nn.Module] = []
    inputs = 3
    for block, convolutions in enumerate(_VGG19):
        outputs = min(64 << block, VGG19_WIDTH)
        for _ in range(convolutions):
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # pyright: ignore[reportArgumentType] it has one
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, ceil_mode=True))  # smaller images, in early epochs, keep a last pixel
    layers.append(nn.Flatten())
    if n_dim != VGG19_WIDTH:
        layers.append(nn.Linear(VGG19_WIDTH, n_dim))
    return nn.Sequential(*layers)


_NETWORKS: dict[str, tuple[Callable[[int], nn.Module], Shape]] = {
    "mnist-cnn": (mnist_cnn, (1, 28, 28)),
    "tiny-cnn": (tiny_cnn, (1, 28, 28)),
    "vgg19": (vgg19, (3, 32, 32)),
}


class Classifier(nn.Module):
    """Normalisation, a backbone that makes D features, and the head that owns the loss."""

    feature_scale: Tensor

    def __init__(self, backbone: nn.Module, head: Head, image_shape: Shape = (1, 28, 28)) -> None:
        super().__init__()
        self.image_shape = image_shape
        self.normalise = Normalise()
        self.backbone = backbone
        self.head = head
        # s of the objective: set from the card on loading. Not a weight, so it is not saved with them.
        self.register_buffer("feature_scale", torch.ones(1), persistent=False)

    def embed(self, x: Tensor) -> Tensor:
        """Penultimate features f(x), (N, C, H, W) pixels in [0, 1] -> (N, D)."""
        return self.backbone(self.normalise(x))

    def forward(self, x: Tensor) -> Tensor:
        """Class scores, (N, C, H, W) -> (N, K)."""
        return self.head.logits(self.embed(x))


def build_model(config: ModelConfig, seed: int = 0) -> Classifier:
    """A freshly initialised network; the global random state is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        backbone, image_shape = _NETWORKS[config.network]
        return Classifier(backbone(config.n_dim), build_head(config), image_shape)


_PRECISIONS = {"": torch.float32, "float32": torch.float32, "bfloat16": torch.bfloat16}


def fast_precision(device: torch.device) -> torch.dtype:
    """bfloat16 where matrix units multiply it, float32 elsewhere; what $LGM_PRECISION names, if it is set.

    Measured on a CPU with AVX512-BF16 but no AMX: a training step takes 1.2 s in bfloat16 and 0.8 s in float32.
    """
    asked = os.environ.get("LGM_PRECISION", "")  # to compare machines, or processes, whose rounding differs
    if asked not in _PRECISIONS:
        raise ValueError(f"LGM_PRECISION: expected float32 or bfloat16, or none, got {asked!r}")
    if asked:
        return _PRECISIONS[asked]
    if device.type == "cuda" or torch.cpu._is_amx_tile_supported():
        return torch.bfloat16
    return torch.float32


def autocast(device: torch.device, dtype: torch.dtype) -> contextlib.AbstractContextManager:
    """Run the matrix products inside in ``dtype``; float32 changes nothing."""
    return torch.autocast(device.type, dtype, enabled=dtype != torch.float32)


def check_device(device: str) -> None:
    """Raise ValueError unless torch can compute there; "meta", where nothing has a value, is no such place."""
    try:
        works = torch.ones(1, device=torch.device(device)).item() == 1
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device: expected one that torch can use here, such as cpu, got {device!r} ({reason})"
        ) from error
    if not works:
        raise ValueError(f"device: expected one that computes, such as cpu, got {device!r}")


def to_device(model: Classifier, device: str) -> Classifier:
    """Move the weights, in the memory layout that convolutions are fastest in.

    Raises:
        ValueError: see `check_device`.
    """
    check_device(device)
    return model.to(torch.device(device)).to(memory_format=torch.channels_last)


def device_of(model: nn.Module) -> torch.device:
    """Where the weights are."""
    return next(model.parameters()).device


def check_images(images: Tensor | np.ndarray, shape: Shape) -> Tensor:
    """The same images as float32 pixels in [0, 1], (N, *shape), from floating point of any width or from bytes.

    Raises:
        ValueError: another shape, type or range, or a tensor that is no plain array of numbers.
    """
    if isinstance(images, np.ndarray):
        pixels = to_pixels(images, shape)
        return torch.from_numpy(pixels if pixels.flags.writeable else pixels.copy())
    if images.layout != torch.strided or images.device.type == "meta":
        raise ValueError(f"images: expected a dense tensor with numbers in it, got {images.layout} on {images.device}")
    check_shape(tuple(images.shape), shape)
    real = images.numel() and not images.is_complex()
    low, high = (float(images.min()), float(images.max())) if real else (0, 0)
    scale = pixel_scale(str(images.dtype).removeprefix("torch."), low, high)
    return images.float() if scale == 1 else images.float() * scale


@torch.inference_mode()
def embed(model: Classifier, images: Tensor | np.ndarray, batch_size: int = 500) -> Tensor:
    """Features of any number of images, in float32.

    Args:
        model: In eval mode, as batch norm must be: else an image's features depend on its batch, and change the model.
        images: (N, C, H, W) pixels in [0, 1], of the model's ``image_shape``; bytes 0..255 are divided by 255.
        batch_size: Images at a time; bounds the memory, does not change the result beyond rounding.

    Returns:
        (N, D) float32 on the CPU.

    Raises:
        ValueError: wrong shape, type or pixel range, or batch norm in training mode.
    """
    images = check_images(images, model.image_shape)
    if any(module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d)):
        raise ValueError("model: expected batch norm in eval mode, got training mode; call model.eval() first")
    device = device_of(model)
    parts = [
        model.embed(part.to(device, memory_format=torch.channels_last)).float().cpu()
        for part in images.split(batch_size)
    ]
    return torch.cat(parts) if parts else torch.empty(0, len(model.feature_scale))


def require_mixture(model: Classifier) -> LGMHead:
    """The LGM head; ValueError for a softmax network, which has no density to ask."""
    if not isinstance(model.head, LGMHead):
        raise ValueError("likelihood: expected a network trained with the LGM loss, got softmax, which has no density")
    return model.head


@torch.inference_mode()
def log_likelihood(model: Classifier, images: Tensor | np.ndarray, labels: Tensor | np.ndarray) -> Tensor:
    """Log p(f(x) | y) of each image under its claimed label, in nats; higher is cleaner.

    Args:
        model: Trained with the LGM loss.
        images: (N, C, H, W) pixels in [0, 1], of the model's ``image_shape``; bytes 0..255 are divided by 255.
        labels: (N,) claimed labels, whole numbers of any type, or one-hot rows (N, K).

    Returns:
        (N,) float32.

    Raises:
        ValueError: a softmax network, a wrong shape, or a label outside ``0..K-1``.

    Source: paper, section 4.4; in log space because ``exp`` underflows beyond 14.4 sigma.
    """
    mixture = require_mixture(model).mixture
    images = check_images(images, model.image_shape)
    claimed = to_labels(labels.cpu() if isinstance(labels, Tensor) else labels, model.head.n_classes, len(images))
    z = embed(model, images).to(device_of(model))
    return mixture.log_likelihood(z, torch.from_numpy(claimed).to(z.device)).cpu()


@torch.inference_mode()
def score_claims(model: Classifier, z: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the head says of features under the labels that they claim; higher is cleaner.

    Args:
        model: Either loss.
        z: (N, D) features.
        labels: (N,) claimed labels.

    Returns:
        (N,) log p(y | z) - log (1 - p(y | z)) in nats, which goes on where the posterior itself has been rounded to 1;
        (N,) log p(z | y) in nats, NaN for softmax.
    """
    device = device_of(model)
    points, claimed = torch.from_numpy(z).float().to(device), torch.from_numpy(labels).to(device).long()[:, None]
    logits = model.head.logits(points).double()
    log_odds = logits.gather(1, claimed)[:, 0] - logits.scatter(1, claimed, -torch.inf).logsumexp(1)
    score = torch.full((len(z),), float("nan"))
    if isinstance(model.head, LGMHead):
        score = model.head.mixture.log_likelihood(points, claimed[:, 0]).cpu()
    return log_odds.cpu().numpy(), score.numpy()


@torch.inference_mode()
def describe(model: Classifier, z: np.ndarray, label: int) -> tuple[np.ndarray, float]:
    """What the head says of one feature vector.

    Args:
        model: Either loss.
        z: (D,) features.
        label: The claimed class.

    Returns:
        p(k | z), shape (K,), and log p(z | label) in nats, NaN for softmax.
    """
    point = torch.from_numpy(z).float()[None].to(device_of(model))
    score = float("nan")
    if isinstance(model.head, LGMHead):
        score = float(model.head.mixture.log_likelihood(point, torch.tensor([label], device=point.device)))
    return posterior(model.head, point)[0].cpu().numpy(), score
