"""Would something simpler do? Other detectors on the same features, judged on the same poisons as the likelihood."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.bootstrap import resample
from lgm.cards import Card, FeatureMap, Features
from lgm.config import FPR_GRID
from lgm.datasets import load_split
from lgm.detection import Rates, Roc, is_removed, rates_of, roc
from lgm.fitted import fit_density
from lgm.intervals import Estimate, hull, paired_interval, percent_text, percentile_interval, plain
from lgm.labelled import LabelledImages
from lgm.poisons import Poisons

if TYPE_CHECKING:
    from lgm.networks import Classifier

BETTER, AS_GOOD, WORSE = "better", "as good", "worse"
MIXED, UNDECIDED, REFERENCE = "better at one rate, worse at the other", "not decided", "reference"
MARGIN = 0.02  # of the poisons: what a detector catches more or less than this is a difference
DECIDING = (0.01, 0.05)  # FPRs at which detectors are compared: the paper's price, and a high one
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


def verdict_of(differences: Mapping[float, Estimate]) -> str:
    """How a detector compares with the reference: the one rule, for every page, table and claim.

    By the share of the poisons caught, at each FPR of `DECIDING`, and by whole 95 % intervals of the difference:

    - `BETTER`: it catches over `MARGIN` more at one of the rates; `WORSE`: over `MARGIN` less; `MIXED`: both.
    - `AS_GOOD`: else, if at no rate it catches over `MARGIN` less: non-inferiority.
    - `UNDECIDED`: else. There are too few poisons to tell.

    The AUC has no part in it: most of the area is at rates that nobody would pay.

    Args:
        differences: By FPR, the share that the detector catches minus the share that the reference catches.
    """
    those = [differences[fpr] for fpr in DECIDING]
    better, worse = any(d.low > MARGIN for d in those), any(d.high < -MARGIN for d in those)
    if better or worse:
        return MIXED if better and worse else BETTER if better else WORSE
    return AS_GOOD if all(d.low > -MARGIN for d in those) else UNDECIDED


def does_as_well(verdict: str) -> bool | None:
    """Whether a verdict refutes "nothing else filters as well as the reference"; None if it leaves that open.

    To be better at one of the rates is enough: a reading that contradicts is not outvoted by one that supports.
    """
    return {BETTER: True, AS_GOOD: True, MIXED: True, WORSE: False}.get(verdict)


@dataclass(frozen=True)
class Result:
    """What a detector does to a group of poisons.

    Attributes:
        curve: ROC over all clean images and these poisons.
        rates: AUC and TPRs, by the same routine as everywhere: `lgm.detection.rates`.
        fpr: The rate that was asked for, one of those in ``rates``.
        difference: AUC minus that of the reference on the same images, with its paired interval; no interval (NaN)
            where all resamples are equal.
        tpr_difference: By FPR of `DECIDING`, TPR minus that of the reference; paired. Empty for the reference itself.
        verdict: `verdict_of` these; or `REFERENCE`.
    """

    curve: Roc
    rates: Rates
    fpr: float
    difference: Estimate
    tpr_difference: dict[float, Estimate]
    verdict: str

    @property
    def n(self) -> int:
        """How many poisons."""
        return self.rates.n

    @property
    def auc(self) -> Estimate:
        """Area under the ROC curve."""
        return self.rates.auc

    @property
    def tpr(self) -> Estimate:
        """Share of the poisons that is caught at ``fpr``."""
        return self.rates.tpr[self.fpr]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the curve."""
        return plain(
            {
                "n": self.n,
                "auc": self.auc.value,
                "auc_interval": self.auc[1:],
                "fpr": self.fpr,
                "tpr": self.tpr.value,
                "tpr_interval": self.tpr[1:],
                "tpr_at_fpr": {f"{fpr:g}": tpr.value for fpr, tpr in self.rates.tpr.items()},
                "tpr_at_fpr_interval": {f"{fpr:g}": tpr[1:] for fpr, tpr in self.rates.tpr.items()},
                "difference": self.difference,
                "tpr_difference": {f"{fpr:g}": difference for fpr, difference in self.tpr_difference.items()},
                "verdict": self.verdict,
            }
        )


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

    AUC and TPRs have the intervals of `lgm.detection.rates`. For differences clean images and poisons are drawn anew,
    each group by itself, the same draws for all detectors; see `_tpr_difference`. The scores stay as they are: what it
    would mean to fit the detectors to other images is not in the intervals, and they are not widened for being many.

    Args:
        evidence: D_t and what is trusted.
        seed: Of the resamples.
        resamples: How many.
        fpr: A rate to report beside `lgm.config.FPR_GRID`, in [0, 1].

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
        resampled = resample(clean, poison, seed=seed, resamples=resamples, fprs=DECIDING)
        return _results(curves, clean, poison, resampled, fpr)

    overall = judged(evidence.poisoned)
    collided = judged(evidence.collided) if evidence.collided.any() else {}
    against = DETECTORS[usable[0]].title
    return [Comparison(DETECTORS[key], against, overall[key], collided.get(key)) for key in scores]


