"""The filtered set D_w of a dataset: which of its images to keep. Source: algorithm 1, step 5."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lgm.detection.embedded import Embedded
from lgm.detection.image_table import ImageTable
from lgm.detection.score import Score
from lgm.detection.scores import BY_HEAD, make_score
from lgm.detection.thresholds import is_removed
from lgm.models.features import Features
from lgm.utils.io import write_atomically
from lgm.utils.tables import write_csv

if TYPE_CHECKING:
    from lgm.models.card import Card
    from lgm.models.classifier import Classifier

_COLUMNS = ("score", "threshold", "kept")


@dataclass(frozen=True)
class Verdict:
    """What one score says of each image.

    Attributes:
        name: Key of `lgm.detection.scores.SCORES`.
        score: (N,) float64 in the unit of the score; higher is cleaner.
        threshold: T; removed is score <= T.
        calibrated_on: How many images T was calibrated on: trusted ones, or those of the data themselves.
    """

    name: str
    score: np.ndarray
    threshold: float
    calibrated_on: int

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool."""
        return ~is_removed(self.score, self.threshold)


@dataclass(frozen=True)
class KeptList:
    """What a filter says of each image of a dataset.

    Attributes:
        images: The dataset.
        verdicts: Of each score that was asked for; the first one decides what is kept.
    """

    images: Embedded
    verdicts: tuple[Verdict, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Of all classes, the network's first."""
        return self.images.names

    @property
    def score(self) -> np.ndarray:
        """(N,) of the score that decides."""
        return self.verdicts[0].score

    @property
    def threshold(self) -> float:
        """T of the score that decides."""
        return self.verdicts[0].threshold

    @property
    def calibrated_on(self) -> int:
        """How many images it was calibrated on."""
        return self.verdicts[0].calibrated_on

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool, by the score that decides."""
        return self.verdicts[0].kept

    def write(self, path: Path) -> None:
        """A CSV file with a row an image: path, label, predicted, score, threshold, kept; then the other scores'.

        Scores and thresholds are written with all their digits, so that comparing them gives ``kept``.

        Raises:
            SaveError: it cannot be written.
        """
        others = [f"{verdict.name} {column}" for verdict in self.verdicts[1:] for column in _COLUMNS]
        head = ["path", "label", "predicted", *_COLUMNS, *others]
        write_atomically(path, lambda part: write_csv(part, head, self._rows()))

    def _rows(self) -> Iterator[list[object]]:
        images, judged = self.images, [(verdict, verdict.kept) for verdict in self.verdicts]
        predicted = np.array([*images.names, ""], object)[images.predicted]  # -1: nothing was predicted
        for i, row in enumerate(zip(images.paths, images.claims, predicted, strict=True)):
            cells: list[object] = list(row)
            for verdict, kept in judged:
                cells += [repr(float(verdict.score[i])), repr(float(verdict.threshold)), int(kept[i])]
            yield cells


def class_names(card: "Card | None", *datasets: ImageTable) -> tuple[str, ...]:
    """Names of the classes that a network was trained on, then those of datasets that it does not know."""
    own = card.class_names if card else ()
    claimed = {name for table in datasets for name in table.classes}
    return own + tuple(sorted(claimed - set(own)))


@dataclass(frozen=True)
class FittedScore:
    """A score that is ready to judge: its name, and T for the rate that was asked for."""

    name: str
    score: Score
    threshold: float

    def judge(self, images: Embedded) -> Verdict:
        """What it says of each image. One that judges itself is to be given the images that it was fitted to."""
        with _one_thread():
            found = np.asarray(self.score.score_samples(images.z, images.labels), np.float64)
        return Verdict(self.name, found, self.threshold, len(self.score.calibration_scores_))


def fit_to_trusted(
    model: "Classifier | None", trusted: Features, scores: Sequence[str], fpr: float
) -> list[FittedScore]:
    """Scores that are fitted to, and calibrated on, clean images that the network was not trained on.

    Args:
        model: The network that the features are of, if that is known.
        trusted: None of them among the data.
        scores: Keys of `lgm.detection.scores.SCORES`.
        fpr: Share of fresh clean images that may be removed on average.

    Raises:
        ValueError: too few trusted images for such a rate, or see `make_score`.
    """
    fitted = []
    for name in scores:
        with _one_thread():
            score = make_score(name, model).fit(trusted.z, trusted.labels.astype(np.int64))
        count = len(score.calibration_scores_)
        threshold = score.threshold(fpr) if count else -math.inf
        if threshold == -math.inf:
            raise ValueError(f"fpr: {_too_few(count, len(trusted.labels), fpr)}")
        fitted.append(FittedScore(name, score, threshold))
    return fitted


def fit_to_itself(model: "Classifier | None", images: Embedded, scores: Sequence[str], fpr: float) -> list[FittedScore]:
    """Scores that are fitted to the very images that they judge; ``fpr`` is the share that T removes.

    Raises:
        ValueError: see `make_score`.
    """
    fitted = []
    for name in scores:
        with _one_thread():
            score = make_score(name, model, of_itself=True).fit(images.z, images.labels)
        fitted.append(FittedScore(name, score, score.threshold(fpr)))
    return fitted


def keep(
    model: "Classifier | None",
    images: Embedded,
    trusted: Features | None,
    *,
    scores: Sequence[str] = ("likelihood",),
    fpr: float = 0.02,
) -> KeptList:
    """Score every image under the class that it claims, and remove those that are not above T.

    Args:
        model: The network that the features are of, if that is known.
        images: The dataset.
        trusted: Clean images that neither the network was trained on nor are among those of the dataset; None: the
            scores are fitted to the dataset itself, and no rate is promised.
        scores: Keys of `lgm.detection.scores.SCORES`; the first one decides.
        fpr: Share of fresh clean images that may be removed on average; without trusted ones, of all images.

    Raises:
        ValueError: see `check_claims`, `fit_to_trusted` and `fit_to_itself`.
    """
    check_claims(model, images.names, images.table, scores, None if trusted is None else trusted.labels)
    if trusted is None:
        fitted = fit_to_itself(model, images, scores, fpr)
    else:
        fitted = fit_to_trusted(model, trusted, scores, fpr)
    return KeptList(images, tuple(score.judge(images) for score in fitted))


def check_claims(
    model: "Classifier | None",
    names: tuple[str, ...],
    table: ImageTable,
    scores: Sequence[str],
    trusted: np.ndarray | None,
) -> None:
    """What can be refused before any image is read.

    Args:
        model: The network, if there is one.
        names: Of all classes, the network's first.
        table: The dataset.
        scores: What it is to be judged by.
        trusted: Labels of the trusted images, positions in ``names``; None: there are none.

    Raises:
        ValueError: a score that this network has not; a claimed class that the network does not know while its own
            head is to score; one of which there is no trusted image.
    """
    for name in scores:
        make_score(name, model)
    claimed, count = set(table.count()), model.head.n_classes if model else 0
    by_head = [name for name in scores if name in BY_HEAD]
    unknown = sorted(claimed - set(names[:count]))
    if by_head and unknown:
        raise ValueError(
            f"score: the network knows the classes {', '.join(names[:count])}, so {by_head[0]} says nothing of images "
            f"that claim to be {', '.join(unknown)}; gaussian and knn go by other images of these instead"
        )
    if trusted is not None:
        bare = sorted(claimed - {names[k] for k in np.unique(trusted)})
        if bare:
            raise ValueError(f"trusted: no image of {', '.join(bare)}, which the data claim to hold; add some")


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums come out the same, to the bit, however many threads the process has."""
    from threadpoolctl import threadpool_limits

    from lgm.utils.threads import one_thread_if

    with one_thread_if(True), threadpool_limits(1):
        yield


def _too_few(calibration: int, trusted: int, fpr: float) -> str:
    needed = math.ceil(1 / fpr) - 1 if fpr else math.inf
    of = "" if calibration == trusted else f" (a part of {trusted:,})"
    if not fpr:
        return f"{calibration:,} trusted images calibrate T{of}, and no number of them promises a rate of 0; allow more"
    allowed = f"allow {math.ceil(1000 / (calibration + 1)) / 10:g} %, or " if calibration else ""
    return (
        f"{calibration:,} trusted images calibrate T{of}, and a rate of {100 * fpr:g} % needs at least {needed:,}; "
        f"{allowed}add trusted images"
    )
