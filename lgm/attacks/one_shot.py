"""Poison Frogs' one-shot attack: one poison has the features that a frozen network gives the target.

A new classifier on these features, trained on clean images and this poison, takes the target for the poison's class.
Source: Shafahi et al. 2018, *Poison Frogs!*, section 3.
"""

from pathlib import Path

import numpy as np
import torch

from lgm.attacks.cache import craft_cached
from lgm.attacks.export import rounded
from lgm.attacks.result import Poisons
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier, Normalise, to_device
from lgm.models.heads import SoftmaxHead
from lgm.models.pretrained import PRETRAINED, load_extractor
from lgm.utils.progress import OnStep

LEAST = 1e-6  # of the widest feature's span: a feature with less is left out


def frozen_network(name: str, n_classes: int, weights: Path | None = None, device: str = "cpu") -> Classifier:
    """A pre-trained feature extractor under a head of zeros, for a new task.

    Args:
        name: In `lgm.models.pretrained.PRETRAINED`.
        n_classes: K of the new task.
        weights: See `lgm.models.pretrained.load_extractor`, which also says what is raised.
        device: Where to compute.
    """
    extractor, about = load_extractor(name, weights), PRETRAINED[name]
    head = SoftmaxHead(about.width, n_classes)
    head.requires_grad_(False)
    head.classifier.weight.zero_()
    head.classifier.bias.zero_()
    shape = (3, about.side, about.side)
    model = Classifier(extractor, head, shape, Normalise(about.mean, about.std))
    return to_device(model.eval().requires_grad_(False), device)


def feature_scale(z: np.ndarray) -> np.ndarray:
    """S of the objective, (D,): brings clean features (N, D) to a length of 2, as a card's does.

    0 for a feature that these images do not change: it says nothing of them, and its scale would be infinite.
    """
    span = z.max(0) - z.min(0)
    known = span > LEAST * span.max()
    return np.where(known, 2 / np.where(known, span, 1), 0).astype(np.float32)


def craft_one_shot(
    model: Classifier,
    bases: Split,
    targets: Split,
    *,
    beta: float,
    iterations: int,
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """A poison for each pair, its pixels rounded to 8 bits as an image file keeps them.

    By forward-backward splitting, as in the source: the Jacobian of a thousand features, which Levenberg-Marquardt
    needs, would cost a thousand times as much as its gradient.

    Args:
        model: Frozen, with its ``feature_scale`` set.
        bases: N images.
        targets: N images of other classes.
        beta: Of eq. (1).
        iterations: At most, a poison.
        cache: Folder where finished poisons are kept; a run that was killed goes on from there.
        on_step: See `lgm.attacks.craft.craft_poisons`, which also says what is raised.
    """
    config = PoisonConfig(beta=beta, method="fbs", iterations=iterations, batch_size=1)
    return rounded(model, craft_cached(model, bases, targets, config, folder=cache, on_step=on_step))


def set_head(model: Classifier, weight: np.ndarray, bias: np.ndarray) -> None:
    """Let a linear head on rescaled features, (K, D) and (K,), be the network's own, for its own features."""
    scaled = torch.from_numpy(np.asarray(weight, np.float32)) * model.feature_scale.cpu()
    state = {"classifier.weight": scaled, "classifier.bias": torch.from_numpy(np.asarray(bias, np.float32))}
    model.head.load_state_dict(state)
