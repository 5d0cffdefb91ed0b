"""Arrays in, plotly figures out. Colours of roles and classes live here and nowhere else."""

from dataclasses import dataclass
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from lgm.baselines import REFERENCE, Comparison, Result
from lgm.cards import FeatureMap, Features
from lgm.detection import Roc
from lgm.intervals import share_text
from lgm.placement import Square, close_up, emptiest, label_offset
from lgm.poisons import Poisons

if TYPE_CHECKING:  # it brings torch
    from lgm.demonstration import Attack, Demonstration

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


def _steps(colours: list[str]) -> list[list[Any]]:
    """A colour scale that gives each of these an equal part."""
    n = len(colours)
    return [[edge, colour] for k, colour in enumerate(colours) for edge in (k / n, (k + 1) / n)]


_STEPS = _steps(CLASS)
_REGIONS = _steps([*CLASS, "rgba(0,0,0,0)"])
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
DRAWN = 2_000  # points of a cloud that are drawn: as SVG, which needs no WebGL, and is quick up to some thousands
_LOWEST_FPR = 1e-3  # where a logarithmic axis begins
_LOSS = {"lgm": "LGM", "softmax": "softmax"}
_GREY = "rgba(128,128,128,0.28)"  # lines that must be seen on a light and on a dark page
_PLAIN: dict[str, Any] = {
    "height": 380,
    "margin": {"l": 8, "r": 8, "t": 8, "b": 8},
    "legend": {"orientation": "h", "y": -0.22, "yanchor": "top"},
}
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
    sigmas: np.ndarray | None,
) -> go.Figure:
    """The features of a network in the plane: clouds, class means, rings, decision regions, poisons (figures 2, 4).

    Everything is in the figure from the start and switched in its legend, so that a switch keeps the zoom.

    Args:
        features: What the network makes of each split; seen along `projection`.
        shown: Splits to draw, the largest first.
        classes: Their names.
        poisons: Coloured by the class of their base, as in figure 4.
        sigmas: (K, D) standard deviations of the class Gaussians, for rings at 1 and 2 of them; None for softmax.
    """
    figure = go.Figure()
    seen = projection(features)
    means = seen(features.means)
    names = np.arange(len(classes)) if classes == tuple(map(str, range(len(classes)))) else np.array(classes)
    _add_regions(figure, features)
    for split in shown:
        _add_cloud(figure, split, features.splits[split], seen, names)
    round_ones = sigmas is not None and bool((sigmas == 1).all())  # look the same from all sides
    if sigmas is not None and (seen.exact or round_ones):
        figure.add_trace(_rings(means, sigmas[:, :2]))
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


def drawn(count: int) -> np.ndarray:
    """Positions, ascending, of the points of a cloud that are drawn: all, or `DRAWN` at random, the same every time."""
    return np.sort(np.random.default_rng(0).permutation(count)[:DRAWN])


def _add_cloud(figure: go.Figure, split: str, features: Features, seen: Projection, names: np.ndarray) -> None:
    total, index = len(features.z), drawn(len(features.z))
    (x, y), score = seen(features.z[index]).T, features.score[index]
    opacity = 0.4 if split == "train" else 0.6  # it lies beneath
    figure.add_trace(
        go.Scatter(
            x=x,
            y=y,
            mode="markers",
            name=f"{_SPLITS.get(split, f'D_f, {split}')} ({_of(len(index), total)})",
            meta=split,
            marker={
                "size": 3 if split == "train" else 4,
                "opacity": opacity,
                "color": features.labels[index],
                "colorscale": _STEPS,
                "cmin": -0.5,
                "cmax": len(CLASS) - 0.5,
            },
            customdata=_table(names[features.labels[index]], names[features.predicted[index]], score.round(2)),
            hovertemplate=_hover(bool(np.isfinite(score).all())),
            unselected={"marker": {"opacity": opacity}},
        )
    )


def _of(some: int, total: int) -> str:
    return f"{total:,}" if some == total else f"{some:,} of {total:,} drawn"


def _table(*columns: np.ndarray) -> np.ndarray:
    """Columns of numbers, which travel packed; with names among them, strings."""
    named = any(column.dtype.kind == "U" for column in columns)
    return np.column_stack([column.astype(str) for column in columns] if named else columns)


