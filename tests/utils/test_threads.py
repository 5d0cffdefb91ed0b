"""How many threads torch computes with, and who may change it."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lgm.attacks.craft import craft_beta_path
from lgm.attacks.result import Poisons
from lgm.config import Method, ModelConfig, PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import build_model
from lgm.training.loop import fit
from lgm.training.presets import PRESETS
from lgm.utils.threads import limit_threads, usable_cores, usual_threads


@pytest.fixture(autouse=True)
def three() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


def in_a_new_thread(work: Callable[[], int]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work()))
    thread.start()
    thread.join()
    return found[0]


def enter_and_set_two() -> int:
    with usual_threads() as usual:
        torch.set_num_threads(2)
        return usual


def test_what_was_changed_is_put_back() -> None:
    with usual_threads() as usual:
        torch.set_num_threads(1)
    assert usual == 3
    assert torch.get_num_threads() == 3


def test_it_is_put_back_after_an_error() -> None:
    with pytest.raises(KeyboardInterrupt), usual_threads():
        torch.set_num_threads(1)
        raise KeyboardInterrupt
    assert torch.get_num_threads() == 3


def test_a_thread_born_meanwhile_does_not_take_the_change_for_the_usual_number() -> None:
    with usual_threads():
        torch.set_num_threads(1)
        assert in_a_new_thread(torch.get_num_threads) == 1  # why it has to be remembered
        assert in_a_new_thread(enter_and_set_two) == 3
    assert torch.get_num_threads() == 3
    assert in_a_new_thread(torch.get_num_threads) == 3


def test_the_number_may_change_while_nobody_is_inside() -> None:
    torch.set_num_threads(2)
    with usual_threads() as usual:
        assert usual == 2


def cores(root: Path, files: dict[str, str]) -> int:
    """What `usable_cores` says where these files are all there is of the kernel's."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content + "\n")
    return usable_cores(root)


GROUP = "0::/system.slice/app.service"
INNER = "sys/fs/cgroup/system.slice/app.service/cpu.max"
V1 = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({}, 16),  # no such kernel
        ({"proc/self/cgroup": GROUP}, 16),
        ({"proc/self/cgroup": GROUP, INNER: "max 100000"}, 16),
        ({"proc/self/cgroup": GROUP, INNER: "300000 100000"}, 3),
        ({"proc/self/cgroup": GROUP, INNER: "150000 100000"}, 1),  # a second thread would be suspended half the time
        ({"proc/self/cgroup": GROUP, INNER: "20000 100000"}, 1),
        ({"proc/self/cgroup": GROUP, INNER: "6400000 100000"}, 16),  # more than it is bound to
        ({"proc/self/cgroup": GROUP, INNER: "800000 100000", "sys/fs/cgroup/system.slice/cpu.max": "200000 100000"}, 2),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4),  # seen from inside a container
        ({"proc/self/cgroup": "0::/docker/ab12", "sys/fs/cgroup/cpu.max": "500000 100000"}, 5),  # named from outside
        (
            {
                "proc/self/cgroup": "9:memory:/x\n4:cpu,cpuacct:/docker/ab12\n0::/",
                f"{V1}/docker/ab12/cpu.cfs_quota_us": "250000",
                f"{V1}/docker/ab12/cpu.cfs_period_us": "50000",
            },
            5,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/docker/ab12",
                f"{V1}/cpu.cfs_quota_us": "200000",
                f"{V1}/cpu.cfs_period_us": "100000",
            },
            2,
        ),
        (
            {
                "proc/self/cgroup": "1:cpu:/",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            16,
        ),
        ({"proc/self/cgroup": "7:cpuset:/x", "sys/fs/cgroup/cpuset/x/cpu.max": "100000 100000"}, 16),  # not of cpu
        ({"proc/self/cgroup": GROUP, INNER: "what is this"}, 16),
    ],
)
def test_cores_are_those_of_the_quota(
    files: dict[str, str], expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)))
    assert cores(tmp_path, files) == expected


def test_cores_are_those_that_the_process_is_bound_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {1, 5})
    assert cores(tmp_path, {"proc/self/cgroup": GROUP, INNER: "300000 100000"}) == 2
    monkeypatch.delattr(os, "sched_getaffinity")  # macOS, Windows
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    assert usable_cores(tmp_path / "nothing") == 7


@pytest.mark.parametrize(("given", "usable", "expected"), [(None, 3, "3"), ("1", 2, "1"), ("5", 1, "5")])
def test_libraries_are_told_of_the_cores_and_the_environment_wins(
    given: str | None, usable: int, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lgm.utils.threads.usable_cores", lambda: usable)
    monkeypatch.setenv("OMP_NUM_THREADS", given or "")
    if given is None:
        monkeypatch.delenv("OMP_NUM_THREADS")
    limit_threads()
    assert os.environ["OMP_NUM_THREADS"] == expected


@pytest.mark.slow
def test_torch_keeps_to_the_cores() -> None:
    code = """
import lgm.utils.threads
lgm.utils.threads.usable_cores = lambda: 1
lgm.utils.threads.limit_threads()
import torch
print(torch.get_num_threads())
"""
    environment = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout == "1\n"


def threads_in_steps(network: str, few: Split) -> int:
    """How many threads torch has while a network trains."""
    config = PRESETS["tiny-lgm"].with_last(model=ModelConfig(network=network), epochs=1)
    seen: list[int] = []
    fit(
        build_model(config.model),
        few,
        config,
        on_step=lambda *_: seen.append(torch.get_num_threads()),
        should_stop=lambda: True,
    )
    return seen[0]


def test_a_small_network_trains_on_one_thread_and_a_large_one_on_all(few: Split) -> None:
    assert threads_in_steps("tiny-cnn", few) == 1
    assert threads_in_steps("mnist-cnn", few) == 3
    assert torch.get_num_threads() == 3


@pytest.mark.parametrize("method", ["lm", "fbs"])
def test_poisons_of_one_pair_are_crafted_on_one_thread_whatever_the_cores(
    method: Method, tiny_lgm: Path, few: Split
) -> None:
    model, card = load_checkpoint(tiny_lgm)
    seen: set[int] = set()

    def craft() -> Poisons:
        return craft_beta_path(
            model,
            card,
            few,
            (0, 49),
            PoisonConfig(method=method, iterations=4),
            on_step=lambda *_: seen.add(torch.get_num_threads()),
        )

    three = craft()
    assert torch.get_num_threads() == 3
    torch.set_num_threads(1)
    one = craft()
    assert seen == {1}
    np.testing.assert_array_equal(three.images, one.images)
    np.testing.assert_array_equal(three.path_images, one.path_images)
