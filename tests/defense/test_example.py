"""One attack in full: figure 7's regions, arms and counts, on features that are known."""

import math
from dataclasses import replace
from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest
from scipy.stats import chi2

from lgm.data.base import Split
from lgm.defense.example import Attack, demonstrate, stage
from lgm.defense.experiment import defend
from lgm.defense.finetune import Examples, fine_tune
from lgm.defense.report import DefenseReport
from lgm.defense.trials import draw_trials
from lgm.detection.thresholds import conformal_fpr, conformal_threshold
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.models.features import FeatureMap
from lgm.models.scoring import embed, log_likelihood
from lgm.plots.curves import success_curves
from lgm.plots.features import projection
from lgm.plots.fine_tuning import decision_plane
from lgm.utils.codec import encode
from tests.defense.test_experiment import QUICK
from tests.records import defense_report

SETTING = replace(QUICK, classes=(0, 3), clean=4, poisons=12)
CLASSES = ("a", "b", "c", "d")


def plane_of(means: np.ndarray) -> FeatureMap:
    return FeatureMap({}, means, np.zeros(len(means)), np.empty((0, 0), np.uint8), np.zeros(4))


def traces(figure: go.Figure) -> list[Any]:
    return list(figure.select_traces())


@pytest.fixture
def attack(gaussian: Classifier, blank_card: Card, blobs: Split) -> Attack:
    return stage(gaussian, blank_card, blobs, SETTING)


def test_it_is_the_first_trial_of_the_defence(attack: Attack, gaussian: Classifier, blank_card: Card, blobs: Split):
    first, second = draw_trials(blobs.labels, replace(SETTING, trials=2))
    report = defend(gaussian, blank_card, blobs, replace(SETTING, trials=2))
    shown = attack.demonstrate()
    assert shown.threshold == attack.threshold == conformal_threshold(attack.calibration, SETTING.fpr)
    np.testing.assert_array_equal(attack.trial.bases, first.bases)
    score = log_likelihood(gaussian, blobs.pixels(), blobs.targets()).numpy()
    np.testing.assert_allclose(attack.calibration, score[first.calibration], atol=1e-4)
    np.testing.assert_allclose(attack.fresh, score[first.fresh], atol=1e-4)
    other = conformal_threshold(score[second.calibration], SETTING.fpr)
    assert report.filtered.threshold == pytest.approx((shown.threshold + other) / 2, abs=1e-4)
    assert report.filtered.poisons_removed >= shown.poisons_removed == 12
    assert demonstrate(gaussian, blank_card, blobs, SETTING).arms["filtered"] is not None


def test_known_features_are_not_computed_again(attack: Attack, gaussian: Classifier, blank_card: Card, blobs: Split):
    known = embed(gaussian, blobs.pixels()).numpy()
    again = stage(gaussian, blank_card, blobs, SETTING, z=known)
    for part in ("clean", "poisons", "target", "held_out"):
        np.testing.assert_array_equal(getattr(again, part).z, getattr(attack, part).z)


def test_no_other_pixels_are_looked_at_than_those_to_attack_with(gaussian: Classifier, blank_card: Card, blobs: Split):
    known = embed(gaussian, blobs.pixels()).numpy()
    among = np.arange(0, len(blobs), 3)
    config = replace(SETTING, poisons=5)
    black = blobs.images.copy()
    black[np.setdiff1d(np.arange(len(blobs)), among)] = 0
    whole, few = (
        stage(gaussian, blank_card, replace(blobs, images=images), config, z=known, among=among)
        for images in (blobs.images, black)
    )
    assert {*few.trial.bases, few.trial.target} <= set(among)
    for part in ("clean", "poisons", "target", "held_out"):
        np.testing.assert_array_equal(getattr(few, part).z, getattr(whole, part).z)
    np.testing.assert_array_equal(few.poisons.pixels, whole.poisons.pixels)
    np.testing.assert_array_equal(few.calibration, whole.calibration)
    with pytest.raises(ValueError, match="z: expected the features of all images"):
        stage(gaussian, blank_card, blobs, config, among=among)


def test_regions_are_what_the_heads_predict(attack: Attack):
    shown = attack.demonstrate()
    x, y = attack.grid()
    rng = np.random.default_rng(0)
    for name, examples in (("clean", attack.clean), ("unfiltered", attack.mixed)):
        arm, head = shown.arms[name], fine_tune(examples, attack.config.strength)
        assert arm is not None
        for row, column in rng.integers(0, len(x), (200, 2)):
            place = np.array([[x[column], y[row]]]) * attack.scale
            assert arm.regions[row, column] == head(place)[0]
        assert arm.predicted == head(attack.target.z)[0]
        assert arm.accuracy == np.mean(head(attack.held_out.z) == attack.held_out.labels)


