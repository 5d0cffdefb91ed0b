"""Training that goes on from the layers of a first phase."""

import json
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from torch import nn

from lgm.cli.main import main
from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split, per_class
from lgm.data.registry import load_split
from lgm.models.card import Card, CheckpointError
from lgm.models.checkpoint import embed_split, load_checkpoint, weights_sha256
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.heads import LGMHead, SoftmaxHead, build_mixture, posterior
from lgm.models.registry import read_card
from lgm.training.loop import fit
from lgm.training.presets import PRESETS
from lgm.training.projection import _RIDGE, copy_layers, init_projection, last_layer
from lgm.training.state import phase_path, read_state
from lgm.training.train import train_checkpoint

pytestmark = pytest.mark.slow

# 500 digits, 10 steps an epoch.
WIDE = TrainConfig(
    phases=(
        Phase(
            model=ModelConfig(network="tiny-cnn", loss="softmax", n_dim=64, label_smoothing=0.1),
            epochs=2,
            batch_size=50,
            lr=5e-3,
            shift=1,
        ),
    ),
    split="bundled-train",
    limit=50,
)
PLANE = Phase(
    init="project",
    model=ModelConfig(network="tiny-cnn", center_radius=5.0, center_order=(0, 6, 4, 9, 7, 1, 2, 3, 5, 8)),
    epochs=2,
    batch_size=50,
    optimizer="sgd",
    lr=0.01,
    center_lr=1e-3,
    shift=1,
    flip=True,
)
LGM = replace(WIDE, phases=(*WIDE.phases, PLANE))
SOFTMAX = LGM.with_last(model=replace(LGM.model, loss="softmax"))
STEPS = 40  # of both phases
AGAIN = WIDE.then(epochs=1, lr=1e-3)  # a warm restart
THREE = replace(AGAIN, phases=(*AGAIN.phases, PLANE))  # phases, of 50 steps
# A last phase of 20 steps in which only the Gaussians learn, and learn their variances.
GAUSSIANS = LGM.then(
    model=replace(LGM.model, covariance="diagonal"),
    layers="head",
    optimizer="adamw",
    center_lr=0.02,
    shift=0,
    flip=False,
)


@pytest.fixture(scope="module")
def digits(bundled: Split) -> Split:
    train = load_split("bundled-train")
    return train[per_class(train.labels, 0, 50)]


@pytest.fixture(scope="module")
def wide(digits: Split) -> Classifier:
    """What the first phase makes."""
    model = to_device(build_model(WIDE.model, 1), "cpu")
    fit(model, digits, WIDE)
    return model


class Watch:
    """Hears all that a run says, and stops it after some steps."""

    def __init__(self, stop_after: int = STEPS + 1) -> None:
        self.steps: list[tuple[int, int]] = []
        self.epochs: list[float] = []
        self.records: list[dict[str, Any]] = []
        self.callbacks: dict[str, Any] = {
            "on_step": self.on_step,
            "on_epoch": lambda record, features: self.records.append(record),
            "should_stop": lambda: len(self.steps) >= stop_after,
        }

    def on_step(self, step: int, total: int, metrics: dict[str, float]) -> None:
        self.steps.append((step, total))
        self.epochs.append(metrics["epoch"])


@dataclass
class Whole:
    """A run that nobody stopped: its folder, its card and who heard of it."""

    out: Path
    card: Card
    watch: Watch

    @classmethod
    def of(cls, config: TrainConfig, out: Path) -> "Whole":
        watch = Watch(stop_after=1000)
        card = train_checkpoint(config, "lgm", out, **watch.callbacks)
        assert card is not None
        return cls(out, card, watch)


