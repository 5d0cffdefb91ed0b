"""What beta trades, as a table that people read: units, and intervals of 95 % beside the numbers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from lgm.experiments.beta_sweep import BetaRow
from lgm.stats.intervals import Estimate

Written = Callable[[float], str]


def _share(value: float) -> str:
    return f"{100 * value:.0f}"


def _fixed(digits: int) -> Written:
    return lambda value: f"{value:.{digits}f}"


@dataclass(frozen=True)
class _Column:
    """A column of estimates: its name, what it holds, how a number is written, its unit."""

    name: str
    of: Callable[[BetaRow], Estimate | None]
    written: Written
    unit: str = ""


_COLUMNS = (
    _Column("Collide", lambda row: row.collided, _share, " %"),
    _Column("L2 to the base", lambda row: row.l2, _fixed(2)),
    _Column("SSIM with the base", lambda row: row.ssim, _fixed(3)),
    _Column("AUC", lambda row: row.auc, _fixed(4)),
    _Column("Caught at 1 % FPR", lambda row: row.tpr, _share, " %"),
    _Column("AUC, those that collide", lambda row: row.auc_collided, _fixed(4)),
    _Column("Caught, those that collide", lambda row: row.tpr_collided, _share, " %"),
    _Column("Attack succeeds", lambda row: row.unfiltered, _share, " %"),
    _Column("Attack succeeds, filtered", lambda row: row.filtered, _share, " %"),
)


def beta_table(rows: list[BetaRow]) -> pd.DataFrame:
    """A row a beta. What was not measured at any of them has no column; where it is missing at some, a dash."""
    table: dict[str, list[Any]] = {"β": [f"{row.beta:g}" for row in rows], "Pairs": [row.pairs for row in rows]}
    for column in _COLUMNS:
        estimates = [column.of(row) for row in rows]
        if any(estimates):
            table[column.name] = [_cell(estimate, column) for estimate in estimates]
    table["Mean log-likelihood (nats)"] = [f"{row.log_likelihood:.2f}" for row in rows]
    if any(row.attacks for row in rows):
        table["Attacks"] = [row.attacks or 0 for row in rows]
    return pd.DataFrame(table)


def _cell(estimate: Estimate | None, column: _Column) -> str:
    """A number with its interval, such as 52 % (45–60 %)."""
    if estimate is None:
        return "–"
    value, low, high = map(column.written, estimate)
    around = "" if math.isnan(estimate.low) else f" ({low}–{high}{column.unit})"
    return f"{value}{column.unit}{around}"
