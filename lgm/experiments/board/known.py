"""Rows of an earlier record: a board grows by attackers, networks and budgets; what is there is not measured anew."""

from collections.abc import Sequence
from dataclasses import replace

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.experiments.board.config import BOARD_REVISION, BoardConfig
from lgm.experiments.board.rows import Row
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import AttackKey, MeasuredBoard
from lgm.experiments.records import machine, versions
from lgm.models.card import Card
from lgm.utils.fields import require


def rows_of(earlier: MeasuredBoard, networks: Sequence[tuple[Setting, Card]], split: Split) -> dict[AttackKey, Row]:
    """The rows of an earlier record.

    Args:
        earlier: The record, with its attacks.
        networks: Of the board that it becomes a part of.
        split: Clean images of that board.

    Raises:
        ValueError: a row of the record would not be on that board, or was measured with other images, settings,
            revisions, packages, or on another kind of machine.
    """
    board, mine = earlier.board, {card.weights_sha256: (setting, card) for setting, card in networks}
    _require_same("images", board.split_sha256, split.sha256)
    _require_same("revisions", (board.attack_revision, board.board_revision), (ATTACK_REVISION, BOARD_REVISION))
    _require_same("packages", board.versions, versions())
    _require_same("machine", board.machine, machine())
    _require_contained(board.config, networks[0][0].config)
    rows = {}
    for network in board.networks:
        if network.weights_sha256 not in mine:
            raise ValueError(f"models: expected {network.model} of the record to add to among them, got others")
        setting, card = mine[network.weights_sha256]
        if network.surrogate_sha256:
            _require_same(f"surrogate of {network.model}", network.surrogate_sha256, setting.surrogate_sha256)
        for attack in network.attacks:
            row = attack.attacker, attack.choice
            rows[card.name, *row] = Row(attack, earlier.attacks[network.model, *row])
    return rows


def _require_contained(earlier: BoardConfig, today: BoardConfig) -> None:
    """The same setting, with all attackers, choices of targets and budgets, and maybe others."""
    for name, old, new in (
        ("attackers", earlier.attackers, today.attackers),
        ("choices", earlier.choices, today.choices),
        ("budgets", earlier.budgets, today.budgets),
    ):
        require(set(old) <= set(new), name, f"those of the record to add to among them, {old}", new)
    poisons, clean, heaviest = _extremes(earlier)
    what = f"none above {poisons} poisons or {clean} clean images a class, nor heavier than {heaviest}, as the record's"
    require(_extremes(today) == _extremes(earlier), "budgets", what, today.budgets)
    grows = {"attackers": earlier.attackers, "choices": earlier.choices, "budgets": earlier.budgets}
    _require_same("setting", earlier, replace(today, **grows))


def _extremes(config: BoardConfig) -> tuple[int, int, tuple[int, int]]:
    """What decides how many poisons are crafted, which images are drawn, and with what all layers are fine-tuned."""
    return config.poisons, config.clean, config.heaviest


def _require_same(what: str, got: object, expected: object) -> None:
    require(got == expected, "add-to", f"a record of the same {what}, {expected}", got)
