from dataclasses import replace

import numpy as np
import pytest

from lgm.models.features import Features
from lgm.stats.intervals import resamples
from lgm.stats.separability import separability, separability_bootstrap


@pytest.fixture
def features(rng: np.random.Generator) -> Features:
    labels = rng.permutation(np.repeat([0, 1, 3], [20, 30, 25])).astype(np.uint8)  # of a class 2 there is no image
    z = (rng.standard_normal((75, 2)) + 4 * labels[:, None]).astype(np.float32)
    return Features(z, labels, labels, np.zeros(75, np.float32))


def slow(features: Features) -> float:
    means = {k: features.z[features.labels == k].astype(float).mean(0) for k in set(features.labels.tolist())}
    distances = [np.linalg.norm(means[j] - means[k]) for j in means for k in means if j != k]
    squares = [(z - means[k]) ** 2 for z, k in zip(features.z.astype(float), features.labels.tolist(), strict=True)]
    return float(min(distances) / np.sqrt(np.mean(squares)))


def test_separability_against_a_slow_loop(features: Features):
    assert separability(features.z, features.labels) == pytest.approx(slow(features), rel=1e-9)


def test_separability_has_no_unit(features: Features):
    moved = replace(features, z=(100 * features.z + 3000).astype(np.float32))
    assert separability(moved.z, moved.labels) == pytest.approx(separability(features.z, features.labels), rel=1e-4)
    np.testing.assert_allclose(
        separability_bootstrap(moved.z, moved.labels), separability_bootstrap(features.z, features.labels), rtol=1e-3
    )  # paired


def test_the_bootstrap_is_the_separation_of_resampled_images(features: Features):
    drawn = separability_bootstrap(features.z, features.labels, seed=5, count=6)
    places = [np.flatnonzero(features.labels == k) for k in (0, 1, 3)]
    draws = [place[resamples(len(place), 5 + row, 6)] for row, place in enumerate(places)]
    for r in range(6):
        at = np.concatenate([draw[r] for draw in draws])
        sample = Features(features.z[at], features.labels[at], features.predicted[at], features.score[at])
        assert drawn[r] == pytest.approx(slow(sample), rel=1e-9)
