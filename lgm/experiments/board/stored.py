"""What is stored of the attacks behind a board's cells, so that each can be looked at again without images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lgm.experiments.board.record import Board
from lgm.experiments.records import read_record
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED
from lgm.utils.files import reason
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json
from lgm.utils.outputs import together

_OF = "board"  # metadata: fingerprint of the record
AttackKey = tuple[str, str, str]  # name of the network, attacker, choice of targets


@dataclass(frozen=True)
class StoredAttack:
    """The attacks of one row, T of them with K poisons each.

    Attributes:
        targets: (T,) int32 positions of the targets in the split; all else that a trial draws follows from the seed.
        z: (T, K, D) float32 features of the poisons, as the network gives them.
        l2: (T, K) float32 change to the bases, pixels in [0, 1], after rounding to 8 bits.
        images: (K, C, H, W) uint8 poisons of the first attack.
    """

    targets: np.ndarray
    z: np.ndarray
    l2: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class MeasuredBoard:
    """A record, and what is stored of the attacks behind its rows."""

    board: Board
    attacks: dict[AttackKey, StoredAttack]


def attacks_path(board: Path) -> Path:
    """The file of the attacks beside that of their board."""
    return board.with_suffix(".safetensors")


def write_attacks(attacks: Mapping[AttackKey, StoredAttack], board: Board, path: Path) -> None:
    """Put all attacks of a board into one file, which says whose they are."""
    arrays = {
        "/".join((*key, name)): np.ascontiguousarray(array)
        for key, attack in attacks.items()
        for name, array in vars(attack).items()
    }
    whole = save(arrays, metadata={_OF: board.fingerprint})
    write_atomically(path, lambda part: part.write_bytes(whole))


def write_measured(measured: MeasuredBoard, path: Path) -> None:
    """The record in JSON and, beside it, its attacks; both or neither. Raises SaveError: they cannot be written."""
    with together(path) as place:
        write_attacks(measured.attacks, measured.board, attacks_path(place / path.name))
        (place / path.name).write_text(to_json(measured.board) + "\n", encoding="utf-8")


def read_attack(board: Board, model: str, attacker: str, choice: str) -> StoredAttack | None:
    """That of a row of a shipped board; None if there is none, or the file is another board's.

    Raises:
        CheckpointError: the file does not read.
    """
    path, key = attacks_path(SHIPPED / f"{board.dataset}.board.json"), (model, attacker, choice)
    return _read(path, board, [key]).get(key) if path.is_file() else None


def read_measured(path: Path) -> MeasuredBoard:
    """A record of any place, and all of its attacks.

    Raises:
        CheckpointError: it is not there, does not read, or its attacks are not there, or another board's.
    """
    board = read_record(path, Board, "a board")
    if board is None:
        raise CheckpointError(f"{path}: expected a board, found no such file; measure one: python -m lgm board --help")
    keys = [(net.model, each.attacker, each.choice) for net in board.networks for each in net.attacks]
    attacks = _read(attacks_path(path), board, keys)
    if len(attacks) < len(keys):
        raise CheckpointError(f"{attacks_path(path)}: expected the attacks of {path}, found others; measure it anew")
    return MeasuredBoard(board, attacks)


def _read(path: Path, board: Board, keys: Sequence[AttackKey]) -> dict[AttackKey, StoredAttack]:
    """Those of these rows that a file has; none if it is another board's."""
    found = {}
    try:
        with safe_open(path, framework="numpy") as file:
            if (file.metadata() or {}).get(_OF) != board.fingerprint:
                return {}
            there = set(file.keys())
            for key in keys:
                names = {name: "/".join((*key, name)) for name in StoredAttack.__annotations__}
                if set(names.values()) <= there:
                    found[key] = StoredAttack(**{name: file.get_tensor(full) for name, full in names.items()})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: expected the attacks of a board, found {reason(error)}; restore it") from error
    return found
