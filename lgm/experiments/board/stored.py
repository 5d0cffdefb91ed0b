"""What is stored of the attacks behind a board's cells, so that each can be looked at again without images."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from lgm.experiments.board.record import Board
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED
from lgm.utils.files import reason
from lgm.utils.io import write_atomically

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


def read_attack(board: Board, model: str, attacker: str, choice: str) -> StoredAttack | None:
    """That of a row of a shipped board; None if there is none, or the file is another board's.

    Raises:
        CheckpointError: the file does not read.
    """
    path = attacks_path(SHIPPED / f"{board.dataset}.board.json")
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            keys = {name: "/".join((model, attacker, choice, name)) for name in StoredAttack.__annotations__}
            mine = (file.metadata() or {}).get(_OF) == board.fingerprint
            if not (mine and set(keys.values()) <= set(file.keys())):
                return None
            return StoredAttack(**{name: file.get_tensor(key) for name, key in keys.items()})
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: expected the attacks of a board, found {reason(error)}; restore it") from error
