"""Advice that follows from a board: which defence costs what and stops whom."""

from collections.abc import Sequence
from dataclasses import dataclass

from lgm.experiments.board.config import FILTERS, HEAD_TITLES
from lgm.experiments.board.findings import stopped
from lgm.experiments.board.record import Board, BoardAttack, BoardNetwork, Cell
from lgm.experiments.effects import SUCCESS
from lgm.stats.intervals import percent_text


@dataclass(frozen=True)
class Faced:
    """What a defence meets: every attack of a network, and its cell."""

    attack: BoardAttack
    cell: Cell

    @property
    def name(self) -> str:
        """Attacker and choice of targets."""
        return f"{self.attack.attacker}, {self.attack.choice}"


def advice(board: Board, network: BoardNetwork, head: str = "logistic") -> list[str]:
    """Five sentences on a network, in the heaviest budget; their numbers are those of cells and controls.

    "The worst" is the attack that succeeds most often, of those that were measured.

    Args:
        board: For the rates.
        network: One of its networks.
        head: Key of `lgm.defense.heads.HEADS`; the sentence on the nearest class mean has its own.
    """
    budget = network.heaviest
    defences = {
        (name, fpr): faced(network, budget, name, fpr, head)
        for name in network.filters
        for fpr in ((0.0,) if name == "none" else board.config.fprs)
    }
    aim, density = board.config.aim, network.density
    bare, own = defences["none", 0.0], defences[density, aim]
    return [
        f"Without a filter, {_worst(bare)} before {HEAD_TITLES[head]}.",
        _stops(own, f"{FILTERS[density]}, T for {100 * aim:g} % FPR,"),
        _least(network, budget, {key: met for key, met in defences.items() if key[1] == aim}),
        _nearest_mean(network, budget, head),
        _price(board, network, [defences[density, fpr] for fpr in board.config.fprs]),
    ]


def faced(network: BoardNetwork, budget: tuple[int, int], name: str, fpr: float, head: str) -> list[Faced]:
    """All attacks that were measured against a defence and count, the worst first."""
    cells = [(attack, attack.cell(budget, name, fpr, head)) for attack in network.attacks]
    met = [Faced(attack, cell) for attack, cell in cells if cell is not None and cell.n]
    return sorted(met, key=lambda each: -each.cell.attack_success.value)


def _worst(met: Sequence[Faced]) -> str:
    first = met[0]
    return f"the worst of {len(met)} attacks ({first.name}) succeeds in {first.cell.attack_success.percent(0)}"


def _stops(met: Sequence[Faced], what: str) -> str:
    signs = [(each, stopped(each.cell).sign) for each in met]
    through = [each for each, sign in signs if sign < 0]
    held, open_ = (sum(sign == wanted for _, sign in signs) for wanted in (1, 0))
    named = "; ".join(f"{each.name}: {each.cell.attack_success.percent(0)}" for each in through)
    does_not = f"does not stop {len(through)} ({named})" if through else "is not seen to fail against any"
    return (
        f"{what} {does_not} of {len(met)} attacks; {held} do not refute it (success below {100 * SUCCESS:g} % by the "
        f"whole interval), and {open_} are open."
    )


def _least(network: BoardNetwork, budget: tuple[int, int], defences: dict[tuple[str, float], list[Faced]]) -> str:
    """The filter whose worst attack succeeds least often at that rate, and what it costs."""
    (name, fpr), met = min(defences.items(), key=lambda item: item[1][0].cell.attack_success.value)
    cell = met[0].cell
    lost = network.control(budget[1], cell.head) - cell.accuracy
    known = {"none"} | {attack.aims_at for attack in network.attacks}
    known |= {"confidence"} if "log-odds" in known else set()  # which it orders alike
    unknown = [FILTERS[key] for key in network.filters if key not in known]
    return (
        f"At {100 * fpr:g} % FPR the least gets past {FILTERS[name]}: {_worst(met)}, at the price of "
        f"{percent_text(cell.clean_removed, 1)} of the clean images and {100 * lost:.1f} points of accuracy there; "
        f"nobody who knows T was set against {', '.join(unknown)}."
    )


def _nearest_mean(network: BoardNetwork, budget: tuple[int, int], head: str) -> str:
    accuracies = [network.control(budget[1], name) for name in ("nearest-mean", head)]
    alone, other = (faced(network, budget, "none", 0.0, name) for name in ("nearest-mean", head))
    return (
        f"The nearest class mean alone, without any filter: {_worst(alone)}, where {HEAD_TITLES[head]} has "
        f"{other[0].cell.attack_success.percent(0)}; clean accuracy {percent_text(accuracies[0], 1)} and "
        f"{percent_text(accuracies[1], 1)}."
    )


def _price(board: Board, network: BoardNetwork, by_rate: Sequence[list[Faced]]) -> str:
    """What a higher rate buys, and what it cannot: where more clean images are misclassified than T may remove."""
    steps = "; ".join(
        f"{100 * fpr:g} %: {met[0].cell.attack_success.percent(0)}"
        for fpr, met in zip(board.config.fprs, by_rate, strict=True)
    )
    wrong = 1 - network.accuracy
    said = (
        f"The worst attack past {FILTERS[network.density]} by its FPR: {steps}. The network misclassifies "
        f"{percent_text(wrong, 1)} of the clean images"
    )
    if wrong > board.config.aim:
        return (
            f"{said}, more than the {100 * board.config.aim:g} % that T removes: some of them pass, and poisons that "
            "look like them; only fewer misclassified images mend that."
        )
    return f"{said}, fewer than the {100 * board.config.aim:g} % that T removes."
