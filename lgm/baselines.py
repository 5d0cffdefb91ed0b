"""Would something simpler do? Other detectors on the same features, judged on the same poisons as the likelihood."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.bootstrap import estimate, resample
from lgm.cards import Card, FeatureMap, Features
from lgm.datasets import load_split
from lgm.detection import Roc, roc
from lgm.fitted import fit_density
from lgm.intervals import Estimate
from lgm.labelled import LabelledImages
from lgm.poisons import Poisons

if TYPE_CHECKING:
    from lgm.networks import Classifier

BETTER, WORSE, UNDECIDED, REFERENCE = "better", "worse", "no difference shown", "reference"
_NEIGHBOURS = 20  # of the local outlier factor


@dataclass(frozen=True)
class Evidence:
    """What a detector may look at: D_t as one network sees it, and features of images that are trusted.

    Attributes:
        z: (N, D) features of D_t, clean images and poisons, rescaled by the card's ``feature_scale``.
        labels: (N,) claimed labels.
        log_odds: (N,) of the claimed label by the network's own head, nats.
        log_likelihood: (N,) log p(z | claimed label) of the network's own Gaussians, nats; NaN for softmax.
        poisoned: (N,) bool; for judging, no detector looks at it.
        collided: (N,) bool: poisons that the network they were crafted on takes for the target's class.
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
    score: Callable[[Evidence], np.ndarray]


def _own(evidence: Evidence) -> np.ndarray:
    return evidence.log_likelihood


def _confidence(evidence: Evidence) -> np.ndarray:
    return evidence.log_odds


def _fitted(evidence: Evidence) -> np.ndarray:
    return fit_density(evidence.trusted_z, evidence.trusted_labels)(evidence.z, evidence.labels)


def _nearness(evidence: Evidence) -> np.ndarray:
    classes = np.unique(evidence.trusted_labels)
    centroids = np.stack([evidence.trusted_z[evidence.trusted_labels == k].mean(0) for k in classes])
    return -np.linalg.norm(evidence.z - centroids[np.searchsorted(classes, evidence.labels)], axis=1)


def _votes(evidence: Evidence) -> np.ndarray:
    """Share of an image's k nearest neighbours that carry its label; k is half of a class, on the average.

    K has to exceed twice the poisons among an image's neighbours, or these outvote the clean ones; and to stay below
    the size of a class, or images of other classes are neighbours of all. An attacker with a tenth of the data and
    random targets puts a tenth into each class: half is far from either end.
    """
    from sklearn.neighbors import NearestNeighbors

    k = max(1, len(evidence.z) // (2 * len(np.unique(evidence.labels))))
    nearest = NearestNeighbors(n_neighbors=k).fit(evidence.z).kneighbors(return_distance=False)  # not the image itself
    return (evidence.labels[nearest] == evidence.labels[:, None]).mean(1)


def _by_class(score: Callable[[np.ndarray], np.ndarray]) -> Callable[[Evidence], np.ndarray]:
    """A score (n, D) -> (n,) that knows one class only, for all: among the images that claim the same label."""

    def scores(evidence: Evidence) -> np.ndarray:
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


def _outside_spectrum(z: np.ndarray) -> np.ndarray:
    centred = z - z.mean(0)
    direction = np.linalg.svd(centred, full_matrices=False)[2][0]
    return -np.square(centred @ direction)


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
            _by_class(_outside_spectrum),
        ),
    )
}


def gather_evidence(
    model: "Classifier", card: Card, features: FeatureMap, clean: Features, poisons: Poisons | LabelledImages
) -> Evidence:
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
        ValueError: images of another shape than the network's, or see `Evidence`.
        DataError: its training images are neither stored with it nor on this machine.
    """
    from lgm.checkpoints import embed_split  # torch takes two seconds
    from lgm.networks import score_claims

    if isinstance(poisons, Poisons) and poisons.manifest.get("weights_sha256") == card.weights_sha256:
        z = poisons.z
    else:
        z = _embed(model, poisons)
    collided = np.zeros(len(poisons), bool) if poisons.collided is None else poisons.collided
    config = card.config
    trusted = features.splits.get(config.split) or embed_split(model, load_split(config.split, config.dataset))
    z, labels = np.concatenate([clean.z, z]), np.concatenate([clean.labels, poisons.labels])
    log_odds, log_likelihood = score_claims(model, z, labels)
    return Evidence(
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
    from lgm.networks import embed

    return embed(model, poisons.images).numpy()


@dataclass(frozen=True)
class Result:
    """What a detector does to a group of poisons.

    Attributes:
        n: Poisons in the group.
        curve: ROC over all clean images and these poisons.
        auc: Area under it.
        fpr: Share of the clean images that may be removed.
        tpr: Share of the poisons that is caught then.
        difference: AUC minus that of the reference on the same images; its interval is paired.
        verdict: `BETTER` or `WORSE` if that interval leaves out 0, else `UNDECIDED`; or `REFERENCE`.
    """

    n: int
    curve: Roc
    auc: Estimate
    fpr: float
    tpr: Estimate
    difference: Estimate
    verdict: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the curve."""
        return {
            "n": self.n,
            "auc": self.auc.value,
            "auc_interval": [self.auc.low, self.auc.high],
            "fpr": self.fpr,
            "tpr": self.tpr.value,
            "tpr_interval": [self.tpr.low, self.tpr.high],
            "difference": list(self.difference),
            "verdict": self.verdict,
        }


