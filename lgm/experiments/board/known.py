"""Rows of an earlier record: a board grows by attackers and networks, and what is there is not measured anew."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.experiments.board.config import BOARD_REVISION, BoardConfig
from lgm.experiments.board.rows import Row, keep_row
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import MeasuredBoard
from lgm.experiments.records import machine, versions
from lgm.models.card import Card
from lgm.utils.fields import require


def take_over(earlier: MeasuredBoard, networks: Sequence[tuple[Setting, Card]], split: Split, cache: Path) -> None:
    """Put the rows of an earlier record where finished rows are kept.

    Args:
        earlier: The record, with its attacks.
        networks: Of the board that it becomes a part of.
        split: Clean images of that board.
        cache: The folder.

    Raises:
        ValueError: a row of the record would not be on that board, or was measured with other images, settings,
            revisions, packages, or on another kind of machine.
    """
    board, mine = earlier.board, {card.weights_sha256: setting for setting, card in networks}
    _require_same("images", board.split_sha256, split.sha256)
    _require_same("revisions", (board.attack_revision, board.board_revision), (ATTACK_REVISION, BOARD_REVISION))
    _require_same("packages", board.versions, versions())
    _require_same("machine", board.machine, machine())
    _require_contained(board.config, networks[0][0].config)
    for network in board.networks:
        setting = mine.get(network.weights_sha256)
        if setting is None:
            raise ValueError(f"models: expected {network.model} of the record to add to among them, got others")
        if network.surrogate_sha256:
            _require_same(f"surrogate of {network.model}", network.surrogate_sha256, setting.surrogate_sha256)
        for attack in network.attacks:
            row = Row(attack, earlier.attacks[network.model, attack.attacker, attack.choice])
            keep_row(row, setting, split, cache)


def _require_contained(earlier: BoardConfig, today: BoardConfig) -> None:
    """The same setting, with all attackers and choices of targets, and maybe others."""
    for name, old, new in (
        ("attackers", earlier.attackers, today.attackers),
        ("choices", earlier.choices, today.choices),
    ):
        require(set(old) <= set(new), name, f"those of the record to add to among them, {', '.join(old)}", new)
    _require_same("setting", earlier, replace(today, attackers=earlier.attackers, choices=earlier.choices))


def _require_same(what: str, got: object, expected: object) -> None:
    require(got == expected, "add-to", f"a record of the same {what}, {expected}", got)
