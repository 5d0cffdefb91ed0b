"""Which target an attacker picks: random targets flatter a defence."""

import numpy as np

from lgm.defense.finetune import fine_tune, mix
from lgm.defense.trials import Trial
from lgm.experiments.board.attackers import class_centre, goal_of
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
    some = rng.permutation(candidates)[: setting.config.candidates]
    margins = [_margin(attacker, setting, own, int(target), rng) for target in some]
    return with_target(trial, int(some[int(np.argmax(margins))]))


def _candidates(setting: Setting, trial: Trial) -> np.ndarray:
    free = np.append(trial.evaluation, trial.target)
    mine = free[setting.split.labels[free] == trial.target_class]
    right = mine[setting.predicted[mine] == trial.target_class]
    return np.sort(right) if len(right) else np.array([trial.target])


def _margin(attacker: str, setting: Setting, own: TrialFilters, target: int, rng: np.random.Generator) -> float:
    """By how much the attacker's simulated head prefers the base's class for a target."""
    trial, config = own.trial, setting.config
    poisons, clean = max(config.budgets, key=lambda budget: budget[0] / budget[1])
    labels = setting.split.labels[trial.evaluation]
    images = [rng.choice(trial.evaluation[labels == k], clean) for k in (trial.base_class, trial.target_class)]
    goal = np.repeat(goal_of(attacker, setting, own, target)[None], poisons, axis=0)
    placed = setting.examples(goal, np.full(poisons, trial.base_class), poisoned=True)
    head = fine_tune(mix(setting.images(np.concatenate(images)), placed))
    logits = head.weight @ (setting.z[target] * setting.scale) + head.bias
    base, other = (logits[head.classes == k][0] for k in (trial.base_class, trial.target_class))
    return float(base - other)
