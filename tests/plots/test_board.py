"""The map of the board: every cell is where its row and column are, and none is blank."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lgm.experiments.board.config import ATTACKERS, CHOICES, LAYERS
from lgm.experiments.board.findings import stopped
from lgm.experiments.board.record import Absent, Board, BoardNetwork, read_board
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


@pytest.mark.parametrize(("fpr", "head"), [(0.01, "logistic"), (0.05, "nearest-mean")])
@pytest.mark.parametrize("number", [0, 1])
def test_each_cell_has_its_colour_and_its_number(board: Board, fpr: float, head: str, number: int) -> None:
    network, of = board.networks[number], MapSlice(board.config.budgets[-1], fpr, head)
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
        assert text.endswith("*") == attack.drops(cell)
        assert ("?" in text) == (stopped(cell).sign == 0)
    assert np.isfinite(shares).sum() == len(points.x)


def with_rows(board: Board, attackers: tuple[str, ...], **changes: Any) -> tuple[Board, BoardNetwork]:
    """The board with the first row of its second network for each attacker and choice, and with other changes."""
    network = board.networks[1]
    config = replace(board.config, attackers=tuple(ATTACKERS), choices=tuple(CHOICES))
    attacks = tuple(
        replace(network.attacks[0], attacker=name, choice=choice)
        for name in attackers
        for choice in config.choices_of(name)
    )
    network = replace(network, attacks=attacks, absent=(), **changes)
    return replace(board, config=config, networks=(network,)), network


def test_rows_that_are_empty_say_why(board: Board) -> None:
    there = tuple(name for name in ATTACKERS if name not in ("hinge", "edge"))
    whole, network = with_rows(board, (*there, "edge"))
    network = replace(network, attacks=network.attacks[:-1], absent=(Absent("hinge", "it has no Gaussians"),))
    for budget, together in (
        (board.config.budgets[-1], 0),
        (board.config.budgets[0], len([each for each in ATTACKERS.values() if each.together])),
    ):
        figure: Any = board_map(whole, network, MapSlice(budget, 0.01, "logistic"), ("hinge", "nearest", "none"))
        notes = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
        empty = [note.removeprefix("empty: ") for note in notes if note.startswith("empty: ")]
        expected = ["its poisons are crafted together, all 10 of an attack"] * together
        assert sorted(empty) == sorted([*expected, "it has no Gaussians", "not measured"])
        assert len(figure.layout.shapes) == len(empty), "no frame round what is not there"
        assert {f"<b>{name}</b>" for name in ATTACKERS} <= {
            note.text.replace("<br>", "") for note in figure.layout.annotations
        }


def test_rows_without_all_layers_say_so(board: Board) -> None:
    whole, network = with_rows(board, tuple(ATTACKERS))
    frozen, heaviest = len(ATTACKERS) - 1, whole.config.heaviest
    for budget, head, why, times in (
        (heaviest, LAYERS, "on frozen features only", frozen),
        ((10, 50), LAYERS, "all layers: K = 10 beside 10 only", 1),
        ((10, 50), "all-logistic", "logistic regression, all classes: K = 10 beside 10 only", len(ATTACKERS)),
        (heaviest, "all-logistic", "on frozen features only", 0),
        (heaviest, "logistic", "on frozen features only", 0),
    ):
        figure: Any = board_map(whole, network, MapSlice(budget, 0.01, head))
        notes = [note.text.replace("<br>", " ") for note in figure.layout.annotations]
        assert notes.count(f"empty: {why}") == times


def test_the_chosen_cell_is_framed(board: Board) -> None:
    chosen = (board.networks[0].attacks[-1].attacker, board.networks[0].attacks[-1].choice, "knn")
    figure: Any = board_map(board, board.networks[0], USUAL, chosen)
    _, points = layers(figure)
    (frame,) = (shape for shape in figure.layout.shapes if shape.line.width == 3)  # others outline what is empty
    at = [tuple(row) for row in points.customdata].index(chosen)
    assert ((frame.x0 + frame.x1) / 2, (frame.y0 + frame.y1) / 2) == pytest.approx((points.x[at], points.y[at]))


def test_a_full_board_stands_on_a_screen(board: Board) -> None:
    figure: Any = board_map(*with_rows(board, tuple(ATTACKERS)), USUAL)
    rows = sum(1 if each.layers else len(CHOICES) for each in ATTACKERS.values())
    assert len(figure.data[1].x) == rows * len(board.networks[1].filters)
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
