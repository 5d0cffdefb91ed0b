"""Arrays in, plotly figures out. Colours of roles and classes live here and nowhere else."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from lgm.baselines import REFERENCE, Comparison, Result
from lgm.cards import FeatureMap, Features
from lgm.detection import Roc
from lgm.poisons import Poisons

# Roles keep their colour on every page. Chosen from palettes made for colour-blind readers; each stands out by 3:1
# from both the light and the dark background.
ROLE = {
    "clean": "#3B82C4",
    "poison": "#D55E00",
    "base": "#009E73",
    "target": "#9467D8",
    "lgm": "#B87A00",
    "softmax": "#7A8594",
}
# Ten classes cannot be told apart by hue alone: plots also carry their names.
CLASS = ["#4477AA", "#EE6677", "#228833", "#B8A520", "#2FA7CE", "#AA3377", "#8C8C8C", "#E07B39", "#2BA084", "#9A6F3F"]

_STEPS = [[edge, colour] for k, colour in enumerate(CLASS) for edge in (k / len(CLASS), (k + 1) / len(CLASS))]
# Told apart by their dashes as well, the reference by its width.
_DETECTOR = {
    "likelihood": (ROLE["lgm"], "solid"),
    "gaussian": (CLASS[0], "dash"),
    "confidence": (CLASS[5], "dot"),
    "knn": (CLASS[2], "dashdot"),
    "centroid": (CLASS[1], "longdash"),
    "lof": (CLASS[4], "longdashdot"),
    "forest": (CLASS[7], "2px,6px"),
    "spectral": (CLASS[6], "12px,3px,2px,3px,2px,3px"),
}
_LOWEST_FPR = 1e-3  # where a logarithmic axis begins
_GREY = "rgba(128,128,128,0.28)"  # lines that must be seen on a light and on a dark page
_SPLITS = {"train": "D_C, training", "test": "D_f, test set", "bundled": "D_f, bundled digits"}


@dataclass(frozen=True)
class Projection:
    """How features of any dimension D are drawn in the plane.

    Attributes:
        axes: (D, 2) orthonormal columns.
        names: Of both axes.
        title: What it is, in a few words, for a plot that is not exact.
        exact: Whether nothing is lost: D = 2.
    """

    axes: np.ndarray
    names: tuple[str, str]
    title: str
    exact: bool

    def __call__(self, z: np.ndarray) -> np.ndarray:
        """(..., D) features to (..., 2) places."""
        return z if self.exact else (z @ self.axes).astype(z.dtype)


def projection(features: FeatureMap) -> Projection:
    """The plane itself for D = 2, else the one in which the class means lie round a circle, in the order of the labels.

    Classes that are all equally far apart, as a trained mixture has them where there is room, have no principal axes:
    any two are as good, and would put most class means on top of each other.
    """
    means = features.means
    if means.shape[1] == 2:
        return Projection(np.eye(2), ("feature 1", "feature 2"), "", exact=True)
    angle = 2 * np.pi * np.arange(len(means)) / len(means)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    towards = np.linalg.pinv(means - means.mean(0)) @ circle  # (D, 2): least squares
    left, _, right = np.linalg.svd(towards, full_matrices=False)
    title = f"{means.shape[1]} of them, seen with class means round a circle"
    names = tuple(f"{means.shape[1]} features, seen with class means round a circle: axis {i}" for i in (1, 2))
    return Projection(left @ right, (names[0], names[1]), title, exact=False)


def feature_plane(
    features: FeatureMap,
    shown: list[str],
    classes: tuple[str, ...],
    *,
    poisons: Poisons | None,
    has_density: bool,
) -> go.Figure:
    """The features of a network in the plane: clouds, class means, rings, decision regions, poisons (figures 2, 4).

    Everything is in the figure from the start and switched in its legend, so that a switch keeps the zoom.

    Args:
        features: What the network makes of each split; seen along `projection`.
        shown: Splits to draw, the largest first.
        classes: Their names.
        poisons: Coloured by the class of their base, as in figure 4.
        has_density: Whether to draw rings at 1 and 2 sigma (LGM with identity covariance).
    """
    figure = go.Figure()
    seen = projection(features)
    means = seen(features.means)
    names = np.arange(len(classes)) if classes == tuple(map(str, range(len(classes)))) else np.array(classes)
    _add_regions(figure, features)
    for split in shown:
        _add_cloud(figure, split, features.splits[split], seen, names)
    if has_density:
        figure.add_trace(_rings(means))
    if poisons is not None:
        figure.add_trace(_poison_marks(poisons, seen, names))
    figure.update_layout(
        height=480,
        annotations=_tags(means, classes),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.17, "yanchor": "top", "itemsizing": "constant"},
        dragmode="pan",
        uirevision="plane",
        xaxis={"title": seen.names[0], "zeroline": False, "gridcolor": _GREY},
        yaxis={"title": seen.names[1], "zeroline": False, "gridcolor": _GREY, "scaleanchor": "x"},
    )
    return figure


def _add_cloud(figure: go.Figure, split: str, features: Features, seen: Projection, names: np.ndarray) -> None:
    big = len(features.z) > 20_000
    x, y = seen(features.z).T
    figure.add_trace(
        go.Scattergl(
            x=x,
            y=y,
            mode="markers",
            name=f"{_SPLITS.get(split, f'D_f, {split}')} ({len(features.z):,})",
            meta=split,
            marker={
                "size": 2.5 if big else 4,
                "opacity": 0.35 if big else 0.6,
                "color": features.labels,
                "colorscale": _STEPS,
                "cmin": -0.5,
                "cmax": len(CLASS) - 0.5,
            },
            customdata=_table(names[features.labels], names[features.predicted], features.score.round(2)),
            hovertemplate=_hover(bool(np.isfinite(features.score).all())),
            unselected={"marker": {"opacity": 0.35 if big else 0.6}},
        )
    )


def _table(*columns: np.ndarray) -> np.ndarray:
    """Columns of numbers, which travel packed; with names among them, strings."""
    named = any(column.dtype.kind == "U" for column in columns)
    return np.column_stack([column.astype(str) for column in columns] if named else columns)


def _hover(has_density: bool) -> str:
    score = "<br>log p(f(x)|label) %{customdata[2]:.2f} nats" if has_density else ""
    return "label %{customdata[0]}, predicted %{customdata[1]}" + score + "<extra></extra>"


def _add_regions(figure: go.Figure, features: FeatureMap) -> None:
    if not features.regions.size:
        return
    left, right, bottom, top = (float(v) for v in features.extent)
    rows, columns = features.regions.shape
    figure.add_trace(
        go.Heatmap(
            z=features.regions,
            x0=left,
            dx=(right - left) / (columns - 1),
            y0=bottom,
            dy=(top - bottom) / (rows - 1),
            zmin=-0.5,
            zmax=len(CLASS) - 0.5,
            colorscale=_STEPS,
            opacity=0.22,
            showscale=False,
            hoverinfo="skip",
            name="decision regions",
            showlegend=True,
            visible="legendonly",
        )
    )


def circles(centers: np.ndarray, radii: tuple[float, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Outlines around each center at each radius, (x, y), separated by NaN so that one line trace draws all."""
    angle = np.append(np.linspace(0, 2 * np.pi, 73), np.nan)
    unit = np.column_stack([np.cos(angle), np.sin(angle)])
    outline = np.concatenate([center + radius * unit for center in centers for radius in radii])
    return outline[:, 0], outline[:, 1]


