"""New heads on frozen features, each a linear classifier: what somebody may fine-tune."""

from collections.abc import Callable

import numpy as np

from lgm.defense.finetune import Examples, LinearHead, fine_tune
from lgm.detection.class_gaussians import shrunk_covariance


def nearest_mean(examples: Examples) -> LinearHead:
    """The class of the nearest class mean, in rescaled features.

    Poisons move a mean by no more than their share of a class, so this head is hard to turn with few of them.

    Raises:
        ValueError: no examples.

    Source: scikit-learn's `NearestCentroid`; Mensink et al. 2013, *Distance-Based Image Classification*.
    """
    classes, means = _means(examples)
    return LinearHead(classes, means, -np.square(means).sum(1) / 2)


def shared_gaussians(examples: Examples) -> LinearHead:
    """A Gaussian a class with one covariance for all and equal priors: linear discriminant analysis.

    What refitting the Gaussians of an LGM network comes to; the covariance is shrunk by Ledoit and Wolf's rule, since
    there are few examples.

    Raises:
        ValueError: no examples.

    Source: scikit-learn's `LinearDiscriminantAnalysis`; Lee et al. 2018 for features of deep networks.
    """
    classes, means = _means(examples)
    if len(examples) == len(classes):  # one of each: nothing is known of how they spread
        return nearest_mean(examples)
    covariance = shrunk_covariance(examples.z - means[np.searchsorted(classes, examples.labels)])
    weight = np.linalg.solve(covariance, means.T).T
    return LinearHead(classes, weight, -(weight * means).sum(1) / 2)


def _means(examples: Examples) -> tuple[np.ndarray, np.ndarray]:
    """Labels (K,), ascending, and class means (K, D)."""
    if not len(examples):
        raise ValueError("examples: expected at least one to fine-tune on, got none; lower T keeps more")
    classes = np.unique(examples.labels)
    return classes, np.stack([examples.z[examples.labels == k].mean(0, dtype=np.float64) for k in classes])


Head = Callable[[Examples], LinearHead]
HEADS: dict[str, Head] = {"logistic": fine_tune, "nearest-mean": nearest_mean, "gaussians": shared_gaussians}
