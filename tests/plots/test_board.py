"""The map of the board: every cell is where its row and column are, and none is blank."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lgm.experiments.board.config import FILTERS
from lgm.experiments.board.findings import stopped
from lgm.experiments.board.record import Board, read_board
from lgm.plots.board import MapSlice, board_map
from lgm.plots.theme import ROLE
from tests.plots.test_contrast import TEXT, colours, contrast

USUAL = MapSlice((10, 10), 0.01, "logistic")


@pytest.fixture(scope="module")
def board() -> Board:
    found = read_board("mnist")
    assert found is not None
    return found


def layers(figure: Any) -> tuple[Any, Any]:
    """The colours, and the points with their text."""
    return figure.data


@pytest.mark.parametrize("of", [USUAL, MapSlice((10, 50), 0.05, "nearest-mean")])
@pytest.mark.parametrize("number", [0, 1])
def test_each_cell_has_its_colour_and_its_number(board: Board, of: MapSlice, number: int) -> None:
    network = board.networks[number]
    colour, points = layers(board_map(board, network, of))
    edges, shares = np.array(colour.y), np.array(colour.z)
    assert len(points.x) == len(network.attacks) * len(network.filters)
    for x, y, text, (attacker, choice, name) in zip(points.x, points.y, points.text, points.customdata, strict=True):
        attack = network.attack(attacker, choice)
        assert attack is not None
        cell = attack.cell(of.budget, name, of.fpr, of.head)
        assert cell is not None
        assert network.filters[x] == name
        assert shares[np.searchsorted(edges, y) - 1, x] == cell.attack_success.value
        assert text.startswith("<b>") == (stopped(cell).sign < 0)
        assert text.endswith("*") == attack.costly(cell)
        assert ("?" in text) == (stopped(cell).sign == 0)
    assert np.isfinite(shares).sum() == len(points.x)


def test_rows_that_are_empty_say_why(board: Board) -> None:
    softmax = board.networks[1]
    lacking = replace(softmax, attacks=softmax.attacks[:-1])  # of the last attacker, one choice of targets
    figure: Any = board_map(board, lacking, USUAL, ("hinge", "nearest", "none"))
    notes = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
    (absent,) = softmax.absent
    assert [note for note in notes if note.startswith("empty: ")] == [f"empty: {absent.why}", "empty: not measured"]
    assert len(figure.layout.shapes) == 2, "no frame round what is not there"


def test_the_chosen_cell_is_framed(board: Board) -> None:
    figure: Any = board_map(board, board.networks[0], USUAL, ("edge", "best", "knn"))
    _, points = layers(figure)
    (frame,) = figure.layout.shapes
    at = [tuple(row) for row in points.customdata].index(("edge", "best", "knn"))
    assert ((frame.x0 + frame.x1) / 2, (frame.y0 + frame.y1) / 2) == pytest.approx((points.x[at], points.y[at]))


def test_a_full_board_stands_on_a_screen(board: Board) -> None:
    network = board.networks[0]
    names = [f"attacker {i}" for i in range(8)]
    attacks = tuple(replace(a, attacker=name) for name in names for a in network.attacks[:3])
    config = replace(board.config)
    object.__setattr__(config, "attackers", tuple(names))
    figure: Any = board_map(replace(board, config=config), replace(network, attacks=attacks), USUAL)
    assert len(figure.data[1].x) == 24 * len(FILTERS)
    assert figure.layout.height < 700
    assert len(json.dumps(figure.to_plotly_json(), default=list)) < 150_000


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_numbers_are_readable_on_every_colour(board: Board, theme: str) -> None:
    (_, weakest), (_, strongest) = layers(board_map(board, board.networks[0], USUAL))[0].colorscale
    page, text = colours(theme)["backgroundColor"], colours(theme)["textColor"]
    for scale in (weakest, strongest):
        alpha = float(scale.rstrip(")").split(",")[-1])
        mixed = [
            round(alpha * int(ROLE["poison"][i : i + 2], 16) + (1 - alpha) * int(page[i : i + 2], 16))
            for i in (1, 3, 5)
        ]
        assert contrast(text, "#{:02X}{:02X}{:02X}".format(*mixed)) >= TEXT
