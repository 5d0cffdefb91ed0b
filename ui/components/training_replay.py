"""The browser component of the Train page: the cloud of features, epoch by epoch, beside the curves."""

import base64
from typing import Any

import numpy as np

from lgm.config import TrainConfig
from lgm.data.registry import find_dataset
from lgm.plots.theme import CLASS, ROLE
from ui.components.declare import declare
from ui.training_runs import Epoch

_mount = declare("training_replay")
_MARGIN = 1.06  # room around the outermost point


def training_replay(epochs: list[Epoch], config: TrainConfig, *, title: str, identity: str, key: str) -> None:
    """Draw a run so far. While it grows the picture follows the newest epoch, unless the hand chose an earlier one.

    Args:
        epochs: Oldest first; those without features have a place on the curves only.
        config: Of the run: how many epochs it will have, and which loss.
        title: What is shown, for the picture that one can save.
        identity: Of the run: the picture starts anew when it changes.
        key: Identity of the component on its page.
    """
    clouds = [epoch for epoch in epochs if epoch.features is not None]
    first = clouds[0].features if clouds else None
    data = {
        "id": identity,
        "title": title,
        "loss": config.model.loss,
        "epochs": config.epochs,
        "records": [epoch.record for epoch in epochs if "loss" in epoch.record],
        "classes": find_dataset(config.dataset).classes,
        "labels": _pack(first.labels if first else np.empty(0), np.uint8),
        "clouds": [_cloud(epoch) for epoch in clouds],
        "views": _views(clouds, common=config.model.loss == "lgm"),
        "colors": {"run": ROLE[config.model.loss], "classes": CLASS},
    }
    _mount(key=key, data=data)


def _cloud(epoch: Epoch) -> dict[str, Any]:
    """Features as 16-bit numbers: finer than a pixel, and half the size."""
    assert epoch.features is not None
    z = epoch.features.z[:, :2]
    scale = float(np.abs(z).max()) / 32767 or 1.0
    return {
        "epoch": epoch.record["epoch"],
        "scale": scale,
        "z": _pack(np.round(z / scale), np.int16),
        "predicted": _pack(epoch.features.predicted, np.uint8),
        "means": _class_means(epoch).tolist(),
        "sigmas": None if epoch.sigmas is None else epoch.sigmas[:, :2].tolist(),
    }


def _class_means(epoch: Epoch) -> np.ndarray:
    """Where each class is written: at the learnt mean, or at the mean of its features where none is learnt."""
    if epoch.means is not None:
        return epoch.means[:, :2]
    assert epoch.features is not None
    labels = epoch.features.labels
    return np.stack([epoch.features.z[labels == k, :2].mean(0) for k in range(len(CLASS))])


def _views(clouds: list[Epoch], common: bool) -> list[list[float]]:
    """What to show of the plane for each cloud: centre and half the height.

    Args:
        clouds: With features.
        common: One view for all, as long as they share a scale: sigmas do, the features of a softmax network do not.
    """
    boxes = np.array([_box(epoch) for epoch in clouds]).reshape(-1, 2, 2)
    if common and len(boxes):
        boxes[:] = boxes[:, 0].min(0), boxes[:, 1].max(0)
    center, half = boxes.mean(1), np.diff(boxes, axis=1)[:, 0].max(1, initial=0) / 2 * _MARGIN
    return np.column_stack([center, np.maximum(half, 1e-6)]).round(6).tolist()


def _box(epoch: Epoch) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper corner of the rings at 2 sigma and of nearly all points: a stray one must not shrink the rest."""
    assert epoch.features is not None
    low, high = np.quantile(epoch.features.z[:, :2], (0.002, 0.998), axis=0)
    if epoch.means is None or epoch.sigmas is None:
        return low, high
    means, reach = epoch.means[:, :2], 2 * epoch.sigmas[:, :2]
    return np.minimum(low, (means - reach).min(0)), np.maximum(high, (means + reach).max(0))


def _pack(values: np.ndarray, dtype: type) -> str:
    return base64.b64encode(values.astype(np.dtype(dtype).newbyteorder("<")).tobytes()).decode("ascii")
