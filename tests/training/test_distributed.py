"""Training in several processes comes to what one process comes to.

What differs is the order in which float32 numbers are summed. Rounding grows as training goes on: measured on the tiny
network, losses differ by 1e-7 of themselves after 3 epochs, and by 2e-3 after 8.
"""

import contextlib
import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from lgm.cli.main import main
from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split
from lgm.data.registry import load_split
from lgm.models.checkpoint import weights_sha256
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.registry import read_card
from lgm.training.acceleration import prepare
from lgm.training.loop import fit
from lgm.training.run import TrainingError
from lgm.training.train import train_checkpoint
from lgm.utils.distributed import Team, launched_device
from tests.attacks.test_distributed import run_team
from tests.make_fixtures import FIXTURES

pytestmark = pytest.mark.multiprocess

# 67 digits in batches of 33: nothing divides by two, and of the last batch, a single digit, one process has nothing.
UNEVEN = TrainConfig(
    phases=(
        Phase(
            model=ModelConfig(network="tiny-cnn", covariance="diagonal", learn_priors=True),
            epochs=4,
            batch_size=33,
            optimizer="sgd",
            lr=0.03,
            shift=1,
            flip=True,
        ),
    )
)
WIDE = Phase(model=ModelConfig(network="tiny-cnn", loss="softmax", n_dim=64), epochs=2, batch_size=50)
WARM = TrainConfig(phases=(WIDE,), split="bundled-train", limit=50).then(
    init="project", model=ModelConfig(network="tiny-cnn", n_dim=9, center_radius=5.0)
)
RELATIVE = 1e-4


def fresh(seed: int) -> Classifier:
    return to_device(build_model(UNEVEN.model, seed), "cpu")


def uneven_digits() -> Split:
    return load_split("bundled")[np.arange(0, 5000, 75)]


def train_uneven(model: Classifier, **options: Any) -> bool | None:
    """Whether the run came to its end; too short to learn anything, it then says so by an error."""
    with contextlib.suppress(TrainingError):
        return fit(model, uneven_digits(), UNEVEN, **options).completed
    return None


def losses(history: list[dict[str, Any]]) -> list[float]:
    return [record["loss"] for record in history]


# In each process.


def work() -> None:
    """Stop a run and resume it, train after a warm start, fail in the first process, give two commands; write down what
    was met here.
    """
    folder = Path(sys.argv[1])
    met: dict[str, Any] = {"steps": [], "history": [], "had accelerate": os.environ["IMPORTED_ACCELERATE"]}
    team = Team.join("cpu")
    options: dict[str, Any] = {
        "state_path": folder / "state.safetensors",
        "on_step": lambda step, total, metrics: met["steps"].append(step),
        "on_epoch": lambda record, features: met["history"].append(record),
    }
    stop_at_5 = {"should_stop": lambda: len(met["steps"]) == 5}  # only the first process hears of steps
    met["completed"] = train_uneven(fresh(seed=1), **options, **stop_at_5)
    model = fresh(seed=9)  # what it starts from must not matter
    train_uneven(model, resume=True, **options)
    met["weights"] = weights_sha256(model.state_dict())
    met["card"] = train_checkpoint(WARM, "warm", folder) is not None
    try:
        team.only_first((folder / "no such folder" / "file").touch)
    except OSError as error:
        met["error"] = type(error).__name__
    with contextlib.redirect_stderr(io.StringIO()) as said:
        craft = ["craft", str(FIXTURES / "tiny-lgm.safetensors"), "--poisons", "1", "--out"]
        met["refused"] = main([*craft, str(folder / "none.safetensors")]), said.getvalue()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["train", "tiny-lgm", "--out", str(folder), "--json"]) == 0
    met["printed"] = printed.getvalue()
    (folder / f"{team.rank}.json").write_text(json.dumps(met))


