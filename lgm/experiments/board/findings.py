"""What a board says of a filter, in sentences that follow from its cells; whole intervals decide."""

from lgm.experiments.board.config import FILTERS, HEAD_TITLES
from lgm.experiments.board.record import Board, BoardNetwork
from lgm.experiments.effects import SUCCESS
from lgm.stats.intervals import Estimate


def edge_finding(board: Board, network: BoardNetwork, budget: tuple[int, int], fpr: float, head: str) -> str:
    """What the attacker at the edge of T achieves with the nearest target; "" where that was not measured."""
    attack = network.attack("edge", "nearest")
    cell = attack.cell(budget, network.density, fpr, head) if attack else None
    if attack is None or cell is None or not cell.n:
        return ""
    alone = attack.control(budget, head).untouched_bases
    aim = "" if fpr == board.config.aim else f", where the attacker aims at the T for {100 * board.config.aim:g} %"
    return (
        f"With the target nearest to the base's class and K = {budget[0]} poisons at the edge of T, beside "
        f"{budget[1]} clean images a class, {cell.hits} of {cell.n} attacks on {HEAD_TITLES[head]} succeed past the "
        f"filter ({FILTERS[network.density]}, {100 * fpr:g} % FPR{aim}): {cell.attack_success.percent(0)}, and "
        f"{alone.percent(0)} with untouched bases in the poisons' place. {_verdict(cell.attack_success, alone)}"
    )


def _verdict(success: Estimate, untouched: Estimate) -> str:
    if success.low > max(untouched.high, SUCCESS):
        return "This filter does not stop this attacker."
    if success.high < SUCCESS:
        return "This attacker does not refute the filter."
    if success.low > SUCCESS:
        return "Whether the poisons do it or any further images of the base's class is open."
    return "Whether the filter stops this attacker is open."
