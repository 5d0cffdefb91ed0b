import json
import re
from dataclasses import FrozenInstanceError, asdict
from importlib import import_module
from typing import Any, get_type_hints

import pytest

import lgm
from lgm.config import BETA_GRID, DefenseConfig, ModelConfig, Phase, PoisonConfig, TrainConfig


def test_defaults_are_the_papers_settings():
    model, poison = ModelConfig(), PoisonConfig()
    assert (model.n_dim, model.margin, model.likelihood_weight, model.covariance) == (2, 1.0, 0.1, "identity")
    assert not model.learn_priors
    assert (poison.beta, poison.iterations) == (8e-3, 1000)


def test_configs_are_frozen_values():
    assert len({PoisonConfig(), PoisonConfig(), PoisonConfig(beta=1.0)}) == 2
    assert len({TrainConfig(), TrainConfig().seeded(1), TrainConfig().seeded(2)}) == 2
    with pytest.raises(FrozenInstanceError):
        PoisonConfig().beta = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelConfig, "loss", "hinge"),
        (ModelConfig, "covariance", "full"),
        (ModelConfig, "n_classes", 1),
        (ModelConfig, "n_classes", 2.5),
        (ModelConfig, "n_dim", 0),
        (ModelConfig, "n_dim", 2.0),
        (ModelConfig, "margin", -0.1),
        (ModelConfig, "margin", float("nan")),
        (ModelConfig, "margin", float("inf")),
        (ModelConfig, "likelihood_weight", -1.0),
        (ModelConfig, "likelihood_weight", 1e300),
        (ModelConfig, "center_radius", float("nan")),
        (ModelConfig, "label_smoothing", float("nan")),
        (ModelConfig, "learn_priors", 1),
        (ModelConfig, "center_radius", -1.0),
        (ModelConfig, "center_order", (0, 1, 2)),
        (ModelConfig, "center_order", (0, 0, 2, 3, 4, 5, 6, 7, 8, 9)),
        (Phase, "init", "warm"),
        (Phase, "epochs", 0),
        (Phase, "batch_size", 0),
        (TrainConfig, "limit", 0),
        (Phase, "lr", 0.0),
        (Phase, "lr", float("inf")),
        (Phase, "center_lr", -1.0),
        (Phase, "weight_decay", -0.1),
        (Phase, "clip_norm", float("nan")),
        (Phase, "warmup", 1.0),
        (Phase, "margin_ramp", 1.1),
        (Phase, "shift", -1),
        (Phase, "seed", 2**31),
        (DefenseConfig, "task", "three"),
        (DefenseConfig, "classes", (1, 1)),
        (DefenseConfig, "classes", (1, 2, 3)),
        (DefenseConfig, "clean", 0),
        (DefenseConfig, "poisons", -1),
        (DefenseConfig, "trials", 1),
        (DefenseConfig, "trials", 10_001),
        (DefenseConfig, "beta", -1.0),
        (DefenseConfig, "beta", float("inf")),
        (DefenseConfig, "gamma", float("nan")),
        (DefenseConfig, "strength", float("inf")),
        (DefenseConfig, "watermark", 1.0),
        (DefenseConfig, "strength", 0.0),
        (DefenseConfig, "density", "guessed"),
        (DefenseConfig, "fpr", 0.0),
        (DefenseConfig, "fpr", float("nan")),
        (DefenseConfig, "calibration", 1.0),
        (DefenseConfig, "seed", -1),
        (PoisonConfig, "beta", -1e-9),
        (PoisonConfig, "beta", float("nan")),
        (PoisonConfig, "iterations", 0),
        (PoisonConfig, "beta", float("inf")),
        (PoisonConfig, "beta", 1e300),
        (PoisonConfig, "gamma", float("inf")),
        (PoisonConfig, "threshold", float("nan")),
        (PoisonConfig, "threshold", float("-inf")),
        (PoisonConfig, "tolerance", float("nan")),
        (PoisonConfig, "tolerance", 1.1),
        (PoisonConfig, "growth", float("inf")),
        (PoisonConfig, "method", "sgd"),
        (PoisonConfig, "growth", 0.9),
        (PoisonConfig, "shrink", 1.0),
        (PoisonConfig, "shrink", 0.0),
        (PoisonConfig, "tolerance", -1.0),
        (PoisonConfig, "patience", 0),
        (PoisonConfig, "batch_size", 0),
    ],
)
def test_bad_value_is_refused_by_name(kind: type, field: str, value: Any):
    with pytest.raises(ValueError, match=rf"^{field}: expected .*, got {re.escape(repr(value))}$"):
        kind(**{field: value})


def test_no_float_may_be_infinite_or_no_number():
    """Of whatever field, also those to come: none of it could be stored as JSON."""
    kinds: tuple[Any, ...] = (ModelConfig, Phase, TrainConfig, PoisonConfig, DefenseConfig)
    for kind in kinds:
        numbers = [name for name, of in get_type_hints(kind).items() if of in (float, float | None)]
        assert numbers or kind.__name__ == "TrainConfig"  # its numbers are those of its phases
        for name in numbers:
            for value in (float("nan"), float("inf"), -float("inf")):
                with pytest.raises(ValueError, match=rf"^{name}: expected .*, got {value!r}$"):
                    kind(**{name: value})


def test_poisons_of_all_trials_fit_into_memory():
    DefenseConfig(poisons=100, trials=10_000)
    with pytest.raises(ValueError, match=r"^poisons, trials: expected a product of at most 1,000,000, got 1010000$"):
        DefenseConfig(poisons=101, trials=10_000)


def test_betas_to_choose_from_rise_and_hold_the_papers():
    assert list(BETA_GRID) == sorted(set(BETA_GRID))
    assert PoisonConfig().beta in BETA_GRID
    assert BETA_GRID[0] > 0


def test_poison_config_goes_to_json():
    config = PoisonConfig(beta=0.5, iterations=3)
    assert PoisonConfig(**json.loads(json.dumps(asdict(config)))) == config


def test_every_public_name_loads():
    for name, module in lgm._HOME.items():
        assert getattr(lgm, name) is getattr(import_module(f"lgm.{module}"), name)
    with pytest.raises(AttributeError, match="no attribute 'defence'"):
        _ = lgm.defence  # type: ignore[attr-defined]
