"""What a board says of a filter, in sentences that follow from its cells; whole intervals decide."""

from lgm.experiments.board.config import FILTERS, HEAD_TITLES
from lgm.experiments.board.record import Board, BoardNetwork, Cell
from lgm.experiments.effects import SUCCESS, Effect


def edge_finding(board: Board, network: BoardNetwork, budget: tuple[int, int], fpr: float, head: str) -> str:
    """What the attacker at the edge of T achieves with the nearest target; "" where that was not measured."""
    attack = network.attack("edge", "nearest")
    cell = attack.cell(budget, network.density, fpr, head) if attack else None
    if attack is None or cell is None or not cell.n:
        return ""
    alone = cell.untouched_bases
    aim = "" if fpr == board.config.aim else f", where the attacker aims at the T for {100 * board.config.aim:g} %"
    return (
        f"With the target nearest to the base's class and K = {budget[0]} poisons at the edge of T, beside "
        f"{budget[1]} clean images a class, {cell.hits} of {cell.n} attacks on {HEAD_TITLES[head]} succeed past the "
        f"filter ({FILTERS[network.density]}, {100 * fpr:g} % FPR{aim}): {cell.attack_success.percent(0)}, and "
        f"{alone.percent(0)} with untouched bases in the poisons' place, filtered alike. {_verdict(cell)}"
    )


def stopped(cell: Cell) -> Effect:
    """How a cell reads for "the filter stops this attacker": success below `SUCCESS`, or below what untouched bases do.

    It contradicts that only if more attacks succeed, by whole intervals, than with untouched bases.
    """
    return Effect(*cell.attack_success, bound=max(SUCCESS, cell.untouched_bases.high), side="below")


def _verdict(cell: Cell) -> str:
    if stopped(cell).sign < 0:
        return "This filter does not stop this attacker."
    if cell.attack_success.high < SUCCESS:
        return "This attacker does not refute the filter."
    if cell.attack_success.low > SUCCESS:
        return "Whether the poisons do it, or the filter and any further images of the base's class, is open."
    return "Whether the filter stops this attacker is open."
