"""The filtered set D_w of a dataset: which of its images to keep. Source: algorithm 1, step 5."""

import csv
import io
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lgm.data.base import DataError
from lgm.data.loader import batches
from lgm.data.registry import held_out_of
from lgm.data.store import read_images, read_registration
from lgm.detection.scores import BY_HEAD, make_score
from lgm.detection.thresholds import is_removed
from lgm.models.features import Features, read_features
from lgm.utils.io import write_atomically

if TYPE_CHECKING:
    from lgm.models.card import Card
    from lgm.models.classifier import Classifier

OnBatch = Callable[[int, int], object]  # (images done, images in all)


@dataclass(frozen=True)
class Embedded:
    """Images of a dataset as a network sees them.

    Attributes:
        paths: (N,) of the files.
        claims: (N,) names of the claimed classes.
        labels: (N,) the same as numbers: those of the network's classes, then those that it does not know.
        z: (N, D) features.
        predicted: (N,) classes by the network's own head.
        unreadable: Files that were registered and do not read any more.
    """

    paths: np.ndarray
    claims: np.ndarray
    labels: np.ndarray
    z: np.ndarray
    predicted: np.ndarray
    unreadable: tuple[str, ...]


@dataclass(frozen=True)
class KeptList:
    """What a filter says of each image of a dataset.

    Attributes:
        images: The dataset.
        names: Of all classes, the network's first.
        score: (N,) in the unit of the score; higher is cleaner.
        threshold: T; removed is score <= T.
        calibrated_on: How many trusted images vouch for T.
    """

    images: Embedded
    names: tuple[str, ...]
    score: np.ndarray
    threshold: float
    calibrated_on: int

    @property
    def kept(self) -> np.ndarray:
        """(N,) bool."""
        return ~is_removed(self.score, self.threshold)

    def write(self, path: Path) -> None:
        """A CSV file with a row an image: path, label, predicted, score, threshold, kept.

        Raises:
            SaveError: it cannot be written.
        """
        text = io.StringIO(newline="")
        table = csv.writer(text)
        table.writerow(["path", "label", "predicted", "score", "threshold", "kept"])
        rows = zip(self.images.paths, self.images.claims, self.images.predicted, self.score, self.kept, strict=True)
        for name, claim, predicted, score, kept in rows:
            table.writerow([name, claim, self.names[predicted], f"{score:.6g}", f"{self.threshold:.6g}", int(kept)])
        write_atomically(path, lambda part: part.write_bytes(text.getvalue().encode("utf-8", "surrogateescape")))


def embed_dataset(
    model: "Classifier", names: tuple[str, ...], name: str, *, workers: int = 0, on_batch: OnBatch | None = None
) -> Embedded:
    """Features of all images of a registered dataset, read a batch at a time.

    Args:
        model: In eval mode. Images are scaled to its ``image_shape``, and are grey or in colour as it takes them.
        names: Of all classes that the dataset claims, beginning with the network's own.
        name: The dataset.
        workers: Processes that read images.
        on_batch: Called after each batch.

    Raises:
        DataError: no such dataset, or none of its images reads any more.
    """
    import torch

    from lgm.models.classifier import device_of
    from lgm.models.scoring import embed

    root, files = read_registration(name).root, read_images(name)
    numbers = {label: number for number, label in enumerate(names)}
    z, positions, done = [], [], 0
    for seen, pixels in batches(root, [file.path for file in files], model.image_shape, workers=workers):
        z.append(embed(model, pixels.float().div_(255)))
        positions.append(seen)
        done += len(seen)
        if on_batch:
            on_batch(done, len(files))
    at = torch.cat(positions).numpy() if positions else np.zeros(0, np.int64)
    if not len(at):
        raise DataError(f"{root}: none of the {len(files):,} images of {name} reads any more; `lgm data check {name}`")
    features = torch.cat(z)
    with torch.inference_mode():
        predicted = model.head.logits(features.to(device_of(model))).argmax(-1).cpu().numpy()
    readable = set(at.tolist())
    return Embedded(
        paths=np.array([files[i].path for i in at], object),
        claims=np.array([files[i].label for i in at], object),
        labels=np.array([numbers[files[i].label] for i in at]),
        z=features.numpy(),
        predicted=predicted,
        unreadable=tuple(file.path for i, file in enumerate(files) if i not in readable),
    )


