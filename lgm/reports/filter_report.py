"""One page of HTML about a kept list: what goes, what stays, what that is worth. It needs no other file."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from markupsafe import Markup

from lgm.detection.filter_summary import FilterSummary
from lgm.detection.kept_list import KeptList
from lgm.detection.scores import score_words
from lgm.detection.trusted import NONE
from lgm.experiments.adaptive_rows import frontier_meaning
from lgm.experiments.records import read_study
from lgm.models.card import CheckpointError
from lgm.reports.histogram import KEPT, REMOVED, score_histogram
from lgm.reports.templates import environment
from lgm.utils.images import picture
from lgm.utils.io import write_atomically

SHOWN = 24  # of the least likely images
_SIDE = 112  # pixels at most
_FILES = 200  # names of files in a list
_STUDIES, _RATE = ("mnist", "cifar10"), 0.02


@dataclass(frozen=True)
class Thumbnail:
    """One of the least likely images, as the network sees it; ``source`` is a data URL, "" if it does not read."""

    source: str
    path: str
    claim: str
    predicted: str
    score: float
    kept: bool


@dataclass(frozen=True)
class MeasuredMiss:
    """What the study of one of this project's own networks says of attacks on its likelihood filter.

    Attributes:
        network: Its name.
        made: The day of the study.
        poisons: How many were crafted without regard to the filter.
        passed: Share of them that pass at 2 % FPR.
        meaning: What adaptive attackers achieve, in a sentence.
    """

    network: str
    made: str
    poisons: int
    passed: float
    meaning: str


def write_filter_report(
    found: KeptList, summary: FilterSummary, shape: tuple[int, int, int] | None, path: Path
) -> None:
    """Draw a kept list.

    Args:
        found: The list.
        summary: The same in numbers and sentences.
        shape: (C, H, W) that the network takes; None for features without images.
        path: The file to write, whole or not at all.

    Raises:
        SaveError: it cannot be written.
    """
    removed = ~found.kept
    predicted = found.images.predicted
    elsewhere = int((predicted != found.images.labels)[removed].sum()) if (predicted >= 0).all() else None
    page = environment(html=True).get_template("filter.html.jinja")
    html = page.render(
        found=summary,
        histogram=histograms(found),
        words={each.score: score_words(each.score, of_itself=summary.trusted == NONE) for each in summary.scores},
        overlaps=overlaps(found),
        thumbnails=list(least_likely(found, shape)),
        elsewhere=elsewhere,
        misses=list(measured_misses()),
        colours={"kept": KEPT, "removed": REMOVED},
        most_files=_FILES,
    )
    write_atomically(path, lambda part: part.write_bytes(html.encode("utf-8", "replace")))


def histograms(found: KeptList) -> list[Markup]:
    """One a score. Those that are not finite are beyond every threshold, and are not drawn."""
    drawn = []
    for verdict in found.verdicts:
        finite = verdict.score[np.isfinite(verdict.score)]
        drawn.append(score_histogram(finite, verdict.threshold, verdict.name) if len(finite) else Markup(""))
    return drawn


def overlaps(found: KeptList) -> list[list[int]]:
    """How many images each pair of scores removes: (S, S), each alone on the diagonal."""
    removed = np.stack([~verdict.kept for verdict in found.verdicts]).astype(np.int64)
    return (removed @ removed.T).tolist()


def least_likely(found: KeptList, shape: tuple[int, int, int] | None) -> Iterator[Thumbnail]:
    """The images of lowest score, lowest first."""
    images, names = found.images, (*found.names, "")
    lowest = np.argsort(found.score, kind="stable")[:SHOWN].tolist()
    for i, picture_of in zip(lowest, _pictures(found, lowest, shape), strict=True):
        yield Thumbnail(
            picture_of,
            printable(images.paths[i]),
            printable(names[images.labels[i]]),
            printable(names[images.predicted[i]]),
            float(found.score[i]),
            bool(found.kept[i]),
        )


def _pictures(found: KeptList, chosen: list[int], shape: tuple[int, int, int] | None) -> Iterator[str]:
    """Data URLs; "" for what cannot be seen."""
    if shape is None:
        yield from ["" for _ in chosen]
        return
    from lgm.data.loader import open_images, read_batch

    readable = open_images(found.images.table.root, found.images.paths.tolist(), shape)
    for i in chosen:
        _, pixels = read_batch(readable, [i])
        yield data_url(pixels[0].numpy()) if len(pixels) else ""


def data_url(pixels: np.ndarray) -> str:
    """An image (C, H, W) uint8 inside of the page: PNG where it is small, else a JPEG of at most 112 pixels a side."""
    image, buffer = picture(pixels), BytesIO()
    if max(image.size) <= _SIDE // 2:
        image.save(buffer, "PNG")
        kind = "png"
    else:
        image.thumbnail((_SIDE, _SIDE))
        image.save(buffer, "JPEG", quality=85)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def printable(name: str) -> str:
    """A name of a file as text; bytes that are no UTF-8 as question marks."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def measured_misses() -> Iterator[MeasuredMiss]:
    """What the studies that are at hand say."""
    for dataset in _STUDIES:
        try:
            study = read_study(dataset)
            if study is None:
                continue
            own = next(each for each in study.baselines if (each.poisons, each.features) == ("lgm", "lgm"))
            row = next(each for each in own.detectors if each.key == "likelihood")
            passed = 1 - row.overall.tpr_at_fpr[_RATE].value
            meaning = frontier_meaning(study.frontier)
            yield MeasuredMiss(study.about.models.lgm, study.about.made, row.overall.n, passed, meaning)
        except (CheckpointError, StopIteration, KeyError):  # an older or a damaged record
            continue