def _hover(has_density: bool) -> str:
    score = "<br>log p(f(x)|label) %{customdata[2]:.2f} nats" if has_density else ""
    return "label %{customdata[0]}, predicted %{customdata[1]}" + score + "<extra></extra>"


def _add_regions(figure: go.Figure, features: FeatureMap) -> None:
    if features.regions.size:
        left, right, bottom, top = (float(v) for v in features.extent)
        trace = _regions(features.regions, (left, right, bottom, top))
        figure.add_trace(trace.update(name="decision regions", showlegend=True, visible="legendonly"))


def _regions(regions: np.ndarray, extent: tuple[float, float, float, float]) -> go.Heatmap:
    """Classes at the points of a grid that goes from edge to edge, in their colours; one more is a hole."""
    left, right, bottom, top = extent
    rows, columns = regions.shape
    return go.Heatmap(
        z=regions,
        x0=left,
        dx=(right - left) / (columns - 1),
        y0=bottom,
        dy=(top - bottom) / (rows - 1),
        zmin=-0.5,
        zmax=len(CLASS) + 0.5,
        colorscale=_REGIONS,
        opacity=0.22,
        showscale=False,
        hoverinfo="skip",
    )


def _rings(means: np.ndarray, sigmas: np.ndarray) -> go.Scatter:
    """At one and two standard deviations round each mean, separated by NaN so that one line trace draws all."""
    angle = np.append(np.linspace(0, 2 * np.pi, 73), np.nan)
    unit = np.column_stack([np.cos(angle), np.sin(angle)])
    x, y = np.concatenate([means[k] + radius * sigmas[k] * unit for k in range(len(means)) for radius in (1, 2)]).T
    line = {"width": 1, "color": "rgba(128,128,128,0.9)"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name="rings at 1σ and 2σ", hoverinfo="skip")


def _tags(means: np.ndarray, classes: tuple[str, ...]) -> list[dict[str, object]]:
    """The class name at each mean, as annotations, which lie over all traces."""
    return [_tag(x, y, k, classes) for k, (x, y) in enumerate(means)]


def _tag(x: float, y: float, k: int, classes: tuple[str, ...]) -> dict[str, object]:
    return {
        "x": float(x),
        "y": float(y),
        "text": f"<b>{classes[k]}</b>",
        "showarrow": False,
        "font": {"size": 12, "color": "white"},
        "bgcolor": CLASS[k],
        "bordercolor": "white",
        "borderpad": 2,
    }


def _poison_marks(poisons: Poisons, seen: Projection, names: np.ndarray) -> go.Scatter:
    x, y = seen(poisons.z).T
    return go.Scatter(
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
        unselected={"marker": {"opacity": 1}},  # a click on a point of the cloud must not fade them
        customdata=np.column_stack(
            [names[group] for group in (poisons.labels, poisons.target_labels, poisons.predicted)]
        ),
        hovertemplate="poison: claims %{customdata[0]}, target %{customdata[1]}, "
        "seen as %{customdata[2]}<extra></extra>",
    )


def decision_plane(
    attack: "Attack", shown: "Demonstration | None", arm: str, seen: Projection, classes: tuple[str, ...]
) -> go.Figure:
    """What one model was fine-tuned on, its decision regions, and what it takes the target for (figure 7).

    Clean images are dots, poisons diamonds, in the colour of the class that they claim. What the filter has removed is
    hollow and crossed. The target is a hollow star beneath them. Poisons lie on top of each other and of the target:
    a detail in an empty corner shows them apart.

    Args:
        attack: What `lgm.demonstration.stage` made.
        shown: What a threshold does to it; None while that is not known: then only images are drawn.
        arm: Of `lgm.defense.ARMS`.
        seen: How features become places; regions are drawn if it is exact.
        classes: Their names.
    """
    model = shown and shown.arms[arm]
    examples = attack.clean if arm == "clean" else attack.mixed
    removed = shown.removed if shown and arm == "filtered" else np.zeros(len(examples), bool)
    places, poisoned = seen(examples.z / attack.scale), examples.poisoned
    target = seen(attack.target.z / attack.scale)
    view = _view_of(attack, seen, classes)
    means = {k: seen(attack.clean.z[attack.clean.labels == k] / attack.scale).mean(0) for k in _present(attack.clean)}
    figure = go.Figure()
    if model and seen.exact:
        figure.add_trace(_regions(_with_hole(model.regions, view) if view.detail else model.regions, view.plot.extent))
        figure.add_traces(_regions_in_detail(attack, examples[~removed], view))
    for window in (view.plot, view.detail):
        if window:
            inside = window.contains(places)
            figure.add_trace(_target_mark(view.place(target, window), attack.trial.target_class, classes))
            for kind, group in (("clean", ~poisoned & inside), ("poison", poisoned & inside)):
                marks = view.place(places[group], window)
                figure.add_traces(_fine_tuned_on(kind, marks, examples.labels[group], removed[group], classes))
    _lay_out_plane(figure, view, seen)
    figure.update_layout(
        annotations=[
            *(_tag(x, y, k, classes) | _BESIDE for k, (x, y) in means.items()),
            _target_label(target[0], model and model.predicted, view, classes),
            *_count(int(poisoned.sum()), int((removed & poisoned).sum()), view),
        ],
        uirevision=f"{attack.model} {attack.trial}",
    )
    return figure


