"""Recipes: what presets say, what phases may follow each other, and recipes on disk, those of earlier versions too."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split, per_class
from lgm.data.registry import load_split
from lgm.models.card import Card, card_of, write_card
from lgm.models.card_schema import FORMAT
from lgm.models.classifier import build_model
from lgm.models.recipe_json import recipe_from_dict, recipe_to_dict, to_nested
from lgm.training.loop import fit
from lgm.training.presets import PRESETS
from lgm.training.state import checksum, phase_path, read_progress, read_state
from lgm.training.train import train_checkpoint

# Of a run by a version that wrote format 1: four phases, 70 steps, on 500 digits. Its card, and the records of its
# states: of two finished phases, and of the last one, stopped after the first of its two epochs.
FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format-1"
WARM = ("warm-31c357b8bc36", "warm-4f5f5257890b")


def old(name: str) -> dict[str, Any]:
    return json.loads((FORMAT_1 / f"{name}.json").read_text())


def through_json(config: TrainConfig) -> TrainConfig:
    return recipe_from_dict(json.loads(json.dumps(recipe_to_dict(config))))


# Presets.


def test_presets_of_one_network_differ_in_the_loss_alone():
    for network in ("mnist", "tiny", "fashion"):
        ours, theirs = PRESETS[f"{network}-lgm"], PRESETS[f"{network}-softmax"]
        assert ours.model.loss == "lgm"
        assert theirs == ours.with_last(model=replace(ours.model, loss="softmax", center_order=()))
    ours, theirs = PRESETS["cifar10-lgm"].phases, PRESETS["cifar10-softmax"].phases
    assert [phase.init for phase in ours] == ["fresh", "continue", "project", "continue", "continue"]
    assert theirs[:2] == ours[:2], "both start from the same features"
    softmax = replace(ours[2].model, loss="softmax")
    assert theirs[2:] == tuple(replace(phase, model=softmax) for phase in ours[2:4]), "the Gaussians alone come after"
    nine = PRESETS["cifar10-lgm-9d"].phases
    assert nine[:2] == ours[:2]
    assert nine[2] == replace(ours[2], model=replace(ours[2].model, n_dim=9))
    # The layers rest in the last phase, and so do their steps.
    assert replace(nine[3], model=ours[4].model, lr=ours[4].lr) == ours[4], "the last phase is that of the plane"


@pytest.mark.parametrize("name", PRESETS)
def test_preset_builds_and_takes_a_step(name: str, few: Split):
    config = PRESETS[name]
    model = build_model(config.model, config.phases[-1].seed)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    losses: list[float] = []
    two = few[per_class(few.labels, 0, 2)]
    images = np.resize(two.images, (len(two), *model.image_shape))
    result = fit(
        model,
        Split("some", images, two.labels),
        config,
        len(config.phases) - 1,
        on_step=lambda step, total, metrics: losses.append(metrics["loss"]),
        should_stop=lambda: True,
    )
    assert not result.completed
    assert len(losses) == 1
    fixed = {"head.mixture.prior_logits"}  # not learnt in any preset
    if config.model.covariance == "identity":
        fixed.add("head.mixture.log_variance")
    if config.phases[-1].layers == "head":
        fixed |= {key for key in before if not key.startswith("head.")}
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]) == (key in fixed), key


# Phases.


def test_a_recipe_begins_with_random_weights_and_nothing_else_does():
    first, last = Phase(), Phase(init="continue")
    with pytest.raises(ValueError, match=r"^init: expected fresh or pretrained in the first phase, got 'continue'$"):
        TrainConfig(phases=(last,))
    with pytest.raises(ValueError, match=r"^init: expected continue or project after another phase, got 'fresh'$"):
        TrainConfig(phases=(first, first))
    with pytest.raises(ValueError, match=r"^phases: expected at least 1, got \(\)$"):
        TrainConfig(phases=())


def test_more_features_than_the_means_span_are_refused_after_a_warm_start():
    """The projection is initialised by ridge regression onto the means: a tenth feature would be 0 for every image."""
    plane = PRESETS["cifar10-lgm-9d"].phases[2]
    with pytest.raises(ValueError, match="n_dim: expected at most 9 after a warm start, for 10 class means, got 10"):
        replace(plane, model=replace(plane.model, n_dim=10))


def test_all_phases_are_of_the_same_network():
    first = TrainConfig(phases=(Phase(model=ModelConfig(network="tiny-cnn")),))
    with pytest.raises(ValueError, match=r"^network: expected 'tiny-cnn' as in the phase before .*, got 'mnist-cnn'$"):
        first.then(init="project", model=ModelConfig())


@pytest.mark.parametrize(
    ("field", "value"), [("loss", "softmax"), ("n_dim", 3), ("center_radius", 4.0), ("center_order", tuple(range(10)))]
)
def test_what_has_no_place_in_a_network_that_is_there_is_refused(field: str, value: Any):
    last = replace(ModelConfig(), **{field: value})
    with pytest.raises(ValueError, match=rf"^{field}: expected .* as in the phase before \(init: continue\), got"):
        TrainConfig().then(model=last)
    assert TrainConfig().then(init="project", model=last).model == last


@pytest.mark.parametrize("changes", [{"margin": 2.0}, {"covariance": "diagonal"}, {"learn_priors": True}])
def test_what_a_network_learns_by_may_change_in_a_phase_that_continues(changes: dict[str, Any]):
    config = TrainConfig().then(model=replace(ModelConfig(), **changes))
    assert [phase.init for phase in through_json(config).phases] == ["fresh", "continue"]


def test_a_head_learns_alone_only_after_a_warm_start_and_from_images_as_they_are():
    last = Phase(init="continue", layers="head", shift=0)
    with pytest.raises(ValueError, match=r"^layers: expected all without a warm start, got 'head'$"):
        replace(last, init="fresh")
    changes: list[dict[str, Any]] = [{"shift": 1}, {"flip": True}, {"small_epochs": 1}]
    for changed in changes:
        with pytest.raises(ValueError, match=r"^layers: expected all where images are moved, mirrored or made smaller"):
            replace(last, **changed)
    with pytest.raises(ValueError, match=r"^layers: expected head or projection or all, got 'none'$"):
        replace(last, layers="none")  # type: ignore[arg-type]


def test_a_seed_is_that_of_all_phases():
    assert [phase.seed for phase in TrainConfig().then().then().seeded(3).phases] == [3, 3, 3]


def test_epochs_are_counted_over_all_phases():
    first = TrainConfig().with_last(epochs=5)
    assert first.epochs == 5
    assert first.then(epochs=2).then(epochs=3).epochs == 10


# On disk.


@pytest.mark.parametrize("name", PRESETS)
def test_a_recipe_survives_json(name: str):
    config = replace(PRESETS[name].seeded(3), limit=7)
    assert through_json(config) == config


def test_unknown_and_missing_fields_are_refused():
    values = recipe_to_dict(TrainConfig())
    (phase,) = values["phases"]
    with pytest.raises(TypeError, match="momentum"):
        recipe_from_dict({**values, "momentum": 0.9})
    with pytest.raises(TypeError, match="momentum"):
        recipe_from_dict({**values, "phases": [{**phase, "momentum": 0.9}]})
    with pytest.raises(TypeError, match="depth"):
        recipe_from_dict({**values, "phases": [{**phase, "model": {**phase["model"], "depth": 3}}]})
    with pytest.raises(KeyError, match="model"):
        recipe_from_dict({"phases": [{}]})


def test_recipes_of_format_1_are_read_with_how_their_phases_begin():
    config = recipe_from_dict(old("card")["config"])
    assert (config.dataset, config.split, config.limit) == ("mnist", "bundled-train", 50)
    told = [(phase.init, phase.model.n_dim, phase.layers, phase.epochs, phase.optimizer) for phase in config.phases]
    assert told == [
        ("fresh", 64, "all", 2, "adamw"),
        ("continue", 64, "all", 1, "adamw"),
        ("project", 2, "all", 2, "sgd"),
        ("continue", 2, "head", 2, "adamw"),
    ]
    assert [phase.model.covariance for phase in config.phases] == [*["identity"] * 3, "diagonal"]
    assert through_json(config) == config


@pytest.mark.parametrize("name", PRESETS)
def test_the_layout_of_format_1_holds_the_recipes_of_its_time(name: str):
    assert recipe_from_dict(json.loads(json.dumps(to_nested(PRESETS[name])))) == replace(
        PRESETS[name], split="train", limit=None
    )


def test_in_format_1_fields_that_are_older_than_others_may_be_missing():
    values = to_nested(TrainConfig())
    del values["dataset"], values["model"]["center_order"], values["warm_start"]
    assert recipe_from_dict(values) == TrainConfig()


@pytest.mark.parametrize("warm_start", ["text", 3, [1], {"model": 1}, {"epochs": 3}])
def test_what_is_no_recipe_in_format_1_is_refused(warm_start: Any):
    with pytest.raises((TypeError, KeyError, ValueError)):
        recipe_from_dict({**to_nested(TrainConfig()), "warm_start": warm_start})
    with pytest.raises(TypeError, match="momentum"):
        recipe_from_dict({**to_nested(TrainConfig()), "momentum": 0.9})


def test_a_card_of_format_1_is_read_and_written_as_one_of_today(tmp_path: Path):
    shutil.copy(FORMAT_1 / "card.json", tmp_path / "old.json")
    card = card_of(tmp_path / "old.safetensors")
    assert card.history == old("card")["history"]
    write_card(card, tmp_path)
    written = json.loads((tmp_path / "old.json").read_text())
    assert written["format"] == FORMAT
    assert len(written["config"]["phases"]) == 4
    assert card_of(tmp_path / "old.safetensors") == card


def names(config: TrainConfig, train: Split) -> list[str]:
    """Of the states of all phases but the last."""
    return [phase_path(config.up_to(number), train, Path()).name for number in range(len(config.phases) - 1)]


def test_the_names_of_shared_phases_are_those_of_format_1(bundled: Split, monkeypatch: pytest.MonkeyPatch):
    train = load_split("bundled-train")[np.arange(4000)]  # whose hash nobody has asked for yet
    digits = train[per_class(train.labels, 0, 50)]
    config = recipe_from_dict(old("card")["config"])
    assert names(config, digits)[:2] == [f"{name}.state.safetensors" for name in WARM]
    monkeypatch.setattr(Split, "sha256", "0" * 64)
    for name, hashes in {  # as a version of that time names them
        "cifar10-lgm": ("54243f0a23af", "423ea69ebe60", "8c2eebc4e9f0", "220204f4cbcf"),
        "cifar10-softmax": ("54243f0a23af", "423ea69ebe60", "b6344deb0867"),
        "cifar10-lgm-9d": ("54243f0a23af", "423ea69ebe60", "61004811d583"),
    }.items():
        assert names(PRESETS[name], train) == [f"warm-{each}.state.safetensors" for each in hashes]


def test_phases_that_format_1_cannot_tell_apart_have_names_of_their_own(few: Split):
    kept = TrainConfig().then(model=replace(ModelConfig(), margin=2.0))
    assert recipe_from_dict(to_nested(kept)).phases != kept.phases
    laid = kept.with_last(init="project")
    assert recipe_from_dict(to_nested(laid)).phases == laid.phases
    assert phase_path(kept, few, Path()) != phase_path(laid, few, Path())


def put_back(state: Path, record: dict[str, Any]) -> None:
    """The same tensors, with the record that the earlier version has written."""
    tensors, run = read_state(state)[0], json.dumps(record)
    state.write_bytes(save(tensors, {"run": run, "sha256": checksum(tensors, run)}))


@pytest.fixture(scope="module")
def whole(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Card | None:
    """Of a run of the recipe of format 1 that nobody stopped."""
    return train_checkpoint(recipe_from_dict(old("card")["config"]), "whole", tmp_path_factory.mktemp("whole"))


@pytest.mark.slow
@pytest.mark.parametrize(("stop_after", "goes_on_at"), [(33, 31), (63, 61)])
def test_a_run_of_format_1_is_resumed_to_the_same_weights(
    stop_after: int, goes_on_at: int, whole: Card | None, fresh_home: Path, tmp_path: Path
):
    config = recipe_from_dict(old("card")["config"])
    steps: list[int] = []
    options: dict[str, Any] = {"on_step": lambda step, *_: steps.append(step)}
    stopped = train_checkpoint(config, "some", tmp_path, **options, should_stop=lambda: len(steps) >= stop_after)
    assert stopped is None and whole is not None
    for path in tmp_path.glob("warm-*"):
        if (name := path.name.removesuffix(".state.safetensors")) in WARM:
            put_back(path, old(name))
        else:
            path.unlink()  # of the third phase, begun: the run goes on from the second's
    if (state := tmp_path / "some.resume.safetensors").exists():
        put_back(state, old("resume"))
        assert str(read_progress(state)) == "6 of 7 epochs"
        assert read_progress(state).config == config
    steps.clear()
    card = train_checkpoint(config, "some", tmp_path, resume=True, **options)
    assert card is not None and steps[0] == goes_on_at
    assert card.weights_sha256 == whole.weights_sha256
    told = [(record["epoch"], record.get("phase")) for record in card.history]
    assert told == [*((epoch, "warm start") for epoch in range(1, 6)), (6, None), (7, None)]
    kept = old("resume" if stop_after == 63 else WARM[1])["history"]
    assert [record["loss"] for record in card.history[: len(kept)]] == [record["loss"] for record in kept]