@pytest.fixture(scope="module")
def by_two(bundled: Split, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("two")
    done = run_team(2, f"{__name__}:work", folder, library="torch._dynamo")
    assert done.returncode == 0, done.stderr
    return folder


def met_by(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


# What came of it.


def test_two_processes_train_as_one(by_two: Path, trained: Callable[[str], Path]):
    first, other = [met["printed"] for met in met_by(by_two)]
    result = json.loads(first)
    assert other == "", "only the first process speaks"
    alone, together = read_card(trained("tiny-lgm")), read_card(by_two / "tiny-lgm.safetensors")
    assert result["weights_sha256"] == together.weights_sha256
    assert losses(together.history) == pytest.approx(losses(alone.history), rel=RELATIVE)
    assert together.accuracy == pytest.approx(alone.accuracy, abs=0.002)


def test_uneven_shares_come_to_the_same_gradients(by_two: Path):
    model, alone = fresh(seed=1), []
    train_uneven(model, on_epoch=lambda record, features: alone.append(record))
    together = met_by(by_two)[0]["history"]
    assert losses(together) == pytest.approx(losses(alone), rel=RELATIVE)
    assert [record["accuracy"] for record in together] == [record["accuracy"] for record in alone]
    state = load_file(by_two / "state.safetensors")
    for name, value in model.state_dict().items():
        torch.testing.assert_close(state[f"model.{name}"], value, rtol=1e-4, atol=1e-5)


def test_all_stop_and_resume_together_and_the_first_alone_reports(by_two: Path):
    first, other = met_by(by_two)
    assert first["steps"] == [1, 2, 3, 4, 5, *range(4, 13)]
    assert [record["epoch"] for record in first["history"]] == [1, 2, 3, 4]
    assert (first["card"], first["completed"]) == (True, False)
    assert (other["steps"], other["history"], other["card"]) == ([], [], False)
    assert other["completed"] is False
    assert other["weights"] == first["weights"]


def test_a_warm_start_works_in_several_processes(by_two: Path, fresh_home: Path, tmp_path: Path):
    alone = train_checkpoint(WARM, "warm", tmp_path)
    together = read_card(by_two / "warm.safetensors")
    assert alone is not None
    assert losses(together.history) == pytest.approx(losses(alone.history), rel=RELATIVE)
    names = [path.name for path in by_two.glob("warm*")]
    assert sorted(names) == sorted(path.name for path in tmp_path.glob("warm*"))


def test_when_the_first_fails_all_do(by_two: Path):
    assert [met["error"] for met in met_by(by_two)] == ["FileNotFoundError", "ConnectionAbortedError"]


def test_more_processes_than_batches_of_poisons_are_refused(by_two: Path):
    for met in met_by(by_two):
        code, said = met["refused"]
        assert code == 1
        assert "expected at most 1, one for each batch of 1 poisons, got 2" in said
    assert not (by_two / "none.safetensors").exists()


# The pieces, in one process.


@pytest.mark.parametrize(("count", "size"), [(128, 4), (33, 3), (2, 3), (1, 5)])
def test_parts_are_even_and_leave_nothing_out(count: int, size: int):
    parts = [range(count)[Team(rank, size, "cpu").shard(count)] for rank in range(size)]
    assert [i for part in parts for i in part] == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_a_team_of_one_needs_nobody():
    team, done = Team(0, 1, "cpu"), []
    assert team.sum(1.5, 2) == [1.5, 2]
    assert team.decide(True)
    assert not team.decide(False)
    team.only_first(lambda: done.append(1))
    assert done
    with pytest.raises(ZeroDivisionError):
        team.only_first(lambda: 1 / 0)


def test_one_process_may_train_in_one_precision_after_another():
    model = build_model(ModelConfig(network="tiny-cnn"))
    dtypes: list[torch.dtype] = []
    hook = model.backbone.register_forward_hook(lambda module, inputs, output: dtypes.append(output.dtype))
    x, y = torch.rand(3, 1, 28, 28), torch.tensor([0, 1, 2])
    for precision in (torch.float32, torch.bfloat16, torch.float32):
        _, objective, _ = prepare(model, "all", torch.optim.SGD(model.parameters()), precision)
        loss, z = objective(x, y, 1.0)
        assert (loss.dtype, z.dtype) == (torch.float32, torch.float32)
    hook.remove()
    assert dtypes == [torch.float32, torch.bfloat16, torch.float32]


def test_a_run_in_a_thread_leaves_the_process_as_it_was(few: Split):
    """As in the app, whose server must still hear Ctrl-C, and share its cores as before."""

    def settings() -> list[Any]:
        return [torch.get_num_threads(), *map(signal.getsignal, (signal.SIGINT, signal.SIGTERM))]

    before, steps = settings(), []
    options = {"on_step": lambda *step: steps.append(step), "should_stop": lambda: True}
    thread = threading.Thread(target=fit, args=(fresh(1), few, UNEVEN), kwargs=options)
    thread.start()
    thread.join()
    assert len(steps) == 1
    assert settings() == before


def test_accelerate_is_imported_by_a_run_and_not_before(by_two: Path):
    """Not by `lgm.training.loop`, nor by anything else that this file imports at its head."""
    assert [met["had accelerate"] for met in met_by(by_two)] == ["False"] * 2


def test_only_whole_networks_are_trained(monkeypatch: pytest.MonkeyPatch):
    from accelerate import Accelerator, DistributedType

    monkeypatch.setattr(Accelerator, "distributed_type", DistributedType.FSDP)
    model = build_model(ModelConfig(network="tiny-cnn"))
    with pytest.raises(ValueError, match="expected a whole network in each process, got FSDP"):
        prepare(model, "all", torch.optim.SGD(model.parameters()), torch.float32)


def test_a_launcher_is_what_makes_the_gpu_the_usual_device(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for name in ("LOCAL_RANK", "ACCELERATE_MIXED_PRECISION", "ACCELERATE_USE_CPU"):
        monkeypatch.delenv(name, raising=False)
    assert launched_device() == "cpu"
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert launched_device() == "cuda"
    monkeypatch.setenv("ACCELERATE_USE_CPU", "True")
    assert launched_device() == "cpu"
