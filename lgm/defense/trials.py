"""Trials: independent draws of target, bases, clean images and calibration set.

Each trial draws everything anew, its calibration set included, so that an interval over trials also covers the luck of
the threshold.
"""

from dataclasses import dataclass

import numpy as np

from lgm.config import DefenseConfig


@dataclass(frozen=True)
class Trial:
    """One draw. Positions in the split, no two of them the same.

    Attributes:
        base_class, target_class: What the poisons claim, and what the target is.
        target: The image that the attacker wants to have taken for the base's class.
        bases: (K,) images that become poisons; those for a smaller K come first.
        clean: (n times classes,) D_f, as many of each class of the task.
        evaluation: (E,) all other images of these classes: accuracy is measured on them.
        calibration: (C,) images, of all classes that D_f may have, that calibrate T and do nothing else.
        fresh: (F,) all images of these classes that had no part in calibration: on them the rate of T is measured.
    """

    base_class: int
    target_class: int
    target: int
    bases: np.ndarray
    clean: np.ndarray
    evaluation: np.ndarray
    calibration: np.ndarray
    fresh: np.ndarray


def hold_out(n_images: int, share: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A random share of the positions 0..n-1, and all others, each ascending: both are exchangeable."""
    order = rng.permutation(n_images)
    cut = round(share * n_images)
    return np.sort(order[:cut]), np.sort(order[cut:])


def in_play(labels: np.ndarray, config: DefenseConfig) -> np.ndarray:
    """Classes that D_f may have, ascending."""
    return np.array(sorted(config.classes)) if config.classes and config.task == "two" else np.unique(labels)


def draw_trials(labels: np.ndarray, config: DefenseConfig, *, among: np.ndarray | None = None) -> list[Trial]:
    """Draws that are independent of each other, from the images with these ``labels`` (N,).

    ``among``: positions that bases and targets are drawn from, and nothing else is, where only these images are known
    as pixels; None: any.

    The same seed gives the same trials: their number changes none of them; fewer poisons or clean images are some of
    the same ones.

    Raises:
        ValueError: too few images of a class, or a class that there is not.
    """
    present = np.unique(labels)
    if config.classes and not set(config.classes) <= set(present.tolist()):
        raise ValueError(f"classes: expected two of {present.tolist()}, got {list(config.classes)}")
    if len(present) < 2:
        raise ValueError(f"classes: expected at least two in the data, got {len(present)}")
    children = np.random.SeedSequence(config.seed).spawn(config.trials)
    return [_draw(labels, config, np.random.default_rng(child), among) for child in children]


def _draw(labels: np.ndarray, config: DefenseConfig, rng: np.random.Generator, among: np.ndarray | None) -> Trial:
    classes = in_play(labels, config)
    rest = np.arange(len(labels)) if among is None else np.setdiff1d(np.arange(len(labels)), among)
    calibration, pool = (rest[part] for part in hold_out(len(rest), config.calibration, rng))
    _check_size(labels[pool], classes, config)
    base, target = (int(k) for k in config.classes or rng.choice(np.unique(labels), 2, replace=False))
    shuffled = {int(k): rng.permutation(pool[labels[pool] == k]) for k in np.unique(labels)}
    playing = sorted((base, target)) if config.task == "two" else list(shuffled)
    # D_f is taken from the front, bases and target from the back: how many of the one does not change the other.
    attacking = shuffled if among is None else _attacking(labels, among, (base, target), config, rng)
    taken = {k: 0 if among is not None else config.poisons if k == base else int(k == target) for k in playing}
    return Trial(
        base_class=base,
        target_class=target,
        target=int(attacking[target][-1]),
        bases=attacking[base][::-1][: config.poisons],
        clean=np.concatenate([shuffled[k][: config.clean] for k in playing]),
        evaluation=np.concatenate([shuffled[k][config.clean : len(shuffled[k]) - taken[k]] for k in playing]),
        # The promise is for the images that will be scored.
        calibration=calibration[np.isin(labels[calibration], classes)],
        fresh=pool[np.isin(labels[pool], classes)],
    )


def _attacking(
    labels: np.ndarray, among: np.ndarray, pair: tuple[int, int], config: DefenseConfig, rng: np.random.Generator
) -> dict[int, np.ndarray]:
    """Positions of ``among`` by class, in random order. Raises ValueError unless there are enough of both classes."""
    found = {k: rng.permutation(among[labels[among] == k]) for k in pair}
    for k, needed, role in zip(pair, (max(config.poisons, 1), 1), ("poisons", "the target"), strict=True):
        if len(found[k]) < needed:
            raise ValueError(
                f"classes, poisons: expected at most {len(found[k])} images of class {k} for {role}, as only so many "
                f"are here as pixels, got {needed}"
            )
    return found


def _check_size(labels: np.ndarray, classes: np.ndarray, config: DefenseConfig) -> None:
    smallest = min(int((labels == k).sum()) for k in classes)
    if smallest < config.clean + max(config.poisons, 1) + 1:  # and one to measure accuracy on
        raise ValueError(
            f"clean, poisons: expected at most {smallest - 1} together, as there are {smallest} images of a class "
            f"beside those that calibrate, got {config.clean} and {config.poisons}"
        )
