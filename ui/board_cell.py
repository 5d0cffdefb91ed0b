"""One cell of the board: what was measured, and one attack of it in the plane."""

import html
from typing import NamedTuple

import streamlit as st

from lgm.experiments.board.config import FILTERS, LAYERS
from lgm.experiments.board.record import Board, BoardAttack, BoardNetwork, Cell
from lgm.plots.board import MapSlice, empty_rows
from lgm.stats.intervals import percent_text
from ui import verdict
from ui.board_attack import attack_of
from ui.frame import guard

_STYLE = """<style>
.lgm-cell {border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; width: 100%;}
.lgm-cell :is(th, td) {padding: .1rem .4rem; text-align: right; border-bottom: 1px solid rgba(128,128,128,.3);}
.lgm-cell :is(th, td):first-child {text-align: left;}
.lgm-cell th {font-weight: 600;}
.lgm-cell tbody th {font-weight: 400;}
</style>"""


class ChosenCell(NamedTuple):
    """Keys of `ATTACKERS`, `CHOICES` and `FILTERS`, as a link has them."""

    attacker: str
    choice: str
    filter: str


def opened_cell(board: Board, network: BoardNetwork, of: MapSlice, chosen: ChosenCell) -> None:
    """Its numbers and one of its attacks; if there is none, why."""
    attack = network.attack(chosen.attacker, chosen.choice)
    cell = attack.cell(of.budget, chosen.filter, of.fpr, of.head) if attack else None
    if attack is None or cell is None:
        st.info(_why_empty(board, network, of, chosen), icon=":material/block:")
        return
    st.markdown(verdict.of_cell(board.config, attack, cell))
    st.html(_STYLE + _table(network, attack, cell, of))
    if cell.head == LAYERS:
        st.caption("No picture: where all layers are fine-tuned, each model has features of its own.")
    else:
        with guard():
            attack_of(board, network, (chosen.attacker, chosen.choice), cell)
    st.caption(_row_facts(board, network, attack))


def _why_empty(board: Board, network: BoardNetwork, of: MapSlice, chosen: ChosenCell) -> str:
    """Why a cell that a link names has no numbers."""
    if why := empty_rows(board, network, chosen.attacker, of):
        return f"No *{chosen.attacker}* here: {why}."
    if network.attack(chosen.attacker, chosen.choice) is None:
        return f"*{chosen.attacker}* with the {chosen.choice} target was not measured on `{network.model}`."
    if of.head == LAYERS and chosen.filter in network.filters:
        return f"All layers were fine-tuned without a filter and with *{FILTERS[network.density]}* only."
    return f"`{network.model}` has no filter *{FILTERS[chosen.filter]}*: choose one of its columns."


def _table(network: BoardNetwork, attack: BoardAttack, cell: Cell, of: MapSlice) -> str:
    """The cell beside the same without a filter, and without poisons."""
    bare = attack.cell(of.budget, "none", of.fpr, of.head)
    columns = {"with this filter": cell} if cell.filter != "none" else {}
    columns |= {"no filter": bare} if bare else {}
    control = attack.control(cell.clean, cell.head)
    rows = {
        "attacks succeed": [f"{each.attack_success.percent(0)}: {each.hits} of {each.n}" for each in columns.values()],
        "untouched bases instead": [each.untouched_bases.percent(0) for each in columns.values()],
        "poisons removed": [_removed(each, each.poisons_removed) for each in columns.values()],
        "clean images removed": [_removed(each, each.clean_removed) for each in columns.values()],
        f"accuracy ({percent_text(control)} unattacked)": [percent_text(each.accuracy) for each in columns.values()],
    }
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in columns)
    body = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>{"".join(f"<td>{html.escape(text)}</td>" for text in texts)}</tr>'
        for name, texts in rows.items()
    )
    return f'<table class="lgm-cell"><thead><tr><td></td>{head}</tr></thead><tbody>{body}</tbody></table>'


def _removed(cell: Cell, share: float) -> str:
    return "–" if cell.filter == "none" else percent_text(share)


def _row_facts(board: Board, network: BoardNetwork, attack: BoardAttack) -> str:
    """What is known of the poisons of the whole row."""
    known = f"{FILTERS[attack.aims_at or network.density]} for {100 * board.config.aim_of(attack.attacker):g} % FPR"
    return (
        f"Poisons of this row: {percent_text(attack.collided, 0)} collide, {percent_text(attack.passing, 0)} pass T of "
        f"{known}; median change of a base L2 {attack.l2:.2f}, L∞ {attack.linf:.2f}. {attack.targets} different "
        f"targets in {board.config.trials} attacks."
    )
