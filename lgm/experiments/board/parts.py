"""The parts of a row: its poisons in every budget before heads of two classes, in the heaviest before those of all."""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from lgm.experiments.board.cells import cells_of, controls_of, evaluate_trial
from lgm.experiments.board.config import ALL_CLASSES, LAYERS
from lgm.experiments.board.record import BoardAttack, Cell, Control
from lgm.experiments.board.setting import Setting, with_target


class Part(NamedTuple):
    """A budget, and whether heads tell all classes apart, or the two of the attack."""

    poisons: int
    clean: int
    all_classes: bool


def with_parts(row: BoardAttack, setting: Setting, targets: Sequence[int], z: np.ndarray) -> BoardAttack:
    """A row with all its parts, in their order, then all layers; those that it has are not evaluated again.

    Args:
        row: With some of them, or none.
        setting: Network and clean images.
        targets: Position of the target, in each of T trials.
        z: (T, K, D) features of the poisons, as the network gives them.
    """
    parts, cells = _parts_of(row.attacker, setting), [*row.cells]
    controls = {(each.clean, each.head): each for each in row.controls}
    there = set(map(_part, cells))
    for part in parts:
        if part not in there:
            more, found = _evaluated(part, setting, targets, z)
            cells += found
            controls = {(each.clean, each.head): each for each in more} | controls
    cells.sort(key=lambda cell: (cell.head == LAYERS, parts.index(_part(cell))))
    order = dict.fromkeys((cell.clean, cell.head) for cell in cells)
    return replace(row, controls=tuple(controls[key] for key in order), cells=tuple(cells))


def _part(cell: Cell) -> Part:
    return Part(cell.poisons, cell.clean, cell.head in ALL_CLASSES)


def _parts_of(attacker: str, setting: Setting) -> list[Part]:
    """What a row of this attacker is evaluated with."""
    config, several = setting.config, len(np.unique(setting.labels)) > 2
    two = [Part(*budget, all_classes=False) for budget in config.budgets_of(attacker)]
    return [*two, Part(*config.heaviest_of(attacker), all_classes=True)] if several else two


def _evaluated(part: Part, setting: Setting, targets: Sequence[int], z: np.ndarray) -> tuple[list[Control], list[Cell]]:
    """The poisons against every defence."""
    drawn = setting.all_classes if part.all_classes else setting.trials
    trials = [with_target(trial, int(target)) for trial, target in zip(drawn, targets, strict=True)]
    outcomes = []
    for own, trial, mine in zip(setting.trial_filters, trials, z, strict=True):
        labels = np.full(part.poisons, trial.base_class)
        poisons = setting.examples(mine[: part.poisons], labels, poisoned=True)
        outcomes.append(evaluate_trial(setting, own, trial, poisons, part.clean, all_classes=part.all_classes))
    controls = list(controls_of(part.clean, outcomes))
    return controls, list(cells_of((part.poisons, part.clean), trials, outcomes))
