"""A row of a board: one attacker with one choice of targets, on one network, against every defence."""

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save

from lgm.attacks.export import rounded
from lgm.attacks.result import Poisons
from lgm.config import ATTACK_REVISION
from lgm.data.base import Split
from lgm.defense.trials import Trial
from lgm.experiments.board.attackers import craft, goals_of
from lgm.experiments.board.config import ATTACKERS, BOARD_REVISION
from lgm.experiments.board.layers import with_layers
from lgm.experiments.board.parts import with_parts
from lgm.experiments.board.record import BoardAttack
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import StoredAttack
from lgm.experiments.board.targets import choose_targets
from lgm.experiments.records import machine, versions
from lgm.models.checkpoint import network_sha256
from lgm.stats.ssim import ssim
from lgm.utils.codec import decode
from lgm.utils.fields import require
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json


@dataclass(frozen=True)
class Row:
    """What was measured, and the attacks themselves."""

    attack: BoardAttack
    stored: StoredAttack


def measure_row(
    setting: Setting,
    split: Split,
    attacker: str,
    choice: str,
    *,
    earlier: Row | None = None,
    simulate: bool = False,
    cache: Path | None = None,
    go_on: Callable[[], bool] = lambda: True,
) -> Row | None:
    """Craft for all trials, then evaluate every defence in each of them.

    Args:
        setting: Network and clean images.
        split: The same images as pixels.
        attacker: Key of `ATTACKERS`.
        choice: Key of `CHOICES`.
        earlier: The row as it was measured, maybe without some of its parts: these are evaluated on the same poisons.
        simulate: Do not craft: features are where the attacker wants them, for one that `Attacker.wants_features`.
        cache: Folder for poisons and rows: a row that is there is read, as ``earlier``, and one that is not is kept.
        go_on: Asked while poisons are crafted, and before each trial of which all layers are fine-tuned; False ends it.

    Returns:
        None if it was ended.
    """
    if simulate:
        return _simulated(setting, attacker, choice)
    unknown = ATTACKERS[attacker].on_surrogate and setting.surrogate is None  # completed only, for there it was known
    path = None if cache is None or unknown else _path(setting, split, (attacker, choice), cache)
    known = _read(path) if path is not None and path.is_file() else earlier
    row = _measured(setting, split, (attacker, choice), cache, go_on) if known is None else _completed(known, setting)
    if path is not None and row is not None and row is not known:
        _write(row, path)
    return row


def _completed(row: Row, setting: Setting) -> Row:
    """With the parts that it lacks; the very row if it lacks none."""
    attack = with_parts(row.attack, setting, row.stored.targets.tolist(), row.stored.z)
    return row if attack == row.attack else replace(row, attack=attack)


def _measured(
    setting: Setting, split: Split, row: tuple[str, str], cache: Path | None, go_on: Callable[[], bool]
) -> Row | None:
    (attacker, choice), going = row, True

    def on_step(done: int, total: int) -> bool:
        nonlocal going
        del done, total
        going = going and go_on()
        return going

    there, known = setting.known_to(attacker)
    trials = choose_targets(choice, there, known)
    crafted = craft(there, known, split, trials, cache=cache, on_step=on_step)
    if not going:
        return None
    wanted = np.repeat([trial.target for trial in trials], setting.config.poisons)
    found = rounded(setting.model, replace(crafted, target_z=setting.z[wanted]))  # it may have been another's
    z = found.z.reshape(len(trials), -1, found.z.shape[1])
    change = {"l2": found.l2, "linf": found.linf, "ssim": ssim(found.bases, found.images)}
    medians = {name: float(np.median(values)) for name, values in change.items()}
    measured = _evaluated(setting, row, trials, z, medians)
    if ATTACKERS[attacker].layers:
        attacks = list(zip(trials, z, found.images.reshape(*z.shape[:2], *found.images.shape[1:]), strict=True))
        with_all = with_layers(measured, setting, split, attacks, go_on)
        if with_all is None:
            return None
        measured = with_all
    return Row(measured, _stored(trials, z, found))


