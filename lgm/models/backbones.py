"""Feature extractors: convolutional networks from pixels to D features."""

from collections.abc import Callable

from torch import nn

from lgm.data.pixels import Shape


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
            nn.init.zeros_(convolution.bias)  # type: ignore[bad-argument-type] it has one
            layers += [convolution, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)]
            inputs = outputs
        layers.append(nn.MaxPool2d(2, ceil_mode=True))  # smaller images, in early epochs, keep a last pixel
    layers.append(nn.Flatten())
    if n_dim != VGG19_WIDTH:
        layers.append(nn.Linear(VGG19_WIDTH, n_dim))
    return nn.Sequential(*layers)


BACKBONES: dict[str, tuple[Callable[[int], nn.Module], Shape]] = {
    "mnist-cnn": (mnist_cnn, (1, 28, 28)),
    "tiny-cnn": (tiny_cnn, (1, 28, 28)),
    "vgg19": (vgg19, (3, 32, 32)),
}
