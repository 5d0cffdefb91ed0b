"""Filters of training data, each a score per image from the same features."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from lgm.attacks.result import Poisons
from lgm.data.registry import load_split
from lgm.detection.gaussian import fit_density
from lgm.detection.spectral import outside_spectrum
from lgm.detection.suspects import LabelledImages
from lgm.models.card import Card
from lgm.models.features import FeatureMap, Features

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier

_NEIGHBOURS = 20  # of the local outlier factor


@dataclass(frozen=True)
class FilterInputs:
    """What a detector may look at: D_t as one network sees it, and features of images that are trusted.

    Attributes:
        z: (N, D) features of D_t, clean images and poisons, rescaled by the card's ``feature_scale``.
        labels: (N,) claimed labels.
        log_odds: (N,) of the claimed label by the network's own head, nats.
        log_likelihood: (N,) log p(z | claimed label) of the network's own Gaussians, nats; NaN for softmax.
        poisoned: (N,) bool; for judging, no detector looks at it.
        collided: (N,) bool: poisons known to be taken for the target's class by the network they were crafted on.
        trusted_z: (M, D) features of D_C, rescaled alike.
        trusted_labels: (M,) their classes.

    Raises:
        ValueError: lengths that do not fit, or fewer than two images of a claimed class, in D_t or among those trusted.
    """

    z: np.ndarray
    labels: np.ndarray
    log_odds: np.ndarray
    log_likelihood: np.ndarray
    poisoned: np.ndarray
    collided: np.ndarray
    trusted_z: np.ndarray
    trusted_labels: np.ndarray

    def __post_init__(self) -> None:
        lengths = {name: len(values) for name, values in vars(self).items() if not name.startswith("trusted")}
        if len(set(lengths.values())) != 1:
            raise ValueError(f"evidence: expected one value for each image of D_t, got lengths {lengths}")
        if len(self.trusted_z) != len(self.trusted_labels):
            raise ValueError(
                f"trusted_labels: expected one for each of {len(self.trusted_z)}, got {len(self.trusted_labels)}"
            )
        for name, labels in (("labels", self.labels), ("trusted_labels", self.trusted_labels)):
            few = [int(k) for k in np.unique(self.labels) if (labels == k).sum() < 2]
            if few:
                raise ValueError(f"{name}: expected at least two of each class that is claimed, got fewer of {few}")

    @property
    def has_density(self) -> bool:
        """Whether the network has Gaussians of its own."""
        return bool(np.isfinite(self.log_likelihood).all())


@dataclass(frozen=True)
class Detector:
    """A way to tell poisons from clean images.

    Attributes:
        key: Its name in `DETECTORS`.
        title: For people.
        source: Where it comes from, and what differs here.
        trusts: What it needs to know or to trust.
        score: (N,) of all images of D_t; higher is cleaner, in whatever unit.
    """

    key: str
    title: str
    source: str
    trusts: str
    score: Callable[[FilterInputs], np.ndarray]


def _own(evidence: FilterInputs) -> np.ndarray:
    return evidence.log_likelihood


def _confidence(evidence: FilterInputs) -> np.ndarray:
    return evidence.log_odds


def _fitted(evidence: FilterInputs) -> np.ndarray:
    return fit_density(evidence.trusted_z, evidence.trusted_labels)(evidence.z, evidence.labels)


def _nearness(evidence: FilterInputs) -> np.ndarray:
    classes = np.unique(evidence.trusted_labels)
    centroids = np.stack([evidence.trusted_z[evidence.trusted_labels == k].mean(0) for k in classes])
    return -np.linalg.norm(evidence.z - centroids[np.searchsorted(classes, evidence.labels)], axis=1)


def _votes(evidence: FilterInputs) -> np.ndarray:
    """Share of an image's k nearest neighbours that carry its label; k is half of a class, on the average.

    K has to exceed twice the poisons among an image's neighbours, or these outvote the clean ones; and to stay below
    the size of a class, or images of other classes are neighbours of all. An attacker with a tenth of the data and
    random targets puts a tenth into each class: half is far from either end.
    """
    from sklearn.neighbors import NearestNeighbors

    k = max(1, len(evidence.z) // (2 * len(np.unique(evidence.labels))))
    nearest = NearestNeighbors(n_neighbors=k).fit(evidence.z).kneighbors(return_distance=False)  # not the image itself
    return (evidence.labels[nearest] == evidence.labels[:, None]).mean(1)


def _by_class(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[FilterInputs], np.ndarray]:
    """A score (n, D) -> (n,) that knows one class only, for all: among the images that claim the same label."""

    def scores(evidence: FilterInputs) -> np.ndarray:
        out = np.empty(len(evidence.z))
        for k in np.unique(evidence.labels):
            mine = evidence.labels == k
            out[mine] = score(evidence.z[mine])
        return out

    return scores


def _local_density(z: np.ndarray) -> np.ndarray:
    from sklearn.neighbors import LocalOutlierFactor

    return LocalOutlierFactor(min(_NEIGHBOURS, len(z) - 1)).fit(z).negative_outlier_factor_


def _depth(z: np.ndarray) -> np.ndarray:
    from sklearn.ensemble import IsolationForest

    return IsolationForest(random_state=0).fit(z).score_samples(z)


_D_C = "clean, labelled features: D_C"
_NOTHING = "nothing: it works on D_t itself, the poisons among it"
DETECTORS = {
    detector.key: detector
    for detector in (
        Detector(
            "likelihood",
            "LGM likelihood",
            "the paper, section 4.4: log p(f(x) | y) of the Gaussians that the network was trained with",
            "a network trained with the LGM loss",
            _own,
        ),
        Detector(
            "gaussian",
            "Gaussian fitted afterwards",
            "Lee et al. 2018, A Simple Unified Framework for Detecting Out-of-Distribution Samples and Adversarial "
            "Attacks; here each class has its own full covariance, and the class is the claimed one",
            _D_C,
            _fitted,
        ),
        Detector(
            "confidence",
            "Confidence in the claimed label",
            "Northcutt, Jiang, Chuang 2021, Confident Learning (self-confidence); as log-odds, which have its order",
            "the network's own head",
            _confidence,
        ),
        Detector(
            "knn",
            "Deep k-NN vote",
            "Peri et al. 2020, Deep k-NN Defense Against Clean-Label Data Poisoning Attacks; the share of the votes in "
            "place of their majority",
            _NOTHING,
            _votes,
        ),
        Detector(
            "centroid",
            "Distance to the class centroid",
            "Steinhardt, Koh, Liang 2017, Certified Defenses for Data Poisoning Attacks (sphere)",
            _D_C,
            _nearness,
        ),
        Detector(
            "lof",
            "Local outlier factor",
            "Breunig et al. 2000, LOF: Identifying Density-Based Local Outliers; by claimed class, 20 neighbours",
            _NOTHING,
            _by_class(_local_density),
        ),
        Detector(
            "forest",
            "Isolation forest",
            "Liu, Ting, Zhou 2008, Isolation Forest; by claimed class, 100 trees",
            _NOTHING,
            _by_class(_depth),
        ),
        Detector(
            "spectral",
            "Spectral signatures",
            "Tran, Li, Madry 2018, Spectral Signatures in Backdoor Attacks; by claimed class",
            _NOTHING,
            _by_class(outside_spectrum),
        ),
    )
}


def gather_evidence(
    model: "Classifier", card: Card, features: FeatureMap, clean: Features, poisons: Poisons | LabelledImages
) -> FilterInputs:
    """D_t as a network sees it, whatever network the poisons were crafted on.

    Args:
        model: The network on whose features the detectors work, either loss.
        card: Its card.
        features: What is stored with it. Its training images are trusted; where they are not among what is stored,
            they are read and embedded.
        clean: D_f as it sees it.
        poisons: Embedded anew if they were crafted on another network. Of images from elsewhere none counts as
            collided, for nobody knows.

    Raises:
        ValueError: images of another shape than the network's, or see `FilterInputs`.
        DataError: its training images are neither stored with it nor on this machine.
    """
    from lgm.models.checkpoint import embed_split  # torch takes two seconds
    from lgm.models.scoring import score_claims

    if isinstance(poisons, Poisons) and poisons.manifest.get("weights_sha256") == card.weights_sha256:
        z = poisons.z
    else:
        z = _embed(model, poisons)
    collided = np.zeros(len(poisons), bool) if poisons.collided is None else poisons.collided
    config = card.config
    trusted = features.splits.get(config.split) or embed_split(model, load_split(config.split, config.dataset))
    z, labels = np.concatenate([clean.z, z]), np.concatenate([clean.labels, poisons.labels])
    log_odds, log_likelihood = score_claims(model, z, labels)
    return FilterInputs(
        z=z * card.feature_scale,
        labels=labels,
        log_odds=log_odds,
        log_likelihood=log_likelihood,
        poisoned=np.arange(len(z)) >= len(clean.z),
        collided=np.concatenate([np.zeros(len(clean.z), bool), collided]),
        trusted_z=trusted.z * card.feature_scale,
        trusted_labels=trusted.labels,
    )


def _embed(model: "Classifier", poisons: Poisons | LabelledImages) -> np.ndarray:
    from lgm.models.scoring import embed

    return embed(model, poisons.images).numpy()
