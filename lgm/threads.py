"""How many threads torch computes with, for those who change it while others compute beside them."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_lock = threading.Lock()
_inside: list[int] = []  # what each that has entered and not left was told


@contextmanager
def usual_threads() -> Iterator[int]:
    """Yields how many threads torch has while nobody changes it; whoever changes it inside has them back afterwards.

    Each thread has its own number, but one that is born takes the number that any thread has set last. So it is the
    first to enter who looks: a thread that comes later may have been born with what another has set for itself.
    """
    with _lock:
        usual = _inside[0] if _inside else torch.get_num_threads()
        _inside.append(usual)
    try:
        yield usual
    finally:
        torch.set_num_threads(usual)
        with _lock:
            _inside.pop()