def class_names(card: "Card", *datasets: str) -> tuple[str, ...]:
    """Names of the classes that a network was trained on, then those of registered datasets that it does not know."""
    own = card.class_names
    claimed = {name for dataset in datasets for name in read_registration(dataset).classes}
    return own + tuple(sorted(claimed - set(own)))


def keep(
    model: "Classifier",
    names: tuple[str, ...],
    images: Embedded,
    trusted: Features,
    *,
    score: str = "likelihood",
    fpr: float = 0.02,
) -> KeptList:
    """Score every image under the class that it claims, and remove those that are not above T.

    Args:
        model: The network that the features are of.
        names: Of all classes, the network's first.
        images: The dataset.
        trusted: Clean images that neither the network was trained on nor are among those of the dataset.
        score: Key of `lgm.detection.scores.SCORES`.
        fpr: Share of fresh clean images that may be removed on average.

    Raises:
        ValueError: a claimed class of which there is no trusted image, or which the network does not know and its own
            head is to score; too few trusted images for such a rate.
    """
    if score in BY_HEAD:
        _require_known(images, names, model.head.n_classes)
    _require_trusted(images, trusted, names)
    fitted = make_score(score, model).fit(trusted.z, trusted.labels.astype(np.int64))
    threshold, calibration = fitted.threshold(fpr), len(fitted.calibration_scores_)
    if threshold == -math.inf:
        needed = math.ceil(1 / fpr) - 1 if fpr else math.inf
        raise ValueError(
            f"fpr: {calibration} trusted images calibrate T, and a rate of {100 * fpr:g} % needs at least {needed:g}; "
            f"allow {100 / (calibration + 1):.2g} %, or add trusted images"
        )
    return KeptList(images, names, fitted.score_samples(images.z, images.labels), threshold, calibration)


def held_out_of_training(source: str, card: "Card") -> Features:
    """What no network of this dataset is trained on, as this one sees it: stored beside its weights.

    Raises:
        CheckpointError: its features are missing.
        DataError: that split is not among them.
    """
    name = held_out_of(card.config.dataset)
    splits = read_features(source).splits
    if name not in splits:
        raise DataError(f"trusted: {source} has no features of {name}, its held-out images; name a dataset (--trusted)")
    return splits[name]


def trusted_dataset(model: "Classifier", names: tuple[str, ...], name: str, data: str, *, workers: int = 0) -> Features:
    """A registered dataset whose labels are right, without the images that ``data`` holds too.

    Raises:
        DataError: it is the same dataset, or holds the same images and nothing else.
    """
    if name == data:
        raise DataError(f"trusted: {name} cannot vouch for itself; name images whose labels are right")
    theirs = {file.sha256 for file in read_images(data)}
    own = {file.path for file in read_images(name) if file.sha256 not in theirs}
    if not own:
        raise DataError(f"trusted: all images of {name} are among those of {data}; name others")
    seen = embed_dataset(model, names, name, workers=workers)
    apart = np.array([path in own for path in seen.paths])
    return Features(seen.z[apart], seen.labels[apart], seen.predicted[apart], np.full(apart.sum(), np.nan, np.float32))


def _require_known(images: Embedded, names: tuple[str, ...], count: int) -> None:
    """Raise ValueError unless all claimed classes are among the network's own."""
    unknown = sorted({names[k] for k in images.labels if k >= count})
    if unknown:
        raise ValueError(
            f"score: the network knows the classes {', '.join(names[:count])}, so its head says nothing of images that "
            f"claim to be {', '.join(unknown)}; gaussian and knn need trusted images of these instead"
        )


def _require_trusted(images: Embedded, trusted: Features, names: tuple[str, ...]) -> None:
    """Raise ValueError unless there are trusted images of every claimed class."""
    bare = sorted({names[k] for k in set(images.labels.tolist()) - set(trusted.labels.tolist())})
    if bare:
        raise ValueError(f"trusted: no image of {', '.join(bare)}, which the data claim to hold; add some (--trusted)")
