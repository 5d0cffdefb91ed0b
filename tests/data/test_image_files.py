"""Files as people have them, each made here by another way than the one that reads it."""

import io
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lgm.data.image_files import ImageFileError, fit_to, read_content, read_image

RED, GREEN, BLUE = (255, 0, 0), (0, 128, 0), (0, 0, 255)


def halves(left: tuple[int, ...], right: tuple[int, ...], mode: str = "RGB") -> Image.Image:
    """24 x 16 pixels in two colours."""
    image = Image.new(mode, (24, 16), left)
    image.paste(right, (12, 0, 24, 16))
    return image


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def png(width: int, height: int, kind: int, depth: int, rows: bytes) -> bytes:
    """A PNG by its specification; ``rows`` are the bytes of the pixels, each row after a filter byte."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def colours(image: Image.Image) -> tuple[Any, Any]:
    """In the middle of the left and of the right half."""
    return image.getpixel((6, 8)), image.getpixel((18, 8))


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("BMP", {}),
        ("TIFF", {}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_colours_are_read(form: str, options: dict[str, Any]):
    image = read_image(saved(halves(RED, BLUE), form, **options))
    assert (image.mode, image.size) == ("RGB", (24, 16))
    np.testing.assert_allclose(colours(image), (RED, BLUE), atol=3)


def test_exif_turns_a_photo():
    exif = Image.Exif()
    exif[0x0112] = 3  # upside down
    image = read_image(saved(halves(RED, BLUE), "JPEG", exif=exif, quality=100, subsampling=0))
    np.testing.assert_allclose(colours(image), (BLUE, RED), atol=3)
    exif[0x0112] = 6
    assert read_image(saved(halves(RED, BLUE), "JPEG", exif=exif)).size == (16, 24)


def test_cmyk_is_colour():
    image = read_image(saved(halves((0, 255, 255, 0), (255, 255, 0, 0), "CMYK"), "JPEG", quality=100, subsampling=0))
    np.testing.assert_allclose(colours(image), (RED, BLUE), atol=4)


def test_sixteen_bits_are_rounded_to_eight():
    values = np.array([0, 256, 257, 385, 386, 32896, 65535], ">u2")
    image = read_image(png(7, 1, 0, 16, b"\0" + values.tobytes()))
    assert image.mode == "L"
    assert np.asarray(image)[0].tolist() == [0, 1, 1, 1, 2, 128, 255]


def test_what_is_transparent_lies_on_white():
    clear = halves((*RED, 255), (*GREEN, 0), "RGBA")
    for image in (read_image(saved(clear, "PNG")), read_image(saved(clear, "WEBP", lossless=True))):
        assert colours(image) == (RED, (255, 255, 255))
    palette = halves(RED, BLUE).quantize(2)
    blue = palette.getpixel((18, 8))
    assert colours(read_image(saved(palette, "PNG", transparency=blue))) == (RED, (255, 255, 255))
    grey = Image.merge("LA", [Image.new("L", (4, 4), 9), Image.new("L", (4, 4), 0)])
    assert read_image(saved(grey, "PNG")).getpixel((1, 1)) == 255


def test_of_an_animation_the_first_frame_is_read():
    frames = [halves(RED, BLUE), halves(BLUE, RED)]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=50)
    assert colours(read_image(content)) == (RED, BLUE)


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA"])
def test_what_has_no_colour_is_grey(mode: str):
    image = read_image(saved(Image.new("L", (5, 5), 255).convert(mode), "PNG"))
    assert image.mode == "L"
    assert image.getpixel((2, 2)) == 255


def damaged_in_the_middle() -> bytes:
    content = bytearray(saved(Image.effect_noise((64, 64), 90), "PNG"))
    content[len(content) // 2] ^= 0xFF
    return bytes(content)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (lambda: b"no image, whatever it is called", "not an image"),
        (lambda: b"\x89PNG\r\n\x1a\n", "not an image|damaged"),
        (lambda: saved(Image.effect_noise((64, 64), 90), "JPEG")[:800], "damaged: .*truncated"),
        (damaged_in_the_middle, "damaged"),
        (lambda: png(60_000, 60_000, 2, 8, b""), "declares more than"),
        (lambda: png(10_000, 9_999, 2, 8, b""), "declares 10,000 x 9,999 pixels"),
        (lambda: saved(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "floating point"),
        (lambda: saved(Image.fromarray(np.full((4, 4), 1 << 20, np.int32)), "TIFF"), "32 bits a pixel"),
    ],
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_read_has_a_reason(content: Callable[[], bytes], said: str):
    with pytest.raises(ImageFileError, match=said):
        read_image(content())


def test_files_that_are_none(tmp_path: Path):
    pipe, loop, nothing, empty = (tmp_path / name for name in ("pipe", "loop", "nothing", "empty"))
    os.mkfifo(pipe)
    loop.symlink_to(loop)
    nothing.symlink_to(tmp_path / "gone")
    empty.touch()
    for path, said in ((pipe, "not a regular file"), (loop, "link"), (nothing, "a link to nothing"), (empty, "empty")):
        with pytest.raises(ImageFileError, match=said):
            read_content(path)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_start_of_a_file_is_read_or_refused():
    for form in ("PNG", "JPEG", "GIF", "WEBP", "TIFF", "BMP"):
        content = saved(halves(RED, BLUE), form)
        for length in range(0, len(content), max(1, len(content) // 40)):
            try:
                assert read_image(content[:length]).size == (24, 16)
            except ImageFileError as error:
                assert str(error)


def test_an_image_fills_the_frame_by_its_middle():
    wide = Image.new("RGB", (300, 100), RED)
    wide.paste(BLUE, (100, 0, 200, 100))
    assert (fit_to(wide, (3, 10, 10))[:, :, 2:-2] == np.array(BLUE).reshape(3, 1, 1)).all()  # the edges are mixed
    grey = fit_to(halves(GREEN, GREEN), (1, 28, 28))
    assert (grey.shape, grey.dtype, int(grey[0, 3, 3])) == ((1, 28, 28), np.uint8, round(0.587 * 128))


def test_an_image_of_the_right_size_is_left_alone(rng: np.random.Generator):
    pixels = rng.integers(0, 256, (1, 28, 28), np.uint8)
    np.testing.assert_array_equal(fit_to(read_image(saved(Image.fromarray(pixels[0]), "PNG")), (1, 28, 28)), pixels)
