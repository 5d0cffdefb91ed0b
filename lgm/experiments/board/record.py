"""The record of a board."""

import hashlib
from dataclasses import dataclass
from functools import cached_property

from lgm.defense.report import attack_success
from lgm.experiments.board.config import (
    BOARD_REVISION,
    FROZEN,
    HEAD_TITLES,
    BoardConfig,
    heaviest,
)
from lgm.experiments.records import outdated, read_record
from lgm.models.registry import SHIPPED
from lgm.stats.intervals import Estimate
from lgm.utils.json import to_json

DROP = 0.05  # of accuracy, that a cell is marked for


@dataclass(frozen=True)
class Cell:
    """One attack against one defence, over all trials.

    Attributes:
        poisons, clean: Poisons, and clean images a class to fine-tune on.
        filter: Key of `FILTERS`.
        fpr: Rate that T is calibrated for; 0 without a filter.
        head: Key of `HEAD_TITLES`.
        n: Attacks that count: the clean control, which has the same head, is right about their targets.
        hits: Attacks that succeed, among these; see `lgm.defense.report.ATTACK_SUCCESS`.
        untouched: The same with the bases as they were in the poisons' place, filtered alike: a filter that removes
            clean images, and any further images of a class, turn targets by themselves.
        both: Those where the poisons and the untouched bases turn the target.
        poisons_removed, clean_removed: Shares of D_p and of D_f that the filter removes, over all trials.
        accuracy: Of the fine-tuned models on held-out clean images, mean over the trials; where nothing is left to
            fine-tune on, 0. Where all layers are fine-tuned, on some 200 of them.
    """

    poisons: int
    clean: int
    filter: str
    fpr: float
    head: str
    n: int
    hits: int
    untouched: int
    both: int
    poisons_removed: float
    clean_removed: float
    accuracy: float

    @property
    def attack_success(self) -> Estimate:
        """Share of ``hits`` with its 95 % interval, over trials."""
        return attack_success(self.hits, self.n)

    @property
    def untouched_bases(self) -> Estimate:
        """Share of ``untouched`` with its 95 % interval, over trials."""
        return attack_success(self.untouched, self.n)


@dataclass(frozen=True)
class Control:
    """The clean control: fine-tuned on D_f as it is.

    Attributes:
        clean, head, accuracy: See `Cell`.
    """

    clean: int
    head: str
    accuracy: float


