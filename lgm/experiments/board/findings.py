"""What a board says of a defence, in sentences that follow from its cells; whole intervals decide."""

from itertools import count

from lgm.defense.report import attack_success
from lgm.experiments.board.config import FILTERS, HEAD_TITLES, LAYERS
from lgm.experiments.board.record import Board, BoardAttack, BoardNetwork, Cell
from lgm.experiments.effects import SUCCESS, Effect


def edge_finding(board: Board, network: BoardNetwork, budget: tuple[int, int], fpr: float, head: str) -> str:
    """What the attacker at the edge of T achieves with the nearest target; "" where that was not measured."""
    attack = network.attack("edge", "nearest")
    cell = attack.cell(budget, network.density, fpr, head) if attack else None
    return finding(board, attack, cell) if attack and cell and cell.n else ""


def finding(board: Board, attack: BoardAttack, cell: Cell) -> str:
    """What an attacker achieves against a defence, beside untouched bases, and what follows."""
    if not cell.n:
        return "No attack counts here: the clean head gets none of these targets right."
    filtered = f"past the filter ({FILTERS[cell.filter]}, {_rate(board, attack, cell)})"
    return (
        f"Attacker “{attack.attacker}” with {_TARGETS[attack.choice]}, K = {cell.poisons} beside {cell.clean} clean "
        f"images a class: {cell.hits} of {cell.n} attacks on {HEAD_TITLES[cell.head]} succeed "
        f"{'without a filter' if cell.filter == 'none' else filtered}, "
        f"{cell.attack_success.percent(0)}; {cell.untouched_bases.percent(0)} with untouched bases in the poisons' "
        f"place, treated alike. {verdict(cell)}"
    )


_TARGETS = {
    "random": "a random target",
    "nearest": "the target nearest to the base's class",
    "best": "the best target of some",
}


def _rate(board: Board, attack: BoardAttack, cell: Cell) -> str:
    aim = board.config.aim_of(attack.attacker)
    aimed = attack.aims_at == cell.filter and cell.fpr != aim
    return f"{100 * cell.fpr:g} % FPR" + (f", where it aims at the T for {100 * aim:g} %" if aimed else "")


def accuracy_left(attack: BoardAttack, cell: Cell, bare: Cell | None) -> str:
    """Accuracy beside the clean control's; ``bare``: the same without a filter."""

    def beside(of: Cell) -> str:
        drop = round(100 * attack.drop(of), 1)
        return f"{abs(drop):.1f} points {'above' if drop < 0 else 'below'}" if drop else "the same as"

    alike = "" if bare is None or bare == cell else f" ({beside(bare).removesuffix(' as')} without a filter)"
    return f"accuracy is {beside(cell)} the clean control's{alike}"


def stopped(cell: Cell) -> Effect:
    """How a cell reads for "this defence stops this attacker": success below `SUCCESS`.

    It contradicts that only if the poisons do it: see `caused`.
    """
    success = cell.attack_success
    return Effect(*success, bound=SUCCESS if caused(cell).sign > 0 else max(SUCCESS, success.high), side="below")


def caused(cell: Cell) -> Effect:
    """Among the trials where only the poisons or only the untouched bases turn the target, the share of the former.

    Above one half the poisons do it, and not any further images of the class, or what the filter removes. Source:
    McNemar 1947, with the interval of Wilson.
    """
    poisons, bases = cell.hits - cell.both, cell.untouched - cell.both
    return Effect(*attack_success(poisons, poisons + bases), bound=0.5)


def fewest() -> int:
    """How many attacks have to count before none that succeeds is below `SUCCESS` by its whole interval."""
    return next(n for n in count(1) if attack_success(0, n).high < SUCCESS)


def verdict(cell: Cell) -> str:
    """What follows from a cell."""
    alone = "Fine-tuning all layers" if cell.head == LAYERS else "This head alone"
    who = alone if cell.filter == "none" else "This defence"
    if stopped(cell).sign < 0:
        return f"{who} does not stop this attacker."
    if stopped(cell).sign > 0:
        return f"{who} is not refuted by this attacker."
    if cell.attack_success.low > SUCCESS:
        others = "any further images of the base's class"
        others = others if cell.filter == "none" else f"the filter and {others}"
        return f"Whether the poisons do it, or {others}, is open."
    return "Whether it stops this attacker is open."
