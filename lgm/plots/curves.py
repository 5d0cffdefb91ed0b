"""Curves of attack success and of what beta trades, with 95 % bands."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lgm.defense.report import DefenseReport
from lgm.experiments.adaptive_rows import AdaptiveRow
from lgm.experiments.beta_sweep import BetaRow
from lgm.plots.theme import GREY, LAYOUT, LOSS_TITLES, ROLE
from lgm.stats.intervals import Estimate


def success_curves(reports: Mapping[str, Sequence[DefenseReport]]) -> go.Figure:
    """Attack success against the number of poisons K, with 95 % Wilson bands.

    Args:
        reports: By loss, "lgm" and "softmax": reports for different K, all else equal.
    """
    figure = go.Figure()
    for loss, of_loss in reports.items():
        ordered = sorted(of_loss, key=lambda report: report.config.poisons)
        unfiltered = [(report, report.attack_success.unfiltered) for report in ordered]
        filtered = [(report, report.attack_success.filtered) for report in ordered]
        figure.add_traces(_success_curve(unfiltered, loss, "unfiltered", "solid"))
        figure.add_traces(_success_curve(filtered, loss, "filtered", "dash"))
    numbers = sorted({report.config.poisons for of_loss in reports.values() for report in of_loss})
    figure.update_layout(
        height=360,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
        uirevision="curves",
        xaxis={"title": "poisons K, for one target", "type": "log", "tickvals": numbers, "gridcolor": GREY},
        yaxis={"title": "attack success", "range": [-0.03, 1.03], "tickformat": ".0%", "gridcolor": GREY},
    )
    return figure


def _success_curve(success: list[tuple[DefenseReport, Estimate]], loss: str, arm: str, dash: str) -> list[go.Scatter]:
    """Attack success of one arm with its band, where it is known."""
    known = [(report, share) for report, share in success if not math.isnan(share.value)]
    name = f"{LOSS_TITLES[loss]}, {'not filtered' if arm == 'unfiltered' else 'filtered'}"
    band, line = _band([r.config.poisons for r, _ in known], [share for _, share in known], loss, name, dash)
    line.update(
        meta=f"{loss} {arm}",
        customdata=[[report.n, share.low, share.high] for report, share in known],
        hovertemplate=name
        + ": %{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%}) of %{customdata[0]}<extra></extra>",
    )
    return [band, line]


def _band(x: list[Any], estimates: Sequence[Estimate], loss: str, name: str, dash: str) -> list[go.Scatter]:
    """Intervals as a band and the line over it."""
    red, green, blue = (int(ROLE[loss][i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=x + x[::-1],
        y=[each.high for each in estimates] + [each.low for each in estimates][::-1],
        fill="toself",
        fillcolor=f"rgba({red},{green},{blue},0.18)",
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        showlegend=False,
        legendgroup=name,
    )
    line = go.Scatter(
        x=x,
        y=[each.value for each in estimates],
        mode="lines+markers",
        name=name,
        legendgroup=name,
        line={"color": ROLE[loss], "width": 2.5, "dash": dash},
        marker={"size": 8, "symbol": "circle" if loss == "lgm" else "square"},
    )
    return [band, line]


@dataclass(frozen=True)
class TradedLine:
    """A line of what beta trades: its values, which are None where nothing was measured, its name and its dash."""

    of: Callable[[BetaRow], Estimate | None]
    name: str
    dash: str


@dataclass(frozen=True)
class CurveSpec:
    """Something that beta trades: what `beta_curves` draws of it.

    Attributes:
        name: What it is called where one of them is chosen.
        title: Of the axis.
        lines: What is drawn.
        share: Whether they are shares, from 0 to 1.
    """

    name: str
    title: str
    lines: tuple[TradedLine, ...]
    share: bool = True


TRADED = {
    "collision": CurveSpec(
        "Collisions and detection",
        "share of the poisons",
        (
            TradedLine(lambda row: row.collided, "collide", "solid"),
            TradedLine(lambda row: row.tpr, "caught at 1 % FPR", "dot"),
        ),
    ),
    "attack": CurveSpec(
        "Attack success",
        "share of the attacks",
        (
            TradedLine(lambda row: row.unfiltered, "succeed unfiltered", "solid"),
            TradedLine(lambda row: row.filtered, "filtered", "dot"),
        ),
    ),
    "l2": CurveSpec(
        "Visibility (L2)",
        "L2 distance to the base",
        (TradedLine(lambda row: row.l2, "L2", "solid"),),
        share=False,
    ),
    "ssim": CurveSpec(
        "Visibility (SSIM)",
        "SSIM with the base",
        (TradedLine(lambda row: row.ssim, "SSIM", "solid"),),
        share=False,
    ),
}


def traded(rows: Mapping[Any, Sequence[BetaRow]]) -> list[str]:
    """Keys of `TRADED` that were measured; arguments as of `beta_curves`."""
    everything = [row for of_loss in rows.values() for row in of_loss]
    return [key for key, what in TRADED.items() if any(line.of(row) for row in everything for line in what.lines)]


def beta_curves(rows: Mapping[Any, Sequence[BetaRow]], of: str = "collision") -> go.Figure:
    """What beta trades, with 95 % bands, by loss.

    Args:
        rows: By loss: `lgm.experiments.beta_sweep.Tradeoff.rows`.
        of: Key of `TRADED`. What was not measured has no line.
    """
    shown = TRADED[of]
    figure = go.Figure()
    for loss, of_loss in rows.items():
        for line in shown.lines:
            measured = {row.beta: estimate for row in of_loss if (estimate := line.of(row))}
            if measured:
                name = f"{LOSS_TITLES[loss]}, {line.name}"
                figure.add_traces(_band([*measured], [*measured.values()], loss, name, line.dash))
    shares = {"range": [-0.03, 1.03], "tickformat": ".0%"} if shown.share else {"rangemode": "tozero"}
    figure.update_layout(
        xaxis={
            "title": "β: weight of looking like the base",
            "type": "log",
            "dtick": 1,
            "tickformat": "~g",
            "gridcolor": GREY,
        },
        yaxis={"title": shown.title, "gridcolor": GREY, **shares},
        **LAYOUT,
    )
    return figure


def frontier_chart(rows: Sequence[AdaptiveRow]) -> go.Figure:
    """Attack success against detection: both for each adaptive attacker, from γ = 0 to the most evasive.

    Args:
        rows: By ascending gamma.
    """
    figure = go.Figure()
    lines = (
        ([row.detected for row in rows], "caught by the filter", ROLE["clean"], "dash"),
        ([row.unfiltered for row in rows], "attack succeeds if nobody filters", ROLE["target"], "dot"),
        ([row.attack_success for row in rows], "attack succeeds past the filter", ROLE["poison"], "solid"),
    )
    for shares, name, color, dash in lines:
        value, low, high = np.array(shares).T
        figure.add_trace(
            go.Scatter(
                x=[f"{row.gamma:g}" for row in rows],
                y=value,
                mode="lines+markers",
                name=name,
                error_y={"array": high - value, "arrayminus": value - low, "thickness": 1},
                marker={"size": 8},
                line={"color": color, "dash": dash, "width": 2.5},
                hovertemplate="γ = %{x}: %{y:.0%}<extra>%{fullData.name}</extra>",
            )
        )
    figure.update_layout(
        xaxis={"title": "γ: weight of passing the filter", "type": "category", "gridcolor": GREY},
        yaxis={"title": "share", "range": [-0.03, 1.05], "tickformat": ".0%", "gridcolor": GREY},
        **LAYOUT,
    )
    return figure
