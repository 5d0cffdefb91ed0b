"""What beta trades, as a table that people read: units, and intervals of 95 % beside the numbers."""

from collections.abc import Callable
from typing import Any

import pandas as pd

Written = Callable[[float], str]


def _share(value: float) -> str:
    return f"{100 * value:.0f}"


def _fixed(digits: int) -> Written:
    return lambda value: f"{value:.{digits}f}"


# Keys of `Tradeoff.rows` that have an interval: the column's name, how a number is written, its unit.
_COLUMNS: dict[str, tuple[str, Written, str]] = {
    "collided": ("Collide", _share, " %"),
    "l2": ("L2 to the base", _fixed(2), ""),
    "ssim": ("SSIM with the base", _fixed(3), ""),
    "auc": ("AUC", _fixed(4), ""),
    "tpr": ("Caught at 1 % FPR", _share, " %"),
    "auc_collided": ("AUC, those that collide", _fixed(4), ""),
    "tpr_collided": ("Caught, those that collide", _share, " %"),
    "unfiltered": ("Attack succeeds", _share, " %"),
    "filtered": ("Attack succeeds, filtered", _share, " %"),
}


def beta_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """A row a beta. What was not measured at any of them has no column; where it is missing at some, a dash.

    Args:
        rows: `lgm.experiments.beta_sweep.Tradeoff.rows`.
    """
    table: dict[str, list[Any]] = {"β": [f"{row['beta']:g}" for row in rows], "Pairs": [row["pairs"] for row in rows]}
    for key, (name, written, unit) in _COLUMNS.items():
        if any(row[key] is not None for row in rows):
            table[name] = [_cell(row[key], row[f"{key}_interval"], written, unit) for row in rows]
    table["Mean log-likelihood (nats)"] = [f"{row['log_likelihood']:.2f}" for row in rows]
    if any(row["attacks"] for row in rows):
        table["Attacks"] = [row["attacks"] or 0 for row in rows]
    return pd.DataFrame(table)


def _cell(value: float | None, interval: tuple[float, float] | None, written: Written, unit: str) -> str:
    """A number with its interval, such as 52 % (45–60 %)."""
    if value is None:
        return "–"
    around = "" if interval is None else f" ({written(interval[0])}–{written(interval[1])}{unit})"
    return f"{written(value)}{unit}{around}"
