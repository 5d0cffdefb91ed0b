"""Rows of an earlier record: a board grows by attackers, networks and budgets; what is there is not measured anew."""

from collections.abc import Sequence
from dataclasses import replace

from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.experiments.board.config import BOARD_REVISION, BoardConfig
from lgm.experiments.board.rows import Row
from lgm.experiments.board.stored import AttackKey, MeasuredBoard
from lgm.experiments.records import machine, versions
from lgm.models.card import Card
from lgm.models.checkpoint import weights_sha256
from lgm.models.classifier import Classifier
from lgm.utils.fields import require


def rows_of(
    earlier: MeasuredBoard, networks: Sequence[tuple[Card, Classifier | None]], split: Split, config: BoardConfig
) -> dict[AttackKey, Row]:
    """The rows of an earlier record, to be part of another board.

    Args:
        earlier: The record, with its attacks.
        networks: Of that board, each with its surrogate.
        split: Clean images of that board.
        config: Its setting.

    Raises:
        ValueError: a row of the record would not be on that board, or was measured with other images, settings,
            surrogates, revisions, packages, or on another kind of machine.
    """
    board, mine = earlier.board, {card.weights_sha256: (card.name, surrogate) for card, surrogate in networks}
    _require_same("images", board.split_sha256, split.sha256)
    _require_same("revisions", (board.attack_revision, board.board_revision), (ATTACK_REVISION, BOARD_REVISION))
    _require_same("packages", board.versions, versions())
    _require_same("machine", board.machine, machine())
    _require_contained(board.config, config)
    rows = {}
    for network in board.networks:
        if network.weights_sha256 not in mine:
            raise ValueError(f"models: expected {network.model} of the record to add to among them, got others")
        name, surrogate = mine[network.weights_sha256]
        if network.surrogate_sha256 and surrogate is not None:
            its = weights_sha256(surrogate.state_dict())
            _require_same(f"surrogate of {network.model}", network.surrogate_sha256, its)
        for attack in network.attacks:
            row = attack.attacker, attack.choice
            rows[name, *row] = Row(attack, earlier.attacks[network.model, *row])
    return rows


def _require_contained(earlier: BoardConfig, today: BoardConfig) -> None:
    """The same setting, with all attackers, choices of targets and budgets, and maybe others."""
    for name, old, new in (
        ("attackers", earlier.attackers, today.attackers),
        ("choices", earlier.choices, today.choices),
        ("budgets", earlier.budgets, today.budgets),
    ):
        require(
            set(old) <= set(new), name, f"those of the record to add to among them, {', '.join(map(str, old))}", new
        )
    what = f"none above {earlier.poisons} poisons or {earlier.clean} clean images a class, which would be drawn anew"
    drawn = (earlier.poisons, earlier.clean) == (today.poisons, today.clean)
    require(drawn, "budgets", what, today.budgets)
    for attacker in earlier.attackers:
        heaviest = earlier.heaviest_of(attacker)
        what = f"none heavier than {heaviest}, where the record has {attacker} with all classes or all layers"
        require(today.heaviest_of(attacker) == heaviest, "budgets", what, today.budgets)
    grows = {"attackers": earlier.attackers, "choices": earlier.choices, "budgets": earlier.budgets}
    _require_same("setting", earlier, replace(today, **grows))


def _require_same(what: str, got: object, expected: object) -> None:
    require(got == expected, "add-to", f"a record of the same {what}, {expected}", got)
