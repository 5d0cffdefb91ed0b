"""Features and log-likelihoods of images, in batches: the one way from pixels to scores."""

import math
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from lgm.data.pixels import Shape, check_shape, pixel_scale, to_labels, to_pixels
from lgm.models.classifier import Classifier, device_of
from lgm.models.heads import posterior
from lgm.models.mixture import GaussianMixture

_BATCH = 500  # images at a time, as large as CIFAR-10's; fewer of larger ones


def batch_of(shape: Shape) -> int:
    """How many images of this shape go through a network together: beyond it only memory grows."""
    return max(1, min(_BATCH, _BATCH * 3 * 32 * 32 // math.prod(shape)))


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
def embed(model: Classifier, images: Tensor | np.ndarray, batch_size: int | None = None) -> Tensor:
    """Features of any number of images, in float32.

    Args:
        model: In eval mode, as batch norm must be: else an image's features depend on its batch, and change the model.
        images: (N, C, H, W) pixels in [0, 1], of the model's ``image_shape``; bytes 0..255 are divided by 255.
        batch_size: Images at a time (default: `batch_of` their shape); does not change the result beyond rounding.

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
        for part in images.split(batch_size or batch_of(model.image_shape))
    ]
    return torch.cat(parts) if parts else torch.empty(0, len(model.feature_scale))


def require_mixture(model: Classifier) -> GaussianMixture:
    """The class densities; ValueError for a network that has none, as softmax."""
    if model.head.mixture is None:
        raise ValueError("likelihood: expected a network trained with the LGM loss, got softmax, which has no density")
    return model.head.mixture


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
    mixture = require_mixture(model)
    images = check_images(images, model.image_shape)
    claimed = to_labels(labels.cpu() if isinstance(labels, Tensor) else labels, model.head.n_classes, len(images))
    z = embed(model, images).to(device_of(model))
    return mixture.log_likelihood(z, torch.from_numpy(claimed).to(z.device)).cpu()


def own_density(model: Classifier) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    """Log p(z | y) of the network's own Gaussians, for features that its ``feature_scale`` has rescaled.

    Raises:
        ValueError: a softmax network, which has none.
    """
    mixture, device = require_mixture(model), device_of(model)
    scale = model.feature_scale.cpu().numpy()

    def score(z: np.ndarray, labels: np.ndarray) -> np.ndarray:
        points = torch.from_numpy(z / scale).to(device)
        with torch.inference_mode():
            return mixture.log_likelihood(points, torch.from_numpy(labels).to(device)).cpu().numpy()

    return score


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
    score = model.head.log_likelihood(points, claimed[:, 0])
    return log_odds.cpu().numpy(), score.cpu().numpy()


@torch.inference_mode()
def posterior_and_log_likelihood(model: Classifier, z: np.ndarray, label: int) -> tuple[np.ndarray, float]:
    """What the head says of one feature vector.

    Args:
        model: Either loss.
        z: (D,) features.
        label: The claimed class.

    Returns:
        p(k | z), shape (K,), and log p(z | label) in nats, NaN for softmax.
    """
    point = torch.from_numpy(z).float()[None].to(device_of(model))
    score = float(model.head.log_likelihood(point, torch.tensor([label], device=point.device)))
    return posterior(model.head, point)[0].cpu().numpy(), score
