import json
import re
from dataclasses import FrozenInstanceError, asdict, replace
from importlib import import_module
from typing import Any, get_type_hints

import numpy as np
import pytest
import torch

import lgm
from lgm.config import BETA_GRID, DefenseConfig, ModelConfig, PoisonConfig, TrainConfig
from lgm.data.base import Split
from lgm.models.classifier import build_model
from lgm.training.loop import fit
from lgm.training.presets import PRESETS


def test_defaults_are_the_papers_settings():
    model, poison = ModelConfig(), PoisonConfig()
    assert (model.n_dim, model.margin, model.likelihood_weight, model.covariance) == (2, 1.0, 0.1, "identity")
    assert not model.learn_priors
    assert (poison.beta, poison.iterations) == (8e-3, 1000)


def test_presets_of_one_network_differ_in_the_loss_alone():
    for network in ("mnist", "tiny", "fashion"):
        ours, theirs = PRESETS[f"{network}-lgm"], PRESETS[f"{network}-softmax"]
        assert ours.model.loss == "lgm"
        assert theirs == replace(ours, model=replace(ours.model, loss="softmax", center_order=()))
    ours, theirs = PRESETS["cifar10-lgm"], PRESETS["cifar10-softmax"]
    longer = ours.warm_start  # before the last phase, in which the Gaussians alone learn
    assert longer is not None and longer.warm_start is not None
    plane = replace(longer.warm_start, model=theirs.model)  # both heads, through both phases in the plane
    assert theirs == replace(longer, model=replace(longer.model, loss="softmax"), warm_start=plane)
    nine = replace(longer.warm_start, model=replace(longer.model, n_dim=9))
    last = PRESETS["cifar10-lgm-9d"]
    assert last.warm_start == nine
    # The layers rest in it, and so do their steps.
    same = replace(last, warm_start=ours.warm_start, model=ours.model, lr=ours.lr)
    assert same == ours, "the last phase is that of the plane"


def test_more_features_than_the_means_span_are_refused_after_a_warm_start():
    """The projection is initialised by ridge regression onto the means: a tenth feature would be 0 for every image."""
    last = PRESETS["cifar10-lgm-9d"]
    with pytest.raises(ValueError, match="n_dim: expected at most 9 after a warm start, for 10 class means, got 10"):
        replace(last, model=replace(last.model, n_dim=10))


@pytest.mark.parametrize("name", PRESETS)
def test_preset_builds_and_takes_a_step(name: str, few: Split):
    config = PRESETS[name]
    model = build_model(config.model, config.seed)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses: list[float] = []
    images = np.resize(few.images, (len(few), *model.image_shape))
    result = fit(
        model,
        Split("some", images, few.labels),
        config,
        on_step=lambda step, total, metrics: losses.append(metrics["loss"]),
        should_stop=lambda: True,
    )
    assert not result.completed
    assert len(losses) == 1
    fixed = {"head.mixture.prior_logits"}  # not learnt in any preset
    if config.model.covariance == "identity":
        fixed.add("head.mixture.log_variance")
    if config.layers == "head":
        fixed |= {key for key in before if not key.startswith("head.")}
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (key in fixed), key


@pytest.mark.parametrize("name", PRESETS)
def test_train_config_survives_json(name: str):
    config = replace(PRESETS[name], limit=7, seed=3)
    values = json.loads(json.dumps(config.to_dict()))
    assert values == config.to_dict(), "a state on disk would not be known again"
    assert TrainConfig.from_dict(values) == config


def test_cards_from_before_there_were_datasets_are_of_mnist():
    values = TrainConfig().to_dict()
    del values["dataset"]
    assert TrainConfig.from_dict(values).dataset == "mnist"


def test_cards_from_before_the_class_order_still_read():
    values = TrainConfig().to_dict()
    del values["model"]["center_order"]
    assert TrainConfig.from_dict(values) == TrainConfig()


def test_the_phases_of_a_warm_start_are_of_the_same_network():
    first = TrainConfig(model=ModelConfig(network="tiny-cnn"))
    third = replace(first, warm_start=replace(first, warm_start=first))
    assert TrainConfig.from_dict(json.loads(json.dumps(third.to_dict()))) == third
    with pytest.raises(ValueError, match=r"^warm_start: expected the same network \(mnist-cnn\), got 'tiny-cnn'$"):
        TrainConfig(warm_start=first)


def test_a_head_learns_alone_only_after_a_warm_start_and_from_images_as_they_are():
    first = TrainConfig()
    last = replace(first, warm_start=first, layers="head", shift=0)
    assert TrainConfig.from_dict(json.loads(json.dumps(last.to_dict()))) == last
    with pytest.raises(ValueError, match=r"^layers: expected all without a warm start, got 'head'$"):
        replace(last, warm_start=None)
    for changed in ({"shift": 1}, {"flip": True}, {"small_epochs": 1}):
        with pytest.raises(ValueError, match=r"^layers: expected all where images are moved, mirrored or made smaller"):
            replace(last, **changed)
    with pytest.raises(ValueError, match=r"^layers: expected head or all, got 'none'$"):
        replace(last, layers="none")  # type: ignore[arg-type]


def test_a_seed_is_that_of_all_phases():
    first = TrainConfig()
    third = replace(first, warm_start=replace(first, warm_start=first)).seeded(3)
    assert third.warm_start is not None and third.warm_start.warm_start is not None
    assert {third.seed, third.warm_start.seed, third.warm_start.warm_start.seed} == {3}


def test_epochs_are_counted_over_all_phases():
    first = TrainConfig(epochs=5)
    assert first.all_epochs == 5
    assert replace(first, epochs=3, warm_start=replace(first, epochs=2, warm_start=first)).all_epochs == 10


def test_unknown_fields_are_refused():
    values = TrainConfig().to_dict()
    with pytest.raises(TypeError, match="momentum"):
        TrainConfig.from_dict({**values, "momentum": 0.9})
    with pytest.raises(TypeError, match="depth"):
        TrainConfig.from_dict({**values, "model": {**values["model"], "depth": 3}})


def test_configs_are_frozen_values():
    assert len({PoisonConfig(), PoisonConfig(), PoisonConfig(beta=1.0)}) == 2
    assert len({TrainConfig(), TrainConfig(seed=1), TrainConfig(seed=2)}) == 2
    with pytest.raises(FrozenInstanceError):
        PoisonConfig().beta = 1.0  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        (ModelConfig, "network", "resnet"),
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
        (TrainConfig, "dataset", "svhn"),
        (TrainConfig, "epochs", 0),
        (TrainConfig, "batch_size", 0),
        (TrainConfig, "limit", 0),
        (TrainConfig, "lr", 0.0),
        (TrainConfig, "lr", float("inf")),
        (TrainConfig, "center_lr", -1.0),
        (TrainConfig, "weight_decay", -0.1),
        (TrainConfig, "clip_norm", float("nan")),
        (TrainConfig, "warmup", 1.0),
        (TrainConfig, "margin_ramp", 1.1),
        (TrainConfig, "shift", -1),
        (TrainConfig, "seed", 2**31),
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
    kinds: tuple[Any, ...] = (ModelConfig, TrainConfig, PoisonConfig, DefenseConfig)
    for kind in kinds:
        numbers = [name for name, of in get_type_hints(kind).items() if of in (float, float | None)]
        assert numbers
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
