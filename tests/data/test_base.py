from pathlib import Path

import numpy as np
import pytest

from lgm.data.base import Split, class_subset, per_class
from lgm.utils.io import write_atomically


def test_per_class_counts_in_order_of_appearance():
    labels = np.array([2, 0, 2, 1, 0, 2, 2])
    assert per_class(labels, 0, 1).tolist() == [0, 1, 3]
    assert per_class(labels, 1, 3).tolist() == [2, 4, 5]
    assert per_class(labels, 1, None).tolist() == [2, 4, 5, 6]


def test_split_turns_bytes_into_pixels(bundled: Split):
    pixels = bundled.pixels(slice(0, 20)).numpy()
    np.testing.assert_array_equal(pixels, bundled.images[:20].astype(np.float32) / np.float32(255))
    chosen = bundled[np.array([4000, 3])]
    assert len(chosen) == 2
    assert chosen.targets().tolist() == bundled.labels[[4000, 3]].tolist()
    np.testing.assert_array_equal(chosen.images, bundled.images[[4000, 3]])


def test_hash_sees_every_pixel_and_label(few: Split):
    pixel, label = few.images.copy(), few.labels.copy()
    pixel[-1, 0, 27, 27] ^= 1
    label[0] += 1
    hashes = {few.sha256, Split("few", pixel, few.labels).sha256, Split("few", few.images, label).sha256}
    assert len(hashes) == 3
    assert Split("other name", few.images.copy(), few.labels.copy()).sha256 == few.sha256


def test_write_atomically_replaces_or_leaves(tmp_path: Path):
    path = tmp_path / "new folder" / "file"
    write_atomically(path, lambda part: part.write_text("old"))
    assert path.read_text() == "old"

    def fail(part: Path) -> None:
        part.write_text("half")
        assert path.read_text() == "old", "a reader saw half a file"
        raise RuntimeError("disk full")

    with pytest.raises(RuntimeError, match="disk full"):
        write_atomically(path, fail)
    assert path.read_text() == "old"
    assert [item.name for item in path.parent.iterdir()] == ["file"]
    write_atomically(path, lambda part: part.write_text("new"))
    assert path.read_text() == "new"
    assert [item.name for item in path.parent.iterdir()] == ["file"]


def test_a_part_keeps_what_it_is_a_part_of(few: Split):
    images = Split("whole", few.images, few.labels, "fashion-mnist")
    chosen = class_subset(images, "second and third", 1, 3)
    assert (chosen.name, chosen.dataset) == ("second and third", "fashion-mnist")
    assert np.bincount(chosen.labels).tolist() == [2] * 10
    assert chosen.sha256 == few[per_class(few.labels, 1, 3)].sha256
    assert images[np.arange(3)].dataset == "fashion-mnist"


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (
            np.zeros((2, 1, 4, 4)),
            [0, 1],
            r"images: expected bytes \(uint8\) .*, got float64 \(2, 1, 4, 4\); of pixels in",
        ),
        (np.zeros((2, 1, 4, 4), np.float16), [0, 1], r"images: expected bytes .*, got float16"),
        (np.zeros((2, 4, 4), np.uint8), [0, 1], r"images: expected bytes .* \(N, C, H, W\), got uint8 \(2, 4, 4\)"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0], r"labels: expected one whole number per image \(2\), got int64 \(1,\)"),
        (np.zeros((2, 1, 4, 4), np.uint8), [0.0, 1.0], r"labels: expected one whole number .*, got float64 \(2,\)"),
    ],
)
def test_a_split_of_anything_but_bytes_is_refused(images: np.ndarray, labels: list[float], message: str):
    with pytest.raises(ValueError, match=message):
        Split("some", images, np.asarray(labels))


def test_labels_of_a_split_are_whole_numbers_of_one_type(few: Split):
    assert Split("some", few.images, few.labels.astype(np.uint8)).targets().dtype == few.targets().dtype
