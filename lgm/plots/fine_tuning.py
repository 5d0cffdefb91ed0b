"""The decision regions of a fine-tuned head, before, poisoned and filtered (figure 7)."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import plotly.graph_objects as go

from lgm.plots.features import Projection
from lgm.plots.placement import Square, close_up, emptiest, label_offset
from lgm.plots.theme import CLASS, ROLE, class_tag, present, region_map, square_axes

if TYPE_CHECKING:  # it brings torch
    from lgm.defense.example import Demonstration, Scene
    from lgm.defense.finetune import LinearHead

_PLANE = 290  # pixels


def decision_plane(
    attack: "Scene",
    shown: "Demonstration | None",
    arm: str,
    seen: Projection,
    classes: tuple[str, ...],
    *,
    size: int = _PLANE,
) -> go.Figure:
    """What one model was fine-tuned on, its decision regions, and what it takes the target for (figure 7).

    Clean images are dots, poisons diamonds, in the colour of the class that they claim. What the filter has removed is
    hollow and crossed. The target is a hollow star beneath them. Poisons lie on top of each other and of the target:
    a detail in an empty corner shows them apart.

    Args:
        attack: What `lgm.defense.example.stage` made, or what is known of another one.
        shown: What a filter does to it; None while that is not known: then only images are drawn.
        arm: Of `lgm.defense.report.ARMS`.
        seen: How features become places; regions are drawn if it is exact.
        classes: Their names.
        size: Height of the figure in pixels.
    """
    model = shown and shown.arms[arm]
    examples = attack.clean if arm == "clean" else attack.mixed
    removed = shown.removed if shown and arm == "filtered" else np.zeros(len(examples), bool)
    places, poisoned = seen(examples.z / attack.scale), examples.poisoned
    target = seen(attack.target.z / attack.scale)
    view = _view_of(attack, seen, classes, size)
    means = _means(attack, seen)
    figure = go.Figure()
    if model and seen.exact:
        figure.add_trace(
            region_map(_with_hole(model.regions, view) if view.detail else model.regions, view.plot.extent)
        )
        figure.add_traces(_regions_in_detail(model.head, attack.scale, view))
    for window in (view.plot, view.detail):
        if window:
            inside = window.contains(places)
            figure.add_trace(_target_mark(view.place(target, window), attack.trial.target_class, classes))
            for kind, group in (("clean", ~poisoned & inside), ("poison", poisoned & inside)):
                marks = view.place(places[group], window)
                figure.add_traces(_fine_tuned_on(kind, marks, examples.labels[group], removed[group], classes))
    _lay_out_plane(figure, view, seen, size)
    figure.update_layout(
        annotations=[
            *(
                class_tag(*at, k, classes) | _beside(view.plot.unit(np.array(at))[0], classes[k], size)
                for k, at in means.items()
            ),
            _target_label(target[0], model.predicted if model else None, classes) | _leader(view, size),
            *_count(int(poisoned.sum()), int((removed & poisoned).sum()), view),
        ],
        uirevision=f"{attack.model} {attack.trial}",
    )
    return figure


_DETAIL_CELLS = 60  # of its regions, along each axis
_TAG, _WEIGHT = 22, 20  # pixels from a class mean to its tag, and how many points are as bad to cover
_NEXT = 16  # pixels from a class mean to the nearer end of its tag
_LETTER = 7  # pixels
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


def _view_of(attack: "Scene", seen: Projection, classes: tuple[str, ...], size: int) -> _View:
    places = seen(attack.mixed.z / attack.scale)
    target = seen(attack.target.z / attack.scale)
    everything = np.vstack([target, places])
    plot = Square.of_extent(attack.extent if seen.exact else square_axes(everything))
    detail = close_up(np.vstack([target, places[attack.mixed.poisoned]]), plot)
    unit = plot.unit(everything)
    longest = max(len(classes[k]) for k in present(attack.clean))
    corner = emptiest(np.vstack([unit, *(unit - (away, 0) for away in (0.05, 0.05 + 0.03 * longest))]))  # room for tags
    covered = [unit[1:]]
    for k, at in _means(attack, seen).items():
        mean = plot.unit(np.array(at))
        away = _TAG if _beside(mean[0], classes[k], size)["xshift"] > 0 else -_TAG
        covered.append(np.tile(np.add(mean, (away / size, 0)), (_WEIGHT, 1)))
    label = label_offset(unit[0], np.vstack(covered), corner if detail else None, 12 + longest, enlarged=_PLANE / size)
    (x, y), half = plot.at(np.array([[corner.x, corner.y]]))[0], 2 * plot.half * corner.half
    return _View(plot, detail, Square(float(x), float(y), half), label)


def _means(attack: "Scene", seen: Projection) -> dict[int, tuple[float, float]]:
    """Where the mean of each class's clean images is, by label."""
    places, labels = seen(attack.clean.z / attack.scale), attack.clean.labels
    return {
        k: (float(places[labels == k, 0].mean()), float(places[labels == k, 1].mean())) for k in present(attack.clean)
    }


