"""One attack of a cell again, from stored features: what the head decides before, with the poisons, and filtered."""

from dataclasses import dataclass

import numpy as np

from lgm.defense.finetune import Examples, LinearHead, mix
from lgm.defense.heads import HEADS
from lgm.defense.report import ByArm
from lgm.defense.trials import Trial
from lgm.detection.thresholds import is_removed
from lgm.experiments.board.config import ALL_CLASSES, frozen_head
from lgm.experiments.board.setting import Setting, with_target
from lgm.experiments.board.stored import StoredAttack


@dataclass(frozen=True)
class Replay:
    """One attack against one defence.

    Attributes:
        trial: Its classes and images, with the target that the attacker chose.
        clean, poisons: D_f and D_p; features are rescaled.
        removed: (N,) bool, of the clean images followed by the poisons.
        target_z: (D,) rescaled features of the target.
        heads: None where the filter has left nothing to fine-tune on.
        predicted: Classes that the heads see in the target; None without a head.
    """

    trial: Trial
    clean: Examples
    poisons: Examples
    removed: np.ndarray
    target_z: np.ndarray
    heads: ByArm[LinearHead | None]
    predicted: ByArm[int | None]


def replay(
    setting: Setting, attack: StoredAttack, *, budget: tuple[int, int], filter: str, fpr: float, head: str, trial: int
) -> Replay:
    """Attack number ``trial`` of a row against the defence of one of its cells.

    Args:
        setting: The network, and the images that the board was measured on.
        attack: The row's.
        budget: Poisons, and clean images a class.
        filter: Key of `lgm.experiments.board.config.FILTERS`.
        fpr: Rate that T is calibrated for; it does not count without a filter.
        head: Key of `lgm.experiments.board.config.HEAD_TITLES`, on frozen features.
        trial: From 0.

    Raises:
        ValueError: a trial that there is not.
    """
    if not 0 <= trial < len(attack.targets):
        raise ValueError(f"trial: expected 0 to {len(attack.targets) - 1}, got {trial}")
    own = setting.filters_of((setting.all_classes if head in ALL_CLASSES else setting.trials)[trial])
    chosen = with_target(own.trial, int(attack.targets[trial]))
    count, per_class = budget
    clean = setting.images(chosen.clean.reshape(-1, setting.config.clean)[:, :per_class].ravel())
    labels = np.full(count, chosen.base_class)
    poisons = setting.examples(attack.z[trial, :count], labels, poisoned=True)
    mixed = mix(clean, poisons)
    removed = np.zeros(len(mixed), bool)
    if filter != "none":
        score = own.filters[filter]
        removed = is_removed(score.score_samples(mixed.z / setting.scale, mixed.labels), score.threshold(fpr))
    target_z = setting.z[chosen.target] * setting.scale
    heads = ByArm(*(HEADS[frozen_head(head)](each) if len(each) else None for each in (clean, mixed, mixed[~removed])))
    predicted = ByArm(*(None if each is None else int(each(target_z[None])[0]) for each in vars(heads).values()))
    return Replay(chosen, clean, poisons, removed, target_z, heads, predicted)