_PLANE = 290  # pixels
_DETAIL_CELLS = 60  # of its regions, along each axis
_BESIDE = {"xanchor": "right", "xshift": -16}  # of the dots
_FRAME = {"color": "rgba(128,128,128,0.9)", "width": 1}


@dataclass(frozen=True)
class _View:
    """What all planes of one attack share: the same places mean the same.

    Attributes:
        plot: What they show.
        detail: What is shown once more, larger; None if that is not needed.
        corner: Where it is shown.
        label: From the target to its label, in shares of the plot.
    """

    plot: Square
    detail: Square | None
    corner: Square
    label: tuple[float, float]

    def place(self, points: np.ndarray, window: Square) -> np.ndarray:
        """(N, 2) places of the plot to where they are drawn: as they are, or in the detail."""
        return points if window is self.plot else self.corner.at(window.unit(points))


def _view_of(attack: "Attack", seen: Projection, classes: tuple[str, ...]) -> _View:
    places = seen(attack.mixed.z / attack.scale)
    target = seen(attack.target.z / attack.scale)
    everything = np.vstack([target, places])
    plot = Square.of_extent(attack.extent if seen.exact else _square(everything))
    detail = close_up(np.vstack([target, places[attack.mixed.poisoned]]), plot)
    unit = plot.unit(everything)
    longest = max(len(classes[k]) for k in _present(attack.clean))
    corner = emptiest(np.vstack([unit, *(unit - (away, 0) for away in (0.05, 0.05 + 0.03 * longest))]))  # room for tags
    label = label_offset(unit[0], unit[1:], corner if detail else None, 12 + longest)
    (x, y), half = plot.at(np.array([[corner.x, corner.y]]))[0], 2 * plot.half * corner.half
    return _View(plot, detail, Square(float(x), float(y), half), label)


def _with_hole(regions: np.ndarray, view: _View) -> np.ndarray:
    """Decision regions without those where the detail is."""
    left, right, bottom, top = view.plot.extent
    rows, columns = regions.shape
    x, y = np.linspace(left, right, columns), np.linspace(bottom, top, rows)
    hole = [np.abs(grid - at) <= view.corner.half for grid, at in ((y, view.corner.y), (x, view.corner.x))]
    regions = regions.copy()
    regions[np.ix_(*hole)] = len(CLASS)
    return regions


def _regions_in_detail(attack: "Attack", examples: Any, view: _View) -> list[go.Heatmap]:
    """Of the model that was fine-tuned on these examples: a grid of its own, for the plot's is too coarse."""
    if view.detail is None:
        return []
    from lgm.finetune import fine_tune

    shares = (np.arange(_DETAIL_CELLS) + 0.5) / _DETAIL_CELLS
    grid = np.stack(np.meshgrid(shares, shares), axis=-1)
    head = fine_tune(examples, attack.config.strength)
    left, right, bottom, top = view.corner.extent
    half = (right - left) / _DETAIL_CELLS / 2  # of a cell: the outer ones end at the frame
    regions = head(view.detail.at(grid) * attack.scale).astype(np.uint8)
    return [_regions(regions, (left + half, right - half, bottom + half, top - half))]


def _count(poisons: int, removed: int, view: _View) -> list[dict[str, Any]]:
    """How many poisons the detail shows, for even there they may lie on top of each other."""
    if not poisons or view.detail is None:
        return []
    left, _, bottom, _ = view.corner.extent
    text = f"{removed} removed" if removed else f"{poisons} poisons"
    corner = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return [{"x": left, "y": bottom, "text": text, "font": {"size": 10}, **corner}]


