"""Which target an attacker picks: random targets flatter a defence."""

import numpy as np

from lgm.defense.finetune import fine_tune, mix
from lgm.defense.trials import Trial
from lgm.experiments.board.attackers import class_centre, goal_of, own_images
from lgm.experiments.board.setting import Setting, TrialFilters, with_target


def choose_targets(choice: str, attacker: str, setting: Setting) -> list[Trial]:
    """The trials with the targets that this attacker picks.

    Candidates are images of the target's class that nothing else uses and that the network classifies correctly: of one
    that it gets wrong anyhow, no attack would be needed.

    Args:
        choice: "random": as drawn. "nearest": of all candidates, the one whose rescaled features are nearest to the
            mean of the base's class. "best": of so many at random, the one that a head, fine-tuned on clean images of
            the attacker's own and on poisons exactly where the attacker wants them, takes most confidently for the
            base's class; in the budget with most poisons for a clean image.
        attacker: Key of `ATTACKERS`; what it aims at decides what "best" is.
        setting: Network and data.
    """
    if choice == "random":
        return list(setting.trials)
    return [_chosen(choice, attacker, setting, own) for own in setting.trial_filters]


def _chosen(choice: str, attacker: str, setting: Setting, own: TrialFilters) -> Trial:
    trial = own.trial
    candidates = _candidates(setting, trial)
    if choice == "nearest":
        away = (setting.z[candidates] - class_centre(setting, trial)) * setting.scale
        return with_target(trial, int(candidates[np.linalg.norm(away, axis=1).argmin()]))
    rng = np.random.default_rng([setting.config.seed, trial.target])
    spare = setting.config.heaviest[1]  # the attacker's own images of that class are no candidates
    some = rng.permutation(candidates)[: max(1, min(setting.config.candidates, len(candidates) - spare))]
    if len(some) == 1:
        return with_target(trial, int(some[0]))
    images = own_images(setting, trial, some, rng)
    margins = [_margin(attacker, setting, own, int(target), images) for target in some]
    return with_target(trial, int(some[int(np.argmax(margins))]))


def _candidates(setting: Setting, trial: Trial) -> np.ndarray:
    free = np.append(trial.evaluation, trial.target)
    mine = free[setting.labels[free] == trial.target_class]
    right = mine[setting.predicted[mine] == trial.target_class]
    return np.sort(right) if len(right) else np.array([trial.target])


def _margin(attacker: str, setting: Setting, own: TrialFilters, target: int, images: np.ndarray) -> float:
    """By how much the attacker's simulated head prefers the base's class for a target."""
    trial, (poisons, _) = own.trial, setting.config.heaviest
    goal = np.repeat(goal_of(attacker, setting, own, target)[None], poisons, axis=0)
    placed = setting.examples(goal, np.full(poisons, trial.base_class), poisoned=True)
    head = fine_tune(mix(setting.images(images), placed))
    logits = head.weight @ (setting.z[target] * setting.scale) + head.bias
    base, other = (logits[head.classes == k][0] for k in (trial.base_class, trial.target_class))
    return float(base - other)
