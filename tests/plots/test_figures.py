"""Planes: what is drawn, and how features of more dimensions become one. ROC curves: no step is lost."""

from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from lgm.attacks.result import read_shipped_poisons
from lgm.data.registry import DATASETS
from lgm.detection.compare import REFERENCE, Comparison, Result
from lgm.detection.filters import DETECTORS, Detector
from lgm.detection.metrics import Roc, roc
from lgm.experiments.beta_sweep import BetaRow
from lgm.models.features import FeatureMap, Features, read_features
from lgm.models.mixture import GaussianMixture
from lgm.plots.curves import TRADED, beta_curves, traded
from lgm.plots.detection import roc_chart
from lgm.plots.features import DRAWN, drawn, feature_plane, pair_projection, projection
from lgm.stats.intervals import Estimate
from tests.records import beta_row

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


def traces(figure: go.Figure) -> list[Any]:
    return list(figure.select_traces())


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


def test_two_classes_are_seen_along_the_line_between_their_means():
    features = features_in(10).splits["test"]
    pair = np.isin(features.labels, (2, 5))
    z, labels = features.z[pair], features.labels[pair]
    seen = pair_projection(z, labels)
    np.testing.assert_allclose(seen.axes.T @ seen.axes, np.eye(2), atol=1e-5)
    means = [z[labels == k].mean(0) for k in (2, 5)]
    (x2, y2), (x5, y5) = (seen(mean) for mean in means)
    assert x5 - x2 == pytest.approx(np.linalg.norm(means[1] - means[0]), rel=1e-5)  # as long as it is
    assert y5 == pytest.approx(y2, abs=1e-4)
    assert not seen.exact
    assert pair_projection(z[:, :2], labels).exact


def test_a_projected_plane_says_so_and_names_its_classes():
    figure: Any = feature_plane(features_in(10), ["test"], CIFAR, poisons=None, sigmas=np.ones((10, 10)))
    for axis in (figure.layout.xaxis, figure.layout.yaxis):
        assert "10 features" in axis.title.text
    assert [note.text for note in figure.layout.annotations] == [f"<b>{name}</b>" for name in CIFAR]
    cloud = trace(figure, "test")
    assert np.shape(cloud.x) == (200,)
    assert set(np.asarray(cloud.customdata)[:, 0]) <= set(CIFAR)


@pytest.mark.parametrize(
    ("name", "moved"),
    [("cifar10-softmax", True), ("cifar10-lgm", False), ("mnist-lgm", False), ("mnist-softmax", False)],
)
def test_class_names_that_would_overlap_are_moved_a_little(name: str, moved: bool):
    classes = CIFAR if name.startswith("cifar10") else tuple("0123456789")
    features = read_features(name)
    figure: Any = feature_plane(features, list(features.splits)[:1], classes, poisons=None, sigmas=None)
    shifts = [abs(way) for tag in figure.layout.annotations for way in (tag.xshift or 0, tag.yshift or 0)]
    assert any(shifts) == moved
    assert max(shifts) < 30, "no further than from a name to the next"
    np.testing.assert_allclose([(tag.x, tag.y) for tag in figure.layout.annotations], features.means, rtol=1e-6)


def test_the_cloud_and_the_poisons_lie_where_their_features_are():
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-lgm")
    figure: Any = feature_plane(features, ["bundled"], DATASETS["mnist"].classes, poisons=poisons, sigmas=None)
    cloud, marks = trace(figure, "bundled"), trace(figure, "poisons")
    assert (cloud.type, marks.type) == ("scatter", "scatter"), "drawn without WebGL"
    np.testing.assert_array_equal(np.c_[cloud.x, cloud.y], features.splits["bundled"].z[drawn(5_000)])
    np.testing.assert_array_equal(cloud.marker.color, features.splits["bundled"].labels[drawn(5_000)])
    assert cloud.name == f"D_f, bundled digits ({DRAWN:,} of 5,000 drawn)"
    np.testing.assert_array_equal(np.c_[marks.x, marks.y], poisons.z)
    assert figure.layout.xaxis.title.text == "feature 1"


def test_of_a_large_cloud_the_same_points_are_drawn_every_time_and_all_of_a_small_one():
    index = drawn(55_000)
    assert len(np.unique(index)) == DRAWN
    np.testing.assert_array_equal(index, drawn(55_000))
    assert 0.45 < index.mean() / 55_000 < 0.55, "from all over the split"
    np.testing.assert_array_equal(drawn(300), np.arange(300))


def test_a_click_on_one_point_fades_no_other():
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-lgm")
    figure: Any = feature_plane(features, ["bundled"], DATASETS["mnist"].classes, poisons=poisons, sigmas=None)
    for name in ("bundled", "poisons"):
        points = trace(figure, name)
        assert points.unselected.marker.opacity == (points.marker.opacity or 1)


def rings(figure: go.Figure) -> list[Any]:
    return list(figure.select_traces({"name": "rings at 1σ and 2σ"}))


def test_rings_have_the_spread_of_each_class():
    features, classes = read_features("mnist-lgm"), DATASETS["mnist"].classes
    sigmas = np.linspace([0.5, 1.0], [1.5, 0.2], 10)
    (ring,) = rings(feature_plane(features, ["bundled"], classes, poisons=None, sigmas=sigmas))
    outlines = np.c_[ring.x, ring.y].reshape(10, 2, -1, 2)[:, :, :-1]  # each ends with NaN
    away = (outlines - features.means[:, None, None]) / sigmas[:, None, None]
    np.testing.assert_allclose(np.hypot(*away.T) / [[1], [2]], 1, rtol=1e-4)