def _lay_out_plane(figure: go.Figure, view: _View, seen: Projection) -> None:
    left, right, bottom, top = view.plot.extent
    axis = {"zeroline": False, "showgrid": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    titles = [{"text": name, "standoff": 3, "font": {"size": 11}} for name in seen.names]
    boxes = [] if view.detail is None else [view.detail.extent, view.corner.extent]
    figure.update_layout(
        height=_PLANE,
        margin={"l": 20, "r": 2, "t": 2, "b": 20},
        showlegend=False,
        dragmode="pan",
        shapes=[dict(zip(("x0", "x1", "y0", "y1"), box, strict=True), type="rect", line=_FRAME) for box in boxes],
        xaxis={"range": [left, right], "title": titles[0], **axis},
        yaxis={"range": [bottom, top], "title": titles[1], "scaleanchor": "x", **axis},
    )


def _target_label(target: np.ndarray, predicted: int | None, view: _View, classes: tuple[str, ...]) -> dict[str, Any]:
    """What a model takes the target for, at the end of a leader: off the star and what lies on it."""
    dx, dy = view.label
    known = predicted is not None
    return {
        "x": float(target[0]),
        "y": float(target[1]),
        "ax": dx * _PLANE,
        "ay": -dy * _PLANE,
        "text": f"<b>taken for {classes[predicted]}</b>" if known else "<b>target</b>",
        "showarrow": True,
        "arrowhead": 0,
        "arrowwidth": 1.5,
        "arrowcolor": ROLE["target"],
        "standoff": 11,
        "font": {"size": 12, "color": "white"},
        "bgcolor": CLASS[predicted] if known else ROLE["target"],
        "bordercolor": ROLE["target"],
        "borderwidth": 2,
        "borderpad": 2,
    }


def _present(examples: Any) -> list[int]:
    return [int(k) for k in np.unique(examples.labels)]


def _square(places: np.ndarray) -> tuple[float, float, float, float]:
    """Left, right, bottom, top round all places, with a margin."""
    low, high = places.min(0), places.max(0)
    (x, y), half = (low + high) / 2, 0.58 * float((high - low).max())
    return float(x - half), float(x + half), float(y - half), float(y + half)


def _fine_tuned_on(
    kind: str, places: np.ndarray, labels: np.ndarray, removed: np.ndarray, classes: tuple[str, ...]
) -> list[go.Scatter]:
    """One trace of clean images or of poisons; none if there are none."""
    if not len(places):
        return []
    symbol, edge = ("diamond", ROLE["poison"]) if kind == "poison" else ("circle", None)
    colours = [edge if gone and edge else CLASS[k] for k, gone in zip(labels, removed, strict=True)]
    fates = ["removed by the filter" if gone else "fine-tuned on" for gone in removed]
    trace = go.Scatter(
        x=places[:, 0],
        y=places[:, 1],
        mode="markers",
        meta=kind,
        marker={
            "symbol": [f"{symbol}-x-open" if gone else symbol for gone in removed],
            "size": 9 if kind == "poison" else 7,
            "opacity": 0.9,
            "color": colours,
            "line": {"width": [1.5 if gone or edge else 0.5 for gone in removed], "color": edge},
        },
        customdata=[[classes[k], fate] for k, fate in zip(labels, fates, strict=True)],
        hovertemplate=f"{kind}, claims %{{customdata[0]}}: %{{customdata[1]}}<extra></extra>",
    )
    return [trace]


def _target_mark(place: np.ndarray, true: int, classes: tuple[str, ...]) -> go.Scatter:
    return go.Scatter(
        x=place[:, 0],
        y=place[:, 1],
        mode="markers",
        meta="target",
        marker={"symbol": "star-open", "size": 20, "color": ROLE["target"], "line": {"width": 2.5}},
        hovertemplate=f"target, a {classes[true]}<extra></extra>",
    )


def success_curves(reports: dict[str, list[dict[str, Any]]]) -> go.Figure:
    """Attack success against the number of poisons K, with 95 % Wilson bands.

    Args:
        reports: By loss, "lgm" and "softmax": `lgm.defense.DefenseReport.to_dict` for different K, all else equal.
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
        xaxis={"title": "poisons K, for one target", "type": "log", "tickvals": numbers, "gridcolor": _GREY},
        yaxis={"title": "attack success", "range": [-0.03, 1.03], "tickformat": ".0%", "gridcolor": _GREY},
    )
    return figure


def _curve(reports: list[dict[str, Any]], loss: str, arm: str, dash: str) -> list[go.Scatter]:
    """Attack success of one arm with its band."""
    points = [(report["poisons"], report["attack_success"][arm], report["interval"][arm]) for report in reports]
    name = f"{_LOSS[loss]}, {'not filtered' if arm == 'unfiltered' else 'filtered'}"
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
        xaxis={"title": "likelihood relative to the peak of the claimed class", "range": [0, 1], "gridcolor": _GREY},
        yaxis={"title": "share of the group", "tickformat": ".0%", "gridcolor": _GREY},
        **_PLAIN,
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
            "gridcolor": _GREY,
        },
        yaxis={"title": "TPR: poisons caught", "range": [0, 1.02], "tickformat": ".0%", "gridcolor": _GREY},
        **_PLAIN,
    )
    return figure


@dataclass(frozen=True)
class Traded:
    """Something that beta trades: what `beta_curves` draws of it.

    Attributes:
        name: What it is called where one of them is chosen.
        title: Of the axis.
        lines: Keys of `lgm.tradeoff.Tradeoff.rows`, their names and dashes.
        share: Whether they are shares, from 0 to 1.
    """

    name: str
    title: str
    lines: tuple[tuple[str, str, str], ...]
    share: bool = True


TRADED = {
    "collision": Traded(
        "Collisions and detection",
        "share of the poisons",
        (("collided", "collide", "solid"), ("tpr", "caught at 1 % FPR", "dot")),
    ),
    "attack": Traded(
        "Attack success",
        "share of the attacks",
        (("unfiltered", "succeed unfiltered", "solid"), ("filtered", "filtered", "dot")),
    ),
    "l2": Traded("Visibility (L2)", "L2 distance to the base", (("l2", "L2", "solid"),), share=False),
    "ssim": Traded("Visibility (SSIM)", "SSIM with the base", (("ssim", "SSIM", "solid"),), share=False),
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
        rows: By loss: `lgm.tradeoff.Tradeoff.rows`.
        of: Key of `TRADED`. What was not measured has no line.
    """
    shown = TRADED[of]
    figure = go.Figure()
    for loss, of_loss in rows.items():
        for key, name, dash in shown.lines:
            points = [(row["beta"], row[key], row[f"{key}_interval"]) for row in of_loss if row[key] is not None]
            if points:
                figure.add_traces(_band(points, loss, f"{_LOSS[loss]}, {name}", dash))
    shares = {"range": [-0.03, 1.03], "tickformat": ".0%"} if shown.share else {"rangemode": "tozero"}
    figure.update_layout(
        xaxis={
            "title": "β: weight of looking like the base",
            "type": "log",
            "dtick": 1,
            "tickformat": "~g",
            "gridcolor": _GREY,
        },
        yaxis={"title": shown.title, "gridcolor": _GREY, **shares},
        **_PLAIN,
    )
    return figure


def frontier_chart(rows: list[dict[str, Any]]) -> go.Figure:
    """Attack success against detection: both for each attacker who knows of the filter, from unaware to evasive.

    Args:
        rows: `lgm.study.frontier_row`, by ascending gamma.
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
        xaxis={"title": "γ: weight of passing the filter", "type": "category", "gridcolor": _GREY},
        yaxis={"title": "share", "range": [-0.03, 1.05], "tickformat": ".0%", "gridcolor": _GREY},
        **_PLAIN,
    )
    return figure


def picture(image: np.ndarray) -> Image.Image:
    """An image at its own size. ``image`` is (1, H, W) or (3, H, W), uint8 or float in [0, 1]."""
    pixels = image[0] if len(image) == 1 else np.moveaxis(image, 0, -1)
    if pixels.dtype != np.uint8:
        pixels = (pixels * 255).round().astype(np.uint8)
    return Image.fromarray(np.ascontiguousarray(pixels))


def png(image: np.ndarray) -> bytes:
    """The same as PNG bytes."""
    buffer = BytesIO()
    picture(image).save(buffer, "PNG")
    return buffer.getvalue()
