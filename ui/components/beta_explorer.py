"""Beta explorer: a pair's poisons for all betas, at every iteration, in one browser component."""

import base64
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import streamlit as st

from lgm.attacks.result import Poisons
from lgm.detection.thresholds import cut_radius
from lgm.models.features import read_gaussians
from lgm.models.registry import locate
from lgm.plots.features import Projection, projection
from lgm.plots.theme import CLASS, ROLE
from ui import load
from ui.beta_paths import nearest
from ui.components.declare import declare

_mount = declare("beta_explorer")
_CLOUD = 1500  # points of D_f behind the path: enough to see the classes
_COLORS = {**ROLE, "classes": CLASS}


def beta_explorer(
    paths: dict[str, Poisons | None],
    pair: tuple[np.ndarray, int, np.ndarray, int],
    points: dict[str, tuple[np.ndarray, np.ndarray]],
    *,
    betas: tuple[float, ...],
    beta: float,
    more: bool = False,
    story: bool = False,
    key: str,
    on_release: Callable[[float], None] | None = None,
) -> None:
    """Draw the component.

    Args:
        paths: Poisons by loss ("lgm", "softmax") at these ``betas``, None while they are being made.
        pair: Base image, its label, target image, its label.
        points: Features of base and target by loss.
        betas: The slider's stops.
        beta: Where the slider stands.
        more: Whether further stops are being made.
        story: The small, self-playing form of the Overview page.
        key: Identity of the component.
        on_release: Called with beta once it is let go, before the rerun that draws it anew.
    """

    def released() -> None:
        chosen = st.session_state[key].get("beta")
        if on_release and chosen in betas:  # it comes from a browser, which may still show other stops
            on_release(float(chosen))

    base, base_label, target, target_label = pair
    iterations = shown_iterations([path for path in paths.values() if path])
    data = {
        "story": story,
        "index": nearest(beta, betas),
        "betas": list(betas),
        "more": more,
        "iterations": iterations.tolist(),
        "shape": base.shape,
        "classes": load.dataset().classes,
        "base": _pack(base),
        "target": _pack(target),
        "base_label": base_label,
        "target_label": target_label,
        "gamma": max((path.manifest["config"].get("gamma", 0.0) for path in paths.values() if path), default=0.0),
        "threshold": load.threshold(load.model_name("lgm")),
        "colors": _COLORS,
        "networks": {loss: _network(loss, path, points[loss], base_label) for loss, path in paths.items()},
    }
    for loss, path in paths.items():
        if path:
            seen = projection(load.features(load.model_name(loss)))
            data["networks"][loss]["poisons"] = _poisons(path, seen) | packed_trajectory(
                path, iterations, seen, images=not story
            )
    _mount(key=key, data=data, on_beta_change=released)


def shown_iterations(paths: list[Poisons]) -> np.ndarray:
    """(F,) iterations at which any of these was recorded, up to the last one at which any poison still moved."""
    if not paths:
        return np.zeros(1, np.int64)
    ends = []
    for path in paths:
        moved = (np.diff(path.path_objective, axis=1) != 0).any(axis=(0, 2))
        ends.append(path.path_iteration[1:][moved].max(initial=0))
    recorded = np.unique(np.concatenate([path.path_iteration for path in paths]))
    return recorded[recorded <= max(ends)]


def _network(loss: str, path: Poisons | None, points: tuple[np.ndarray, np.ndarray], base_label: int) -> dict[str, Any]:
    name = load.model_name(loss)
    features = load.features(name)
    cloud = load.embedded(name, load.clean_split())
    some = np.random.default_rng(0).permutation(len(cloud.z))[:_CLOUD]
    seen = projection(features)
    base_z, target_z = (seen(z) for z in points)
    means = seen(features.means)
    config = load.card(name).config.model
    _, sigmas = read_gaussians(locate(name))
    ringed = sigmas is not None and config.n_dim == 2
    radius = cut_radius(load.threshold(name), features.peak[base_label]) if ringed else None
    reach = [means - 2 * sigmas, means + 2 * sigmas] if sigmas is not None and radius else []
    return {
        "seen": "" if seen.exact else f": {seen.title}",
        "cloud": _pack(seen(cloud.z[some]).astype(np.float32)),
        "labels": _pack(cloud.labels[some]),
        "means": means.tolist(),
        "extent": _extent(seen(cloud.z), base_z, target_z, *_always_seen(path, seen), *reach),
        "cut": radius,  # in sigmas
        "sigma": sigmas[base_label].tolist() if sigmas is not None else None,
        "peak": float(features.peak[base_label]) if loss == "lgm" else None,
        "base_z": base_z.tolist(),
        "target_z": target_z.tolist(),
        "poisons": None,
    }


def _always_seen(path: Poisons | None, seen: Projection) -> list[np.ndarray]:
    return [seen(path.z), seen(path.path).reshape(-1, 2)] if path else []


def _extent(cloud: np.ndarray, *always: np.ndarray) -> list[float]:
    """Left, right, bottom, top: nearly all of the cloud, and all of what the picture is about."""
    inner = np.quantile(cloud, (0.003, 0.997), axis=0)
    points = np.vstack([inner, *(np.atleast_2d(z) for z in always)])
    low, high = points.min(0), points.max(0)
    pad = 0.06 * (high - low)
    return [float(v) for v in (low[0] - pad[0], high[0] + pad[0], low[1] - pad[1], high[1] + pad[1])]


def _poisons(path: Poisons, seen: Projection) -> dict[str, Any]:
    return {
        "images": _pack((path.images * 255).round().astype(np.uint8)),
        "z": seen(path.z).tolist(),
        "predicted": path.predicted.tolist(),
        "score": path.score.tolist() if np.isfinite(path.score).all() else None,
        "l2": path.l2.tolist(),
        "linf": path.linf.tolist(),
    }


def packed_trajectory(path: Poisons, iterations: np.ndarray, seen: Projection, *, images: bool) -> dict[str, Any]:
    """Every poison at these iterations, as it was last recorded."""
    frames = np.searchsorted(path.path_iteration, iterations, side="right") - 1
    terms = np.concatenate([path.path_objective, _hinge(path)[..., None]], axis=2)[:, frames]
    way = {"path": _pack(seen(path.path[:, frames])), "terms": _pack(terms.astype(np.float32))}
    if not images:
        return way
    # Each image as its change modulo 256, deflated: a tenth to a quarter, because pixels come to rest.
    changes = np.diff(path.path_images[:, frames], axis=1, prepend=np.uint8(0))
    return way | {
        "path_score": _pack(path.path_score[:, frames]) if np.isfinite(path.score).all() else None,
        "path_predicted": _pack(path.path_predicted[:, frames]),
        "path_images": _pack(changes, deflate=True),
    }


def _hinge(path: Poisons) -> np.ndarray:
    """(N, F) third term of what was minimised, for an adaptive attacker; 0 for others."""
    config = path.manifest.get("config", {})
    if not config.get("gamma"):
        return np.zeros(path.path_objective.shape[:2])
    from lgm.attacks.adaptive import MARGIN  # it brings torch, which crafting with gamma has brought before

    return config["gamma"] * np.maximum(0, config["threshold"] + MARGIN - path.path_score)


def _pack(array: np.ndarray, *, deflate: bool = False) -> str:
    content = array.tobytes()
    return base64.b64encode(zlib.compress(content) if deflate else content).decode()