def _results(
    curves: dict[str, Roc],
    clean: dict[str, np.ndarray],
    poison: dict[str, np.ndarray],
    resampled: dict[str, np.ndarray],
    fpr: float,
) -> dict[str, Result]:
    """What each detector does to these poisons; the first one is the reference."""
    caught = {
        key: [is_removed(poison[key], curve.threshold_at(rate)) for rate in DECIDING] for key, curve in curves.items()
    }
    first = next(iter(curves))
    results = {}
    for key, curve in curves.items():
        auc, *tprs = resampled[key] - resampled[first]
        tpr_difference = {
            rate: _tpr_difference(caught[key][i], caught[first][i], tprs[i]) for i, rate in enumerate(DECIDING)
        }
        auc_span = percentile_interval(auc) if np.ptp(auc) else (math.nan, math.nan)
        results[key] = Result(
            curve=curve,
            rates=rates_of(curve, clean[key], poison[key], {*FPR_GRID, fpr}),
            fpr=fpr,
            difference=Estimate(curve.auc - curves[first].auc, *auc_span),
            tpr_difference={} if key == first else tpr_difference,
            verdict=REFERENCE if key == first else verdict_of(tpr_difference),
        )
    return results


def _tpr_difference(caught: np.ndarray, by_reference: np.ndarray, resampled: np.ndarray) -> Estimate:
    """What a detector catches more of the same M poisons; (M,) bool each.

    The interval holds two, as that of `lgm.bootstrap.tpr_interval` does and for its reason: the percentiles of the
    paired bootstrap, which draws the thresholds anew but has no width where no resample tells the two apart, and
    `lgm.intervals.paired_interval`, which takes the thresholds as given.
    """
    n, more, less = len(caught), int((caught & ~by_reference).sum()), int((by_reference & ~caught).sum())
    return Estimate((more - less) / n, *hull(percentile_interval(resampled), paired_interval(more, less, n)))


def rule_in_words() -> str:
    """`verdict_of`, for people."""
    low, high = (f"{100 * fpr:g}" for fpr in DECIDING)
    return (
        f"Verdicts go by the share of the poisons caught at {low} and at {high} % FPR, and by whole intervals of the "
        f"difference: *{BETTER}* or *{WORSE}* is by more than {100 * MARGIN:g} points at one of the rates, *{AS_GOOD}* "
        f"is not worse by that at either; else it is *{UNDECIDED}*."
    )


def in_words(comparisons: list[Comparison]) -> str:
    """What follows for the reference, in sentences: over all poisons, and over those that collide."""
    sentences = [_verdict_on([(c, c.overall) for c in comparisons], "all {n} poisons")]
    collided = [(c, c.collided) for c in comparisons if c.collided]
    if collided:
        sentences.append(_verdict_on(collided, "the {n} that collide"))
    return " ".join(sentences)


def _verdict_on(results: Sequence[tuple[Comparison, Result]], group: str) -> str:
    (first, reference), *others = results

    def named() -> Iterator[str]:
        for verdict in (BETTER, AS_GOOD, MIXED, UNDECIDED, WORSE):
            titles = [c.detector.title for c, r in others if r.verdict == verdict]
            if titles:
                yield f"{verdict}: {', '.join(titles)}"

    tpr = reference.rates.tpr
    rates = " and ".join(f"{percent_text(tpr[fpr].value)} at {100 * fpr:g} % FPR" for fpr in DECIDING)
    group = group.format(n=reference.n)
    return f"Of {group}, {first.detector.title} catches {rates}. The others are {'; '.join(named())}."
