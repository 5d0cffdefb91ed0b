"""Planes: what is drawn, and how features of more dimensions become one."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from lgm.cards import FeatureMap, Features, read_features
from lgm.datasets import DATASETS
from lgm.figures import feature_plane, projection
from lgm.mixture import GaussianMixture
from lgm.poisons import read_shipped_poisons

CIFAR = DATASETS["cifar10"].classes


def features_in(n_dim: int) -> FeatureMap:
    """Ten classes equally far apart, and 200 points around them."""
    rng = np.random.default_rng(0)
    means = GaussianMixture.on_simplex(10, n_dim, 5.0).means.detach().numpy()
    labels = rng.integers(0, 10, 200).astype(np.uint8)
    z = (means[labels] + rng.normal(size=(200, n_dim))).astype(np.float32)
    split = Features(z, labels, labels, np.zeros(200, np.float32))
    return FeatureMap({"test": split}, means, np.zeros(10), np.empty((0, 0), np.uint8), np.zeros(4, np.float32))


def trace(figure: go.Figure, meta: str) -> Any:
    return next(figure.select_traces({"meta": meta}))


def test_two_features_are_drawn_as_they_are():
    features = read_features("mnist-lgm")
    seen = projection(features)
    assert seen.exact
    assert seen(features.means) is features.means


@pytest.mark.parametrize("n_dim", [9, 10, 14])
def test_more_features_are_seen_with_the_class_means_round_a_circle(n_dim: int):
    features = features_in(n_dim)
    seen = projection(features)
    np.testing.assert_allclose(seen.axes.T @ seen.axes, np.eye(2), atol=1e-6)  # lengths are nowhere stretched
    places = seen(features.means)
    radius, angle = np.hypot(*places.T), np.arctan2(places[:, 1], places[:, 0])
    np.testing.assert_allclose(radius, radius[0], rtol=1e-5)
    turned = np.exp(1j * (angle - 2 * np.pi * np.arange(10) / 10))
    np.testing.assert_allclose(turned, turned[0], atol=1e-5)  # in the order of the labels, evenly
    assert not seen.exact
    assert str(n_dim) in seen.title


def test_a_projected_plane_says_so_and_names_its_classes():
    figure = feature_plane(features_in(10), ["test"], CIFAR, poisons=None, has_density=True)
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert "10 features" in axis.title.text
    assert [note.text for note in figure.layout.annotations] == [f"<b>{name}</b>" for name in CIFAR]
    cloud = trace(figure, "test")
    assert np.shape(cloud.x) == (200,)
    assert set(np.asarray(cloud.customdata)[:, 0]) <= set(CIFAR)


def test_the_cloud_and_the_poisons_lie_where_their_features_are():
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-lgm")
    figure = feature_plane(features, ["bundled"], DATASETS["mnist"].classes, poisons=poisons, has_density=True)
    cloud, marks = trace(figure, "bundled"), trace(figure, "poisons")
    np.testing.assert_array_equal(np.c_[cloud.x, cloud.y], features.splits["bundled"].z)
    np.testing.assert_array_equal(np.c_[marks.x, marks.y], poisons.z)
    assert figure.layout.xaxis.title.text == "feature 1"
