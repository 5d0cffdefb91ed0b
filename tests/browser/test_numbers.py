"""What the components compute in the browser reads as what Python computes: rates, intervals, T, and their rounding."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from playwright.sync_api import Page

from lgm.detection.metrics import outcome, roc
from lgm.detection.thresholds import empirical_threshold
from lgm.stats.intervals import outward, percent_text, wilson_interval

pytestmark = pytest.mark.browser
UI = Path(__file__).resolve().parents[2] / "ui" / "components"


def by_script(page: Page, name: str, expression: str, given: Any) -> Any:
    """An expression over ``given`` within the script of a component."""
    source = (UI / "canvas.js").read_text() + (UI / f"{name}.js").read_text().replace(
        "export default function", "function component"
    )
    return page.evaluate(f"given => {{ {source}\nreturn {expression}; }}", given)


def test_shares_read_the_same(page: Page) -> None:
    few = [hits / n for n in (1, 7, 40, 200, 400, 5000) for hits in range(n + 1)]
    shares = [*few, 0.9725, 0.00125, 0.99949, 0.9995, 0.99951, 1 - 1e-16, 1e-16, *np.linspace(0, 1, 2000).tolist()]
    for digits in (0, 1, 2):
        read = by_script(page, "threshold", f"given.map((share) => percent(share, {digits}))", shares)
        assert read == [percent_text(share, digits) for share in shares]
    assert "100.0 %" not in by_script(
        page, "training_replay", "given.map((share) => percent(share, 1))", [0.9999, 1 - 1e-9]
    )


def test_intervals_at_a_threshold_read_the_same(page: Page) -> None:
    counted = [(hits, n) for n in (1, 12, 60, 500, 5000) for hits in {0, 1, n // 3, n // 2, n - 1, n}]
    read = by_script(page, "threshold", "given.map(([hits, n]) => share(hits, n))", counted)
    for (hits, n), text in zip(counted, read, strict=True):
        low, high = wilson_interval(hits, n)
        ends = outward(100 * low, 100 * high, 2 if high - low < 0.02 else 0)
        assert text == f"{hits:,} of {n:,} ({ends[0]}–{ends[1]} %)"


def test_a_threshold_reads_as_it_is(page: Page, rng: np.random.Generator) -> None:
    found = [empirical_threshold(np.array([score]), 0) for score in -rng.lognormal(2, 2, 300).astype(np.float32)]
    read = by_script(page, "threshold", "given.map(plain)", found)
    assert [float(text) for text in read] == found
    assert [f"{float(text):.6g}" for text in read] == [f"{t:.6g}" for t in found], "and a link carries it"


@pytest.mark.parametrize("step", [0, 0.5])
def test_the_curve_is_the_same(page: Page, rng: np.random.Generator, step: float) -> None:
    clean, poison = (np.sort(rng.normal(at, 2, n)).astype(np.float32) for at, n in ((-3, 400), (-7, 90)))
    if step:  # ties
        clean, poison = (np.sort((scores / step).round() * step) for scores in (clean, poison))
    given = {"clean": clean.tolist(), "poison": poison.tolist()}
    corners = by_script(page, "threshold", "rocCurve(given.clean, given.poison)", given)
    fpr, tpr = np.array(corners).T
    curve = roc(clean, poison)
    area = float(np.trapezoid(tpr, fpr))
    if not step:
        assert area == pytest.approx(curve.auc, abs=1e-9)
    for rate in (0.01, 0.02, 0.05, 0.1, 0.5):
        threshold = curve.threshold_at(rate)
        counted = by_script(page, "threshold", f"[given.clean, given.poison].map((s) => upTo(s, {threshold!r}))", given)
        at = outcome(clean, poison, threshold)
        assert counted == [at.wrongly_removed, at.caught]
        assert tpr[np.searchsorted(fpr, rate, side="right") - 1] == curve.tpr_at(rate)
