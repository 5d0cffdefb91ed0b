"""Every attacker against every defence, as it was measured: a table of attack success for the chosen network."""

import html

import streamlit as st

from lgm.experiments.board.config import ATTACKERS, CHOICES, FILTERS, HEAD_TITLES
from lgm.experiments.board.findings import edge_finding
from lgm.experiments.board.record import COST, Board, BoardAttack, BoardNetwork, Cell
from lgm.utils.json import to_json
from ui import load, state, verdict

_STYLE = """<style>
.lgm-board {overflow-x: auto;}
.lgm-board table {border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; width: 100%;}
.lgm-board :is(th, td) {padding: .2rem .35rem; text-align: right; border-bottom: 1px solid rgba(128,128,128,.3);
  vertical-align: top;}
.lgm-board th {font-weight: 600; line-height: 1.15;}
.lgm-board :is(th, td):first-child {text-align: left; min-width: 8rem;}
.lgm-board td {background: color-mix(in srgb, #D55E00 calc(var(--share) * 45%), transparent);}
.lgm-board small {display: block; opacity: .85; white-space: nowrap;}
</style>"""


def board() -> None:
    """The section, where a board was measured on these very weights."""
    found = load.board()
    card = load.card(load.model_name(state.link().network))
    network = found.network_of(card.weights_sha256) if found else None
    if found is None or network is None or not network.attacks:
        return
    st.markdown("## Which attacker gets past which filter?")
    budget, head, fpr = _controls(found)
    st.html(
        f'{_STYLE}<div class="lgm-board" tabindex="0" role="region" aria-label="Attack success">'
        f"{_table(network, budget, head, fpr)}</div>"
    )
    if finding := edge_finding(found, network, budget, fpr, head):
        st.markdown(f"**{finding}**")
    st.caption(_caption(found, network))
    st.download_button(
        "Board (JSON)",
        lambda: to_json(found, indent=1),
        f"{found.dataset}-board.json",
        "application/json",
        on_click="ignore",
        icon=":material/download:",
    )


def _controls(found: Board) -> tuple[tuple[int, int], str, float]:
    """Budget, head and rate of the cells that are shown."""
    config = found.config
    with st.container(horizontal=True, vertical_alignment="bottom", gap="medium"):
        budget = st.selectbox(
            "Poisons K, clean images a class",
            config.budgets,
            index=config.budgets.index((10, 10)) if (10, 10) in config.budgets else 0,
            format_func=lambda each: f"K = {each[0]} beside {each[1]}",
            width=220,
            key="board_budget",
        )
        head = st.selectbox("Head", list(HEAD_TITLES), format_func=HEAD_TITLES.__getitem__, width=240, key="board_head")
        fpr = st.segmented_control(
            "T for FPR",
            config.fprs,
            default=config.aim,
            required=True,
            key="board_fpr",
            format_func=lambda rate: f"{100 * rate:g} %",
        )
    return budget, head, fpr


def _table(network: BoardNetwork, budget: tuple[int, int], head: str, fpr: float) -> str:
    titles = "".join(f'<th scope="col">{html.escape(FILTERS[name])}</th>' for name in network.filters)
    rows = "".join(_row(attack, network, budget, head, fpr) for attack in network.attacks)
    return f'<table><thead><tr><th scope="col">attacker; target</th>{titles}</tr></thead><tbody>{rows}</tbody></table>'


def _row(attack: BoardAttack, network: BoardNetwork, budget: tuple[int, int], head: str, fpr: float) -> str:
    cells = [attack.cell(budget, name, fpr, head) for name in network.filters]
    n = next((cell.n for cell in cells if cell), 0)
    said = f"{attack.attacker}<small>{attack.choice} target, n = {n}</small>"
    return f'<tr><th scope="row">{said}</th>{"".join(_cell(attack, cell) for cell in cells)}</tr>'


def _cell(attack: BoardAttack, cell: Cell | None) -> str:
    if cell is None:
        return "<td>–</td>"
    share = cell.attack_success
    value = verdict.percentages(share).partition(" ")[0]
    ends = share.percent(0).partition("(")[2].rstrip(")")  # rounded outward, as in the sentence beneath the table
    known = share.value if share.value == share.value else 0.0
    untouched, mark = verdict.percentages(cell.untouched_bases).partition(" ")[0], "*" if attack.costly(cell) else ""
    return (
        f'<td style="--share: {known:.2f}">{value}{mark}<small>{ends}</small><small>untouched {untouched}</small></td>'
    )


def _caption(found: Board, network: BoardNetwork) -> str:
    config = found.config
    attackers = "; ".join(f"*{name}*: {title}" for name, title in ATTACKERS.items() if name in config.attackers)
    choices = "; ".join(f"*{name}*: {title}" for name, title in CHOICES.items() if name in config.choices)
    empty = "".join(f" No *{row.attacker}*: {row.why}." for row in network.absent)
    old = found.outdated
    return (
        f"`{network.model}`, {load.dataset().brief(found.split)}, {config.trials} attacks a row; cells: attack success "
        "with its 95 % interval, of the n attacks whose target the clean head gets right, and beneath it the same with "
        "untouched bases in the poisons' place, filtered alike. *: the defence costs more than "
        f"{100 * COST:g} points of accuracy. {attackers}. Targets: {choices}. Those who know T know that of "
        f"{FILTERS[network.density]} for {100 * config.aim:g} % FPR.{empty} Measured {found.made}."
        f"{f' **Old: {old}.**' if old else ''}"
    )
