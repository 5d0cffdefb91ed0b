"""Advice that follows from a board: what each defence leaves and whom it stops."""

from collections.abc import Sequence
from dataclasses import dataclass

from lgm.experiments.board.config import FILTERS, FROZEN
from lgm.experiments.board.findings import accuracy_left, stopped
from lgm.experiments.board.record import Board, BoardAttack, BoardNetwork, Cell
from lgm.experiments.effects import SUCCESS
from lgm.stats.intervals import percent_text

_NAMED = 5  # attacks in a sentence, the worst


@dataclass(frozen=True)
class Faced:
    """An attack that a defence meets.

    Attributes:
        attack: The row.
        cell: Of the defence.
        bare: Of the same head without a filter.
    """

    attack: BoardAttack
    cell: Cell
    bare: Cell

    @property
    def works(self) -> bool:
        """Whether it succeeds where nobody filters: else no filter can be judged by it."""
        return self.bare.attack_success.low > SUCCESS

    def text(self) -> str:
        """Who it is and how often it succeeds."""
        return f"{self.attack.attacker}, {self.attack.choice}: {self.cell.attack_success.percent(0)} of {self.cell.n}"


def advice(board: Board, network: BoardNetwork, head: str = "logistic") -> list[str]:
    """Five sentences on a network, in the heaviest budget; their numbers are those of cells and controls.

    "The worst" is the attack that succeeds most often, of those that were measured; its interval is its own.

    Args:
        board: For the rates.
        network: One of its networks.
        head: Key of `lgm.defense.heads.HEADS`; the sentence on heads compares all.
    """
    aim, density = board.config.aim, network.density
    return [
        f"Without a filter, before {FROZEN[head]}: {_worst(faced(network, 'none', 0.0, head))}.",
        _stops(faced(network, density, aim, head), f"{FILTERS[density]} with T for {_rate(aim)} FPR"),
        _least(network, aim, head),
        _heads(network),
        _rates(board, network, head),
    ]


def faced(network: BoardNetwork, name: str, fpr: float, head: str) -> list[Faced]:
    """All attacks that were measured against a defence and count, the worst first; see `BoardNetwork.heaviest`."""
    budget = network.heaviest
    found = []
    for attack in network.attacks:
        cell, bare = (attack.cell(budget, which, fpr, head) for which in (name, "none"))
        if cell is not None and bare is not None and cell.n:
            found.append(Faced(attack, cell, bare))
    return sorted(found, key=lambda each: -each.cell.attack_success.value)


def _worst(met: Sequence[Faced]) -> str:
    return f"the worst of {len(met)} attacks is {met[0].text()}"


def _stops(met: Sequence[Faced], what: str) -> str:
    working = [each for each in met if each.works]
    signs = [stopped(each.cell).sign for each in working]
    past = [each.text() for each, sign in zip(working, signs, strict=True) if sign < 0]
    through = "; ".join([*past[:_NAMED], *([f"and {len(past) - _NAMED} more"] if len(past) > _NAMED else [])])
    parts = [f"does not stop {signs.count(-1)} ({through})" if through else "is not shown to fail against any"]
    if fine := signs.count(1):
        parts.append(f"{fine} do not refute it (success below {100 * SUCCESS:g} % by the whole interval)")
    if undecided := signs.count(0):
        parts.append(f"{undecided} are open")
    said = "; ".join(parts)
    idle = len(met) - len(working)
    more = f" {idle} more are not shown to succeed without it." if idle else ""
    return f"Of {len(working)} attacks that succeed without a filter, {what} {said}.{more}"


def _least(network: BoardNetwork, fpr: float, head: str) -> str:
    """The filter whose worst attack succeeds least often at a rate, and what it leaves."""
    defences = {name: faced(network, name, fpr, head) for name in network.filters if name != "none"}

    def order(name: str) -> tuple[float, float]:
        cell = defences[name][0].cell
        return cell.attack_success.value, cell.clean_removed

    best = min(defences, key=order)
    first = defences[best][0]
    alike = [
        FILTERS[name]
        for name, met in defences.items()
        if name != best and met[0].cell.attack_success.low <= first.cell.attack_success.high
    ]
    known = {attack.aims_at for attack in network.attacks}
    known |= {"confidence"} if "log-odds" in known else set()  # which it orders alike
    caveat = "" if best in known else ", whose T no attacker here knows"
    unknown = [FILTERS[name] for name in defences if name not in known | {best}]
    nobody = f" Nobody here knows the T of {', '.join(unknown)}{' either' if caveat else ''}." if unknown else ""
    removed = f"{percent_text(first.cell.clean_removed, 1)} of the clean images"
    return (
        f"At {_rate(fpr)} FPR least gets past {FILTERS[best]}{caveat}: {_worst(defences[best])}; there it removes "
        f"{removed}, and {accuracy_left(first.attack, first.cell, first.bare)}."
        + (f" Not told apart from it: {', '.join(alike)}." if alike else "")
        + nobody
    )


def _heads(network: BoardNetwork) -> str:
    """What a head does by itself."""
    clean = network.heaviest[1]
    said = "; ".join(
        f"{title} ({percent_text(network.control(clean, name), 1)} accuracy on clean data): "
        f"{_worst(faced(network, 'none', 0.0, name))}"
        for name, title in FROZEN.items()
    )
    against = network.attack("mean-shift", "nearest")
    return f"Heads by themselves, without any filter: {said}." + (
        "" if against else " No attacker here knows the head."
    )


def _rates(board: Board, network: BoardNetwork, head: str) -> str:
    """What a higher rate buys, and how many images are wrong anyhow."""
    density, aim = network.density, board.config.aim
    steps = "; ".join(
        f"{_rate(fpr)}: {faced(network, density, fpr, head)[0].cell.attack_success.percent(0)}"
        for fpr in board.config.fprs
    )
    known = " or ".join(map(_rate, board.known_rates))
    aimed = f"; who knows a T knows that for {known}, and would aim at another that it knew" if known else ""
    collision = network.attack("collision", "random")
    passing = f" Of the collisions with random targets {percent_text(collision.passing, 0)} pass." if collision else ""
    wrong = 1 - network.accuracy
    return (
        f"The worst attack past {FILTERS[density]} by its FPR: {steps}{aimed}. "
        f"The network misclassifies {percent_text(wrong, 1)} of the clean "
        f"images, {'more' if wrong > aim else 'fewer'} than T for {_rate(aim)} removes.{passing}"
    )


def _rate(fpr: float) -> str:
    return f"{100 * fpr:g} %"
