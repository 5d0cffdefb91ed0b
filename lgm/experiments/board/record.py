"""The record of a board, and its table."""

from collections.abc import Iterator
from dataclasses import dataclass

from lgm.defense.report import Success
from lgm.experiments.board.config import ATTACKERS, CHOICES, FILTERS, HEAD_TITLES, BoardConfig
from lgm.experiments.records import outdated, read_record
from lgm.models.registry import SHIPPED
from lgm.stats.intervals import Estimate, percent_text


@dataclass(frozen=True)
class Cell:
    """One attack against one defence, over all trials.

    Attributes:
        poisons, clean: Poisons, and clean images a class to fine-tune on.
        filter: Key of `FILTERS`.
        fpr: Rate that T is calibrated for; 0 without a filter.
        head: Key of `lgm.defense.heads.HEADS`.
        attack_success: See `lgm.defense.report.ATTACK_SUCCESS`; the clean control has the same head.
        hits, n: Attacks that succeed, and those that count.
        poisons_removed, clean_removed: Shares of D_p and of D_f that the filter removes, over all trials.
        accuracy: Of the fine-tuned models on held-out clean images, mean over the trials; where nothing is left to
            fine-tune on, 0.
    """

    poisons: int
    clean: int
    filter: str
    fpr: float
    head: str
    attack_success: Success[Estimate]
    hits: int
    n: int
    poisons_removed: float
    clean_removed: float
    accuracy: float


@dataclass(frozen=True)
class Control:
    """The same targets without poisons: fine-tuned on clean images, and on these and the bases as they were.

    Attributes:
        poisons, clean, head: See `Cell`.
        untouched_bases: Attack success with untouched bases in place of the poisons.
        accuracy: Of the clean control.
    """

    poisons: int
    clean: int
    head: str
    untouched_bases: Success[Estimate]
    accuracy: float


@dataclass(frozen=True)
class BoardAttack:
    """One attacker with one choice of targets, on one network.

    Attributes:
        attacker, choice: Keys of `ATTACKERS` and `CHOICES`.
        aims_at: Filter whose T it knows; "" if it knows of none.
        collided: Share of the poisons that the network takes for the target's class.
        passing: Share of the poisons that the first filter passes at the rate that those who know T aim at.
        l2, linf: Medians of the change to the base, pixels in [0, 1], after rounding to 8 bits.
        controls, cells: What was measured.
    """

    attacker: str
    choice: str
    aims_at: str
    collided: float
    passing: float
    l2: float
    linf: float
    controls: tuple[Control, ...]
    cells: tuple[Cell, ...]

    def cell(self, budget: tuple[int, int], name: str, fpr: float, head: str) -> Cell | None:
        """That of a filter at a rate, which does not count without a filter; None if there is none."""
        wanted = (*budget, name, head, 0.0 if name == "none" else fpr)
        return next((c for c in self.cells if (c.poisons, c.clean, c.filter, c.head, c.fpr) == wanted), None)

    def control(self, budget: tuple[int, int], head: str) -> Control:
        """That of a budget and a head."""
        return next(c for c in self.controls if (c.poisons, c.clean, c.head) == (*budget, head))


@dataclass(frozen=True)
class Absent:
    """A row that is empty, and why."""

    attacker: str
    why: str


@dataclass(frozen=True)
class BoardNetwork:
    """All attacks on one network.

    Attributes:
        model, loss, n_dim, weights_sha256: Which it is.
        accuracy: Of the network itself on the split.
        calibration: Clean images that calibrate a filter which learns nothing from them; others keep half of them to
            learn from.
        attacks: In the order of the configuration.
        absent: Attackers that cannot attack it.
    """

    model: str
    loss: str
    n_dim: int
    weights_sha256: str
    accuracy: float
    calibration: int
    attacks: tuple[BoardAttack, ...]
    absent: tuple[Absent, ...]

    @property
    def filters(self) -> list[str]:
        """Keys of the filters that were tried on it, none first."""
        return list(dict.fromkeys(cell.filter for attack in self.attacks for cell in attack.cells))

    @property
    def density(self) -> str:
        """Key of the filter whose T those who know one know."""
        return self.filters[1]

    def attack(self, attacker: str, choice: str) -> BoardAttack | None:
        """A row; None if it is empty."""
        return next((a for a in self.attacks if (a.attacker, a.choice) == (attacker, choice)), None)


@dataclass(frozen=True)
class Board:
    """What `measure_board` found.

    Attributes:
        dataset, split, split_sha256: Clean images.
        config: The setting.
        definition: Of attack success.
        attack_revision: `lgm.config.ATTACK_REVISION`.
        made, machine, versions, seconds: When, where, with what, and how long it took.
        networks: Each network.
    """

    dataset: str
    split: str
    split_sha256: str
    config: BoardConfig
    definition: str
    attack_revision: int
    made: str
    machine: str
    versions: dict[str, str]
    seconds: float
    networks: tuple[BoardNetwork, ...]

    def network_of(self, weights_sha256: str) -> BoardNetwork | None:
        """The network of these weights; None if it is not on the board."""
        return next((each for each in self.networks if each.weights_sha256 == weights_sha256), None)

    @property
    def heads(self) -> dict[str, str]:
        """Titles of the heads by key."""
        return HEAD_TITLES


def board_table(board: Board) -> str:
    """Attack success for people: a table for each network, budget and head, at the rate that attackers aim at."""
    return "\n".join(_lines(board))


def _lines(board: Board) -> Iterator[str]:
    config = board.config
    yield f"{board.dataset}, {board.split}: {config.trials} attacks a row; success is the {board.definition}"
    for network in board.networks:
        for poisons, clean in config.budgets:
            for head, title in HEAD_TITLES.items():
                yield ""
                yield f"{network.model}: {poisons} poisons, {clean} clean images a class, head: {title}"
                yield f"{'attacker, targets':<22}{'untouched':>10}" + "".join(f"{name:>12}" for name in network.filters)
                for attack in network.attacks:
                    cells = [attack.cell((poisons, clean), name, config.aim, head) for name in network.filters]
                    untouched = attack.control((poisons, clean), head).untouched_bases
                    line = f"{attack.attacker + ', ' + attack.choice:<22}{_percent(untouched):>10}"
                    yield line + "".join(f"{_percent(cell.attack_success if cell else None):>12}" for cell in cells)
        for absent in network.absent:
            yield f"{absent.attacker}: {absent.why}"
    yield ""
    yield f"Filters at {100 * config.aim:g} % FPR; the file has all rates and intervals."
    used = {cell.filter for network in board.networks for attack in network.attacks for cell in attack.cells}
    yield from (f"  {name:<12}{title}" for name, title in FILTERS.items() if name in used)
    yield from (f"  {name:<12}{title}" for name, title in ATTACKERS.items() if name in config.attackers)
    yield from (f"  {name:<12}target: {title}" for name, title in CHOICES.items() if name in config.choices)


def _percent(share: Estimate | None) -> str:
    return percent_text(share.value if share else None, 0)


def read_board(dataset: str) -> Board | None:
    """The board that is shipped with a dataset's networks; None if there is none.

    Raises:
        CheckpointError: the file does not read, or holds other fields than a `Board` has.
    """
    return read_record(SHIPPED / f"{dataset}.board.json", Board, "a board")


def stored_network(dataset: str, weights_sha256: str) -> BoardNetwork | None:
    """What the shipped board has of a network; None if it is not on it, or the attack has changed since.

    Raises:
        CheckpointError: see `read_board`.
    """
    board = read_board(dataset)
    return None if board is None or outdated(board.attack_revision) else board.network_of(weights_sha256)
