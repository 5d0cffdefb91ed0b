"""What a run of the filter found, in numbers and sentences."""

from dataclasses import dataclass

import numpy as np

from lgm.data.cautions import FEW
from lgm.data.scan import Skipped
from lgm.detection.kept_list import KeptList, Verdict
from lgm.detection.thresholds import conformal_words
from lgm.detection.trusted import Trusted, seen_before
from lgm.utils.words import listed

_OTHERWISE = 0.2  # share of the images that another class would have to claim for the proportions to agree


@dataclass(frozen=True)
class ScoreSummary:
    """What one score found.

    Attributes:
        score: Key of `lgm.detection.scores.SCORES`.
        threshold: T in its unit; removed is score <= T.
        calibrated_on: Images that T was calibrated on.
        removed: How many images it removes, or would remove.
        removed_by_both: How many of them the score that decides removes too.
    """

    score: str
    threshold: float
    calibrated_on: int
    removed: int
    removed_by_both: int


@dataclass(frozen=True)
class FilterSummary:
    """What `filter` found.

    Attributes:
        data, model, score, fpr: What was asked for; ``score`` is the one that decides.
        trusted: What calibrated T: "held-out", "own", "dataset" or "none", see `lgm.detection.trusted.Trusted`.
        trusted_name: Of the dataset that these images are of.
        threshold: T in the unit of the score; removed is score <= T.
        promise: What T stands for.
        calibrated_on: Images that vouch for it.
        images: How many were scored.
        removed: How many of them were removed.
        images_per_class, removed_per_class: The same by the class that they claim.
        scores: All that were asked for, the one that decides first.
        notes: Where the filter cannot promise what one might think, a sentence each.
        unreadable: Files that were registered and do not read any more.
        skipped: Files of the dataset's folder that were no images when it was registered.
        out: The list.
        report, links: What else was written; "" for nothing.
    """

    data: str
    model: str
    score: str
    fpr: float
    trusted: str
    trusted_name: str
    threshold: float
    promise: str
    calibrated_on: int
    images: int
    removed: int
    images_per_class: dict[str, int]
    removed_per_class: dict[str, int]
    scores: tuple[ScoreSummary, ...]
    notes: tuple[str, ...]
    unreadable: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    out: str
    report: str = ""
    links: str = ""


def summarise(
    found: KeptList,
    trusted: Trusted,
    *,
    model: str,
    fpr: float,
    skipped: tuple[Skipped, ...],
    out: str,
    report: str = "",
    links: str = "",
) -> FilterSummary:
    """The record of a kept list."""
    table, first, removed = found.images.table, found.verdicts[0], ~found.kept
    return FilterSummary(
        data=table.dataset,
        model=model,
        score=first.name,
        fpr=fpr,
        trusted=trusted.source,
        trusted_name=trusted.name,
        threshold=first.threshold,
        promise=promise(trusted, fpr, first.calibrated_on),
        calibrated_on=first.calibrated_on,
        images=len(table),
        removed=int(removed.sum()),
        images_per_class=table.count(),
        removed_per_class=table.count(removed),
        scores=tuple(_of(verdict, removed) for verdict in found.verdicts),
        notes=tuple(notes(found, trusted)),
        unreadable=found.images.unreadable,
        skipped=skipped,
        out=out,
        report=report,
        links=links,
    )


def _of(verdict: Verdict, removed: np.ndarray) -> ScoreSummary:
    own = ~verdict.kept
    return ScoreSummary(
        verdict.name, verdict.threshold, verdict.calibrated_on, int(own.sum()), int((own & removed).sum())
    )


def promise(trusted: Trusted, fpr: float, calibrated_on: int) -> str:
    """What T stands for, given what vouches for it."""
    if trusted.source == "none":
        return (
            f"fitted to the very images that it judges: the {100 * fpr:g} % of lowest score are removed, clean or not, "
            "and no rate is promised"
        )
    if trusted.source == "own":
        return (
            f"{conformal_words(fpr, calibrated_on)}, if the labels of these images are right: they are of "
            f"{trusted.name} itself, held out of the network's training, and nobody vouches for them"
        )
    return conformal_words(fpr, calibrated_on)


def notes(found: KeptList, trusted: Trusted) -> list[str]:
    """Where the filter cannot promise what one might think."""
    table, names = found.images.table, found.images.names
    said = []
    if trusted.why:
        said.append(f"Nothing is trusted, as {trusted.why}: name a dataset whose labels are right (--trusted NAME).")
    if trusted.source == "own":
        said.append(
            "The network was trained on other images of this dataset: these are likelier than fresh ones, and a wrong "
            "label that it has learnt by heart passes."
        )
    if trusted.shared:
        said.append(f"{trusted.shared:,} images of {trusted.name} are among the data too, and calibrate nothing.")
    if trusted.features is not None and trusted.source != "own":
        same = seen_before(found.images.z, trusted.features.z)
        if same:
            said.append(
                f"{same:,} of the images have the very features of images that calibrate T, and are likely the same: "
                "what T promises is for others."
            )
    claimed = table.count()
    vouching = claimed
    if trusted.features is not None:
        counts = trusted.counts(len(names))
        vouching = {name: int(counts[names.index(name)]) for name in claimed}
    few = [f"{name} ({count})" for name, count in vouching.items() if count < FEW]
    if few:
        whose = "Few images" if trusted.features is None else "Few trusted images"
        said.append(f"{whose} of {listed(few)}: what T removes of so small a class is hardly known.")
    if trusted.features is not None and (apart := _apart(claimed, vouching)) > _OTHERWISE:
        said.append(
            f"The classes are in other proportions than among the trusted images ({100 * apart:.0f} % of the images "
            "would have to change class): T's rate is an average over classes in the latter."
        )
    return said


def _apart(claimed: dict[str, int], vouching: dict[str, int]) -> float:
    """Total variation distance of the proportions of classes."""
    ours, theirs = sum(claimed.values()), sum(vouching.values())
    return sum(abs(count / ours - vouching[name] / theirs) for name, count in claimed.items()) / 2
