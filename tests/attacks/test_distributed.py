"""Several processes make what one makes."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lgm.attacks.distributed import share
from lgm.attacks.result import Poisons, read_poisons
from lgm.cli.main import main
from lgm.utils.distributed import Team

pytestmark = pytest.mark.multiprocess

ROOT = Path(__file__).parents[2]
LAUNCH = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--main_process_port", "0"]
# A team without a launcher: libraries take seconds to import, so that one process does it and then becomes several.
TEAM = """
import os, signal, sys
from importlib import import_module

processes, port, library, named, *arguments = sys.argv[1:]
module, _, function = named.partition(":")
start = getattr(import_module(module), function)
os.environ["IMPORTED_ACCELERATE"] = str("accelerate" in sys.modules)
import accelerate

import_module(library)
os.environ |= {"WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
sys.argv[1:] = arguments
running = set()
for rank in map(str, range(int(processes))):
    if not (process := os.fork()):
        os.environ |= {"RANK": rank, "LOCAL_RANK": rank}
        sys.exit(start())
    running.add(process)
failed = False
while running:
    process, code = os.wait()
    running.remove(process)
    if code and not failed:  # the others would wait for it
        failed = True
        for other in running:
            os.kill(other, signal.SIGKILL)
sys.exit(failed)
"""


def launch(processes: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """``python -m lgm`` in so many processes, of one thread each, as the documentation starts them."""
    return run([*LAUNCH, "--num_processes", str(processes), "-m", "lgm", *map(str, arguments)])


def run_team(
    processes: int, function: str, *arguments: object, library: str = "torch"
) -> subprocess.CompletedProcess[str]:
    """``module:function`` in so many processes, which find the arguments in `sys.argv`: sooner than by `launch`.

    The variable IMPORTED_ACCELERATE says whether the module has imported it, "True" or "False". The library is what
    each process would import later.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    return run([sys.executable, "-c", TEAM, str(processes), str(port), library, function, *map(str, arguments)])


def run(command: list[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, check=False, env=environment, capture_output=True, text=True, timeout=300, cwd=ROOT)


@pytest.fixture
def two_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def test_the_same_bits_from_one_and_from_two_processes(
    two_threads: None, tiny_lgm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    files = [tmp_path / "1.safetensors", tmp_path / "2.safetensors"]
    craft = ["craft", str(tiny_lgm), "--poisons", "150", "--iterations", "12", "--seed", "3", "--json", "--out"]
    assert main([*craft, str(files[0])]) == 0
    alone = capsys.readouterr().out
    together = launch(2, *craft, files[1])
    assert together.returncode == 0, together.stderr
    # One object: only the first process speaks.
    results = [{**json.loads(said), "out": None} for said in (alone, together.stdout)]
    assert len(read_poisons(files[0])) == 150
    assert results[0] == results[1]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize(("count", "batch_size", "size"), [(1000, 64, 3), (65, 64, 2), (128, 64, 2), (5, 1, 5)])
def test_shares_are_whole_batches_and_leave_nothing_out(count: int, batch_size: int, size: int):
    shares = [share(Team(rank, size, "cpu"), count, batch_size) for rank in range(size)]
    np.testing.assert_array_equal(np.sort(np.concatenate(shares)), np.arange(count))
    alone = np.split(np.arange(count), range(batch_size, count, batch_size))
    for mine in shares:
        batches = np.split(mine, range(batch_size, len(mine), batch_size))
        assert all(any(np.array_equal(batch, one) for one in alone) for batch in batches)
    assert max(map(len, shares)) - min(map(len, shares)) <= batch_size


def test_a_team_of_one_has_everything(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    team = Team.join("cpu")
    assert (team.rank, team.size, team.device) == (0, 1, "cpu")
    np.testing.assert_array_equal(share(team, 7, 2), np.arange(7))


def test_concatenated_parts_are_the_whole(tiny_lgm: Path, tmp_path: Path):
    out = tmp_path / "p.safetensors"
    assert main(["craft", str(tiny_lgm), "--poisons", "6", "--iterations", "3", "--out", str(out)]) == 0
    whole = read_poisons(out)
    joined = Poisons.concatenate([whole[np.arange(2)], whole[np.arange(2, 6)]])
    for name in ("images", "labels", "path", "path_iteration", "iterations"):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name))
    assert joined.manifest == whole.manifest
