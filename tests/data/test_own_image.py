"""Pictures framed as a dataset's images were made, against MNIST itself; and drawings."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from lgm.data.base import Split
from lgm.data.cifar10 import CIFAR10
from lgm.data.image_files import fit_to, read_image
from lgm.data.mnist import FASHION_MNIST, MNIST
from lgm.data.own_image import BlankImageError, as_image_of
from lgm.models.checkpoint import embed_split, load_checkpoint

SHARPER = Image.Resampling.BICUBIC


@pytest.fixture(scope="module")
def digits(bundled: Split) -> Split:
    return bundled[np.random.default_rng(3).permutation(len(bundled))[:200]]


def framed(image: np.ndarray) -> np.ndarray:
    """What becomes of an (H, W) picture on MNIST."""
    return as_image_of(MNIST, Image.fromarray(image))


def on_sheet(digit: np.ndarray, rng: np.random.Generator, side: int = 60) -> np.ndarray:
    """A digit somewhere on a larger black sheet."""
    sheet = np.zeros((side, side), np.uint8)
    y, x = rng.integers(1, side - 28, 2)
    sheet[y : y + 28, x : x + 28] = digit
    return sheet


def enlarged(digit: np.ndarray, times: int = 8) -> np.ndarray:
    return np.asarray(Image.fromarray(digit).resize((times * 28, times * 28), SHARPER))


def photo(digit: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A photo of a digit in dark ink: paper that is lit from a side, noise of the sensor, JPEG."""
    ink = np.zeros((480, 640))
    y, x = rng.integers(1, 480 - 225), rng.integers(1, 640 - 225)
    ink[y : y + 224, x : x + 224] = enlarged(digit) / 255
    rows, columns = np.indices(ink.shape)
    paper = 170 + rng.uniform(-50, 50) * (rows / 480 - 0.5) + rng.uniform(-50, 50) * (columns / 640 - 0.5)
    grey = paper * (1 - 0.7 * ink) + rng.normal(0, 8, ink.shape)
    buffer = io.BytesIO()
    Image.fromarray(grey.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=80)
    return np.asarray(read_image(buffer.getvalue()))


def test_a_digit_that_was_moved_comes_back(digits: Split, rng: np.random.Generator):
    again = np.stack([framed(on_sheet(digit, rng)) for digit in digits.images[:, 0]]).astype(int)
    change = np.abs(again - digits.images).max((1, 2, 3))
    # The level of the ink is stretched to 255; where that moves the centre of mass over the middle between two pixels,
    # the digit moves by one.
    assert (change <= 24).mean() >= 0.8
    assert np.abs(centers(again[:, 0]) - 14).max() <= 0.51


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "change"),
    [
        (200, lambda digit, _: enlarged(digit)),
        (60, lambda digit, _: 255 - enlarged(digit)),
        (60, lambda digit, rng: np.pad(enlarged(digit, 3), ((rng.integers(9, 99), 5), (5, rng.integers(9, 99))))),
        (60, photo),
    ],
    ids=["8 times as large", "dark on light", "small and beside the middle", "photo"],
)
def test_the_network_sees_what_it_saw(
    digits: Split, rng: np.random.Generator, count: int, change: Callable[[np.ndarray, np.random.Generator], np.ndarray]
):
    digits = digits[:count]
    model, _ = load_checkpoint("mnist-lgm")
    images = np.stack([framed(change(digit, rng)) for digit in digits.images[:, 0]])
    before, after = embed_split(model, digits), embed_split(model, Split("own", images, digits.labels))
    assert (after.predicted == before.predicted).mean() >= 0.95
    threshold = np.quantile(before.score, 0.05)
    assert (after.score <= threshold).mean() <= 0.10, "they do not become less likely"
    assert np.abs(centers(images[:, 0]) - 14).max() <= 1
    assert np.abs(images.astype(int) - digits.images).mean() <= 0.05 * 255


def centers(images: np.ndarray) -> np.ndarray:
    """(N, 2) centres of mass, in pixels counted from 0, by a loop."""
    found = []
    for image in images.astype(float):
        at = [(y, x, image[y, x]) for y in range(image.shape[0]) for x in range(image.shape[1])]
        mass = sum(level for _, _, level in at)
        found.append([sum(y * level for y, _, level in at) / mass, sum(x * level for _, x, level in at) / mass])
    return np.array(found)


