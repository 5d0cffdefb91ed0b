"""Measure a board: all rows on all networks, in one process or several."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

from joblib import Parallel, delayed

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.defense.report import ATTACK_SUCCESS
from lgm.experiments.board.attackers import can_attack
from lgm.experiments.board.config import BOARD_REVISION, BoardConfig
from lgm.experiments.board.record import Absent, Board, BoardNetwork
from lgm.experiments.board.rows import Row, measure_row
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import AttackKey, StoredAttack
from lgm.experiments.records import machine
from lgm.models.card import Card
from lgm.models.classifier import Classifier

OnRow = Callable[[str, int, int], bool | None]  # what is next, rows done, rows in all; returning False asks to stop


@dataclass(frozen=True)
class MeasuredBoard:
    """The record, and what is stored of the attacks behind its rows."""

    board: Board
    attacks: dict[AttackKey, StoredAttack]


def measure_board(
    networks: Sequence[tuple[Classifier, Card]],
    split: Split,
    config: BoardConfig,
    *,
    processes: int = 1,
    cache: Path | None = None,
    on_row: OnRow | None = None,
) -> MeasuredBoard | None:
    """Every attacker against every defence, on each network.

    Args:
        networks: Frozen, with their cards; of one dataset.
        split: Clean images that none of them was trained on.
        config: The setting.
        processes: How many rows at a time; the figures are the same.
        cache: Folder for crafted poisons and finished rows: a run that was killed goes on there.
        on_row: Called before each row, which is one attacker with one choice of targets on one network.

    Returns:
        None if the caller stopped it.

    Raises:
        ValueError: too few images of a class, or to calibrate on; see `draw_trials` and `Setting.filters_of`.
    """
    began = time.monotonic()
    settings = [Setting.of_split(model, split, config) for model, _ in networks]
    for setting in settings:
        _ = setting.trial_filters  # what is refused is refused before the first row; and all rows share them
    wanted = [
        (number, attacker, choice)
        for number, setting in enumerate(settings)
        for attacker in config.attackers
        if can_attack(attacker, setting) is None
        for choice in config.choices
    ]
    titles = [f"{networks[number][1].name}: {attacker}, {choice} targets" for number, attacker, choice in wanted]
    work = Parallel(n_jobs=processes, return_as="generator")(
        delayed(measure_row)(settings[number], split, attacker, choice, cache=cache)
        for number, attacker, choice in wanted
    )
    rows = list(_told(work, titles, on_row))
    if len(rows) < len(wanted):
        return None
    found = list(zip(wanted, rows, strict=True))
    board = Board(
        dataset=split.dataset,
        split=split.name,
        split_sha256=split.sha256,
        config=config,
        definition=ATTACK_SUCCESS,
        attack_revision=ATTACK_REVISION,
        board_revision=BOARD_REVISION,
        made=date.today().isoformat(),
        machine=machine(),
        versions={package: version(package) for package in ("torch", "numpy", "scikit-learn")},
        seconds=round(time.monotonic() - began, 1),
        networks=tuple(
            _network(setting, card, [row for (n, _, _), row in found if n == number])
            for number, (setting, (_, card)) in enumerate(zip(settings, networks, strict=True))
        ),
    )
    stored = {(networks[number][1].name, *row): each.stored for (number, *row), each in found}
    return MeasuredBoard(board, stored)


def _told(work: Iterator[Row], titles: Sequence[str], on_row: OnRow | None) -> Iterator[Row]:
    """The rows one after another, until the caller asks to stop."""
    for done, title in enumerate(titles):
        if on_row and on_row(title, done, len(titles)) is False:
            work.close()
            return
        yield next(work)


def _network(setting: Setting, card: Card, rows: Sequence[Row]) -> BoardNetwork:
    reasons = {attacker: can_attack(attacker, setting) for attacker in setting.config.attackers}
    return BoardNetwork(
        model=card.name,
        loss=card.config.model.loss,
        n_dim=card.config.model.n_dim,
        weights_sha256=card.weights_sha256,
        accuracy=float((setting.predicted == setting.labels).mean()),
        calibration=len(setting.trials[0].calibration),
        attacks=tuple(row.attack for row in rows),
        absent=tuple(Absent(attacker, why) for attacker, why in reasons.items() if why),
    )
