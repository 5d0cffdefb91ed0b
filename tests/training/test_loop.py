import contextlib
import errno
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from torch import Tensor

from lgm.cli.main import main
from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split, per_class
from lgm.models.card import CheckpointError
from lgm.models.checkpoint import weights_sha256
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.features import Features
from lgm.models.heads import LGMHead
from lgm.models.registry import read_card
from lgm.training.loop import fit
from lgm.training.presets import PRESETS
from lgm.training.run import TrainingError, build_optimizer, lr_factor
from lgm.training.train import train_checkpoint
from lgm.utils.io import SaveError

pytestmark = pytest.mark.slow

# On 200 digits: 4 steps an epoch, the last one smaller.
QUICK = TrainConfig(
    phases=(Phase(model=ModelConfig(network="tiny-cnn"), epochs=2, batch_size=64, lr=5e-3, shift=1),),
    split="bundled-train",
    limit=20,
)

# Killed with no chance to clean up, half-way through the second epoch.
KILLED_IN_MID_EPOCH = """
import os, signal, sys
from pathlib import Path
from lgm.training.presets import PRESETS
from lgm.training.train import train_checkpoint

config = PRESETS["tiny-lgm"]

def kill(step, total, metrics):
    steps_per_epoch = total // config.epochs
    assert steps_per_epoch >= 4
    if step == steps_per_epoch * 3 // 2:
        os.kill(os.getpid(), signal.SIGKILL)

train_checkpoint(config, "tiny-lgm", Path(sys.argv[1]), on_step=kill)
"""


# Ctrl-C in the middle of the second epoch.
INTERRUPTED = """
import os, runpy, signal
from lgm.training.run import Run

step = Run.step

def interrupt(run, x, y, number):
    if run.epoch == 1:
        os.kill(os.getpid(), signal.SIGINT)
    return step(run, x, y, number)

Run.step = interrupt
runpy.run_module("lgm", run_name="__main__")
"""

