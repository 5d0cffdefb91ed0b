"""What each attacker of the board wants of its poisons' features, and how it crafts them."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lgm.attacks.bullseye_polytope import craft_bullseye
from lgm.attacks.cache import craft_cached
from lgm.attacks.convex_polytope import craft_convex
from lgm.attacks.edge import edge_of
from lgm.attacks.gradient_matching import craft_gradient_matching
from lgm.attacks.result import Poisons
from lgm.config import MatchingConfig, PoisonConfig
from lgm.data.base import Split
from lgm.defense.finetune import fine_tune
from lgm.defense.trials import Trial
from lgm.experiments.board.config import ATTACKERS
from lgm.experiments.board.setting import Setting, TrialFilters
from lgm.models.linear_head import LinearHead
from lgm.utils.progress import OnStep


def can_attack(attacker: str, setting: Setting) -> str | None:
    """Why an attacker cannot attack a network, in words; None if it can."""
    if not setting.config.choices_of(attacker):
        return "it attacks nearest targets only, which were not asked for"
    if ATTACKERS[attacker].on_surrogate and setting.surrogate is None:
        return "no surrogate was given: a network of the same kind, trained with another seed"
    if attacker == "hinge" and setting.model.head.mixture is None:
        return "the hinge is differentiated through the network's own Gaussians, and a softmax network has none"
    if attacker == "edge-gaussian" and setting.model.head.mixture is None:
        return "a softmax network has no density but the Gaussians fitted afterwards: see edge"
    return None


def goal_of(attacker: str, setting: Setting, own: TrialFilters, target: int) -> np.ndarray:
    """(D,) features that the attacker would give its poisons, if images could have any.

    ``own``: filters of the trial. The hinge is simulated by the edge: it ends there, or inside. Gradient matching wants
    no features.
    """
    features, centre = setting.z[target], class_centre(setting, own.trial)
    if attacker == "mean-shift":
        poisons, clean = setting.config.heaviest
        return centre + (1 + clean / poisons) * (features - centre)
    if not ATTACKERS[attacker].evades:
        return features
    score = own.filters[own.evaded(attacker)]
    return edge_of(
        score.score_samples, centre, features, own.trial.base_class, score.threshold(setting.config.aim_of(attacker))
    )


def goals_of(attacker: str, setting: Setting, own: TrialFilters, trial: Trial) -> np.ndarray:
    """(K, D) float32 features that it would give its poisons: `goal_of` all, but for the convex polytope, one of them.

    That one collides, and the others stay where their bases are.
    """
    goals = np.repeat(goal_of(attacker, setting, own, trial.target)[None], setting.config.poisons, axis=0)
    if attacker == "convex":
        goals[1:] = setting.z[trial.bases[1 : len(goals)]]
    return goals.astype(np.float32)


def _aims_elsewhere(attacker: str) -> bool:
    """Whether at other features than the target's; the hinge moves away from these while it is crafted."""
    return attacker == "mean-shift" or (bool(ATTACKERS[attacker].evades) and attacker != "hinge")


def class_centre(setting: Setting, trial: Trial) -> np.ndarray:
    """(D,) mean features of the base's class, over the held-out images: the attacker has some like them."""
    mine = trial.evaluation[setting.labels[trial.evaluation] == trial.base_class]
    return setting.z[mine].mean(0)


def own_images(setting: Setting, trial: Trial, reserved: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions of clean images of both classes that the attacker fine-tunes on; none is among ``reserved`` ones."""
    free = np.setdiff1d(trial.evaluation, reserved)
    labels, (_, clean) = setting.labels[free], setting.config.heaviest
    own = [rng.permutation(free[labels == k])[:clean] for k in (trial.base_class, trial.target_class)]
    return np.concatenate(own)


def craft(
    attacker: str,
    setting: Setting,
    split: Split,
    trials: list[Trial],
    *,
    cache: Path | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """The poisons of all trials, one trial after another. ``split``: the images of the setting."""
    config, each = setting.config, setting.config.poisons
    bases = np.concatenate([trial.bases for trial in trials])
    targets = np.repeat([trial.target for trial in trials], each)
    how, aims = PoisonConfig(beta=config.beta), {}
    if _aims_elsewhere(attacker):
        filters = setting.trial_filters
        goals = [goal_of(attacker, setting, own, t.target) for own, t in zip(filters, trials, strict=True)]
        aims["goal"] = np.repeat(np.stack(goals), each, axis=0)
    if attacker == "hinge":
        known = np.array([own.filters[own.evaded(attacker)].threshold(config.aim) for own in setting.trial_filters])
        if np.isfinite(known).all():  # a filter that removes nothing needs no evasion
            how = replace(how, gamma=config.gamma, threshold=float(np.median(known)))
            aims["threshold"] = known.repeat(each)
    if attacker == "gradient-matching":
        matching = MATCHING["colour" if setting.model.image_shape[0] == 3 else "grey"]
        known = {"group": each, "heads": [_own_head(setting, trial) for trial in trials]}
        return craft_gradient_matching(setting.model, split[bases], split[targets], matching, **known, on_step=on_step)
    if attacker in _TOGETHER:
        return _TOGETHER[attacker](setting.model, split[bases], split[targets], how, group=each, on_step=on_step)
    return craft_cached(setting.model, split[bases], split[targets], how, folder=cache, on_step=on_step, **aims)


_TOGETHER = {"bullseye": craft_bullseye, "convex": craft_convex}
# Half of the steps of docs/performance.md, "Beside ART", end close to them. Grey images are taken for strokes.
_HALF = MatchingConfig(steps=50)
MATCHING = {"colour": _HALF, "grey": replace(_HALF, eps=0.2)}


def _own_head(setting: Setting, trial: Trial) -> LinearHead:
    """What the attacker takes for the head that somebody begins with who fine-tunes all layers."""
    rng = np.random.default_rng([setting.config.seed, trial.target])
    return fine_tune(setting.images(own_images(setting, trial, np.array([trial.target]), rng)))
