"""The numbers that the TypeScript tests compare with are those that Python computes: frontend/shared/numbers.json.

``python -m tests.ui.test_frontend_numbers``, part of `make frontend`, writes them anew.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lgm.detection.metrics import outcome, roc
from lgm.detection.thresholds import conformal_fpr, empirical_threshold, nominal_fpr
from lgm.models.features import read_features
from lgm.stats.intervals import outward, percent_text, wilson_interval
from ui.components.threshold import nominal_table

FILE = Path(__file__).resolve().parents[2] / "frontend" / "shared" / "numbers.json"


def numbers() -> dict[str, list[Any]]:
    """All of them; each list holds one case an entry."""
    rng = np.random.default_rng(0)
    return {
        "percent": [[share, *(percent_text(share, digits) for digits in range(3))] for share in _shares()],
        "wilson": [
            _wilson(hits, n) for n in (1, 12, 60, 500, 5000) for hits in sorted({0, 1, n // 3, n // 2, n - 1, n})
        ],
        "thresholds": [_threshold(score) for score in -rng.lognormal(2, 2, 60).astype(np.float32)],
        "roc": [_roc("no two scores equal", 0, rng), _roc("with ties", 0.5, rng)],
        "nominal": [_nominal_shipped(), _nominal("nine dimensions, two peaks", np.array([-8.0, -9.5]), 9, -60, 5e-3)],
        "conformal": [_conformal(np.random.default_rng(1).normal(-3, 1, 30).round(digits)) for digits in (6, 0)],
    }


def _shares() -> list[float]:
    """All of some hundreds of images, of 5,000 those at an edge of rounding, and what is nearly 0 or 1."""
    edges = sorted({*range(40), *range(25, 5000, 50), *range(4960, 5001)})
    few = [hits / n for n in (1, 7, 40, 200, 400) for hits in range(n + 1)]
    near = [0.9725, 0.00125, 0.99949, 0.9995, 0.99951, 1 - 1e-16, 1e-16]
    return [*few, *(hits / 5000 for hits in edges), *near, *np.linspace(0, 1, 200).tolist()]


def _wilson(hits: int, n: int) -> dict[str, Any]:
    low, high = wilson_interval(hits, n)
    ends = outward(100 * low, 100 * high, 2 if high - low < 0.02 else 0)
    return {"hits": hits, "n": n, "interval": [low, high], "text": f"{hits:,} of {n:,} ({ends[0]}–{ends[1]} %)"}


def _threshold(score: np.float32) -> float:
    found = empirical_threshold(np.array([score]), 0)
    assert float(f"{found:.6g}") == found, "six digits are what a link carries"
    return found


def _roc(name: str, step: float, rng: np.random.Generator) -> dict[str, Any]:
    clean, poison = (np.sort(rng.normal(at, 2, n)).astype(np.float32) for at, n in ((-3, 400), (-7, 90)))
    if step:
        clean, poison = (np.sort((scores / step).round() * step) for scores in (clean, poison))
    curve = roc(clean, poison)
    rates = (0.01, 0.02, 0.05, 0.1, 0.5)
    at = [outcome(clean, poison, t) for t in (-100.0, *(curve.threshold_at(rate) for rate in rates), float(poison[9]))]
    names = ("threshold", "caught", "wrongly_removed", "tpr", "fpr", "precision")
    return {
        "name": name,
        "clean": clean.tolist(),
        "poison": poison.tolist(),
        "auc": None if step else curve.auc,  # the browser draws ties as a step, scikit-learn as a slope
        "tpr_at": [[rate, curve.tpr_at(rate)] for rate in rates],
        "outcomes": [{key: _finite(getattr(each, key)) for key in names} for each in at],
    }


def _conformal(scores: np.ndarray) -> dict[str, Any]:
    calibration = np.sort(scores)
    thresholds = [-100.0, *calibration[[0, 3, 15, -1]].tolist(), float(calibration[3]) - 1e-9, 100.0]
    rates = [conformal_fpr(threshold, calibration) for threshold in thresholds]
    return {"calibration": calibration.tolist(), "thresholds": thresholds, "rates": rates}


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value


def _nominal_shipped() -> dict[str, Any]:
    features = read_features("mnist-lgm")
    return _nominal("mnist-lgm", features.peak, features.means.shape[1], -40, 1e-4)


def _nominal(name: str, peak: np.ndarray, n_dim: int, floor: float, tolerance: float) -> dict[str, Any]:
    """``tolerance``: of the rates, relative; the browser interpolates in the table."""
    highest = float(peak.max())
    thresholds = [*np.linspace(floor + 1e-6, highest, 37).tolist(), highest + 1]
    return {
        "name": name,
        "table": nominal_table(peak, n_dim, floor),
        "peak": highest,
        "thresholds": thresholds,
        "rates": [nominal_fpr(t, peak, n_dim) for t in thresholds],
        "tolerance": tolerance,
    }


def written(found: dict[str, list[Any]]) -> str:
    """As the file has it: a line a case."""
    lists = (f'"{name}": [\n' + ",\n".join(json.dumps(case) for case in cases) + "\n]" for name, cases in found.items())
    return "{\n" + ",\n".join(lists) + "\n}\n"


def assert_same(stored: Any, found: Any, where: str) -> None:
    """Equal but for the last digits of numbers, which another processor or another scipy may round otherwise."""
    if isinstance(found, dict):
        assert stored.keys() == found.keys(), where
        for key in found:
            assert_same(stored[key], found[key], f"{where}.{key}")
    elif isinstance(found, list):
        assert len(stored) == len(found), where
        for i, (one, other) in enumerate(zip(stored, found, strict=True)):
            assert_same(one, other, f"{where}[{i}]")
    elif isinstance(found, float):
        assert stored == pytest.approx(found, rel=1e-9, abs=1e-12), where
    else:
        assert stored == found, where


def test_the_numbers_of_the_front_end_are_those_of_python():
    found = json.loads(json.dumps(numbers()))
    assert_same(json.loads(FILE.read_text(encoding="utf-8")), found, "run `make frontend`: numbers.json")


if __name__ == "__main__":
    FILE.write_text(written(numbers()), encoding="utf-8")