# Runs one such script after the other, each in a process of its own; what both need is imported once.
BOTH = """
import json, os, sys
import accelerate, torch._dynamo
import lgm.cli.main, lgm.training.train

for code, error, *arguments in json.loads(sys.argv[1]):
    if not (process := os.fork()):
        os.dup2(os.open(error, os.O_WRONLY | os.O_CREAT), 2)
        sys.argv[1:] = arguments
        exec(code)
        sys.exit()
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""


@dataclass
class Ended:
    """A process that did: its exit code, what it said to standard error, and where it saved."""

    returncode: int
    stderr: str
    out: Path


@pytest.fixture(scope="module")
def ended(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """A run that was killed, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("ended")
    killed, interrupted = folder / "killed", folder / "interrupted"
    killed.mkdir()
    scripts = [
        [KILLED_IN_MID_EPOCH, f"{killed}.txt", str(killed)],
        [INTERRUPTED, f"{interrupted}.txt", "train", "tiny-lgm", "--out", str(interrupted)],
    ]
    done = subprocess.run(
        [sys.executable, "-c", BOTH, json.dumps(scripts)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    codes = [int(line) for line in done.stdout.splitlines()]
    return {
        out.name: Ended(code, Path(f"{out}.txt").read_text(), out)
        for code, out in zip(codes, (killed, interrupted), strict=True)
    }


@pytest.fixture(scope="module")
def digits(bundled: Split) -> Split:
    return bundled[per_class(bundled.labels, 0, 20)]


def fresh(config: TrainConfig) -> Classifier:
    return to_device(build_model(config.model, config.phases[-1].seed), "cpu")


def trained(config: TrainConfig, data: Split, **options: Any) -> Classifier:
    """Some runs here are too short to learn anything; that it is said at the end is tested elsewhere."""
    model = fresh(config)
    with contextlib.suppress(TrainingError):
        fit(model, data, config, **options)
    return model


def digest(model: Classifier) -> str:
    return weights_sha256(model.state_dict())


def finished_epochs(state: Path) -> int:
    with safe_open(state, framework="pt") as file:
        return json.loads(file.metadata()["run"])["epoch"]


def stop_at(step: int):
    """`on_step` and `should_stop` that end a run after this many steps."""
    seen: list[int] = []
    return {"on_step": lambda now, total, metrics: seen.append(now), "should_stop": lambda: len(seen) >= step}


def test_killed_run_resumes_to_the_same_weights(
    ended: dict[str, Ended],
    trained: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    killed = ended["killed"]
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    tmp_path = shutil.copytree(killed.out, tmp_path / "out")
    state, lock = tmp_path / "tiny-lgm.resume.safetensors", tmp_path / ".tiny-lgm.safetensors.lock"
    assert sorted(tmp_path.iterdir()) == [lock, state]  # nobody was left to remove the lock, which holds nobody up
    assert finished_epochs(state) == 1
    half = tmp_path / ".tiny-lgm.resume.safetensors.1-1.part"
    half.touch()  # as if it had been killed while it wrote

    command = ["train", "tiny-lgm", "--out", str(tmp_path)]
    before = state.read_bytes()
    assert main(command) == 1
    assert f"{state}: 1 of {PRESETS['tiny-lgm'].epochs} epochs of a stopped run; go on with --resume" in (
        capsys.readouterr().err
    )
    assert main([*command, "--epochs", "2"]) == 1
    assert "of a stopped run of another configuration; choose another --name" in capsys.readouterr().err
    assert state.read_bytes() == before

    assert main(["train", "tiny-lgm", "--out", str(tmp_path), "--resume", "--json"]) == 0
    out, err = capsys.readouterr()
    epochs = [json.loads(line)["epoch"] for line in err.splitlines() if line.startswith("{")]
    first, *others = range(1, PRESETS["tiny-lgm"].epochs + 1)
    assert epochs == others, f"epoch {first} was not taken from the state"
    uninterrupted = read_card(trained("tiny-lgm"))
    assert json.loads(out)["weights_sha256"] == uninterrupted.weights_sha256
    card = read_card(tmp_path / "tiny-lgm.safetensors")
    assert [without_time(record) for record in card.history] == [without_time(r) for r in uninterrupted.history]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"tiny-lgm.{end}" for end in ("features.safetensors", "json", "safetensors")
    ]


def without_time(record: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in record.items() if "seconds" not in key}


@pytest.mark.parametrize("network", ["tiny-cnn", "mnist-cnn"])
def test_stopped_run_resumes_to_the_same_weights(network: str, digits: Split, tmp_path: Path):
    # All that can be learnt is; the memory layout of large kernels must survive as well.
    model = ModelConfig(network=network, covariance="diagonal", learn_priors=True)  # type: ignore[arg-type]
    config = QUICK.with_last(model=model, batch_size=5)
    data = digits[np.arange(0, 200, 20)]
    state = tmp_path / "state.safetensors"
    stopped = fit(fresh(config), data, config, state_path=state, **stop_at(3))
    assert not stopped.completed
    assert len(stopped.history) == finished_epochs(state) == 1
    resumed = trained(config, data, state_path=state, resume=True)
    assert finished_epochs(state) == 2
    assert digest(resumed) == digest(trained(config, data))


def test_stopped_checkpoint_run_leaves_its_state_and_no_model(fresh_home: Path, tmp_path: Path):
    out = tmp_path / "out"
    assert train_checkpoint(QUICK, "some", out, **stop_at(6)) is None
    assert [path.name for path in out.iterdir()] == ["some.resume.safetensors"]
    assert finished_epochs(out / "some.resume.safetensors") == 1


def test_what_a_stopped_run_has_left_is_discarded_only_when_told(fresh_home: Path, tmp_path: Path):
    state = tmp_path / "some.resume.safetensors"
    assert train_checkpoint(QUICK, "some", tmp_path, **stop_at(2)) is None
    assert train_checkpoint(QUICK, "some", tmp_path, **stop_at(6)) is None  # no epoch was finished: nothing is lost
    assert finished_epochs(state) == 1
    with pytest.raises(CheckpointError, match="1 of 2 epochs of a stopped run; go on with --resume, or discard them"):
        train_checkpoint(QUICK, "some", tmp_path, **stop_at(1))
    assert finished_epochs(state) == 1
    assert train_checkpoint(QUICK, "some", tmp_path, force=True, **stop_at(1)) is None
    assert finished_epochs(state) == 0


def test_a_disk_that_fills_up_costs_no_finished_epoch(
    fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    config, out = PRESETS["tiny-lgm"], tmp_path / "out"
    epochs = config.epochs

    def full(*arguments: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr("lgm.models.checkpoint.write_card", full)  # the last of the three files of a model
        with pytest.raises(SaveError) as caught:
            train_checkpoint(config, "some", out)
    state = out / "some.resume.safetensors"
    assert str(caught.value) == (
        f"{out / 'some.safetensors'}: cannot be written (No space left on device); make room, or choose another place; "
        f"{epochs} of {epochs} epochs are kept in {state}, go on with --resume"
    )
    assert list(out.iterdir()) == [state], "a model is saved whole or not at all"
    card = train_checkpoint(config, "some", out, resume=True, should_stop=lambda: pytest.fail("trained again"))
    assert card is not None and len(card.history) == epochs


def test_two_runs_of_one_name_cannot_be_at_once(fresh_home: Path, tmp_path: Path):
    refused: list[str] = []

    def train_the_same() -> None:
        with pytest.raises(SaveError) as caught:
            train_checkpoint(QUICK, "twin", tmp_path, resume=True, force=True)
        refused.append(str(caught.value))

    train_checkpoint(QUICK, "twin", tmp_path, should_stop=lambda: train_the_same() or True)
    assert len(refused) == 1
    assert f"{tmp_path / 'twin.safetensors'}: process {os.getpid()} on " in refused[0]
    assert train_checkpoint(QUICK, "twin", tmp_path, **stop_at(1)) is None, "the lock has ended with the run"


def test_an_interrupted_run_says_what_is_kept(ended: dict[str, Ended]):
    run = ended["interrupted"]
    state = run.out / "tiny-lgm.resume.safetensors"
    assert run.returncode == 130
    epochs = PRESETS["tiny-lgm"].epochs
    assert run.stderr.splitlines()[-1] == (
        f"interrupted; 1 of {epochs} epochs are kept in {state}, go on with --resume"
    )
    assert list(state.parent.iterdir()) == [state]


def test_without_resume_the_old_state_is_replaced(digits: Split, tmp_path: Path):
    state = tmp_path / "state.safetensors"
    fit(fresh(QUICK), digits, QUICK, state_path=state, **stop_at(6))
    assert finished_epochs(state) == 1
    fit(fresh(QUICK), digits, QUICK, state_path=state, **stop_at(1))
    assert finished_epochs(state) == 0


@pytest.fixture
def state_of_a_stopped_run(digits: Split, tmp_path: Path) -> Path:
    state = tmp_path / "state.safetensors"
    fit(fresh(QUICK), digits, QUICK, state_path=state, **stop_at(6))
    return state


def test_state_of_another_run_is_refused(state_of_a_stopped_run: Path, digits: Split):
    before = state_of_a_stopped_run.read_bytes()
    other = QUICK.with_last(lr=1e-3)
    with pytest.raises(CheckpointError, match=rf"{state_of_a_stopped_run}: belongs to a run with another config"):
        fit(fresh(other), digits, other, state_path=state_of_a_stopped_run, resume=True)
    with pytest.raises(CheckpointError, match="belongs to a run with another data"):
        fit(fresh(QUICK), digits[np.arange(199)], QUICK, state_path=state_of_a_stopped_run, resume=True)
    assert state_of_a_stopped_run.read_bytes() == before


@pytest.mark.parametrize("damage", ["empty", "truncated", "foreign", "weights", "optimiser", "history"])
def test_damaged_state_is_refused(damage: str, state_of_a_stopped_run: Path, tiny_lgm: Path, digits: Split):
    path = state_of_a_stopped_run
    content = bytearray(path.read_bytes())
    if damage == "foreign":
        content = bytearray(tiny_lgm.read_bytes())
    elif damage in ("empty", "truncated"):
        content = content[: 0 if damage == "empty" else -100]
    elif damage == "history":
        position = content.index(b'\\"loss\\": ') + len(b'\\"loss\\": ') + 3  # a digit after the point
        content[position] = ord("1") if content[position] != ord("1") else ord("2")
    else:
        with safe_open(path, framework="pt") as file:
            name = "model.backbone.0.weight" if damage == "weights" else "optimizer.0.exp_avg"
            value = file.get_tensor(name).numpy().tobytes()
        content[content.index(value)] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=rf"{path}: expected the state of a training run, found .*; delete it"):
        fit(fresh(QUICK), digits, QUICK, state_path=path, resume=True)
    assert path.read_bytes() == content


def test_place_that_cannot_be_written_fails_before_the_first_step(digits: Split, tmp_path: Path):
    (tmp_path / "file").touch()
    steps: list[int] = []
    with pytest.raises(OSError, match="file"):
        fit(
            fresh(QUICK),
            digits,
            QUICK,
            state_path=tmp_path / "file" / "state.safetensors",
            on_step=lambda step, total, metrics: steps.append(step),
        )
    assert not steps


def test_bad_name_fails_before_anything_is_written(tmp_path: Path):
    with pytest.raises(CheckpointError, match=r"name '\.\./x': expected 1 to 64 letters"):
        train_checkpoint(QUICK, "../x", tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_collapse_is_an_error_and_writes_no_model(fresh_home: Path, tmp_path: Path):
    # All means on one point and the whole margin at once: what the recipe exists to avoid.
    config = QUICK.with_last(margin_ramp=0.0, model=replace(QUICK.model, center_radius=0.0))
    with pytest.raises(TrainingError, match=r"features have collapsed in epoch 1: .*center_radius.*margin_ramp"):
        train_checkpoint(config, "collapsed", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["collapsed.resume.safetensors"]


def test_loss_that_is_no_number_is_an_error(digits: Split):
    config = QUICK.with_last(lr=1e6, clip_norm=1e6)
    with pytest.raises(TrainingError, match=r"epoch 1: the loss is (nan|inf); lower lr \(now 1e\+06\)"):
        fit(fresh(config), digits, config)


def test_learning_nothing_is_an_error(digits: Split):
    config = QUICK.with_last(lr=1e-12, center_lr=1e-12)
    with pytest.raises(TrainingError, match=r"after 2 epochs accuracy is .* hardly better than guessing \(10.0%\)"):
        fit(fresh(config), digits, config)


def test_seed_decides_the_result(digits: Split):
    first, again = trained(QUICK, digits), trained(QUICK, digits)
    assert digest(first) == digest(again)
    other = QUICK.with_last(seed=2)
    assert digest(trained(other, digits)) != digest(first)


def test_global_random_state_is_left_alone(digits: Split):
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].copy()  # type: ignore[union-attr]
    trained(QUICK, digits)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    np.testing.assert_array_equal(np.random.get_state()[1], before[2])  # type: ignore[index]


def test_frozen_parameters_stay_frozen(digits: Split):
    model = fresh(QUICK)
    model.backbone.requires_grad_(False)
    assert isinstance(model.head, LGMHead)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with contextlib.suppress(TrainingError):
        fit(model, digits, QUICK)
    changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"head.mixture.means"}


def test_means_have_a_step_of_their_own_and_no_decay():
    model, phase = fresh(QUICK), QUICK.phases[0]
    network, centers = build_optimizer(model, phase).param_groups
    assert isinstance(model.head, LGMHead)
    assert len(centers["params"]) == 1
    assert centers["params"][0] is model.head.mixture.means
    assert (centers["lr"], centers["weight_decay"]) == (phase.center_lr, 0.0)
    assert (network["lr"], network["weight_decay"]) == (phase.lr, phase.weight_decay)
    assert {id(p) for p in network["params"]} == {id(p) for p in model.backbone.parameters()}
    softmax = QUICK.with_last(model=replace(QUICK.model, loss="softmax"))
    (everything,) = build_optimizer(fresh(softmax), softmax.phases[0]).param_groups
    assert len(everything["params"]) == len(list(fresh(softmax).parameters()))


def test_each_image_is_met_once_an_epoch(digits: Split, monkeypatch: pytest.MonkeyPatch):
    met: list[bytes] = []
    embed = Classifier.embed

    def spy(self: Classifier, x: Tensor) -> Tensor:
        met.extend(image.numpy().tobytes() for image in x)
        return embed(self, x)

    monkeypatch.setattr(Classifier, "embed", spy)
    trained(QUICK.with_last(shift=0), digits)
    expected = sorted(image.numpy().tobytes() for image in digits.pixels())
    assert sorted(met[:200]) == sorted(met[200:]) == expected
    assert met[:200] != met[200:], "both epochs had the same order"


def test_margin_is_ramped_from_nothing(digits: Split, monkeypatch: pytest.MonkeyPatch):
    ramps: list[float] = []
    loss = LGMHead.loss

    def spy(self: LGMHead, z: Tensor, y: Tensor, ramp: float = 1.0) -> Tensor:
        ramps.append(ramp)
        return loss(self, z, y, ramp)

    monkeypatch.setattr(LGMHead, "loss", spy)
    trained(QUICK.with_last(margin_ramp=0.5), digits)  # 8 steps
    assert ramps == pytest.approx([0, 0.25, 0.5, 0.75, 1, 1, 1, 1])


def test_reports_of_steps_and_epochs(digits: Split, few: Split):
    steps: list[tuple[int, int]] = []
    metrics: list[dict[str, float]] = []
    records: list[dict[str, Any]] = []
    seen: list[Features | None] = []

    def on_step(step: int, total: int, now: dict[str, float]) -> None:
        steps.append((step, total))
        metrics.append(now)

    def on_epoch(record: dict[str, Any], features: Features | None) -> None:
        records.append(record)
        seen.append(features)

    model = fresh(QUICK)
    result = fit(model, digits, QUICK, validation=few, on_step=on_step, on_epoch=on_epoch)
    assert result.completed
    assert result.history == records
    assert steps == [(step, 8) for step in range(1, 9)]
    assert [now["epoch"] for now in metrics] == [1, 1, 1, 1, 2, 2, 2, 2]
    for record, last in zip(records, (metrics[3], metrics[7]), strict=True):
        for key in ("epoch", "loss", "accuracy", "closest_centers"):
            assert record[key] == last[key]
    features = seen[-1]
    assert features is not None
    with torch.no_grad():
        predicted = model(few.pixels()).argmax(-1).numpy()
    np.testing.assert_array_equal(features.predicted, predicted)
    assert records[-1]["validation_accuracy"] == (predicted == few.labels).mean()


def test_learning_rate_rises_and_falls_in_straight_lines():
    warmup = 0.2
    rise = [lr_factor(progress, warmup) for progress in (0.0, 0.05, 0.1, 0.15)]
    assert 0 < rise[0] < 0.01  # a first step of 0 would be lost
    np.testing.assert_allclose(np.diff(rise), 0.25)
    fall = [lr_factor(progress, warmup) for progress in (0.2, 0.4, 0.6, 0.8, 1.0)]
    np.testing.assert_allclose(fall, [1, 0.75, 0.5, 0.25, 0], atol=1e-12)
    assert lr_factor(0.0, 0.0) == 1


def test_learning_rate_reaches_the_optimiser(digits: Split, monkeypatch: pytest.MonkeyPatch):
    rates: list[list[float]] = []
    step = torch.optim.AdamW.step

    def spy(self: torch.optim.AdamW, *args: Any) -> Any:
        rates.append([group["lr"] for group in self.param_groups])
        return step(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    config = QUICK.with_last(warmup=0.25)
    trained(config, digits)
    expected = [
        [lr * lr_factor(i / 8, 0.25) for lr in (config.phases[0].lr, config.phases[0].center_lr)] for i in range(8)
    ]
    np.testing.assert_allclose(rates, expected)


def test_bfloat16_trains_as_well(digits: Split, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("lgm.training.run.fast_precision", lambda device: torch.bfloat16)
    softmax = replace(QUICK.model, loss="softmax")  # the LGM loss grows with its margin
    config = QUICK.with_last(model=softmax, epochs=8, batch_size=20)
    model = fresh(config)
    result = fit(model, digits, config)
    assert result.history[-1]["loss"] < 0.8 * result.history[0]["loss"]
    assert {value.dtype for value in model.state_dict().values()} == {torch.float32}
