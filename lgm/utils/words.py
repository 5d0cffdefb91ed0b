"""Names in sentences."""

from collections.abc import Iterable


def listed(names: Iterable[str], most: int = 5) -> str:
    """The first ``most`` names, and how many more there are."""
    every = list(names)
    return ", ".join(every[:most]) + (f" and {len(every) - most:,} more" if len(every) > most else "")