@pytest.mark.parametrize(("spread", "count"), [(1.0, 1), (0.5, 0)])
def test_of_a_projection_only_round_rings_are_drawn(spread: float, count: int):
    sigmas = np.ones((10, 10))
    sigmas[3, 4] = spread
    assert len(rings(feature_plane(features_in(10), ["test"], CIFAR, poisons=None, sigmas=sigmas))) == count


def beta_rows(attacks: int | None) -> dict[str, list[BetaRow]]:
    """Three betas of either loss; ``attacks`` None: attack success was not measured."""
    return {
        loss: [beta_row(10.0 ** (i - 3), attacks, 0.02 * i + offset) for i in range(3)]
        for loss, offset in (("lgm", 0.0), ("softmax", 0.3))
    }


@pytest.mark.parametrize("of", TRADED)
def test_what_beta_trades_is_drawn_as_it_was_measured(of: str):
    rows = beta_rows(20)
    drawn = {tuple(line.y) for line in traces(beta_curves(rows, of)) if line.fill is None}
    lines = [[line.of(row) for row in of_loss] for of_loss in rows.values() for line in TRADED[of].lines]
    assert drawn == {tuple(estimate.value for estimate in line if estimate) for line in lines}
    for line in traces(beta_curves(rows, of)):
        if line.fill is None:
            assert list(line.x) == [0.001, 0.01, 0.1]


def test_each_line_of_what_beta_trades_is_what_it_is_called():
    row = beta_row(1e-3, 20)
    lines = {line.name: line.of(row) for what in TRADED.values() for line in what.lines}
    assert lines == {
        "collide": row.collided,
        "caught at 1 % FPR": row.tpr,
        "succeed unfiltered": row.unfiltered,
        "filtered": row.filtered,
        "L2": row.l2,
        "SSIM": row.ssim,
    }


def test_attack_success_is_offered_only_where_it_was_measured():
    assert traded(beta_rows(20)) == list(TRADED)
    assert traded(beta_rows(None)) == [of for of in TRADED if of != "attack"]
    assert not traces(beta_curves(beta_rows(None), "attack"))


def compared(detector: Detector, overall: Result, collided: Result | None) -> Comparison:
    told = detector.key, detector.title, detector.source, detector.trusts
    return Comparison(*told, "LGM likelihood", overall, collided)


def curve_of(comparison: Comparison) -> Roc:
    assert comparison.overall.curve is not None
    return comparison.overall.curve


@pytest.fixture(scope="module")
def comparisons() -> list[Comparison]:
    """Two detectors with ties, and one group of poisons each."""
    rng = np.random.default_rng(2)
    found = []
    for key, step in (("likelihood", 0.01), ("knn", 0.5)):
        clean, poison = rng.normal(2, 1, 2000), rng.normal(0, 1, 90)
        curve = roc((clean / step).round() * step, (poison / step).round() * step)
        some = Estimate(curve.auc, curve.auc - 0.01, curve.auc + 0.01)
        verdict = REFERENCE if key == "likelihood" else "worse"
        tpr = Estimate(curve.tpr_at(0.01), 0, 1)
        result = Result(90, some, 0.01, tpr, {0.01: tpr}, some, {}, verdict, curve)
        found.append(compared(DETECTORS[key], result, result if key == "knn" else None))
    return found


def test_a_roc_line_is_at_each_rate_what_the_best_threshold_attains(comparisons: list[Comparison]):
    figure: Any = roc_chart(comparisons, log=False)
    for comparison in comparisons:
        line, curve = trace(figure, comparison.key), curve_of(comparison)
        assert line.line.shape == "hv"
        for rate in np.r_[0, 1, np.linspace(0, 1, 57), curve.fpr]:
            drawn = line.y[np.searchsorted(line.x, rate, side="right") - 1]
            assert drawn == curve.tpr_at(rate)
        assert len(line.x) <= 92  # no more corners than poisons, and both ends


def test_a_logarithmic_roc_chart_has_all_from_a_thousandth_on(comparisons: list[Comparison]):
    figure: Any = roc_chart(comparisons)
    assert figure.layout.xaxis.type == "log"
    line, curve = trace(figure, "likelihood"), curve_of(comparisons[0])
    assert line.x.min() == 10 ** figure.layout.xaxis.range[0] == 1e-3
    for rate in (1e-3, 0.004, 0.01, 0.3, 1):
        assert line.y[np.searchsorted(line.x, rate, side="right") - 1] == curve.tpr_at(rate)


def test_detectors_are_told_apart_without_colour_and_named_with_their_auc(comparisons: list[Comparison]):
    result = comparisons[0].overall
    every = [compared(detector, result, None) for detector in DETECTORS.values()]
    lines = traces(roc_chart(every))
    assert len({line.line.dash for line in lines}) == len({line.line.color for line in lines}) == len(DETECTORS)
    for line, detector in zip(lines, DETECTORS.values(), strict=True):
        assert line.name == f"{detector.title}, AUC {result.auc.text()}"


def test_a_detector_without_such_poisons_is_left_out(comparisons: list[Comparison]):
    assert [line.meta for line in traces(roc_chart(comparisons, collided=True))] == ["knn"]


def test_a_detector_that_was_read_from_a_file_has_no_curve(comparisons: list[Comparison]):
    stored = [replace(each, overall=replace(each.overall, curve=None)) for each in comparisons]
    assert not traces(roc_chart(stored))