def test_everything_drawn_is_inside(attack: Attack):
    left, right, bottom, top = attack.extent
    z = np.concatenate([attack.mixed.z, attack.target.z]) / attack.scale
    assert (z.min(0) > [left, bottom]).all()
    assert (z.max(0) < [right, top]).all()
    assert right - left == pytest.approx(top - bottom)


def test_poisons_on_the_target_turn_it_until_they_are_removed(attack: Attack):
    on_target = np.repeat(attack.target.z, 12, axis=0)
    poisons = replace(attack.poisons, z=on_target, score=np.full(12, -50.0))
    shown = replace(attack, poisons=poisons).demonstrate(-40.0)
    said = {name: arm and arm.predicted for name, arm in shown.arms.items()}
    assert said == {"clean": 3, "unfiltered": 0, "filtered": 3}
    assert (shown.poisons_removed, shown.clean_removed) == (12, 0)


def test_a_threshold_below_all_removes_nothing_and_one_above_all_leaves_no_model(attack: Attack):
    none, everything = attack.demonstrate(-math.inf), attack.demonstrate(math.inf)
    unfiltered, filtered = none.arms["unfiltered"], none.arms["filtered"]
    assert unfiltered is not None
    assert filtered is not None
    np.testing.assert_array_equal(filtered.regions, unfiltered.regions)
    assert (filtered.predicted, filtered.accuracy) == (unfiltered.predicted, unfiltered.accuracy)
    assert not none.removed.any()
    assert everything.removed.all()
    assert everything.arms["filtered"] is None
    assert (everything.poisons_removed, everything.clean_removed) == (12, 8)
    assert encode(attack.report(everything))["threshold"] is None


def test_three_ways_to_a_false_positive_rate(attack: Attack):
    threshold = float(np.quantile(attack.fresh, 0.2))
    rates = attack.rates(threshold)
    assert rates.empirical == np.mean([score <= threshold for score in attack.fresh])
    below = sum(score <= threshold for score in attack.calibration)
    assert rates.calibrated == pytest.approx((1 + below) / (1 + len(attack.calibration)))
    peak = -math.log(2 * math.pi)
    assert rates.nominal == pytest.approx(chi2(2).sf(-2 * (threshold - peak)), rel=1e-5)


def test_the_nominal_rate_of_a_fitted_density_is_that_of_its_gaussians(
    linear: Classifier,
    blank_card: Card,
    blobs: Split,
):
    attack = stage(linear, blank_card, blobs, SETTING)
    for threshold in np.quantile(attack.fresh, [0.1, 0.5]):
        rates = attack.rates(float(threshold))
        assert rates.nominal == pytest.approx(rates.empirical, abs=0.12)  # blobs are Gaussian


@pytest.mark.parametrize("rate", [0.01, 0.05, 0.29])
def test_calibration_vouches_for_the_rate_that_it_was_asked_for(rate: float, rng: np.random.Generator):
    scores = rng.normal(size=199)
    found = conformal_fpr(conformal_threshold(scores, rate), scores)
    assert found == pytest.approx(math.floor(rate * 200 + 1e-9) / 200)
    assert found <= rate + 1e-12


def test_all_layers_have_no_common_plane(gaussian: Classifier, blank_card: Card, blobs: Split):
    with pytest.raises(ValueError, match="layers: expected head"):
        stage(gaussian, blank_card, blobs, replace(SETTING, layers="all"))


def marks(figure: go.Figure, kind: str) -> list[Any]:
    """Traces of this kind: of the whole plane, and of its detail."""
    return [trace for trace in traces(figure) if trace.meta == kind]


def test_the_plane_shows_who_was_trained_on_and_who_was_removed(attack: Attack):
    shown = attack.demonstrate()
    seen = projection(plane_of(np.eye(4, 2)))
    poisoned = decision_plane(attack, shown, "unfiltered", seen, CLASSES)
    filtered: Any = decision_plane(attack, shown, "filtered", seen, CLASSES)
    for plane in marks(filtered, "poison"):
        assert list(plane.marker.symbol) == ["diamond-x-open"] * 12
    assert "diamond-x-open" not in marks(poisoned, "poison")[0].marker.symbol
    whole = marks(filtered, "poison")[0]
    np.testing.assert_allclose(np.c_[whole.x, whole.y], attack.poisons.z / attack.scale)
    assert "<b>taken for d</b>" in [note.text for note in filtered.layout.annotations]
    assert "12 removed" in [note.text for note in filtered.layout.annotations]
    assert traces(filtered)[0].type == "heatmap"


