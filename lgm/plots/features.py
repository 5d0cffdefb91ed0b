"""The feature plane: clouds, class Gaussians, decision regions, poisons."""

from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go

from lgm.attacks.result import Poisons
from lgm.models.features import FeatureMap, Features
from lgm.plots.placement import apart
from lgm.plots.theme import CLASS, CLASS_SCALE, CLICKABLE, GREY, ROLE, SPLIT_TITLES, class_tag, region_map

_HEIGHT = 480  # pixels of the figure
_AXES = np.array((550, 340))  # pixels that its axes have on a screen of 1440, about
_AROUND = 1.12  # length of an axis in that of what it shows
_LETTER, _LINE, _BORDER = 7.5, 16, 6  # pixels: a letter's width and a line's height in a tag, and what is round them
DRAWN = 1_000  # points of a cloud that are drawn: as SVG, which needs no WebGL; with two networks, two clouds each


@dataclass(frozen=True)
class Projection:
    """How features of any dimension D are drawn in the plane.

    Attributes:
        axes: (D, 2) orthonormal columns.
        names: Of both axes; "" for one along which nothing differs.
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

    A single feature is a line in it. Classes that are all equally far apart, as a trained mixture has them where there
    is room, have no principal axes: any two are as good, and would put most class means on top of each other.
    """
    means = features.means
    if means.shape[1] == 2:
        return Projection(np.eye(2), ("feature 1", "feature 2"), "", exact=True)
    if means.shape[1] == 1:
        return Projection(np.eye(1, 2), ("the one feature", ""), "one feature, drawn on a line", exact=False)
    angle = 2 * np.pi * np.arange(len(means)) / len(means)
    circle = np.column_stack([np.cos(angle), np.sin(angle)])
    towards = np.linalg.pinv(means - means.mean(0)) @ circle  # (D, 2): least squares
    left, _, right = np.linalg.svd(towards, full_matrices=False)
    title = f"{means.shape[1]} of them, seen with class means round a circle"
    names = tuple(f"{means.shape[1]} features, seen with class means round a circle: axis {i}" for i in (1, 2))
    return Projection(left @ right, (names[0], names[1]), title, exact=False)


def pair_projection(z: np.ndarray, labels: np.ndarray) -> Projection:
    """For a task of two classes: the plane itself for D = 2, else along the line from one class mean to the other.

    Across it lies the direction in which what is left varies most.

    Args:
        z: (N, D) features of clean images of base and target.
        labels: (N,) of these two classes.
    """
    n_dim = z.shape[1]
    if n_dim == 2:
        return Projection(np.eye(2), ("feature 1", "feature 2"), "", exact=True)
    first, second = (z[labels == k].mean(0) for k in np.unique(labels))
    along = (second - first) / np.linalg.norm(second - first)
    if n_dim == 1:
        return Projection(np.eye(1, 2), ("the one feature", ""), "one feature, drawn on a line", exact=False)
    rest = z - z.mean(0)
    across = np.linalg.svd(rest - np.outer(rest @ along, along), full_matrices=False)[2][0]
    line = "along the line between the class means of base and target"
    title = f"{n_dim} of them, seen {line}, and across it where they vary most"
    names = "from one class mean to the other", "where what is left varies most"
    return Projection(np.column_stack([along, across]), names, title, exact=False)


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
        height=_HEIGHT,
        annotations=_tags(means, classes, np.vstack([means, *(seen(features.splits[of].z) for of in shown)])),
        margin={"l": 8, "r": 8, "t": 8, "b": 8},
        legend={"orientation": "h", "y": -0.17, "yanchor": "top", "itemsizing": "constant"},
        **CLICKABLE,
        uirevision="plane",
        xaxis={"title": seen.names[0], "zeroline": False, "gridcolor": GREY},
        yaxis={"title": seen.names[1], "zeroline": False, "gridcolor": GREY, "scaleanchor": "x"},
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
            name=f"{SPLIT_TITLES.get(split, f'D_f, {split}')} ({_of(len(index), total)})",
            meta=split,
            marker={
                "size": 3 if split == "train" else 4,
                "opacity": opacity,
                "color": features.labels[index],
                "colorscale": CLASS_SCALE,
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
        trace = region_map(features.regions, (left, right, bottom, top))
        figure.add_trace(trace.update(name="decision regions", showlegend=True, visible="legendonly"))


def _rings(means: np.ndarray, sigmas: np.ndarray) -> go.Scatter:
    """At one and two standard deviations round each mean, separated by NaN so that one line trace draws all."""
    angle = np.append(np.linspace(0, 2 * np.pi, 73), np.nan)
    unit = np.column_stack([np.cos(angle), np.sin(angle)])
    x, y = np.concatenate([means[k] + radius * sigmas[k] * unit for k in range(len(means)) for radius in (1, 2)]).T
    line = {"width": 1, "color": "rgba(128,128,128,0.9)"}
    return go.Scatter(x=x, y=y, mode="lines", line=line, name="rings at 1σ and 2σ", hoverinfo="skip")


def _tags(means: np.ndarray, classes: tuple[str, ...], places: np.ndarray) -> list[dict[str, object]]:
    """The class name at each mean, as annotations, which lie over all traces; off it where two would overlap.

    ``places`` (N, 2) is all that the axes show at first.
    """
    pixels = float((_AXES / (_AROUND * np.ptp(places, 0))).min())  # a unit is as long on either axis
    sizes = np.array([(_LETTER * len(name) + _BORDER, _LINE + _BORDER) for name in classes])
    shifts = apart(means * pixels, sizes)
    return [
        class_tag(x, y, k, classes) | ({"xshift": round(dx), "yshift": round(dy)} if dx or dy else {})
        for k, ((x, y), (dx, dy)) in enumerate(zip(means, shifts, strict=True))
    ]


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
