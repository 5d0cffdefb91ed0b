"""Which of the trusted examples teach a score, and which calibrate its threshold."""

import numpy as np


def calibration_split(labels: np.ndarray, share: float, random_state: int | None = 0) -> np.ndarray:
    """A stratified split: (M,) bool, true for those that calibrate.

    Of each class its share, at random; one example at least stays to learn from, so a class of one calibrates nothing.

    Args:
        labels: (M,) classes.
        share: Of the examples that calibrate, in (0, 1).
        random_state: Seed, as scikit-learn has it.
    """
    from sklearn.utils import check_random_state  # scikit-learn takes a second

    random = check_random_state(random_state)
    calibrates = np.zeros(len(labels), bool)
    for k in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == k))
        calibrates[mine[: min(round(share * len(mine)), len(mine) - 1)]] = True
    return calibrates
