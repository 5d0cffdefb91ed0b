"""Strokes from a browser, checked and drawn."""

from typing import Any

import numpy as np
import pytest

from lgm.data.base import DataError
from lgm.data.drawing import PEN, SIDE, drawn, read_strokes
from lgm.data.mnist import MNIST
from lgm.data.own_image import as_image_of


def test_a_stroke_is_all_that_is_near_its_line():
    """By the distance to the line between the points, for each pixel."""
    a, b = np.array([60.0, 80.0]), np.array([200.0, 150.0])
    image = np.asarray(drawn(read_strokes([[a.tolist(), b.tolist()]]))).astype(float)
    at = np.stack(np.meshgrid(np.arange(SIDE), np.arange(SIDE)), axis=-1) + 0.5
    along = np.clip((at - a) @ (b - a) / ((b - a) @ (b - a)), 0, 1)
    distance = np.linalg.norm(at - (a + along[..., None] * (b - a)), axis=-1)
    assert (image[distance < PEN / 2 - 1.5] == 255).all()
    assert (image[distance > PEN / 2 + 1.5] == 0).all()
    assert 0 < image[np.abs(distance - PEN / 2) < 0.3].mean() < 255


def test_a_point_is_a_dot():
    image = np.asarray(drawn(read_strokes([[[140, 140]]])))
    assert (image > 127).sum() == pytest.approx(np.pi * PEN**2 / 4, rel=0.1)


def test_a_drawn_one_is_a_bar_of_the_width_of_ink():
    image = as_image_of(MNIST, drawn([[(140, 30), (140, 250)]]))[0]
    assert image.any(1).sum() == 20
    assert 1 <= (image[14] > 127).sum() <= 3, "as wide as a stroke of MNIST's"


def test_points_beyond_the_sheet_come_to_lie_on_its_edge():
    assert read_strokes([[[-5, 300], [140, 2e9]], []]) == [[(0, SIDE), (140, SIDE)]]


@pytest.mark.parametrize(
    "sent",
    [
        None,
        "strokes",
        {"strokes": []},
        [1, 2],
        [[1, 2]],
        [[[1]]],
        [[[1, 2, 3]]],
        [[[1, "2"]]],
        [[[1, None]]],
        [[[float("nan"), 2]]],
        [[[float("inf"), 2]]],
        [[[1, 1]]] * 501,
        [[[1, 1]] * 20_001],
    ],
)
def test_what_no_hand_draws_is_refused(sent: Any):
    with pytest.raises(DataError, match=r"a drawing: expected .*; clear it and draw anew"):
        read_strokes(sent)
