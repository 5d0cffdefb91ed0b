"""Images and labels from elsewhere: cast where only one reading is possible, else refused by name."""

from typing import Any

import numpy as np

Shape = tuple[int, int, int]  # (C, H, W)


def pixel_scale(dtype: str, low: float, high: float) -> float:
    """What to multiply by to get pixels in [0, 1]: 1 for floating point, 1/255 for bytes.

    Args:
        dtype: Of the images, as NumPy and torch both call it.
        low: Their smallest value.
        high: Their largest.

    Raises:
        ValueError: another type, or values for which it cannot be known.
    """
    if dtype == "uint8":
        if high == 1:
            raise ValueError(
                "images: expected bytes 0..255 or floating-point pixels in [0, 1], got bytes of which none exceeds 1; "
                "convert them to float32"
            )
        return 1 / 255
    if not dtype.removeprefix("b").startswith("float"):  # bfloat16 is one too
        raise ValueError(
            f"images: expected floating-point pixels in [0, 1] or bytes (uint8) 0..255, got {dtype}; convert them"
        )
    if not (low >= 0 and high <= 1):  # NaN included
        hint = "; divide by 255" if low >= 0 and 1 < high <= 255 else "; undo the normalisation" if low < 0 else ""
        raise ValueError(f"images: expected pixels in [0, 1], got {low:.3g}..{high:.3g}{hint}")
    return 1.0


def check_shape(found: tuple[int, ...], shape: Shape) -> None:
    """Raise ValueError unless ``found`` is (N, *shape)."""
    if len(found) != 4 or found[1:] != shape:
        last = "; the channels come first: transpose(0, 3, 1, 2)" if found[1:] == (*shape[1:], shape[0]) else ""
        raise ValueError(f"images: expected shape (N, {', '.join(map(str, shape))}), got {found}{last}")


def to_pixels(images: np.ndarray, shape: Shape) -> np.ndarray:
    """(N, *shape) float32 in [0, 1], from floating point of any width or from bytes.

    Raises:
        ValueError: another shape, type or range.
    """
    check_shape(images.shape, shape)
    # Bytes in the order of another machine, or rows stored backwards: torch takes neither.
    native = np.ascontiguousarray(images, images.dtype.newbyteorder("="))
    low, high = (float(native.min()), float(native.max())) if native.size and native.dtype.kind in "fuib" else (0, 0)
    scale = pixel_scale(native.dtype.name, low, high)
    return native.astype(np.float32, copy=False) if scale == 1 else native.astype(np.float32) * np.float32(scale)


def channels_first(images: np.ndarray, shape: Shape) -> np.ndarray:
    """Images from a file as (N, *shape), where their own shape leaves no doubt about the order of their axes.

    Colours may come last; images of one channel may come without it, or as rows of pixels. Any other shape is returned
    as it is.
    """
    channels, *sides = shape
    found = images.shape[1:]
    if found == (*sides, channels):
        return images.transpose(0, 3, 1, 2)
    if channels == 1 and found in (tuple(sides), (sides[0] * sides[1],)):
        return images.reshape(-1, *shape)
    return images


def to_labels(labels: Any, n_classes: int, count: int) -> np.ndarray:
    """(N,) int64 classes in ``0..K-1``, from whole numbers of any type, or from one-hot rows as ART has them.

    Raises:
        ValueError: another shape or type, a number that is no class, or not one label an image.
    """
    found = np.asarray(labels)
    if found.dtype.kind not in "uif":
        raise ValueError(f"labels: expected whole numbers, got {found.dtype}")
    if (
        found.ndim == 2
        and found.shape[1] == n_classes
        and ((found == 1).sum(1) == 1).all()
        and np.isin(found, (0, 1)).all()
    ):
        found = found.argmax(1)
    elif found.ndim == 2 and found.shape[1] == 1:
        found = found[:, 0]
    if found.ndim != 1:
        raise ValueError(f"labels: expected shape (N,), or one-hot rows (N, {n_classes}), got {found.shape}")
    if len(found) != count:
        raise ValueError(f"labels: expected one per image ({count}), got {len(found)}")
    if found.dtype.kind == "f" and not (np.isfinite(found).all() and (found == np.floor(found)).all()):
        raise ValueError(f"labels: expected whole numbers, got {found.dtype} with fractions or NaN")
    if count and not (found.min() >= 0 and found.max() < n_classes):
        raise ValueError(f"labels: expected 0..{n_classes - 1}, got {found.min():g}..{found.max():g}")
    return found.astype(np.int64)