@pytest.fixture(scope="module")
def two(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole.of(LGM, tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def uninterrupted(two: Whole) -> Path:
    return two.out


@pytest.fixture(scope="module")
def three(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole.of(THREE, tmp_path_factory.mktemp("three"))


@pytest.fixture(scope="module")
def head_alone(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole.of(GAUSSIANS, tmp_path_factory.mktemp("gaussians"))


def started(source: Classifier, config: TrainConfig, data: Split) -> Classifier:
    model = to_device(build_model(config.model, 1), "cpu")
    copy_layers(model, source)
    init_projection(model, data, config.model)
    return model


def without_time(history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{key: value for key, value in record.items() if "seconds" not in key} for record in history]


# The whole of it.


def test_steps_epochs_and_history_go_on_through_both_phases(two: Whole):
    card, watch = two.card, two.watch
    assert watch.steps == [(step, STEPS) for step in range(1, STEPS + 1)]
    assert watch.epochs == [epoch for epoch in (1, 2, 3, 4) for _ in range(10)]
    assert card.history == watch.records
    assert [(r["epoch"], r.get("phase")) for r in card.history] == [
        (1, "warm start"), (2, "warm start"), (3, None), (4, None)
    ]  # fmt: skip
    assert read_card(two.out / "lgm.safetensors") == card


def test_the_first_phase_is_kept_and_serves_the_next_head(
    uninterrupted: Path, fresh_home: Path, tmp_path: Path, digits: Split
):
    (kept,) = uninterrupted.glob("warm-*")
    assert kept == phase_path(WIDE, digits, uninterrupted)
    assert re.fullmatch(r"warm-[0-9a-f]{12}\.state\.safetensors", kept.name)
    copy = tmp_path / kept.name
    copy.write_bytes(kept.read_bytes())
    watch = Watch()
    card = train_checkpoint(SOFTMAX, "softmax", tmp_path, **watch.callbacks)
    assert card is not None
    assert watch.steps == [(step, STEPS) for step in range(21, STEPS + 1)]
    assert watch.records[0] == {**card.history[1], "kept": kept.name}
    assert watch.records[1:] == card.history[2:]
    assert card.history[:2] == read_card(uninterrupted / "lgm.safetensors").history[:2]
    assert copy.read_bytes() == kept.read_bytes()
    alone = train_checkpoint(SOFTMAX, "softmax", tmp_path / "alone")
    assert alone is not None
    assert card.weights_sha256 == alone.weights_sha256


@pytest.mark.parametrize("stop_after", [13, 27, 35])  # in the first phase; before and after the second's first epoch
def test_stopped_in_either_phase_it_resumes_to_the_same_weights(
    stop_after: int, uninterrupted: Path, fresh_home: Path, tmp_path: Path, digits: Split
):
    watch = Watch(stop_after)
    assert train_checkpoint(LGM, "lgm", tmp_path, **watch.callbacks) is None
    if stop_after > 20:
        phase_path(WIDE, digits, tmp_path).unlink()  # no longer needed
    again = Watch()
    card = train_checkpoint(LGM, "lgm", tmp_path, resume=True, **again.callbacks)
    whole = read_card(uninterrupted / "lgm.safetensors")
    assert card is not None
    assert card.weights_sha256 == whole.weights_sha256
    assert without_time(card.history) == without_time(whole.history)
    assert again.steps == [(step, STEPS) for step in range(stop_after // 10 * 10 + 1, STEPS + 1)]


def test_a_restart_goes_on_from_the_whole_network(wide: Classifier, digits: Split, three: Whole) -> None:
    card, watch = three.card, three.watch
    assert watch.steps == [(step, 50) for step in range(1, 51)]
    assert card.history == watch.records
    assert [r.get("phase") for r in card.history] == ["warm start"] * 3 + [None] * 2
    assert [r["epoch"] for r in card.history] == [1, 2, 3, 4, 5]
    restarted = to_device(build_model(AGAIN.model, 1), "cpu")
    restarted.load_state_dict(wide.state_dict())
    fit(restarted, digits, AGAIN, phase=1)
    kept, _ = read_state(phase_path(AGAIN, digits, three.out))
    for key, value in restarted.state_dict().items():
        assert torch.equal(kept[f"model.{key}"], value), key


def test_a_phase_may_learn_what_was_fixed_before(uninterrupted: Path, fresh_home: Path, tmp_path: Path) -> None:
    """Variances and priors: the plane and the means stay where they are, and nothing is laid anew."""
    shutil.copytree(uninterrupted, tmp_path, dirs_exist_ok=True)
    still = LGM.then(lr=1e-9, center_lr=1e-9, epochs=1)
    free = still.with_last(model=replace(LGM.model, covariance="diagonal", learn_priors=True), center_lr=0.1)
    before = load_checkpoint(tmp_path / "lgm.safetensors")[0].state_dict()
    for config, name, moved in ((still, "still", 0), (free, "free", 3)):
        card = train_checkpoint(config, name, tmp_path)
        assert card is not None and len(card.history) == config.epochs
        after = load_checkpoint(tmp_path / f"{name}.safetensors")[0].state_dict()
        of_head = [key for key in after if key.startswith("head.")]
        assert sum(not torch.allclose(after[key], before[key], atol=1e-4) for key in of_head) == moved
        for key in ("backbone.7.weight", "backbone.7.bias"):
            torch.testing.assert_close(after[key], before[key], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("stop_after", [13, 25, 33, 45])  # in each phase; in the last before and after its first epoch
def test_stopped_in_any_of_three_phases_it_resumes_to_the_same_weights(
    stop_after: int, three: Whole, fresh_home: Path, tmp_path: Path, digits: Split
) -> None:
    assert train_checkpoint(THREE, "lgm", tmp_path, **Watch(stop_after).callbacks) is None
    if stop_after > 20:
        phase_path(WIDE, digits, tmp_path).unlink()  # no longer needed
    again = Watch(51)
    card = train_checkpoint(THREE, "lgm", tmp_path, resume=True, **again.callbacks)
    assert card is not None
    assert card.weights_sha256 == three.card.weights_sha256
    assert without_time(card.history) == without_time(three.card.history)
    assert again.steps == [(step, 50) for step in range(stop_after // 10 * 10 + 1, 51)]


def test_what_another_run_left_is_not_taken_for_the_second_phase(fresh_home: Path, tmp_path: Path):
    left = tmp_path / "lgm.resume.safetensors"
    left.write_bytes(b"of another run")
    with pytest.raises(CheckpointError, match=f"{left}: expected the state of a training run"):
        train_checkpoint(LGM, "lgm", tmp_path)
    assert train_checkpoint(LGM, "lgm", tmp_path, force=True, **Watch(5).callbacks) is None
    assert not left.exists()


def test_other_images_or_another_recipe_are_another_phase(digits: Split, tmp_path: Path):
    paths = {
        phase_path(*of, tmp_path) for of in ((WIDE, digits), (WIDE.seeded(2), digits), (WIDE, digits[np.arange(9)]))
    }
    assert len(paths) == 3


@pytest.mark.parametrize("content", [b"", b"no state"])
def test_a_damaged_first_phase_is_refused(content: bytes, digits: Split, fresh_home: Path, tmp_path: Path):
    path = phase_path(WIDE, digits, tmp_path)
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path}: expected the state of a training run, found .*; delete it"):
        train_checkpoint(LGM, "lgm", tmp_path)
    assert path.read_bytes() == content


def test_a_network_without_a_last_linear_layer_is_refused_before_the_first_phase(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    colour = Split("some", np.zeros((10, 3, 32, 32), np.uint8), np.arange(10))
    monkeypatch.setattr("lgm.training.train.load_split", lambda name, dataset: colour)
    first, last = (replace(phase, model=replace(phase.model, network="vgg19")) for phase in SOFTMAX.phases)
    config = replace(SOFTMAX, phases=(first, replace(last, model=replace(last.model, n_dim=512))))
    with pytest.raises(ValueError, match="expected a network whose last layer is linear, got Flatten"):
        train_checkpoint(config, "none", tmp_path)
    assert not list(tmp_path.glob("*.safetensors"))


def test_from_the_command_line(fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any):
    monkeypatch.setitem(PRESETS, "warm-lgm", LGM)
    monkeypatch.setitem(PRESETS, "warm-softmax", SOFTMAX)
    told = []
    for preset in ("warm-lgm", "warm-softmax"):
        assert main(["train", preset, "--out", str(tmp_path), "--seed", "3", "--json"]) == 0
        out, err = capsys.readouterr()
        assert json.loads(out)["epochs"] == 4
        told.append([json.loads(line) for line in err.splitlines() if line.startswith("{")])
    card = read_card(tmp_path / "warm-softmax.safetensors")
    assert [phase.seed for phase in card.config.phases] == [3, 3]
    assert [record["epoch"] for record in told[0]] == [1, 2, 3, 4]
    assert [(record["epoch"], "kept" in record) for record in told[1]] == [(2, True), (3, False), (4, False)]


def test_where_only_the_head_learns_the_features_stay(uninterrupted: Path, digits: Split, head_alone: Whole):
    card = head_alone.card
    assert card.config == GAUSSIANS
    assert [record["epoch"] for record in card.history] == [1, 2, 3, 4, 5, 6]
    before, after = (load_checkpoint(folder / "lgm.safetensors")[0] for folder in (uninterrupted, head_alone.out))
    assert weights_sha256(before.backbone.state_dict()) == weights_sha256(after.backbone.state_dict())
    z, y = after.embed(digits.pixels()), digits.targets()
    assert isinstance(before.head, LGMHead) and isinstance(after.head, LGMHead)
    assert float(after.head.loss(z, y)) < 0.99 * float(before.head.loss(z, y))
    assert float(after.head.mixture.log_variance.abs().min()) > 0


def test_a_head_that_learns_alone_goes_on_where_it_was_stopped(head_alone: Whole, tmp_path: Path):
    watch = Watch(stop_after=STEPS + 15)
    assert train_checkpoint(GAUSSIANS, "lgm", tmp_path / "cut", **watch.callbacks) is None
    card = train_checkpoint(GAUSSIANS, "lgm", tmp_path / "cut", resume=True)
    assert card == replace(head_alone.card, history=card.history if card else [])


# Its pieces.


def test_layers_that_fit_are_copied_and_no_others(wide: Classifier):
    model = build_model(LGM.model, seed=9)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    copy_layers(model, wide)
    source = wide.state_dict()
    for name, value in model.state_dict().items():
        of_plane = name in ("backbone.7.weight", "backbone.7.bias") or not name.startswith("backbone.")
        assert torch.equal(value, before[name] if of_plane else source[name]), name


def test_nothing_to_copy_is_an_error():
    head = SoftmaxHead(2, 3)
    with pytest.raises(ValueError, match="expected layers of the same names and shapes, found none"):
        copy_layers(Classifier(nn.Sequential(nn.Linear(4, 2)), head), Classifier(nn.Sequential(nn.Linear(4, 5)), head))


def test_what_is_not_linear_has_no_plane():
    head = SoftmaxHead(2, 3)
    for backbone, name in ((nn.Sequential(nn.Linear(4, 2), nn.ReLU()), "ReLU"), (nn.ReLU(), "ReLU")):
        with pytest.raises(ValueError, match=f"last layer is linear, got {name}"):
            last_layer(Classifier(backbone, head))


def test_the_plane_is_that_of_ridge_regression(wide: Classifier, digits: Split):
    model = started(wide, LGM, digits)
    assert isinstance(model.backbone, nn.Sequential)
    with torch.no_grad():
        inputs = model.backbone[:-1](model.normalise(digits.pixels())).double().numpy()
    targets = build_mixture(LGM.model).means.detach().double().numpy()[digits.labels]
    alpha = _RIDGE * inputs.var(0).mean() * len(inputs)
    oracle = Ridge(alpha=alpha).fit(inputs, targets)
    plane = last_layer(model)
    np.testing.assert_allclose(plane.weight.detach().numpy(), oracle.coef_, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(plane.bias.detach().numpy(), oracle.intercept_, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("n_dim", [1, 2, 5, 9])
def test_both_heads_start_from_one_plane_with_one_posterior(n_dim: int, wide: Classifier, digits: Split, few: Split):
    configs = (config.with_last(model=replace(config.model, n_dim=n_dim)) for config in (LGM, SOFTMAX))
    lgm, softmax = (started(wide, config, digits) for config in configs)
    assert isinstance(lgm.head, LGMHead)
    assert weights_sha256(lgm.backbone.state_dict()) == weights_sha256(softmax.backbone.state_dict())
    with torch.no_grad():
        z = lgm.embed(few.pixels())
        torch.testing.assert_close(posterior(softmax.head, z), posterior(lgm.head, z), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("n_dim", "at_least"), [(2, 0.5), (9, 0.75)])
def test_the_plane_sorts_new_digits_before_its_first_step(n_dim: int, at_least: float, wide: Classifier, digits: Split):
    config = LGM.with_last(model=replace(LGM.model, n_dim=n_dim))
    new = embed_split(started(wide, config, digits), load_split("bundled-val"))
    fresh = embed_split(build_model(config.model).eval(), load_split("bundled-val"))
    assert (fresh.predicted == fresh.labels).mean() < 0.3
    assert (new.predicted == new.labels).mean() > at_least


def test_the_plane_is_laid_in_eval_mode_by_few_images_of_each_class():
    """With batch norm the mode matters, and the running statistics must stay."""
    trunk = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, 2))
    model = Classifier(trunk, SoftmaxHead(2, 2)).train()
    rng = np.random.default_rng(0)
    data = Split("some", rng.integers(0, 256, (20, 1, 2, 3), dtype=np.uint8), np.arange(20) % 2)
    config = ModelConfig(loss="softmax", n_classes=2)
    init_projection(model, data, config, per_class=3)
    assert not model.training
    assert int(trunk[1].num_batches_tracked) == 0  # type: ignore[arg-type]
    first = last_layer(model).weight.detach().clone()
    init_projection(model, data[np.arange(6)], config)
    assert torch.equal(last_layer(model).weight, first)
