"""Where details and labels go: nothing that matters lies under them."""

import numpy as np
import pytest

from lgm.plots.placement import Square, apart, close_up, emptiest, label_offset

PLOT = Square(3.0, -1.0, 2.0)


def test_a_square_maps_to_the_unit_square_and_back(rng: np.random.Generator):
    left, right, bottom, top = PLOT.extent
    corners = np.array([[left, bottom], [right, top]])
    np.testing.assert_allclose(PLOT.unit(corners), [[0, 0], [1, 1]])
    points = rng.normal(size=(9, 2))
    np.testing.assert_allclose(PLOT.at(PLOT.unit(points)), points)
    assert Square.of_extent(PLOT.extent) == PLOT
    np.testing.assert_array_equal(PLOT.contains(np.array([[3, -1], [4.9, 0.9], [5.1, 0], [3, -3.1]])), [1, 1, 0, 0])


@pytest.mark.parametrize("spread", [1e-6, 0.05, 0.2])
def test_a_close_up_holds_all_points_and_is_none_where_the_plot_shows_them(spread: float, rng: np.random.Generator):
    points = np.array([2.0, -2.0]) + rng.uniform(-spread, spread, (12, 2))
    window = close_up(points, PLOT)
    assert window is not None
    assert window.contains(points).all()
    assert window.half < PLOT.half / 3
    assert close_up(np.array([[1.5, -2.0], [4.0, 0.0]]), PLOT) is None


def test_a_detail_covers_no_point_where_there_is_room(rng: np.random.Generator):
    angle = np.linspace(0, 2 * np.pi, 10, endpoint=False)
    ring = 0.5 + 0.42 * np.column_stack([np.cos(angle), np.sin(angle)])
    for points in (ring, rng.uniform(0, 0.5, (50, 2)), np.array([[0.9, 0.9]])):
        place = emptiest(points)
        assert not place.contains(points).any()
        left, right, bottom, top = place.extent
        assert min(left, bottom) >= 0
        assert max(right, top) <= 1
    assert emptiest(ring).half == pytest.approx(0.21)  # in the middle, as large as can be
    assert emptiest(rng.uniform(0, 1, (3000, 2))).half == pytest.approx(0.125)


@pytest.mark.parametrize("at", [(0.05, 0.05), (0.95, 0.5), (0.5, 0.97), (0.4, 0.4)])
def test_a_label_stays_within_and_off_the_detail(at: tuple[float, float]):
    detail = Square(0.78, 0.22, 0.21)
    dx, dy = label_offset(np.array(at), np.empty((0, 2)), detail, 10)
    x, y = at[0] + dx, at[1] + dy
    assert 0.125 <= x <= 0.875
    assert 0.05 <= y <= 0.95
    assert abs(x - detail.x) >= 0.125 + detail.half or abs(y - detail.y) >= 0.05 + detail.half
    assert max(abs(dx), abs(dy)) > 0.1, "off the point itself"


def test_a_label_avoids_points():
    above = np.array([[0.5, 0.7], [0.52, 0.69]])
    assert label_offset(np.array([0.5, 0.5]), above, None, 10)[1] < 0


def overlapping(centres: np.ndarray, sizes: np.ndarray) -> list[tuple[int, int]]:
    """Pairs of rectangles whose insides meet: for each pair, both intervals do."""
    low, high = centres - sizes / 2, centres + sizes / 2
    return [
        (i, j)
        for i in range(len(centres))
        for j in range(i)
        if all(min(high[i, k], high[j, k]) - max(low[i, k], low[j, k]) > 1e-3 for k in (0, 1))
    ]


def test_labels_are_moved_until_none_overlaps(rng: np.random.Generator):
    for spread in (20.0, 60.0):
        centres = rng.normal(size=(10, 2)) * spread
        sizes = np.column_stack([rng.uniform(20, 80, 10), np.full(10, 20.0)])
        assert overlapping(centres, sizes)
        moved = apart(centres, sizes)
        assert overlapping(centres + moved, sizes) == []
        assert np.abs(moved).max() < 100


def test_labels_at_one_place_are_moved_too():
    sizes = np.full((3, 2), 10.0)
    assert overlapping(apart(np.zeros((3, 2)), sizes), sizes) == []


def test_labels_that_are_free_stay_where_they_are():
    centres, sizes = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]]), np.full((3, 2), 10.0)
    np.testing.assert_array_equal(apart(centres, sizes), np.zeros((3, 2)))
