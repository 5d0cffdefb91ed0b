"""What poisons do to a filter that is fitted to the very data that it judges (`lgm filter --trusted none`).

`python benchmarks/contamination.py` mixes shipped poisons into 2,000 of the bundled digits, as mnist-lgm sees them, and
prints a Markdown table: the share of the poisons that is removed, and that of the clean digits, by the share of poisons
among all images. Means over 5 draws. Beside it the filter whose T was calibrated on 2,000 other digits.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for lgm, in a checkout

from lgm.attacks.result import read_shipped_poisons
from lgm.detection.scores import make_score
from lgm.detection.thresholds import is_removed
from lgm.models.checkpoint import load_checkpoint
from lgm.models.features import read_features

NETWORK = "mnist-lgm"
CLEAN, DRAWS = 2000, 5
CONTAMINATION = (0.0, 0.01, 0.05, 0.1, 0.2)
SHARES = (0.02, 0.1, 0.2)  # of all images, that are removed
SCORES = ("gaussian", "knn")


def main() -> None:
    trusted = ["likelihood, T calibrated at 2 %"]
    own = [f"{name} of itself, {100 * share:g} % removed" for name in SCORES for share in SHARES]
    print(f"| poisons | {' | '.join(trusted + own)} |")
    print("|---:|" + "---:|" * (len(trusted) + len(own)))
    for share in CONTAMINATION:
        cells = np.mean([rates(share, seed) for seed in range(DRAWS)], axis=0)
        print(f"| {100 * share:g} % | {' | '.join(in_words(*cell) for cell in cells)} |")


def rates(share: float, seed: int) -> np.ndarray:
    """(columns, 2) shares of the poisons and of the clean digits that are removed."""
    model, _ = load_checkpoint(NETWORK)
    digits, poisons = read_features(NETWORK).splits["bundled"], read_shipped_poisons(NETWORK)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(digits.z))
    clean, others = order[:CLEAN], order[CLEAN : 2 * CLEAN]
    bad = rng.permutation(len(poisons))[: round(share / (1 - share) * CLEAN)]
    z = np.concatenate([digits.z[clean], poisons.z[bad]])
    labels = np.concatenate([digits.labels[clean], poisons.labels[bad]]).astype(np.int64)

    def shares(removed: np.ndarray) -> list[float]:
        return [removed[CLEAN:].mean() if len(bad) else np.nan, removed[:CLEAN].mean()]

    score = make_score("likelihood", model).fit(digits.z[others], digits.labels[others].astype(np.int64))
    found = [shares(is_removed(score.score_samples(z, labels), score.threshold(SHARES[0])))]
    for name in SCORES:
        score = make_score(name, model, of_itself=True).fit(z, labels)
        scores = score.score_samples(z, labels)
        found += [shares(is_removed(scores, score.threshold(rate))) for rate in SHARES]
    return np.array(found)


def in_words(poisons: float, clean: float) -> str:
    caught = "–" if np.isnan(poisons) else f"{100 * poisons:.0f} %"
    return f"{caught} / {100 * clean:.1f} %"


if __name__ == "__main__":
    main()
