"""The board as a heat map: attack success of each attacker against each filter."""

import math
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lgm.experiments.board.config import ATTACKERS, FILTERS, HEAD_TITLES, HEAVIEST_ONLY, LAYERS, BoardConfig
from lgm.experiments.board.findings import stopped
from lgm.experiments.board.record import Board, BoardAttack, BoardNetwork, Cell
from lgm.plots.theme import CLICKABLE, GREY, ROLE
from lgm.stats.intervals import percent_text

_ROW, _GAP = 15, 2  # pixels of a row, and after the last row of an attacker
_LINE = 14  # pixels of a line of an attacker's name, and of one that says why there is no row
_TOP, _LEFT = 36, 102  # pixels of the names of filters; of those of attackers and targets
_WHY = 36  # letters in a line, so that it fits a phone
# Shines through: on a dark page high success is bright, on a light one dark, and text is readable on all of it.
_ALPHA = (0.03, 0.72)
_SHORT = {  # on a phone a column has room for seven letters
    "none": "no<br>filter",
    "likelihood": "likeli-<br>hood",
    "gaussian": "fitted<br>Gauss.",
    "log-odds": "log-<br>odds",
    "confidence": "confi-<br>dence",
    "knn": "10th<br>neigh.",
    "vote": "vote<br>of 10",
    "spectral": "spec-<br>tral",
}


@dataclass(frozen=True)
class MapSlice:
    """Which cells of a board are shown: those of one budget, one rate and one head."""

    budget: tuple[int, int]
    fpr: float
    head: str


@dataclass(frozen=True)
class _Row:
    """A row of the map, and where it is, in pixels from the top.

    Attributes:
        attacker: Key of `ATTACKERS`.
        choice: Key of `CHOICES`; "" for an attacker of whom there is none.
        top, height: Place.
        attack: What was measured.
        why: Why nothing was, in lines.
    """

    attacker: str
    choice: str
    top: int
    height: int
    attack: BoardAttack | None = None
    why: str = ""

    @property
    def middle(self) -> float:
        return self.top + self.height / 2


def board_map(
    board: Board, network: BoardNetwork, of: MapSlice, chosen: tuple[str, str, str] | None = None
) -> go.Figure:
    """Attack success in percent, rows of one attacker together; what was not measured is outlined and says so.

    A point lies in the middle of each cell, to be clicked, whose customdata are attacker, choice of target and filter.
    The text is bold where a filter does not stop an attacker, with a question mark where that is open, by
    `lgm.experiments.board.findings.stopped`, and with a star where accuracy drops
    (`BoardAttack.drops`).

    Args:
        board: Its configuration gives the order of the rows.
        network: Whose filters are the columns.
        of: What is shown.
        chosen: Attacker, choice of target and filter of a cell that is framed.
    """
    rows, filters = list(_rows(board, network, of)), _filters(network, of.head)
    figure = go.Figure([_colours(rows, filters, of), _points(rows, filters, of)])
    height = rows[-1].top + rows[-1].height
    labelled = [row for row in rows if row.choice]
    figure.update_layout(
        height=_TOP + height + 6,
        margin={"l": _LEFT, "r": 2, "t": _TOP, "b": 6, "pad": 2},
        showlegend=False,
        **CLICKABLE,
        hoverlabel={"align": "left"},
        annotations=[_name(list(block)) for _, block in groupby(rows, key=lambda row: row.attacker)]
        + [_reason(row, len(filters)) for row in rows if row.why],
        shapes=[_outline(row, len(filters)) for row in rows if row.why]
        + [_frame(row, filters.index(chosen[2])) for row in rows if chosen and _is_row(row, chosen, filters)],
        xaxis={
            "side": "top",
            "range": [-0.5, len(filters) - 0.5],
            "tickvals": list(range(len(filters))),
            "ticktext": [_SHORT.get(name, name) for name in filters],
            "tickangle": 0,
            **_BARE,
        },
        yaxis={
            "range": [height, 0],
            "tickvals": [row.middle for row in labelled],
            "ticktext": [row.choice for row in labelled],
            **_BARE,
        },
    )
    return figure


_BARE: dict[str, Any] = {
    "showgrid": False,
    "zeroline": False,
    "fixedrange": True,
    "ticks": "",
    "tickfont": {"size": 11},
    "automargin": False,
}


def _filters(network: BoardNetwork, head: str) -> list[str]:
    """Keys of the filters that were tried before a head, which are the columns."""
    return ["none", network.density] if head == LAYERS else network.filters


def _rows(board: Board, network: BoardNetwork, of: MapSlice) -> Iterator[_Row]:
    top = 0
    for attacker in board.config.attackers:
        lines = len(_name_lines(attacker))
        if why := empty_rows(board, network, attacker, of):
            said = textwrap.wrap(f"empty: {why}", _WHY)
            height = _LINE * max(lines, len(said)) + 4
            yield _Row(attacker, "", top, height, why="<br>".join(said))
            top += height
        else:
            choices = board.config.choices_of(attacker)  # some: else they are absent
            height = max(_ROW, math.ceil(_LINE * lines / len(choices)))
            for choice in choices:
                attack = network.attack(attacker, choice)
                yield _Row(attacker, choice, top, height, attack, "" if attack else "empty: not measured")
                top += height
        top += _GAP


def _name_lines(attacker: str) -> list[str]:
    return textwrap.wrap(attacker, 9)


def empty_rows(board: Board, network: BoardNetwork, attacker: str, of: MapSlice) -> str:
    """Why all rows of an attacker are empty; "" if they are not."""
    for absent in network.absent:
        if absent.attacker == attacker:
            return absent.why
    return _unmeasured(board.config, attacker, of) if attacker in board.config.attackers else ""


