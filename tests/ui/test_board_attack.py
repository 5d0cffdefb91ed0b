"""An attack of a cell, drawn again."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lgm.experiments.board.config import BoardConfig
from lgm.experiments.board.replay import replay
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.stored import StoredAttack
from lgm.models.checkpoint import load_checkpoint
from lgm.plots.fine_tuning import decision_plane
from ui.board_attack import scene_of, seen_of, shown_of


@pytest.mark.parametrize(("head", "classes"), [("logistic", 2), ("all-logistic", 10)])
def test_many_features_are_seen_along_the_line_between_the_two_classes(
    tiny_wide: Path, rng: np.random.Generator, head: str, classes: int
) -> None:
    model, _ = load_checkpoint(tiny_wide)
    labels = np.repeat(np.arange(10), 60)
    z = rng.normal(size=(10, 5)).astype(np.float32)[labels] + rng.normal(0, 0.1, (600, 5)).astype(np.float32)
    config = replace(BoardConfig(), budgets=((4, 6),), trials=2, fprs=(0.2,), aim=0.2)
    setting = Setting(model, labels, z, config)
    targets = np.array([trial.target for trial in setting.trials])
    nothing = np.zeros((2, 4), np.float32), np.zeros((4, 1, 28, 28), np.uint8)
    stored = StoredAttack(targets, np.repeat(z[targets][:, None], 4, axis=1), *nothing)
    found = replay(setting, stored, budget=(4, 6), filter="none", fpr=0.0, head=head, trial=0)
    scene = scene_of(found, "wide", setting.scale)
    assert len(scene.clean) == 6 * classes
    seen, trial = seen_of(scene), found.trial
    own = (z[trial.clean][labels[trial.clean] == k].mean(0) for k in (trial.base_class, trial.target_class))
    (base, target) = seen(np.stack([*own]))
    assert base[1] == pytest.approx(target[1], abs=1e-5), "they differ along the first axis alone"
    plane: Any = decision_plane(scene, shown_of(found, scene), "unfiltered", seen, tuple("0123456789"))
    assert f"<b>taken for {found.predicted.unfiltered}</b>" in [note.text for note in plane.layout.annotations]
