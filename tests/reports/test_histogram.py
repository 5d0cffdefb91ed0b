"""The histogram says what NumPy counts, and no bar is on both sides of T."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from lgm.reports.histogram import KEPT, REMOVED, score_histogram


def bars(svg: str) -> list[tuple[float, float, int, str]]:
    """Left edge, right edge, images, colour of each."""
    found = []
    for rect in ElementTree.fromstring(str(svg)).iter("rect"):
        title = rect.find("title")
        assert title is not None
        left, width = float(rect.attrib["x"]), float(rect.attrib["width"])
        found.append((left, left + width, int(re.sub(r"\D", "", title.text or "")), rect.attrib["fill"]))
    return found


@pytest.mark.parametrize("threshold", [-3.0, -1.0, 0.9])
def test_every_image_is_in_one_bar_of_its_own_side(threshold: float, rng: np.random.Generator):
    score = np.append(-(rng.exponential(1, 5000) ** 2), threshold)  # what is at T is removed
    found = bars(score_histogram(score, threshold, "likelihood"))
    assert sum(count for *_, count, colour in found if colour == REMOVED) == (score <= threshold).sum()
    assert sum(count for *_, count, colour in found if colour == KEPT) == (score > threshold).sum()
    removed = [right for _, right, _, colour in found if colour == REMOVED]
    kept = [left for left, _, _, colour in found if colour == KEPT]
    assert not removed or not kept or max(removed) <= min(kept) + 0.1


@pytest.mark.parametrize(
    ("score", "threshold"),
    [
        (np.array([1.0]), 0.0),
        (np.array([1.0]), 1.0),
        (np.full(7, -2.5), -np.inf),
        (np.full(7, -2.5), np.inf),
        (np.array([-1e300, 0.0, 1.0]), 0.5),
        (np.linspace(0, 1, 100), -5.0),
        (np.linspace(0, 1, 100), 7.0),
    ],
)
def test_odd_scores_are_drawn_too(score: np.ndarray, threshold: float):
    svg = score_histogram(score, threshold, "a <score>")
    assert sum(count for *_, count, _ in bars(svg)) == len(score)
    assert "nan" not in svg
    assert "inf" not in svg
    assert "a &lt;score&gt;" in svg