def test_a_bar_fills_twenty_pixels_around_the_middle():
    sheet = np.zeros((300, 200), np.uint8)
    sheet[20:220, 30:80] = 255  # 200 high, 50 wide
    expected = np.zeros((1, 28, 28), np.uint8)
    expected[0, 4:24, 12:17] = 255  # 20 high, 5 wide; centres of mass at 13.5 and 14, which 14 is nearest to
    np.testing.assert_array_equal(framed(sheet), expected)


def test_the_centre_of_mass_decides_and_not_the_box():
    heavy = np.zeros((200, 200), np.uint8)
    heavy[:, :120] = 255  # most of the mass in the left part of the box ...
    heavy[80:120, 120:] = 255  # ... but for an arm
    image = framed(np.pad(heavy, 30))
    assert centers(image)[0] == pytest.approx([14, 14], abs=0.51)
    box = np.flatnonzero(image[0].any(0))
    assert (box[0] + box[-1]) / 2 >= 15.5


def test_what_reaches_far_stays_inside():
    arm = np.zeros((100, 400), np.uint8)
    arm[:, 10:30] = 255
    arm[48:52, 10:390] = 255  # with its centre of mass in the middle, the box would go beyond the frame
    image = framed(np.pad(arm, 20))
    assert image.shape == (1, 28, 28)
    assert (image > 0).any((0, 1)).sum() == 20


def test_dust_is_no_part_of_a_figure():
    sheet = np.zeros((280, 280), np.uint8)
    sheet[100:200, 120:150] = 255
    clean = framed(sheet)
    sheet[3:5, 270:272] = 255
    np.testing.assert_array_equal(framed(sheet), clean)


def test_a_figure_may_touch_the_edge():
    sheet = np.full((200, 100), 255, np.uint8)
    sheet[:, 30:70] = 0  # from top to bottom
    sheet[80:120, 60:] = 0  # and to the right
    image = framed(sheet)[0]
    assert (image.any(1).sum(), image.any(0).sum()) == (20, 7)


def blank(kind: str) -> Image.Image:
    noise = np.random.default_rng(0).normal(200, 6, (300, 300)).clip(0, 255).astype(np.uint8)
    return {
        "black": Image.new("L", (50, 40)),
        "white": Image.new("RGB", (50, 40), "white"),
        "noise": Image.fromarray(noise),
        "gradient": Image.linear_gradient("L"),
        "a pixel": Image.new("L", (1, 1), 77),
        "a row": Image.fromarray(np.arange(200, dtype=np.uint8)[None]),
    }[kind]


@pytest.mark.parametrize("kind", ["black", "white", "noise", "gradient", "a pixel", "a row"])
def test_what_shows_nothing_is_refused(kind: str):
    with pytest.raises(BlankImageError, match="blank: nothing on it differs from its background"):
        as_image_of(MNIST, blank(kind))


@pytest.mark.parametrize("size", [(1, 2), (2, 2), (3, 1000), (1000, 3), (5, 5)])
def test_any_size_is_answered(size: tuple[int, int], rng: np.random.Generator):
    picture = Image.fromarray(rng.integers(0, 256, size, np.uint8))
    try:
        image = as_image_of(MNIST, picture)
    except BlankImageError:
        return
    assert (image.shape, image.dtype) == ((1, 28, 28), np.uint8)


def test_colour_and_size_do_not_matter():
    sheet = Image.new("RGB", (2400, 1600), (250, 240, 200))
    sheet.paste((20, 30, 120), (1000, 200, 1200, 1400))
    small = as_image_of(MNIST, sheet.resize((300, 200), Image.Resampling.BOX))
    large = as_image_of(MNIST, sheet)
    np.testing.assert_allclose(large.astype(int), small, atol=12)
    assert large.max() == 255
    assert large[0, 0, 0] == 0


def test_fashion_fills_the_frame():
    sheet = np.full((400, 400), 255, np.uint8)
    sheet[50:350, 200:350] = 40  # 300 high, 150 wide
    image = as_image_of(FASHION_MNIST, Image.fromarray(sheet))[0]
    expected = np.zeros((28, 28), np.uint8)
    expected[:, 7:21] = 255
    np.testing.assert_array_equal(image, expected)


def test_of_other_datasets_the_middle_is_taken():
    picture = Image.linear_gradient("L").convert("RGB").resize((90, 60))
    np.testing.assert_array_equal(as_image_of(CIFAR10, picture), fit_to(picture, (3, 32, 32)))
    assert as_image_of(CIFAR10, Image.new("L", (9, 9))).shape == (3, 32, 32), "which may be blank"
