"""Who plays which part in a trial: no image has two, and numbers change nothing that is drawn."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lgm.config import DefenseConfig
from lgm.data.base import Split
from lgm.defense.trials import draw_trials, hold_out, in_play

N_CLASSES = 4
QUICK = DefenseConfig(trials=8, clean=3, poisons=12, seed=2)


def test_a_part_is_held_out(rng: np.random.Generator):
    held_out, others = hold_out(101, 0.25, rng)
    assert len(held_out) == 25
    assert sorted(np.r_[held_out, others]) == list(range(101))
    assert (np.diff(held_out) > 0).all()
    assert not np.array_equal(held_out, hold_out(101, 0.25, rng)[0])


@pytest.mark.parametrize("task", ["two", "all"])
def test_no_image_has_two_parts(task: Any, blobs: Split):
    config = replace(QUICK, task=task, trials=50)
    pairs, calibrations = set(), set()
    for trial in draw_trials(blobs.labels, config):
        assert sorted(np.r_[trial.calibration, trial.fresh]) == list(range(len(blobs)))
        calibrations.add(tuple(trial.calibration))
        used = np.r_[trial.target, trial.bases, trial.clean, trial.evaluation]
        assert len(set(used)) == len(used)
        assert set(used) <= set(trial.fresh), "what calibrates does nothing else"
        assert blobs.labels[trial.target] == trial.target_class != trial.base_class
        assert set(blobs.labels[trial.bases]) == {trial.base_class}
        classes = {trial.base_class, trial.target_class} if task == "two" else set(range(N_CLASSES))
        assert set(used) == set(trial.fresh[np.isin(blobs.labels[trial.fresh], list(classes))])  # nothing is left over
        assert np.unique(blobs.labels[trial.clean], return_counts=True)[1].tolist() == [config.clean] * len(classes)
        pairs.add((trial.base_class, trial.target_class))
    assert len(pairs) == N_CLASSES * (N_CLASSES - 1)
    assert len(calibrations) == 50, "each trial calibrates anew"


def test_chosen_classes_are_those_of_all_trials(blobs: Split):
    for trial in draw_trials(blobs.labels, replace(QUICK, classes=(3, 0))):
        assert (trial.base_class, trial.target_class) == (3, 0)
        assert set(blobs.labels[trial.calibration]) == set(blobs.labels[trial.fresh]) == {0, 3}
    assert in_play(blobs.labels, replace(QUICK, classes=(3, 0), task="all")).tolist() == [0, 1, 2, 3]


def test_bases_and_target_come_from_the_images_that_are_there_and_nothing_else_does(blobs: Split):
    among = np.flatnonzero(np.isin(blobs.labels, (0, 3)))[:9]
    mine = blobs.labels[among]
    count = int((mine == 3).sum())
    config = replace(QUICK, classes=(3, 0), poisons=count, trials=20)
    targets = set()
    for trial in draw_trials(blobs.labels, config, among=among):
        assert sorted(trial.bases) == among[mine == 3].tolist()
        assert trial.target in among[mine == 0]
        others = np.r_[trial.clean, trial.evaluation]
        assert not set(among) & {*others, *trial.calibration, *trial.fresh}
        assert len(others) == len(set(others)) == len(trial.fresh)
        targets.add(trial.target)
    assert len(targets) > 3, "they are drawn"
    few = draw_trials(blobs.labels, replace(config, poisons=1), among=among)[0]
    assert few.bases[0] == draw_trials(blobs.labels, config, among=among)[0].bases[0]
    with pytest.raises(
        ValueError, match=f"expected at most {count} images of class 3 for poisons, as only so many are"
    ):
        draw_trials(blobs.labels, replace(config, poisons=count + 1), among=among)
    with pytest.raises(ValueError, match="expected at most 0 images of class 1 for the target"):
        draw_trials(blobs.labels, replace(config, classes=(3, 1)), among=among)


def test_numbers_do_not_change_what_is_drawn(blobs: Split):
    many = draw_trials(blobs.labels, replace(QUICK, trials=9, poisons=20, clean=15))
    few = draw_trials(blobs.labels, replace(QUICK, trials=4, poisons=5, clean=2))
    for more, less in zip(many, few, strict=False):
        assert less.target == more.target
        np.testing.assert_array_equal(less.calibration, more.calibration)
        np.testing.assert_array_equal(less.bases, more.bases[:5])
        assert set(less.clean) <= set(more.clean)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"classes": (0, 7)}, r"classes: expected two of \[0, 1, 2, 3\], got \[0, 7\]"),
        ({"clean": 100, "poisons": 20}, r"clean, poisons: expected at most \d+ together, .* got 100 and 20"),
    ],
)
def test_trials_that_cannot_be_drawn_are_refused(change: dict[str, Any], message: str, blobs: Split):
    with pytest.raises(ValueError, match=message):
        draw_trials(blobs.labels, replace(QUICK, **change))


def test_one_class_is_not_enough(blobs: Split):
    with pytest.raises(ValueError, match="classes: expected at least two in the data, got 1"):
        draw_trials(blobs.labels[blobs.labels == 1], QUICK)
