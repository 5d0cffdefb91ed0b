"""Progress callbacks of long computations."""

from collections.abc import Callable

OnStep = Callable[[int, int], bool | None]  # (steps done, steps in all); returning False asks to stop


def subprogress(on_step: OnStep | None, number: int, count: int) -> OnStep | None:
    """What the ``number``-th of ``count`` computations is to call, which follow each other and are equally long."""
    return on_step and (lambda done, total: on_step(number * total + done, count * total))
