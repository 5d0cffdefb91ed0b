"""What the browser draws of a dataset that was judged: scores, classes, and the least likely images."""

import numpy as np
import streamlit as st

from lgm.data.store import Registration, read_registration
from ui.components.kept_list import ScoredImages
from ui.your_data import Answer

_SIDE = 64  # pixels a side of the largest thumbnail
_PICTURES = 2_000_000  # bytes of all thumbnails together
_FEWEST = 48
_IN_NATS = ("likelihood", "gaussian", "log-odds")
_SPACED = ("likelihood", "gaussian")  # whose distance to the highest one is a square
_AXES = {
    "likelihood": "log p(f(x) | claimed label), nats",
    "gaussian": "log p(f(x) | claimed label) of fitted Gaussians, nats",
    "log-odds": "log-odds of the claimed label, nats",
    "confidence": "probability of the claimed label",
    "knn": "minus the distance to the tenth nearest of the class",
}


@st.cache_resource(show_spinner="Reading the least likely images", max_entries=4, hash_funcs={Answer: lambda a: a.key})
def picture(found: Answer) -> ScoredImages:
    """All that the browser needs to count and draw by itself."""
    question, kept = found.question, found.kept
    order = np.argsort(kept.score, kind="stable")
    about = read_registration(question.data)
    channels, height, width = about.shape
    shape = channels, min(height, _SIDE), min(width, _SIDE)
    shown = order[: max(_FEWEST, _PICTURES // int(np.prod(shape)))]
    return ScoredImages(
        key=found.key,
        title=f"{question.data}, {len(order):,} images, on {question.network}; {question.score}; T {found.promise}.",
        score=kept.score[order].astype(np.float64),
        claims=kept.images.labels[order],
        predicted=kept.images.predicted[shown],
        calibration=found.calibration,
        names=kept.names,
        axis=_AXES.get(question.score, question.score),
        in_nats=question.score in _IN_NATS,
        spaced=question.score in _SPACED,
        rate=question.fpr,
        start=float(kept.threshold),
        pictures=thumbnails(about, kept.images.paths[shown].tolist(), shape),
    )


def thumbnails(about: Registration, paths: list[str], shape: tuple[int, int, int]) -> np.ndarray:
    """Images of a dataset, (N, C, H, W) uint8 in this order; one that does not read any more is white."""
    from lgm.data.loader import open_images

    order = np.argsort(np.array(paths, object), kind="stable")  # forwards through an archive, which is unpacked once
    images = open_images(about.root, [paths[i] for i in order], shape)
    pictures = np.full((len(paths), *shape), 255, np.uint8)
    for place, i in enumerate(order):
        position, pixels = images[place]
        if position >= 0:
            pictures[i] = pixels.numpy()
    return pictures
