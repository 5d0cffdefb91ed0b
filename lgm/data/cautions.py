"""What a dataset is too small or too uneven for, in sentences."""

import math
from collections import Counter
from collections.abc import Sequence

from lgm.data.own import HELD_OUT, TEST, split_files
from lgm.data.scan import SPLITS, ImageFile
from lgm.data.store import Registration
from lgm.utils.words import listed

FEW = 10  # images of a class: fewer, and one of them decides
_UNEVEN = 10  # times as many images in one class as in another


def cautions(found: Registration, files: Sequence[ImageFile]) -> list[str]:
    """What to know before numbers of this dataset are believed; none for features alone, which have no splits."""
    if found.kind == "features":
        return []
    counts = Counter(file.label for file in files)
    said = []
    small = sorted(label for label, count in counts.items() if count < FEW)
    if small:
        said.append(
            f"{listed(small)}: fewer than {FEW} images. A mean and a variance of so few say little, and a filter "
            "promises its rate for all classes together, not for such a class."
        )
    named = sorted(label for label in counts if label.lower() in SPLITS)
    if named:
        said.append(
            f"{listed(named)}: taken as a class, though it is called as a split is. For splits, all sub-folders have "
            "to be called so, and to hold the folders of the classes."
        )
    (largest, most), (smallest, least) = counts.most_common(1)[0], counts.most_common()[-1]
    if most >= _UNEVEN * least:
        said.append(
            f"{largest} has {most:,} images, {smallest} {least:,}: accuracy and false-positive rate are those of the "
            "large class."
        )
    splits = split_files(found, files)
    held_out = len(splits[HELD_OUT])
    for split in (HELD_OUT, TEST):
        bare = sorted(set(counts) - {file.label for file in splits[split]})
        if bare:
            said.append(f"{listed(bare)}: no image in the split {split}, so nothing is measured on it there.")
    if held_out:
        said.append(
            f"{held_out:,} images are held out: calibrated on them, a filter can promise {_percent(held_out):g} % "
            "of clean images removed, and no less."
        )
    return said


def _percent(calibrating: int) -> float:
    """1 / (n + 1) in percent, of two digits and rounded up: so that it can be asked for."""
    exact = 100 / (calibrating + 1)
    unit = 10.0 ** (math.floor(math.log10(exact)) - 1)
    return round(math.ceil(exact / unit - 1e-9) * unit, 12)