def _unmeasured(config: BoardConfig, attacker: str, of: MapSlice) -> str:
    """Why an attacker has no cell of this budget and head; "" if it has."""
    if of.budget not in config.budgets_of(attacker):
        return f"its poisons are crafted together, all {config.poisons} of an attack"
    if of.head == LAYERS and not ATTACKERS[attacker].layers:
        return "on frozen features only"
    if of.head in HEAVIEST_ONLY and of.budget != config.heaviest_of(attacker):
        return "{}: K = {} beside {} only".format(HEAD_TITLES[of.head], *config.heaviest_of(attacker))
    return ""


def _cell(row: _Row, name: str, of: MapSlice) -> Cell | None:
    return row.attack.cell(of.budget, name, of.fpr, of.head) if row.attack else None


def _colours(rows: list[_Row], filters: list[str], of: MapSlice) -> go.Heatmap:
    edges, shares = [0.0], []
    for row in rows:
        if row.top > edges[-1]:
            edges.append(float(row.top))
            shares.append([math.nan] * len(filters))
        edges.append(float(row.top + row.height))
        cells = [_cell(row, name, of) for name in filters]
        shares.append([cell.attack_success.value if cell else math.nan for cell in cells])
    red, green, blue = (int(ROLE["poison"][i : i + 2], 16) for i in (1, 3, 5))
    return go.Heatmap(
        x=np.arange(len(filters) + 1) - 0.5,
        y=edges,
        z=shares,
        zmin=0,
        zmax=1,
        colorscale=[[end, f"rgba({red},{green},{blue},{alpha})"] for end, alpha in enumerate(_ALPHA)],
        xgap=2,
        ygap=2,
        showscale=False,
        hoverinfo="skip",
        hoverongaps=False,
    )


def _points(rows: list[_Row], filters: list[str], of: MapSlice) -> go.Scatter:
    """The text of each cell on a point that cannot be seen: Streamlit says which point is clicked, and of no cell."""
    found = [(row, x, _cell(row, name, of)) for row in rows if row.attack for x, name in enumerate(filters)]
    return go.Scatter(
        x=[x for _, x, _ in found],
        y=[row.middle for row, _, _ in found],
        mode="markers+text",
        meta="cells",
        text=[_text(row.attack, cell) for row, _, cell in found],
        textfont={"size": 12},
        marker={"symbol": "square", "size": 20, "opacity": 0, "color": ROLE["poison"]},
        selected={"marker": {"opacity": 0}, "textfont": {"color": ROLE["target"]}},  # so that the others do not fade
        unselected={"marker": {"opacity": 0}},
        customdata=[[row.attacker, row.choice, filters[x]] for row, x, _ in found],
        hovertext=[_hover(row, filters[x], cell) for row, x, cell in found],
        hoverinfo="text",
    )


def _text(attack: BoardAttack | None, cell: Cell | None) -> str:
    if attack is None or cell is None or math.isnan(cell.attack_success.value):
        return "–"
    share, sign = percent_text(cell.attack_success.value, 0).removesuffix(" %"), stopped(cell).sign
    value = f"<b>{share}</b>" if sign < 0 else share if sign > 0 else f"{share}?"
    return f"{value}*" if attack.drops(cell) else value


def _hover(row: _Row, name: str, cell: Cell | None) -> str:
    title = f"<b>{row.attacker}</b>, {row.choice} target; {FILTERS[name]}<br>"
    if cell is None:
        return f"{title}not measured"
    if not cell.n:
        return f"{title}no attack counts: the clean head misclassifies every target"
    return (
        f"{title}success {cell.attack_success.percent(0)}: {cell.hits} of {cell.n}<br>"
        f"untouched bases {cell.untouched_bases.percent(0)}<br>"
        f"removed: {percent_text(cell.poisons_removed)} of poisons, {percent_text(cell.clean_removed)} of clean<br>"
        f"accuracy {percent_text(cell.accuracy)}"
    )


def _name(rows: list[_Row]) -> dict[str, Any]:
    """The attacker's name beside its rows; what it does when one points at it."""
    attacker = rows[0].attacker
    return {
        "text": f"<b>{'<br>'.join(_name_lines(attacker))}</b>",
        "hovertext": ATTACKERS[attacker].goal,
        "align": "left",
        "x": 0,
        "xref": "paper",
        "xanchor": "left",
        "xshift": -_LEFT + 2,
        "y": (rows[0].top + rows[-1].top + rows[-1].height) / 2,
        "showarrow": False,
        "font": {"size": 11},
    }


def _reason(row: _Row, filters: int) -> dict[str, Any]:
    return {
        "text": row.why,
        "x": (filters - 1) / 2,
        "y": row.middle,
        "showarrow": False,
        "align": "left",
        "font": {"size": 11},
    }


def _outline(row: _Row, filters: int) -> dict[str, Any]:
    """Round cells that are empty."""
    box = {"x0": -0.48, "x1": filters - 0.52, "y0": row.top + 1, "y1": row.top + row.height - 1}
    return {"type": "rect", "line": {"color": GREY, "width": 1, "dash": "dot"}, **box}


def _is_row(row: _Row, chosen: tuple[str, str, str], filters: list[str]) -> bool:
    return row.attack is not None and (row.attacker, row.choice) == chosen[:2] and chosen[2] in filters


def _frame(row: _Row, x: int) -> dict[str, Any]:
    """Round the chosen cell."""
    box = {"x0": x - 0.49, "x1": x + 0.49, "y0": row.top, "y1": row.top + row.height}
    return {"type": "rect", "line": {"color": ROLE["target"], "width": 3}, **box}
