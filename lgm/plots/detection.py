"""ROC curves and histograms of likelihoods."""

import numpy as np
import plotly.graph_objects as go

from lgm.detection.compare import REFERENCE, Comparison, Result
from lgm.detection.metrics import Roc
from lgm.plots.theme import DETECTOR, GREY, LAYOUT, ROLE
from lgm.stats.intervals import share_text

_LOWEST_FPR = 1e-3  # where a logarithmic axis begins


def roc_chart(comparisons: list[Comparison], *, collided: bool = False, log: bool = True) -> go.Figure:
    """The ROC curves of all detectors, as steps: what thresholds attain.

    Args:
        comparisons: The reference first.
        collided: Only over the poisons that collide; a detector without any is left out, as is one that was read from a
            file, which holds no curve.
        log: FPR on a logarithmic axis, which gives room to the costs that one can afford; what is cheaper than
            1 in 1,000 lies on its left end.
    """
    figure = go.Figure()
    for comparison in comparisons:
        result = comparison.collided if collided else comparison.overall
        if result is not None and result.curve is not None:
            figure.add_trace(_roc_line(comparison, result, result.curve, floor=_LOWEST_FPR if log else 0.0))
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


def _roc_line(comparison: Comparison, result: Result, curve: Roc, floor: float) -> go.Scatter:
    color, dash = DETECTOR[comparison.key]
    fpr, tpr = _corners(curve)
    return go.Scatter(
        x=np.maximum(fpr, floor),
        y=tpr,
        mode="lines",
        meta=comparison.key,
        name=f"{comparison.title}, AUC {result.auc.text()}",
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
