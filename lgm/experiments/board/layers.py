"""All layers of the network fine-tuned on an attack's poisons, beside the heads on its frozen features."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from lgm.data.base import Split
from lgm.defense.trials import Trial
from lgm.experiments.board.cells import TrialOutcomes, cells_of, controls_of, evaluate_trial
from lgm.experiments.board.record import BoardAttack
from lgm.experiments.board.setting import Setting
from lgm.utils.threads import one_thread_if

Attack = tuple[Trial, np.ndarray, np.ndarray]  # with features (K, D) and pixels (K, C, H, W) of its poisons


def with_layers(
    row: BoardAttack, setting: Setting, split: Split, attacks: Sequence[Attack], go_on: Callable[[], bool]
) -> BoardAttack | None:
    """A row with the cells of fine-tuning all layers, in the heaviest budget; None if it was ended.

    Args:
        row: What was measured on frozen features.
        setting: Network and clean images.
        split: The same images as pixels.
        attacks: One a trial.
        go_on: Asked before each trial; False ends it.
    """
    budget, outcomes = setting.config.heaviest_of(row.attacker), list[TrialOutcomes]()
    with one_thread_if(True):  # rows are measured side by side, and more threads would round otherwise
        for own, (trial, z, pixels) in zip(setting.trial_filters, attacks, strict=True):
            if not go_on():
                return None
            labels = np.full(len(z), trial.base_class)
            poisons = replace(setting.examples(z, labels, poisoned=True), pixels=pixels)[: budget[0]]
            outcomes.append(evaluate_trial(setting, own, trial, poisons, budget[1], split=split))
    controls = (*row.controls, *controls_of(budget[1], outcomes))
    return replace(row, controls=controls, cells=(*row.cells, *cells_of(budget, [t for t, *_ in attacks], outcomes)))