def _simulated(setting: Setting, attacker: str, choice: str) -> Row:
    """With features exactly where the attacker wants them, whether an image can have them or not."""
    require(ATTACKERS[attacker].wants_features, "attackers", "such as want certain features, to be simulated", attacker)
    trials = choose_targets(choice, attacker, setting)
    known = zip(setting.trial_filters, trials, strict=True)
    z = np.stack([goals_of(attacker, setting, own, trial) for own, trial in known])
    unknown = dict.fromkeys(("l2", "linf", "ssim"), math.nan)
    targets = np.array([trial.target for trial in trials], np.int32)
    none = np.full(z.shape[:2], np.nan, np.float32), np.empty((0, *setting.model.image_shape), np.uint8)
    return Row(_evaluated(setting, (attacker, choice), trials, z, unknown), StoredAttack(targets, z, *none))


def _evaluated(
    setting: Setting, row: tuple[str, str], trials: list[Trial], z: np.ndarray, change: dict[str, float]
) -> BoardAttack:
    """Features of poisons, (T, K, D), against every defence; ``change``: medians of l2, linf and ssim."""
    attacker, choice = row
    seen = setting.classes_of(z.reshape(-1, z.shape[-1])).reshape(z.shape[:2])
    about = BoardAttack(
        attacker=attacker,
        choice=choice,
        targets=len({trial.target for trial in trials}),
        aims_at=setting.trial_filters[0].evaded(attacker) if ATTACKERS[attacker].evades else "",
        collided=float((seen == np.array([[trial.target_class] for trial in trials])).mean()),
        passing=_passing(setting, attacker, trials, z),
        **change,
        controls=(),
        cells=(),
    )
    return with_parts(about, setting, [trial.target for trial in trials], z)


def _passing(setting: Setting, attacker: str, trials: list[Trial], z: np.ndarray) -> float:
    """Share of the poisons that pass the filter that their attacker evades, at the rate that it aims at."""
    shares = []
    for own, trial, mine in zip(setting.trial_filters, trials, z, strict=True):
        score = own.filters[own.evaded(attacker)]
        scores = score.score_samples(mine, np.full(len(mine), trial.base_class))
        shares.append((scores > score.threshold(setting.config.aim_of(attacker))).mean())
    return float(np.mean(shares))


def _stored(trials: list[Trial], z: np.ndarray, found: Poisons) -> StoredAttack:
    targets = np.array([trial.target for trial in trials], np.int32)
    images = np.rint(255 * found.images[: z.shape[1]]).astype(np.uint8)
    return StoredAttack(targets, z.astype(np.float32), found.l2.reshape(len(trials), -1).astype(np.float32), images)


def _path(setting: Setting, split: Split, row: tuple[str, str], cache: Path) -> Path:
    """Named by a hash of all that a row depends on."""
    attacker, choice = row
    shared = {name: value for name, value in asdict(setting.config).items() if name not in ("attackers", "choices")}
    known = setting.known_to(attacker)[1]
    asked = {
        "revisions": [ATTACK_REVISION, BOARD_REVISION],
        "machine": [machine(), versions()],
        "network": network_sha256(setting.model),
        "images": split.sha256,
        "row": [attacker, choice],
        "config": shared,
    } | ({} if known is setting else {"surrogate": network_sha256(known.model)})
    digest = hashlib.sha256(to_json(asked, sort_keys=True).encode()).hexdigest()
    return cache / f"row-{digest}.safetensors"


def _write(row: Row, path: Path) -> None:
    arrays = {name: np.ascontiguousarray(array) for name, array in vars(row.stored).items()}
    whole = save(arrays, metadata={"attack": to_json(row.attack)})
    write_atomically(path, lambda part: part.write_bytes(whole))


def _read(path: Path) -> Row:
    with safe_open(path, framework="numpy") as file:
        attack = decode(BoardAttack, json.loads(file.metadata()["attack"]))
        return Row(attack, StoredAttack(**{name: file.get_tensor(name) for name in file.keys()}))  # noqa: SIM118
