"""Processes that work together, on one machine or several, as `accelerate launch` or `torchrun` starts them."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")


def launched_device() -> str:
    """Where to train if nobody says: on a GPU if a launcher started this process and there is one, else on the CPU."""
    launched = "LOCAL_RANK" in os.environ or "ACCELERATE_MIXED_PRECISION" in os.environ
    if not launched or os.environ.get("ACCELERATE_USE_CPU") == "True":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(frozen=True)
class Team:
    """The processes that work together, and which of them this one is.

    Attributes:
        rank: Number of this process; 0 writes the file and prints.
        size: How many there are.
        device: Where this one computes.
    """

    rank: int
    size: int
    device: str

    @classmethod
    def join(cls, device: str) -> "Team":
        """The team that the launcher's environment describes; a team of one without a launcher.

        Raises:
            ImportError: there are several processes, but accelerate is not installed.
        """
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return cls(0, 1, device)
        from accelerate import PartialState  # only here: it takes a second to import

        state = PartialState(cpu=device == "cpu")
        return cls(state.process_index, state.num_processes, device if device == "cpu" else str(state.device))

    def gather(self, own: T) -> list[T] | None:
        """What each process has, in their order; None for all but the first. Waits for the slowest."""
        if self.size == 1:
            return [own]
        from accelerate.utils import gather_object

        each: list[T] = gather_object([own])
        return None if self.rank else each

    def shard(self, count: int) -> slice:
        """Which of a batch's images this process sees: an even share, in the order of the processes."""
        return slice(self.rank * count // self.size, (self.rank + 1) * count // self.size)

    def sum(self, *values: float) -> list[float]:
        """Each value, summed over all processes. All must call it."""
        if self.size == 1:
            return list(values)
        import torch
        from accelerate.utils import reduce

        total = reduce(torch.tensor(values, dtype=torch.float64, device=self.device), "sum")
        assert isinstance(total, torch.Tensor)
        return total.tolist()

    def decide(self, choice: T) -> T:
        """What the first process chooses, for all of them. All must call it."""
        if self.size == 1:
            return choice
        from accelerate.utils import broadcast_object_list

        return broadcast_object_list([choice])[0]

    def only_first(self, work: Callable[[], T]) -> T | None:
        """Let the first process work while the others wait. All must call it.

        Returns:
            What ``work`` returns; None in the others.

        Raises:
            ConnectionAbortedError: in the others, if ``work`` failed; the first has the error itself.
        """
        result, failure = None, None
        if self.rank == 0:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001 raised below, when the others have heard of it
                failure = error
        if not self.decide(failure is None):
            raise failure or ConnectionAbortedError("the first process has failed; its message says why")
        return result

    def leave(self) -> None:
        """Destroy the process group: a process that just ends makes the others complain."""
        if self.size > 1:
            from accelerate import PartialState

            PartialState().destroy_process_group()
