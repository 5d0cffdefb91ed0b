"""Networks: normalise, backbone, head. Pixels in [0, 1] go in; normalisation is a layer."""

import contextlib
import os
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lgm.config import ModelConfig
from lgm.data.pixels import Shape
from lgm.models.backbones import find_backbone, shape_of
from lgm.models.heads import Head, build_head


class Normalise(nn.Module):
    """(x - mean) / std of each channel. Constants, not weights: 0.5 and 0.5 of all as in the paper's code."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = (0.5,), std: Sequence[float] = (0.5,)) -> None:
        super().__init__()
        self.register_buffer("mean", _per_channel(mean), persistent=False)
        self.register_buffer("std", _per_channel(std), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out."""
        return (x - self.mean) / self.std


def _per_channel(values: Sequence[float]) -> Tensor:
    return torch.tensor(values[0]) if len(values) == 1 else torch.tensor(values)[:, None, None]


class Classifier(nn.Module):
    """Normalisation, a backbone that makes D features, and the head that owns the loss."""

    feature_scale: Tensor

    def __init__(
        self, backbone: nn.Module, head: Head, image_shape: Shape = (1, 28, 28), normalise: Normalise | None = None
    ) -> None:
        """``backbone``: any module, (N, *image_shape) -> (N, D), which sees what ``normalise`` makes of the pixels."""
        super().__init__()
        self.image_shape = image_shape
        self.normalise = normalise or Normalise()
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
        found, shape = find_backbone(config.network), shape_of(config)
        normalise = Normalise(found.mean, found.std)
        return Classifier(found.make(config.n_dim, shape), build_head(config), shape, normalise)


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
