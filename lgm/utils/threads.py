"""Number of torch threads: no more than there are usable cores, and one where more would only wait.

The threads of an operation wait for each other at its end, spinning. On a machine that is busy with something else,
each such end costs a turn of the scheduler, milliseconds; a small network has nothing to set against that. Measured on
two cores beside two busy programs: an epoch of tiny-cnn takes 0.2 s on one thread and 0.3 to 3.7 s on two, the poisons
of a pair for all betas 1 s on one and 18 to 70 s on two.
"""

import math
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
_inside: list[int] = []  # what each that has entered and not left was told


def usable_cores(root: Path = Path("/")) -> int:
    """Cores that this process may use: those it is bound to, or fewer by the quota of its container (Linux cgroups).

    A quota of one and a half counts as one: a thread that is suspended keeps the others waiting.

    Args:
        root: Of the file system.
    """
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([bound, *map(math.floor, _quotas(root))]))


def limit_threads() -> None:
    """Let numerical libraries that are loaded from now on use `usable_cores` and no more; $OMP_NUM_THREADS wins."""
    os.environ.setdefault("OMP_NUM_THREADS", str(usable_cores()))


def _quotas(root: Path) -> Iterator[float]:
    """Cores by each quota over this process: its own group's and those of all groups that hold this one."""
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / controllers  # version 2 has one tree for all controllers, and no name for it
        inner = mount / group.strip("/")
        # In a container the group's name may be that of the host, where only the mount itself is seen.
        for folder in (inner, *inner.parents):
            if folder.is_relative_to(mount):
                yield from _quota(folder)


def _quota(folder: Path) -> Iterator[float]:
    version_2 = _read(folder / "cpu.max").split()
    version_1 = [_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    for numbers in (version_2, version_1):
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers):  # not "max", not -1
            yield int(numbers[0]) / max(1, int(numbers[1]))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@contextmanager
def usual_threads() -> Iterator[int]:
    """Yields how many threads torch has while nobody changes it; whoever changes it inside has them back afterwards.

    Each thread has its own number, but one that is born takes the number that any thread has set last. So it is the
    first to enter who looks: a thread that comes later may have been born with what another has set for itself.
    """
    import torch

    with _lock:
        usual = _inside[0] if _inside else torch.get_num_threads()
        _inside.append(usual)
    try:
        yield usual
    finally:
        torch.set_num_threads(usual)
        with _lock:
            _inside.pop()


@contextmanager
def one_thread_if(small: bool) -> Iterator[None]:
    """Train or embed on one thread where an operation is too small to be shared, else on all of them."""
    import torch

    with usual_threads() as usual:
        torch.set_num_threads(1 if small else usual)
        yield


_blas_lock = threading.Lock()


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Linear algebra on one thread, for systems so small that threads would only wait for each other.

    The number is the whole process's: who else wants it changed waits until it is back.
    """
    with _blas_lock, _blas().limit(limits=1, user_api="blas"):
        yield


@cache
def _blas() -> "ThreadpoolController":
    """Of the libraries that are loaded by now: NumPy's and SciPy's."""
    import scipy.linalg  # noqa: F401 brings its own
    from threadpoolctl import ThreadpoolController  # scikit-learn depends on it

    return ThreadpoolController()