def _rings(means: np.ndarray) -> go.Scattergl:
    x, y = circles(means, (1.0, 2.0))
    line = {"width": 1, "color": "rgba(128,128,128,0.9)"}
    return go.Scattergl(x=x, y=y, mode="lines", line=line, name="rings at 1σ and 2σ", hoverinfo="skip")


def _tags(means: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, object]]:
    """The class name at each mean, as annotations: text in a trace would lie under the WebGL points."""
    return [
        {
            "x": float(x),
            "y": float(y),
            "text": f"<b>{classes[k]}</b>",
            "showarrow": False,
            "font": {"size": 12, "color": "white"},
            "bgcolor": CLASS[k],
            "bordercolor": "white",
            "borderpad": 2,
        }
        for k, (x, y) in enumerate(means)
    ]


def _poison_marks(poisons: Poisons, seen: Projection, names: np.ndarray) -> go.Scattergl:
    x, y = seen(poisons.z).T
    return go.Scattergl(
        x=x,
        y=y,
        mode="markers",
        meta="poisons",
        name=f"{len(poisons)} poisons (colour: base class)",
        marker={
            "symbol": "diamond",
            "size": 11,
            "color": [CLASS[k] for k in poisons.labels],
            "line": {"width": 2, "color": ROLE["poison"]},
        },
        customdata=np.column_stack(
            [names[group] for group in (poisons.labels, poisons.target_labels, poisons.predicted)]
        ),
        hovertemplate="poison: claims %{customdata[0]}, target %{customdata[1]}, "
        "seen as %{customdata[2]}<extra></extra>",
    )


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
    axis = {"title": "FPR: clean images thrown away", "tickformat": "~%", "zeroline": False, "gridcolor": _GREY}
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
    color, dash = _DETECTOR[comparison.detector.key]
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
