"""Measure a board: all rows on all networks, in one process or several."""

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any

from joblib import Parallel, delayed

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.defense.report import ATTACK_SUCCESS
from lgm.experiments.board.attackers import can_attack
from lgm.experiments.board.config import BOARD_REVISION, BoardConfig
from lgm.experiments.board.known import rows_of
from lgm.experiments.board.record import Absent, Board, BoardNetwork
from lgm.experiments.board.rows import Row, measure_row
from lgm.experiments.board.setting import Setting, trials_of
from lgm.experiments.board.stored import MeasuredBoard
from lgm.experiments.records import machine, versions
from lgm.models.card import Card
from lgm.models.classifier import Classifier

_Measure = Callable[..., Row | None]  # `measure_row` for a setting, an attacker and a choice of targets
OnRow = Callable[[str, int, int], bool | None]  # what is next, rows done, rows in all; returning False asks to stop


def measure_board(
    networks: Sequence[tuple[Classifier, Card]],
    split: Split,
    config: BoardConfig,
    *,
    surrogates: Sequence[Classifier | None] = (),
    earlier: MeasuredBoard | None = None,
    simulate: bool = False,
    processes: int = 1,
    cache: Path | None = None,
    on_row: OnRow | None = None,
) -> MeasuredBoard | None:
    """Every attacker against every defence, on each network.

    Args:
        networks: Frozen, with their cards; of one dataset.
        split: Clean images that none of them was trained on.
        config: The setting.
        surrogates: One for each network, for attackers who know neither it nor T; where there is none, these rows are
            empty.
        earlier: A record whose rows are not measured anew, only completed, which takes no surrogate.
        simulate: Poisons are not crafted: features are where attackers want them. Without surrogates.
        processes: How many rows at a time; the figures are the same.
        cache: Folder for crafted poisons and finished rows: a run that was killed goes on there.
        on_row: Called before each row, which is one attacker with one choice of targets on one network; in a single
            process also while its poisons are crafted, and between trials of which all layers are fine-tuned.

    Returns:
        None if the caller stopped it.

    Raises:
        ValueError: too few images of a class, or to calibrate on, see `draw_trials` and `Setting.filters_of`; an
            earlier record that does not fit, see `rows_of`.
    """
    began = time.monotonic()
    others = [*surrogates] or [None] * len(networks)
    cards = [card for _, card in networks]
    # What does not fit and too few images are refused before these are embedded.
    known = {} if earlier is None else rows_of(earlier, list(zip(cards, others, strict=True)), split, config)
    trials_of(split.labels, config)
    settings = [Setting.of_split(m, split, config, other) for (m, _), other in zip(networks, others, strict=True)]
    for setting in settings:
        _ = setting.trial_filters  # what is refused is refused before the first row; and all rows share them
    by_card = list(zip(settings, cards, strict=True))
    tasks = [
        _Task(setting, card.name, attacker, choice, known.get((card.name, attacker, choice)))
        for setting, card in by_card
        for attacker in config.attackers
        for choice in config.choices_of(attacker)
        if can_attack(attacker, setting) is None or (card.name, attacker, choice) in known
    ]
    measure = partial(measure_row, split=split, simulate=simulate, cache=cache)
    measured = _one_by_one if processes == 1 else partial(_in_processes, processes)
    rows = list(measured(tasks, measure, on_row))
    if len(rows) < len(tasks):
        return None
    found = list(zip(tasks, rows, strict=True))
    board = _record(by_card, found, split, time.monotonic() - began)
    if earlier is not None:
        board = _added_to(earlier.board, board)
    return MeasuredBoard(board, {(task.model, task.attacker, task.choice): row.stored for task, row in found})


@dataclass(frozen=True)
class _Task:
    """A row to measure; ``model`` is the network's name, ``earlier`` what an earlier record has of it."""

    setting: Setting
    model: str
    attacker: str
    choice: str
    earlier: Row | None

    @property
    def asked(self) -> dict[str, Any]:
        """Arguments of `measure_row`."""
        names = ("setting", "attacker", "choice", "earlier")
        return {name: getattr(self, name) for name in names}

    def __str__(self) -> str:
        return f"{self.model}: {self.attacker}, {self.choice} targets"


def _one_by_one(tasks: Sequence[_Task], measure: _Measure, on_row: OnRow | None) -> Iterator[Row]:
    """The rows, until the caller asks to stop."""
    for done, task in enumerate(tasks):
        go_on = partial(_asked, on_row, task, done, len(tasks))
        if not go_on():
            return
        row = measure(**task.asked, go_on=go_on)
        if row is None:
            return
        yield row


def _in_processes(count: int, tasks: Sequence[_Task], measure: _Measure, on_row: OnRow | None) -> Iterator[Row]:
    """The same, so many at a time; they are asked to stop between rows only."""
    work: Generator[Row] = Parallel(n_jobs=count, return_as="generator")(
        delayed(measure)(**task.asked) for task in tasks
    )
    for done, task in enumerate(tasks):
        if not _asked(on_row, task, done, len(tasks)):
            work.close()
            return
        yield next(work)


def _asked(on_row: OnRow | None, task: _Task, done: int, total: int) -> bool:
    return on_row is None or on_row(str(task), done, total) is not False


def _record(
    networks: Sequence[tuple[Setting, Card]], found: Sequence[tuple[_Task, Row]], split: Split, seconds: float
) -> Board:
    return Board(
        dataset=split.dataset,
        split=split.name,
        split_sha256=split.sha256,
        config=networks[0][0].config,
        definition=ATTACK_SUCCESS,
        attack_revision=ATTACK_REVISION,
        board_revision=BOARD_REVISION,
        made=date.today().isoformat(),
        machine=machine(),
        versions=versions(),
        seconds=round(seconds, 1),
        networks=tuple(
            _network(setting, card, [row for task, row in found if task.setting is setting])
            for setting, card in networks
        ),
    )


def _added_to(earlier: Board, board: Board) -> Board:
    """With the day of the earlier record, and its surrogates where none were given."""
    surrogates = {network.weights_sha256: network.surrogate_sha256 for network in earlier.networks}
    networks = tuple(
        replace(each, surrogate_sha256=each.surrogate_sha256 or surrogates.get(each.weights_sha256, ""))
        for each in board.networks
    )
    made = board.made if earlier.made == board.made else f"{earlier.made}, added to {board.made}"
    return replace(board, networks=networks, made=made)


def _network(setting: Setting, card: Card, rows: Sequence[Row]) -> BoardNetwork:
    there = {row.attack.attacker for row in rows}
    reasons = {name: can_attack(name, setting) for name in setting.config.attackers if name not in there}
    return BoardNetwork(
        model=card.name,
        loss=card.config.model.loss,
        n_dim=card.config.model.n_dim,
        weights_sha256=card.weights_sha256,
        surrogate_sha256=setting.surrogate_sha256,
        accuracy=float((setting.predicted == setting.labels).mean()),
        calibration=len(setting.trials[0].calibration),
        attacks=tuple(row.attack for row in rows),
        absent=tuple(Absent(attacker, why) for attacker, why in reasons.items() if why),
    )