def _beside(x: float, name: str, size: int) -> dict[str, Any]:
    """Where a class's tag lies: left of its dots, or right where there is no room. ``x``: share of the plot."""
    room = x * size > _NEXT + _LETTER * len(name) or x > 0.5
    return {"xanchor": "right", "xshift": -_NEXT} if room else {"xanchor": "left", "xshift": _NEXT}


def _with_hole(regions: np.ndarray, view: _View) -> np.ndarray:
    """Decision regions without those where the detail is."""
    left, right, bottom, top = view.plot.extent
    rows, columns = regions.shape
    x, y = np.linspace(left, right, columns), np.linspace(bottom, top, rows)
    hole = [np.abs(grid - at) <= view.corner.half for grid, at in ((y, view.corner.y), (x, view.corner.x))]
    regions = regions.copy()
    regions[np.ix_(*hole)] = len(CLASS)
    return regions


def _regions_in_detail(head: "LinearHead", scale: np.ndarray, view: _View) -> list[go.Heatmap]:
    """Of the same head: a grid of its own, for the plot's is too coarse."""
    if view.detail is None:
        return []
    shares = (np.arange(_DETAIL_CELLS) + 0.5) / _DETAIL_CELLS
    grid = np.stack(np.meshgrid(shares, shares), axis=-1)
    left, right, bottom, top = view.corner.extent
    half = (right - left) / _DETAIL_CELLS / 2  # of a cell: the outer ones end at the frame
    regions = head(view.detail.at(grid) * scale).astype(np.uint8)
    return [region_map(regions, (left + half, right - half, bottom + half, top - half))]


def _count(poisons: int, removed: int, view: _View) -> list[dict[str, Any]]:
    """How many poisons the detail shows, for even there they may lie on top of each other."""
    if not poisons or view.detail is None:
        return []
    left, _, bottom, _ = view.corner.extent
    text = f"{removed} removed" if removed else f"{poisons} poison{'s' if poisons > 1 else ''}"
    corner = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return [{"x": left, "y": bottom, "text": text, "font": {"size": 10}, **corner}]


def _lay_out_plane(figure: go.Figure, view: _View, seen: Projection, size: int) -> None:
    left, right, bottom, top = view.plot.extent
    axis = {"zeroline": False, "showgrid": False, "showticklabels": False, "ticks": "", "constrain": "domain"}
    titles = [{"text": name, "standoff": 3, "font": {"size": 11}} for name in seen.names]
    boxes = [] if view.detail is None else [view.detail.extent, view.corner.extent]
    figure.update_layout(
        height=size,
        margin={"l": 20, "r": 2, "t": 2, "b": 20},
        showlegend=False,
        dragmode="pan",
        shapes=[dict(zip(("x0", "x1", "y0", "y1"), box, strict=True), type="rect", line=_FRAME) for box in boxes],
        xaxis={"range": [left, right], "title": titles[0], **axis},
        yaxis={"range": [bottom, top], "title": titles[1], "scaleanchor": "x", **axis},
    )


def _leader(view: _View, size: int) -> dict[str, float]:
    """From the target to its label, in pixels."""
    dx, dy = view.label
    return {"ax": dx * size, "ay": -dy * size}


def _target_label(target: np.ndarray, predicted: int | None, classes: tuple[str, ...]) -> dict[str, Any]:
    """What a model takes the target for, at the end of a leader: off the star and what lies on it."""
    known = predicted is not None
    return {
        "x": float(target[0]),
        "y": float(target[1]),
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
