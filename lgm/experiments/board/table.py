"""A board as a table for people."""

from collections.abc import Iterator

from lgm.experiments.board.config import ATTACKERS, CHOICES, FILTERS
from lgm.experiments.board.record import DROP, Board, BoardAttack, Cell
from lgm.stats.intervals import percent_text


def board_table(board: Board) -> str:
    """Attack success for people: a table for each network, budget and head, at the rate that attackers aim at."""
    return "\n".join(_lines(board))


def _lines(board: Board) -> Iterator[str]:
    config = board.config
    yield f"{board.dataset}, {board.split}: {config.trials} attacks a row; success is the {board.definition}"
    for network in board.networks:
        for poisons, clean in config.budgets:
            for head, title in network.heads.items():
                rows = [(row, bare) for row in network.attacks if (bare := row.cell((poisons, clean), "none", 0, head))]
                if not rows:
                    continue
                yield ""
                yield f"{network.model}: K = {poisons}, {clean} clean images a class, head: {title}"
                yield f"{'attacker, targets':<28}{'n':>5}" + "".join(f"{name:>12}" for name in network.filters)
                for attack, bare in rows:
                    cells = [attack.cell((poisons, clean), name, config.aim, head) for name in network.filters]
                    line = f"{attack.attacker + ', ' + attack.choice:<28}{bare.n:>5}"
                    yield line + "".join(f"{_text(attack, cell):>12}" for cell in cells)
        for absent in network.absent:
            yield f"{absent.attacker}: {absent.why}"
    yield ""
    yield f"Filters at {100 * config.aim:g} % FPR; the file has all rates, intervals and controls."
    yield f"n: attacks that count. *: accuracy is over {100 * DROP:g} points below the clean control's."
    used = {cell.filter for network in board.networks for attack in network.attacks for cell in attack.cells}
    yield from (f"  {name:<12}{title}" for name, title in FILTERS.items() if name in used)
    yield from (f"  {name:<19}{ATTACKERS[name].goal}" for name in config.attackers)
    yield from (f"  {name:<12}target: {title}" for name, title in CHOICES.items() if name in config.choices)


def _text(attack: BoardAttack, cell: Cell | None) -> str:
    if cell is None:
        return "–"
    return percent_text(cell.attack_success.value, 0) + (" *" if attack.drops(cell) else "")