@dataclass(frozen=True)
class Comparison:
    """How a detector fares.

    Attributes:
        detector: Which.
        against: Title of the reference: the likelihood, or for a network without one the Gaussian fitted afterwards.
        overall: Over all poisons.
        collided: Over those that collide; None if none does.
    """

    detector: Detector
    against: str
    overall: Result
    collided: Result | None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON: over all poisons, and as ``collided`` over those that do."""
        return {
            "key": self.detector.key,
            "title": self.detector.title,
            "source": self.detector.source,
            "trusts": self.detector.trusts,
            "against": self.against,
            **self.overall.to_dict(),
            "collided": self.collided and self.collided.to_dict(),
        }


def compare(evidence: Evidence, seed: int = 1, *, resamples: int = 1000, fpr: float = 0.01) -> list[Comparison]:
    """All detectors on the same images, with 95 % intervals; the reference first.

    Clean images and poisons are drawn anew, each group by itself, the same draws for all detectors; intervals are
    percentiles. The scores stay as they are: what it would mean to fit the detectors to other images is not in the
    intervals, and they are not widened for being many. Where every resample gives 0 or 1, so does the interval.

    Args:
        evidence: D_t and what is trusted.
        seed: Of the resamples.
        resamples: How many.
        fpr: Share of the clean images that may be removed for the TPR, in [0, 1].

    Raises:
        ValueError: no clean images or no poisons, no resamples, a rate outside [0, 1].

    Source: Efron, Tibshirani 1993, *An Introduction to the Bootstrap*, chapter 13.
    """
    if resamples < 1:
        raise ValueError(f"resamples: expected at least 1, got {resamples}")
    usable = [key for key in DETECTORS if key != "likelihood" or evidence.has_density]
    scores = {key: np.asarray(DETECTORS[key].score(evidence), np.float64) for key in usable}

    def judged(poisons: np.ndarray) -> dict[str, Result]:
        clean = {key: score[~evidence.poisoned] for key, score in scores.items()}
        poison = {key: score[poisons] for key, score in scores.items()}
        curves = {key: roc(clean[key], poison[key]) for key in scores}
        resampled = resample(clean, poison, seed=seed, resamples=resamples, fpr=fpr)
        return _results(int(poisons.sum()), curves, resampled, fpr)

    overall = judged(evidence.poisoned)
    collided = judged(evidence.collided) if evidence.collided.any() else {}
    against = DETECTORS[usable[0]].title
    return [Comparison(DETECTORS[key], against, overall[key], collided.get(key)) for key in scores]


def _results(n: int, curves: dict[str, Roc], resampled: dict[str, np.ndarray], fpr: float) -> dict[str, Result]:
    """What each detector does to n poisons; the first one is the reference."""
    reference = next(iter(curves))
    results = {}
    for key, curve in curves.items():
        auc, tpr = resampled[key]
        difference = estimate(curve.auc - curves[reference].auc, auc - resampled[reference][0])
        decided = BETTER if difference.low > 0 else WORSE if difference.high < 0 else UNDECIDED
        results[key] = Result(
            n=n,
            curve=curve,
            auc=estimate(curve.auc, auc),
            fpr=fpr,
            tpr=estimate(curve.tpr_at(fpr), tpr),
            difference=difference,
            verdict=REFERENCE if key == reference else decided,
        )
    return results


def in_words(comparisons: list[Comparison]) -> str:
    """What follows for the reference, in sentences: over all poisons, and over those that collide."""
    sentences = [_verdict_on([(c, c.overall) for c in comparisons], "all {n} poisons")]
    collided = [(c, c.collided) for c in comparisons if c.collided]
    if collided:
        sentences.append(_verdict_on(collided, "the {n} that collide"))
    return " ".join(sentences)


def _verdict_on(results: Sequence[tuple[Comparison, Result]], group: str) -> str:
    (first, reference), *others = results

    def named(verdict: str) -> str:
        return ", ".join(f"{c.detector.title} ({r.difference.value:+.4f})" for c, r in others if r.verdict == verdict)

    better, even = named(BETTER), named(UNDECIDED)
    rival, most = max(((c.detector.title, r.tpr.value) for c, r in others), key=lambda pair: pair[1])
    return (
        f"Over {group.format(n=reference.n)}, {first.detector.title} is {'not the best' if better else 'not beaten'}: "
        + (f"by AUC better are {better}; " if better else "")
        + (f"no difference is shown to {even}; " if even else "")
        + f"at {100 * reference.fpr:g} % FPR it catches {100 * reference.tpr.value:.1f} %, "
        f"of the others {rival} the most, {100 * most:.1f} %."
    )
