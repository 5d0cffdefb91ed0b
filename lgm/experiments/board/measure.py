"""Measure a board: craft for every attacker, then evaluate every defence in every trial."""

import time
from collections.abc import Callable, Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from lgm.attacks.export import rounded
from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.defense.report import ATTACK_SUCCESS
from lgm.experiments.board.attackers import can_attack, craft
from lgm.experiments.board.cells import cells_of, controls_of, evaluate_trial
from lgm.experiments.board.config import KNOWS_T, BoardConfig
from lgm.experiments.board.record import Absent, Board, BoardAttack, BoardNetwork, Cell, Control
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.targets import choose_targets
from lgm.experiments.records import machine
from lgm.models.card import Card
from lgm.models.classifier import Classifier

OnRow = Callable[[str, int, int], None]  # what is next, rows done, rows in all


def measure_board(
    networks: Sequence[tuple[Classifier, Card]],
    split: Split,
    config: BoardConfig,
    *,
    cache: Path | None = None,
    on_row: OnRow | None = None,
) -> Board:
    """Every attacker against every defence, on each network.

    Args:
        networks: Frozen, with their cards; of one dataset.
        split: Clean images that none of them was trained on.
        config: The setting.
        cache: Folder for crafted poisons: a run that was killed goes on there.
        on_row: Called before each row, which is one attacker with one choice of targets on one network.

    Raises:
        ValueError: too few images of a class; see `draw_trials`.
    """
    began = time.monotonic()
    rows = len(config.attackers) * len(config.choices)

    def told(number: int) -> Callable[[str, int], None]:
        name = networks[number][1].name
        return lambda row, done: (
            on_row(f"{name}: {row}", number * rows + done, len(networks) * rows) if on_row else None
        )

    found = [_network(Setting(model, split, config), card, cache, told(i)) for i, (model, card) in enumerate(networks)]
    return Board(
        dataset=split.dataset,
        split=split.name,
        split_sha256=split.sha256,
        config=config,
        definition=ATTACK_SUCCESS,
        attack_revision=ATTACK_REVISION,
        made=date.today().isoformat(),
        machine=machine(),
        versions={package: version(package) for package in ("torch", "numpy", "scikit-learn")},
        seconds=round(time.monotonic() - began, 1),
        networks=tuple(found),
    )


def _network(setting: Setting, card: Card, cache: Path | None, told: Callable[[str, int], None]) -> BoardNetwork:
    config = setting.config
    attacks, absent = [], []
    for i, attacker in enumerate(config.attackers):
        if why := can_attack(attacker, setting):
            absent.append(Absent(attacker, why))
            continue
        for j, choice in enumerate(config.choices):
            told(f"{attacker}, {choice} targets", i * len(config.choices) + j)
            attacks.append(_attack(attacker, choice, setting, cache))
    return BoardNetwork(
        model=card.name,
        loss=card.config.model.loss,
        n_dim=card.config.model.n_dim,
        weights_sha256=card.weights_sha256,
        accuracy=float((setting.predicted == setting.split.labels).mean()),
        calibration=len(setting.trials[0].calibration),
        attacks=tuple(attacks),
        absent=tuple(absent),
    )


def _attack(attacker: str, choice: str, setting: Setting, cache: Path | None) -> BoardAttack:
    config = setting.config
    trials = choose_targets(choice, attacker, setting)
    found = rounded(setting.model, craft(attacker, setting, trials, cache=cache))
    by_trial = np.arange(len(found)).reshape(len(trials), -1)
    labels = found.labels.astype(np.int64)
    controls: dict[int, tuple[Control, ...]] = {}
    cells: list[Cell] = []
    for poisons, clean in config.budgets:
        outcomes = [
            evaluate_trial(
                setting,
                own,
                trial,
                setting.examples(found.z[mine[:poisons]], labels[mine[:poisons]], poisoned=True),
                clean,
            )
            for own, trial, mine in zip(setting.trial_filters, trials, by_trial, strict=True)
        ]
        controls[clean] = tuple(controls_of(clean, outcomes))
        cells += cells_of((poisons, clean), trials, outcomes)
    passing = [
        own.density.score_samples(found.z[mine], labels[mine]) > own.density.threshold(config.aim)
        for own, mine in zip(setting.trial_filters, by_trial, strict=True)
    ]
    return BoardAttack(
        attacker=attacker,
        choice=choice,
        targets=len({trial.target for trial in trials}),
        aims_at=next(iter(setting.trial_filters[0].filters)) if attacker in KNOWS_T else "",
        collided=float(found.collided.mean()),
        passing=float(np.mean(passing)),
        l2=float(np.median(found.l2)),
        linf=float(np.median(found.linf)),
        controls=tuple(each for group in controls.values() for each in group),
        cells=tuple(cells),
    )
