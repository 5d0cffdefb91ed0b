"""Poisons kept on disk are the poisons that would be crafted, bit for bit, and serve for nothing else."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import lgm.attacks.cache
from lgm.attacks.cache import craft_cached
from lgm.attacks.craft import craft_poisons
from lgm.config import PoisonConfig
from lgm.data.base import Split
from lgm.models.classifier import Classifier

CONFIG = PoisonConfig(beta=1e-3, batch_size=2)


@pytest.fixture
def pairs(blobs: Split) -> tuple[Split, Split]:
    return blobs[blobs.labels == 0][:7], blobs[blobs.labels == 3][:7]


def test_the_cache_changes_no_bit(gaussian: Classifier, pairs: tuple[Split, Split], tmp_path: Path):
    beta = np.geomspace(1e-4, 1e-2, 7)
    expected = craft_poisons(gaussian, *pairs, CONFIG, beta=beta)
    for _ in range(2):  # crafted, and read
        found = craft_cached(gaussian, *pairs, CONFIG, beta=beta, folder=tmp_path)
        for name, value in vars(expected).items():
            np.testing.assert_array_equal(getattr(found, name), value, err_msg=name)
    assert len(list(tmp_path.iterdir())) == 2, "four of the seven in a file"


def test_what_is_there_is_not_crafted_again(
    gaussian: Classifier, pairs: tuple[Split, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    steps: list[tuple[int, int]] = []

    def stop_after_the_first_file(done: int, total: int) -> bool:
        steps.append((done, total))
        return done <= 4 / 7 * total

    craft_cached(gaussian, *pairs, CONFIG, folder=tmp_path, on_step=stop_after_the_first_file)
    assert len(list(tmp_path.iterdir())) == 1, "what was stopped is not kept"
    crafted: list[int] = []

    def watch(model: Classifier, bases: Split, *rest: Any, **options: Any) -> Any:
        crafted.append(len(bases))
        return craft_poisons(model, bases, *rest, **options)

    monkeypatch.setattr(lgm.attacks.cache, "craft_poisons", watch)
    found = craft_cached(gaussian, *pairs, CONFIG, folder=tmp_path)
    assert crafted == [3]
    np.testing.assert_array_equal(found.base_index, np.arange(7))
    np.testing.assert_array_equal(found.images, craft_poisons(gaussian, *pairs, CONFIG).images)


@pytest.mark.parametrize("change", ["config", "beta", "threshold", "images", "labels", "revision", "scale"])
def test_nothing_else_is_taken_for_it(
    change: str, gaussian: Classifier, pairs: tuple[Split, Split], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    craft_cached(gaussian, *pairs, CONFIG, folder=tmp_path)
    before = set(tmp_path.iterdir())
    bases, targets = pairs
    config = CONFIG
    options: dict[str, Any] = {}
    if change == "config":
        config = replace(CONFIG, tolerance=0.1)
    elif change in ("beta", "threshold"):
        options = {change: np.full(7, CONFIG.beta)}
    elif change == "images":
        bases = replace(bases, images=bases.images[::-1].copy())
    elif change == "labels":
        bases = replace(bases, labels=np.full(7, 1))
    elif change == "revision":
        monkeypatch.setattr(lgm.attacks.cache, "ATTACK_REVISION", -1)
    else:
        gaussian = deepcopy(gaussian)
        gaussian.feature_scale *= 2
    craft_cached(gaussian, bases, targets, config, folder=tmp_path, **options)
    assert len(set(tmp_path.iterdir()) - before) == 2
