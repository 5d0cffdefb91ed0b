"""Crafting in several processes: whole batches are dealt out, so that every number comes out the same."""

import numpy as np

from lgm.attacks.result import Poisons
from lgm.utils.distributed import Team


def share(team: Team, count: int, batch_size: int) -> np.ndarray:
    """Positions of the poisons that this process crafts: whole batches, dealt out in turn.

    The batches are those of a single process.

    Raises:
        ValueError: more processes than batches.
    """
    batches = -(-count // batch_size)
    if team.size > max(1, batches):
        raise ValueError(
            f"processes: expected at most {batches}, one for each batch of {batch_size} poisons, got {team.size}"
        )
    return _shares(count, batch_size, team.size)[team.rank]


def gather(team: Team, part: Poisons, batch_size: int) -> Poisons | None:
    """The poisons of all processes, in the order of a single one; None for all but the first."""
    if (parts := team.gather(part)) is None:
        return None
    if len(parts) == 1:
        return part
    order = np.concatenate(_shares(sum(map(len, parts)), batch_size, team.size))
    return Poisons.concatenate(parts)[np.argsort(order)]


def _shares(count: int, batch_size: int, size: int) -> list[np.ndarray]:
    batches = np.split(np.arange(count), range(batch_size, count, batch_size))
    return [np.concatenate(batches[rank::size]) for rank in range(size)]
