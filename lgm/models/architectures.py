"""Architectures that are trained on ImageNet, by name: what they take, and how many features they give.

A table alone: neither torch nor torchvision is needed to know them.
"""

from dataclasses import dataclass

from lgm.config import NETWORKS

LITE0 = "efficientnet-lite0"
TORCHVISION = "torchvision/"  # before the name of one of its architectures, where one trained from scratch has it too
_MEAN, _STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet, as torchvision's weights expect it


def require_network(name: str) -> None:
    """Raise ValueError unless there is a network of this name, as `lgm.config.ModelConfig` has it."""
    if name not in NETWORKS and name.removeprefix(TORCHVISION) not in PRETRAINED:
        raise ValueError(
            f"network: expected one of {', '.join(NETWORKS)}, {LITE0}, or one of torchvision's, such as "
            f"{TORCHVISION}resnet18 or {TORCHVISION}vgg16, got {name!r}"
        )


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
