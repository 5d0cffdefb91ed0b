"""A picture of one's own as a dataset's image: framed as the images of that dataset were made."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

from lgm.data.base import DataError, Dataset
from lgm.data.image_files import fit_to

_LONGEST = 512  # pixels of a side that are looked at: far more than a small image keeps
_FAINTEST = 12 / 255  # what departs less from the background is none
_FLOOR, _NOISES = 0.05, 4.0  # of the ink's level, and of the background's standard deviation: less is background
_SPECK = 0.02  # of the ink: smaller parts are dust
_LEAST = 5e-4  # of the picture: with less ink it is blank


class BlankImageError(DataError):
    """A picture on which there is nothing but its background."""


@dataclass(frozen=True)
class Framing:
    """How the figure of a grey picture is placed: scaled so that it fits a box of so many pixels, then centred.

    Attributes:
        box: Longer side of the figure, in pixels.
        center: What of it lies in the middle of the image: the centre of its mass, or of its box.
    """

    box: int
    center: Literal["mass", "box"]


# MNIST: "normalized to fit in a 20x20 pixel box while preserving their aspect ratio", then "the center of mass" to the
# centre (http://yann.lecun.com/exdb/mnist). Fashion-MNIST: the longer edge to 28 (arXiv:1708.07747, section 2).
FRAMINGS = {"mnist": Framing(20, "mass"), "fashion-mnist": Framing(28, "box")}


def as_image_of(dataset: Dataset, picture: Image.Image) -> np.ndarray:
    """A picture as the network of a dataset takes it, (C, H, W) uint8.

    Where the dataset's own images were cut out and centred (`FRAMINGS`), so is the figure on this one, which becomes
    light on black whatever it was; of others the middle is taken, as `fit_to` does.

    Args:
        dataset: Whose ``shape`` and making count.
        picture: "L" or "RGB", as `read_image` gives it.

    Raises:
        BlankImageError: nothing departs from the background, where a figure has to be cut out.
    """
    framing = FRAMINGS.get(dataset.name)
    return fit_to(picture, dataset.shape) if framing is None else framed(picture, framing, dataset.shape[1:])


def framed(picture: Image.Image, framing: Framing, size: tuple[int, int] = (28, 28)) -> np.ndarray:
    """The figure on a picture, light on black, scaled and centred: (1, H, W) uint8.

    Args:
        picture: A figure on a plain background, darker or lighter than it; light may fall unevenly, as in a photo.
        framing: Size and centre of the figure.
        size: (H, W), not less than the box.

    Raises:
        BlankImageError: see `as_image_of`.
    """
    ink = _ink(picture.convert("L"))
    rows, columns = (np.flatnonzero(ink.any(axis=axis)) for axis in (1, 0))
    ink = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = framing.box / max(ink.shape)
    height, width = (max(1, round(scale * side)) for side in ink.shape)
    levels = Image.fromarray((255 * ink).round().astype(np.uint8))
    # Lanczos averages over all the pixels that become one, so that edges come out grey: "anti-aliased", as MNIST's are.
    figure = np.asarray(levels.resize((width, height), Image.Resampling.LANCZOS))
    image = np.zeros((1, *size), np.uint8)
    y, x = (_start(figure, axis, framing, size[axis]) for axis in (0, 1))
    image[0, y : y + height, x : x + width] = figure
    return image


def _start(figure: np.ndarray, axis: int, framing: Framing, length: int) -> int:
    """Where the figure begins along an axis, in whole pixels and inside the image.

    The centre of mass, of pixels counted from 0, comes to lie at half the length, as it does in MNIST (14 of 28).
    """
    own = figure.shape[axis]
    if framing.center == "box" or not figure.any():
        return (length - own) // 2
    mass = figure.sum(axis=1 - axis, dtype=np.float64)
    return int(np.clip(np.round(length / 2 - mass @ np.arange(own) / mass.sum()), 0, length - own))


def _ink(picture: Image.Image) -> np.ndarray:
    """(H, W) from 0, the background, to 1, the figure; a large picture is made smaller first.

    Raises:
        BlankImageError: there is no figure.
    """
    if max(picture.size) > _LONGEST:
        picture.thumbnail((_LONGEST, _LONGEST), Image.Resampling.BOX)
    grey = np.asarray(picture, np.float64) / 255
    ground, noise = _background(grey)
    ink = grey - ground
    if (ink**3).mean() < 0:  # what departs from the background is darker than it
        ink = -ink
    highest = float(ink.max())
    if highest < _FAINTEST:
        raise BlankImageError(_BLANK)
    full = float(np.median(ink[ink > highest / 2]))
    ink = np.where(ink > max(_FLOOR * full, _NOISES * noise), np.minimum(ink / full, 1), 0)
    ink = _without_specks(ink)
    if (ink > 0).mean() < _LEAST:
        raise BlankImageError(_BLANK)
    return ink


def _background(grey: np.ndarray) -> tuple[np.ndarray, float]:
    """What the picture would be without a figure, (H, W), and the standard deviation of its noise.

    A plane through the pixels of the border, by least squares; then once more without the third of them that lies
    farthest from it, since the figure may reach the border. The deviation is the median absolute one, as of a Gaussian.
    """
    rows, columns = np.indices(grey.shape)
    border = np.ones(grey.shape, bool)
    border[1:-1, 1:-1] = False
    terms = np.stack([np.ones(grey.shape), rows / grey.shape[0], columns / grey.shape[1]], axis=-1)
    x, y = terms[border], grey[border]
    rest = np.abs(y - x @ np.linalg.lstsq(x, y)[0])
    near = rest <= np.quantile(rest, 2 / 3)
    plane = np.linalg.lstsq(x[near], y[near])[0]
    return terms @ plane, float(1.4826 * np.median(np.abs(y - x @ plane)))


def _without_specks(ink: np.ndarray) -> np.ndarray:
    """The same without connected parts that are too small to belong to a figure."""
    from scipy import ndimage

    parts, count = ndimage.label(ink > 0, np.ones((3, 3)))
    mass = ndimage.sum_labels(ink, parts, np.arange(count + 1))
    kept = mass >= _SPECK * mass.max()
    return np.where(kept[parts], ink, 0)


_BLANK = (
    "blank: nothing on it differs from its background. A figure is needed, dark on light or light on dark; "
    "transparent parts count as white"
)