@dataclass(frozen=True)
class BoardAttack:
    """One attacker with one choice of targets, on one network.

    Attributes:
        attacker, choice: Keys of `ATTACKERS` and `CHOICES`.
        targets: How many different images are targets: where they are chosen, several trials may choose the same.
        aims_at: Filter whose T it knows; "" if it knows of none.
        collided: Share of the poisons that the network takes for the target's class.
        passing: Share of the poisons that pass at the rate that those who know T aim at: the filter that the attacker
            knows of, else the density.
        l2, linf: Medians of the change to the base, pixels in [0, 1], after rounding to 8 bits.
        ssim: Median of the structural similarity to the base; 1 for the base itself.
        controls, cells: What was measured.
    """

    attacker: str
    choice: str
    targets: int
    aims_at: str
    collided: float
    passing: float
    l2: float
    linf: float
    ssim: float
    controls: tuple[Control, ...]
    cells: tuple[Cell, ...]

    def cell(self, budget: tuple[int, int], name: str, fpr: float, head: str) -> Cell | None:
        """That of a filter at a rate, which does not count without a filter; None if there is none."""
        wanted = (*budget, name, head, 0.0 if name == "none" else fpr)
        return next((c for c in self.cells if (c.poisons, c.clean, c.filter, c.head, c.fpr) == wanted), None)

    def drop(self, cell: Cell) -> float:
        """How far accuracy is below the clean control's, by what the filter removes and by poisons that pass it."""
        return self.control(cell.clean, cell.head) - cell.accuracy

    def drops(self, cell: Cell) -> bool:
        """Whether that is more than `DROP`."""
        return self.drop(cell) > DROP

    def control(self, clean: int, head: str) -> float:
        """Accuracy of the clean control."""
        return next(c.accuracy for c in self.controls if (c.clean, c.head) == (clean, head))


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
        surrogate_sha256: Weights of the surrogate of attackers who do not know it; "" if there was none.
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
    surrogate_sha256: str
    accuracy: float
    calibration: int
    attacks: tuple[BoardAttack, ...]
    absent: tuple[Absent, ...]

    @cached_property  # of tens of thousands of cells, and asked for in every sentence
    def filters(self) -> list[str]:
        """Keys of the filters that were tried on it, none first."""
        return list(dict.fromkeys(cell.filter for attack in self.attacks for cell in attack.cells))

    @cached_property
    def heads(self) -> dict[str, str]:
        """Titles of the heads that were tried on it, and of fine-tuning all layers, if that was, by key."""
        tried = {cell.head for attack in self.attacks for cell in attack.cells}
        return {name: title for name, title in HEAD_TITLES.items() if name in tried}

    @cached_property
    def heaviest(self) -> tuple[int, int]:
        """See `lgm.experiments.board.config.heaviest`."""
        return heaviest({(cell.poisons, cell.clean) for attack in self.attacks for cell in attack.cells})

    @property
    def density(self) -> str:
        """Key of the filter whose T those who know one know."""
        return self.filters[1]

    def control(self, clean: int, head: str) -> float:
        """Accuracy of the clean control, mean over all attacks that have it."""
        found = [c.accuracy for attack in self.attacks for c in attack.controls if (c.clean, c.head) == (clean, head)]
        return sum(found) / len(found)

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
        board_revision: `lgm.experiments.board.config.BOARD_REVISION`.
        made, machine, versions: When, where and with what.
        seconds: Of the run that wrote this; rows that it found in a cache took their time before.
        networks: Each network.
    """

    dataset: str
    split: str
    split_sha256: str
    config: BoardConfig
    definition: str
    attack_revision: int
    board_revision: int
    made: str
    machine: str
    versions: dict[str, str]
    seconds: float
    networks: tuple[BoardNetwork, ...]

    def network_of(self, weights_sha256: str) -> BoardNetwork | None:
        """The network of these weights; None if it is not on the board."""
        return next((each for each in self.networks if each.weights_sha256 == weights_sha256), None)

    def current_network(self, weights_sha256: str) -> BoardNetwork | None:
        """The same, None also if the attack has changed since."""
        return None if self.outdated else self.network_of(weights_sha256)

    @property
    def fingerprint(self) -> str:
        """Hash of what was measured, of what and when: the file of its attacks has the same."""
        weights = [(network.weights_sha256, network.surrogate_sha256) for network in self.networks]
        of = (
            self.config,
            self.split_sha256,
            weights,
            self.attack_revision,
            self.board_revision,
            self.made,
            self.seconds,
        )
        return hashlib.sha256(to_json(of).encode()).hexdigest()

    @property
    def outdated(self) -> str | None:
        """Why this is older than the code that would measure it today; None if it is not."""
        if self.board_revision != BOARD_REVISION:
            return f"made with revision {self.board_revision} of the board, and today's is {BOARD_REVISION}"
        return outdated(self.attack_revision)

    @property
    def known_rates(self) -> list[float]:
        """False-positive rates of the T that attackers know, of those that were measured."""
        attacks = (attack for network in self.networks for attack in network.attacks)
        return sorted({self.config.aim_of(attack.attacker) for attack in attacks if attack.aims_at})

    @property
    def heads(self) -> dict[str, str]:
        """Titles of the heads on frozen features by key; every attacker meets them."""
        return FROZEN


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
    return None if board is None else board.current_network(weights_sha256)
