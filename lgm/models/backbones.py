"""Feature extractors: convolutional networks from pixels to D features."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import nn

from lgm.config import ModelConfig
from lgm.data.pixels import Shape
from lgm.models.architectures import PRETRAINED, TORCHVISION, require_network
from lgm.models.prelu import PReLU
from lgm.models.pretrained import build_extractor

_HALVED = (0.5,)  # mean and standard deviation of the paper's code
_SLOPE = 0.25  # of PReLU, before training
_SMALLEST = 8  # pixels a side that three poolings leave one of


def small_cnn(n_dim: int = 2, shape: Shape = (1, 28, 28)) -> nn.Sequential:
    """The CNN of appendix C.1: (N, C, H, W) -> (N, n_dim), layers in the table's order. The paper's images are MNIST's.

    Raises:
        ValueError: images of fewer than 8 pixels a side.
    """

    def block(inputs: int, outputs: int) -> list[nn.Module]:
        layers: list[nn.Module] = []
        for channels in (inputs, outputs):
            convolution = nn.Conv2d(channels, outputs, kernel_size=5, padding=2)
            nn.init.kaiming_normal_(convolution.weight, a=_SLOPE)
            nn.init.zeros_(convolution.bias)  # type: ignore[bad-argument-type] it has one
            layers += [convolution, PReLU(init=_SLOPE)]
        return [*layers, nn.MaxPool2d(2)]

    channels, height, width = shape
    if min(height, width) < _SMALLEST:
        raise ValueError(f"network: small takes images of at least {_SMALLEST} pixels a side, got {width} x {height}")
    tail = [nn.Flatten(), PReLU(), nn.Linear(128 * (height // 8) * (width // 8), n_dim)]
    return nn.Sequential(*block(channels, 32), *block(32, 64), *block(64, 128), *tail)


def tiny_cnn(n_dim: int = 2) -> nn.Sequential:
    """A small network for tests and quick tries: (N, 1, 28, 28) -> (N, n_dim)."""
    return nn.Sequential(
        nn.Conv2d(1, 8, kernel_size=5, stride=2, padding=2),
        PReLU(),
        nn.Conv2d(8, 16, kernel_size=5, stride=2, padding=2),
        PReLU(),
        nn.Flatten(),
        nn.Linear(16 * 7 * 7, 64),
        PReLU(),
        nn.Linear(64, n_dim),
    )


_VGG19 = (2, 2, 4, 4, 4)  # convolutions a block; each block halves the image
VGG19_WIDTH = 512


def vgg19(n_dim: int = 2, shape: Shape = (3, 32, 32)) -> nn.Sequential:
    """VGG19 with batch norm: (N, C, H, W) -> (N, n_dim).

    The convolutions of torchvision's ``vgg19_bn``; its three wide linear layers, made for 7x7 places, are one, and of
    images of more than 32 pixels a side the last block's places are averaged. With ``n_dim`` 512 there is no linear
    layer: the features are the last block's own.
    """
    layers: list[nn.Module] = []
    inputs = shape[0]
    for block, convolutions in enumerate(_VGG19):
        outputs = min(64 << block, VGG19_WIDTH)
        for _ in range(convolutions):
            convolution = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1)
            nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
            nn.init.zeros_(convolution.bias)  # type: ignore[bad-argument-type] it has one
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, ceil_mode=True))  # smaller images, in early epochs, keep a last pixel
    if max(shape[1:]) > 2 ** len(_VGG19):
        layers.append(nn.AdaptiveAvgPool2d(1))
    layers.append(nn.Flatten())
    if n_dim != VGG19_WIDTH:
        layers.append(nn.Linear(VGG19_WIDTH, n_dim))
    return nn.Sequential(*layers)


def resnet18(n_dim: int = 2, shape: Shape = (3, 32, 32)) -> nn.Sequential:
    """ResNet-18 for small images, with weights of its own: (N, C, H, W) -> (N, n_dim).

    torchvision's, with the stem that He et al. 2016 use for CIFAR-10: a 3x3 convolution, and no pooling after it.
    """
    from torchvision.models import resnet18 as of_imagenet

    network = of_imagenet(weights=None)
    network.conv1 = nn.Conv2d(shape[0], 64, kernel_size=3, padding=1, bias=False)
    network.maxpool = nn.Identity()  # type: ignore[bad-assignment] the stem
    network.fc = nn.Identity()  # type: ignore[bad-assignment] features, not logits
    return nn.Sequential(network, nn.Linear(512, n_dim))


@dataclass(frozen=True)
class Backbone:
    """A network by name.

    Attributes:
        make: From D and (C, H, W).
        shape: Of its images where nothing else is asked for.
        any_shape: Whether it takes others.
        mean, std: Of its pixels, one for each channel or for all.
    """

    make: Callable[[int, Shape], nn.Module]
    shape: Shape
    any_shape: bool = True
    mean: tuple[float, ...] = _HALVED
    std: tuple[float, ...] = _HALVED


OWN = {
    "mnist-cnn": Backbone(small_cnn, (1, 28, 28), any_shape=False),
    "tiny-cnn": Backbone(lambda n_dim, shape: tiny_cnn(n_dim), (1, 28, 28), any_shape=False),
    "small": Backbone(small_cnn, (1, 28, 28)),
    "resnet18": Backbone(resnet18, (3, 32, 32)),
    "vgg19": Backbone(vgg19, (3, 32, 32)),
}


def find_backbone(name: str) -> Backbone:
    """A network of this module, or one of `lgm.models.pretrained` under a projection to D features.

    Raises:
        ValueError: there is none of this name.
    """
    if name in OWN:
        return OWN[name]
    require_network(name)
    architecture = name.removeprefix(TORCHVISION)
    found = PRETRAINED[architecture]

    def make(n_dim: int, shape: Shape) -> nn.Module:
        del shape
        return nn.Sequential(build_extractor(architecture), nn.Linear(found.width, n_dim))

    return Backbone(make, (3, found.side, found.side), any_shape=False, mean=found.mean, std=found.std)


def shape_of(config: ModelConfig) -> Shape:
    """(C, H, W) of the images that a network takes.

    Raises:
        ValueError: it takes no images of the shape that the configuration asks for.
    """
    backbone = find_backbone(config.network)
    asked = config.image_shape or backbone.shape
    if asked != backbone.shape and not backbone.any_shape:
        raise ValueError(f"image_shape: {config.network} takes images of shape {backbone.shape}, got {asked}")
    channels, height, width = asked
    return channels, height, width