def test_the_target_hides_no_image(attack: Attack):
    figure = decision_plane(attack, attack.demonstrate(), "unfiltered", projection(plane_of(np.eye(4, 2))), CLASSES)
    order = [trace.meta for trace in traces(figure) if trace.meta]
    # What is drawn later lies above; no clean image is near enough for the detail.
    assert order == ["target", "clean", "poison", "target", "poison"]
    assert all(mark.marker.symbol == "star-open" for mark in marks(figure, "target"))


def test_the_detail_shows_all_poisons_apart_and_the_models_own_regions(attack: Attack):
    shown = attack.demonstrate()
    figure = decision_plane(attack, shown, "unfiltered", projection(plane_of(np.eye(4, 2))), CLASSES)
    whole, detail = marks(figure, "poison")
    assert len(detail.x) == len(whole.x) == 12
    spread = [np.ptp(np.c_[trace.x, trace.y], axis=0).max() for trace in (whole, detail)]
    assert spread[1] > 2 * spread[0]
    # The detail's places are the plane's, larger: the same map for all marks.
    scale = spread[1] / spread[0]
    star, large_star = (np.array([mark.x[0], mark.y[0]]) for mark in marks(figure, "target"))
    moved = large_star + scale * (np.c_[whole.x, whole.y] - star)
    np.testing.assert_allclose(np.c_[detail.x, detail.y], moved, atol=1e-6 * scale)
    regions = [trace for trace in traces(figure) if trace.type == "heatmap"][1]
    head = fine_tune(attack.mixed, attack.config.strength)
    rows, columns = regions.z.shape
    x, y = regions.x0 + regions.dx * np.arange(columns), regions.y0 + regions.dy * np.arange(rows)
    places = star + (np.stack(np.meshgrid(x, y), axis=-1) - large_star) / scale
    assert (head(places * attack.scale) == regions.z).mean() > 0.999  # up to rounding on the border


@pytest.mark.parametrize("size", [215, 290])
@pytest.mark.parametrize("name", ["d", "automobile"])
def test_a_classs_tag_stays_on_the_plane(attack: Attack, size: int, name: str):
    seen = projection(plane_of(np.eye(4, 2)))
    figure: Any = decision_plane(attack, attack.demonstrate(), "clean", seen, (name,) * 4, size=size)
    (left, right), tags = (
        figure.layout.xaxis.range,
        [note for note in figure.layout.annotations if f">{name}<" in note.text and note.xshift],
    )
    assert len(tags) == 2
    for tag in tags:
        anchor = size * (tag.x - left) / (right - left) + tag.xshift
        start = anchor if tag.xanchor == "left" else anchor - 6 * len(name)
        assert 0 <= start < start + 6 * len(name) <= size


def test_what_is_not_known_yet_is_not_drawn(attack: Attack):
    bare = replace(attack, poisons=attack.poisons[:0], collided=attack.collided[:0])
    figure: Any = decision_plane(bare, None, "filtered", projection(plane_of(np.eye(4, 2))), CLASSES)
    assert {trace.meta for trace in traces(figure)} == {"target", "clean"}
    assert "<b>target</b>" in [note.text for note in figure.layout.annotations]


def test_projected_features_have_no_regions(attack: Attack):
    tilted = replace(projection(plane_of(np.eye(4, 3))), axes=np.eye(2))
    for arm in ("clean", "filtered"):
        figure: Any = decision_plane(attack, attack.demonstrate(), arm, tilted, CLASSES)
        assert "heatmap" not in [trace.type for trace in traces(figure)]
        assert "3 features" in figure.layout.xaxis.title.text


def test_curves_are_the_reports():
    def report(k: int, share: float) -> DefenseReport:
        return defense_report((share, 0.1, 0.9), {0.01: (0.0, 0.0, 0.2)}, n=9, poisons=k)

    figure = success_curves({"lgm": [report(5, 0.5), report(1, math.nan), report(2, 0.25)]})
    lines = {trace.meta: trace for trace in traces(figure) if trace.meta}
    assert (list(lines["lgm unfiltered"].x), list(lines["lgm unfiltered"].y)) == ([2, 5], [0.25, 0.5])
    assert list(lines["lgm filtered"].x) == [1, 2, 5]
    assert (lines["lgm unfiltered"].line.dash, lines["lgm filtered"].line.dash) == ("solid", "dash")
    band = traces(figure)[0]
    assert (list(band.x), list(band.y)) == ([2, 5, 5, 2], [0.9, 0.9, 0.1, 0.1])


def test_parts_are_taken_together(rng: np.random.Generator):
    those = Examples(
        rng.normal(size=(5, 2)), np.arange(5), rng.normal(size=5), np.zeros(5, bool), np.zeros((5, 1, 2, 2))
    )
    some = those[np.array([3, 1])]
    assert len(some) == 2
    np.testing.assert_array_equal(some.z, those.z[[3, 1]])
    np.testing.assert_array_equal(some.labels, [3, 1])
