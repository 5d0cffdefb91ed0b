"""Curves and histograms: ROC, attack success, the trade-off over beta."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import plotly.graph_objects as go

from lgm.detection.compare import REFERENCE, Comparison, Result
from lgm.detection.metrics import Roc
from lgm.plots.theme import DETECTOR, GREY, LAYOUT, LOSS_TITLES, ROLE
from lgm.stats.intervals import share_text

_LOWEST_FPR = 1e-3  # where a logarithmic axis begins


def success_curves(reports: dict[str, list[dict[str, Any]]]) -> go.Figure:
    """Attack success against the number of poisons K, with 95 % Wilson bands.

    Args:
        reports: By loss, "lgm" and "softmax": `DefenseReport.to_dict` for different K, all else equal.
    """
    figure = go.Figure()
    for loss, of_loss in reports.items():
        ordered = sorted(of_loss, key=lambda report: report["poisons"])
        for arm, dash in (("unfiltered", "solid"), ("filtered", "dash")):
            known = [report for report in ordered if report["attack_success"][arm] is not None]
            figure.add_traces(_curve(known, loss, arm, dash))
    numbers = sorted({report["poisons"] for of_loss in reports.values() for report in of_loss})
    figure.update_layout(
        height=360,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.22, "yanchor": "top"},
        uirevision="curves",
        xaxis={"title": "poisons K, for one target", "type": "log", "tickvals": numbers, "gridcolor": GREY},
        yaxis={"title": "attack success", "range": [-0.03, 1.03], "tickformat": ".0%", "gridcolor": GREY},
    )
    return figure


def _curve(reports: list[dict[str, Any]], loss: str, arm: str, dash: str) -> list[go.Scatter]:
    """Attack success of one arm with its band."""
    points = [(report["poisons"], report["attack_success"][arm], report["interval"][arm]) for report in reports]
    name = f"{LOSS_TITLES[loss]}, {'not filtered' if arm == 'unfiltered' else 'filtered'}"
    band, line = _band(points, loss, name, dash)
    line.update(
        meta=f"{loss} {arm}",
        customdata=[[report["n"], *report["interval"][arm]] for report in reports],
        hovertemplate=name
        + ": %{y:.0%} (%{customdata[1]:.0%} to %{customdata[2]:.0%}) of %{customdata[0]}<extra></extra>",
    )
    return [band, line]


def _band(points: list[tuple[float, float, Any]], loss: str, name: str, dash: str) -> list[go.Scatter]:
    """An interval as a band and the line over it, from (x, y, (low, high))."""
    x, y = [point[0] for point in points], [point[1] for point in points]
    low, high = ([point[2][end] for point in points] for end in (0, 1))
    red, green, blue = (int(ROLE[loss][i : i + 2], 16) for i in (1, 3, 5))
    band = go.Scatter(
        x=x + x[::-1],
        y=high + low[::-1],
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
        y=y,
        mode="lines+markers",
        name=name,
        legendgroup=name,
        line={"color": ROLE[loss], "width": 2.5, "dash": dash},
        marker={"size": 8, "symbol": "circle" if loss == "lgm" else "square"},
    )
    return [band, line]


def roc_chart(comparisons: list[Comparison], *, collided: bool = False, log: bool = True) -> go.Figure:
    """The ROC curves of all detectors, as steps: what thresholds attain.

    Args:
        comparisons: The reference first.
        collided: Only over the poisons that collide; a detector without any is left out.
        log: FPR on a logarithmic axis, which gives room to the costs that one can afford; what is cheaper than
            1 in 1,000 lies on its left end.
    """
    figure = go.Figure()
    for comparison in comparisons:
        result = comparison.collided if collided else comparison.overall
        if result is not None:
            figure.add_trace(_roc_line(comparison, result, floor=_LOWEST_FPR if log else 0.0))
    axis = {"title": "FPR: clean images thrown away", "tickformat": "~%", "zeroline": False, "gridcolor": GREY}
    scale = {"type": "log", "range": [np.log10(_LOWEST_FPR), 0], "dtick": 1} if log else {"range": [0, 1]}
    figure.update_layout(
        height=460,
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.17, "yanchor": "top"},
        hovermode="closest",
        xaxis={**axis, **scale},
        yaxis={**axis, "title": "TPR: poisons caught", "range": [0, 1.02]},
    )
    return figure


def _roc_line(comparison: Comparison, result: Result, floor: float) -> go.Scatter:
    color, dash = DETECTOR[comparison.detector.key]
    fpr, tpr = _corners(result.curve)
    return go.Scatter(
        x=np.maximum(fpr, floor),
        y=tpr,
        mode="lines",
        meta=comparison.detector.key,
        name=f"{comparison.detector.title}, AUC {result.auc.text()}",
        line={"color": color, "dash": dash, "width": 3.5 if result.verdict == REFERENCE else 2, "shape": "hv"},
        hovertemplate="%{fullData.name}<br>FPR %{x:.2%}, TPR %{y:.1%}<extra></extra>",
    )


def _corners(curve: Roc) -> tuple[np.ndarray, np.ndarray]:
    """The points of a ROC curve at which more poisons are caught, and its end: no step is lost."""
    last = np.append(np.diff(curve.fpr) > 0, True)  # the highest TPR at each FPR
    fpr, tpr = curve.fpr[last], curve.tpr[last]
    rises = np.append(True, np.diff(tpr) > 0)
    rises[-1] = True
    return fpr[rises], tpr[rises]


def likelihood_histogram(clean: np.ndarray, poison: np.ndarray) -> go.Figure:
    """Relative likelihoods of clean images and of poisons under their claimed labels, in (0, 1] (figures 1, 8)."""
    figure = go.Figure()
    bins = {"start": 0.0, "end": 1.0, "size": 0.025}
    for values, role, name in ((clean, "clean", "clean images"), (poison, "poison", "poisons")):
        figure.add_trace(
            go.Histogram(
                x=values,
                xbins=bins,
                histnorm="probability",
                name=f"{name} ({len(values):,})",
                marker={"color": ROLE[role], "pattern": {"shape": "/" if role == "poison" else ""}},
                opacity=0.75,
            )
        )
    figure.update_layout(
        barmode="overlay",
        xaxis={"title": "likelihood relative to the peak of the claimed class", "range": [0, 1], "gridcolor": GREY},
        yaxis={"title": "share of the group", "tickformat": ".0%", "gridcolor": GREY},
        **LAYOUT,
    )
    return figure


def roc_curves(curves: dict[str, Roc]) -> go.Figure:
    """ROC curves of the likelihood filter by name, on a logarithmic FPR axis (figure 5)."""
    figure = go.Figure()
    for (name, curve), dash in zip(curves.items(), ("solid", "dash", "dot", "dashdot"), strict=False):
        fpr, tpr = _corners(curve)
        figure.add_trace(
            go.Scatter(
                x=np.maximum(fpr, _LOWEST_FPR),
                y=tpr,
                mode="lines",
                name=f"{name}, AUC {share_text(curve.auc)}",
                line={"dash": dash, "shape": "hv", "width": 2.5},
            )
        )
    figure.update_layout(
        xaxis={
            "title": "FPR: clean images thrown away",
            "type": "log",
            "range": [np.log10(_LOWEST_FPR), 0],
            "dtick": 1,
            "tickformat": "~%",
            "gridcolor": GREY,
        },
        yaxis={"title": "TPR: poisons caught", "range": [0, 1.02], "tickformat": ".0%", "gridcolor": GREY},
        **LAYOUT,
    )
    return figure


@dataclass(frozen=True)
class CurveSpec:
    """Something that beta trades: what `beta_curves` draws of it.

    Attributes:
        name: What it is called where one of them is chosen.
        title: Of the axis.
        lines: Keys of `lgm.experiments.beta_sweep.Tradeoff.rows`, their names and dashes.
        share: Whether they are shares, from 0 to 1.
    """

    name: str
    title: str
    lines: tuple[tuple[str, str, str], ...]
    share: bool = True


TRADED = {
    "collision": CurveSpec(
        "Collisions and detection",
        "share of the poisons",
        (("collided", "collide", "solid"), ("tpr", "caught at 1 % FPR", "dot")),
    ),
    "attack": CurveSpec(
        "Attack success",
        "share of the attacks",
        (("unfiltered", "succeed unfiltered", "solid"), ("filtered", "filtered", "dot")),
    ),
    "l2": CurveSpec("Visibility (L2)", "L2 distance to the base", (("l2", "L2", "solid"),), share=False),
    "ssim": CurveSpec("Visibility (SSIM)", "SSIM with the base", (("ssim", "SSIM", "solid"),), share=False),
}


def traded(rows: dict[str, list[dict[str, Any]]]) -> list[str]:
    """Keys of `TRADED` that were measured; arguments as of `beta_curves`."""
    return [
        of
        for of, what in TRADED.items()
        if any(row[key] is not None for of_loss in rows.values() for row in of_loss for key, _, _ in what.lines)
    ]


def beta_curves(rows: dict[str, list[dict[str, Any]]], of: str = "collision") -> go.Figure:
    """What beta trades, with 95 % bands, by loss.

    Args:
        rows: By loss: `lgm.experiments.beta_sweep.Tradeoff.rows`.
        of: Key of `TRADED`. What was not measured has no line.
    """
    shown = TRADED[of]
    figure = go.Figure()
    for loss, of_loss in rows.items():
        for key, name, dash in shown.lines:
            points = [(row["beta"], row[key], row[f"{key}_interval"]) for row in of_loss if row[key] is not None]
            if points:
                figure.add_traces(_band(points, loss, f"{LOSS_TITLES[loss]}, {name}", dash))
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


def frontier_chart(rows: list[dict[str, Any]]) -> go.Figure:
    """Attack success against detection: both for each attacker who knows of the filter, from unaware to evasive.

    Args:
        rows: `lgm.experiments.adaptive_rows.frontier_row`, by ascending gamma.
    """
    figure = go.Figure()
    lines = (
        ("detected", "detected_interval", "caught by the filter", ROLE["clean"], "dash"),
        ("unfiltered", "unfiltered_interval", "attack succeeds if nobody filters", ROLE["target"], "dot"),
        ("attack_success", "interval", "attack succeeds past the filter", ROLE["poison"], "solid"),
    )
    for key, interval, name, color, dash in lines:
        value = np.array([row[key] for row in rows])
        low, high = np.array([row[interval] for row in rows]).T
        figure.add_trace(
            go.Scatter(
                x=[f"{row['gamma']:g}" for row in rows],
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
