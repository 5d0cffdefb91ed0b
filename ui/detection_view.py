"""One detection experiment: a network, clean data and a set of poisons, and what can be said of them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from lgm.attacks.result import Poisons
from lgm.config import ATTACK_REVISION, METHODS
from lgm.data.base import Dataset
from lgm.detection.metrics import DetectionReport, Outcome, Roc, outcome
from lgm.detection.thresholds import is_removed, nominal_fpr
from lgm.models.features import FeatureMap, Features


@dataclass(frozen=True)
class Case:
    """All that the Detect page shows, apart from T and the images.

    Attributes:
        key: What tells this case from others: model, its hash, clean split, set of poisons.
        features: The network's own map.
        clean: D_f as the network sees it.
        poisons: Crafted on this network.
        n_dim: Number of features, D.
        roc: Over all poisons.
        report: At 1 % FPR.
        dataset: What all of it is about.
    """

    key: tuple[str, str, str, str]
    features: FeatureMap
    clean: Features
    poisons: Poisons
    n_dim: int
    roc: Roc
    report: DetectionReport
    dataset: Dataset

    @property
    def title(self) -> str:
        """Which experiment it is, for a picture that travels alone."""
        model, _, split, _ = self.key
        return f"Network {model}; clean: {self.dataset.brief(split)}; {how_crafted(self.poisons, self.dataset)}."

    def outcome(self, threshold: float) -> Outcome:
        """What T (nats) does."""
        return outcome(self.clean.score, self.poisons.score, threshold)

    def table(self, threshold: float) -> pd.DataFrame:
        """One row an image, clean ones first."""
        clean, poisons = self.clean, self.poisons
        n_clean, n_poisons = len(clean.score), len(poisons)
        label = np.r_[clean.labels, poisons.labels]
        score = np.r_[clean.score, poisons.score].astype(np.float64)
        return pd.DataFrame(
            {
                "group": np.repeat(["clean", "poison"], [n_clean, n_poisons]),
                "position": np.r_[np.arange(n_clean), poisons.base_index],  # in the split; a poison's: of its base
                "claimed_label": label,
                "log_likelihood_nats": score,
                "relative_likelihood": np.exp(score - self.features.peak[label]),
                "predicted": np.r_[clean.predicted, poisons.predicted],
                "collided": [None] * n_clean + poisons.collided.tolist(),
                "removed": is_removed(score, threshold),
            }
        )

    def roc_table(self) -> pd.DataFrame:
        """The ROC curve; a row's T removes these shares."""
        return pd.DataFrame(
            {"threshold_nats": self.roc.thresholds, "fpr": self.roc.fpr, "tpr": self.roc.tpr},
        )

    def summary(self, threshold: float) -> dict[str, Any]:
        """Everything in numbers: at T, at 1 % FPR, and how the poisons were made."""
        model, weights, split, _ = self.key
        at = self.outcome(threshold)
        return {
            "model": model,
            "weights_sha256": weights,
            "clean_data": split,
            "at_threshold": {
                "threshold_nats": threshold,
                "tpr": at.tpr,
                "fpr": at.fpr,
                "nominal_fpr": nominal_fpr(threshold, self.features.peak, self.n_dim),
                "precision": at.precision if at.caught + at.wrongly_removed else None,
                "caught": at.caught,
                "missed": at.missed,
                "wrongly_removed": at.wrongly_removed,
                "kept": at.kept,
            },
            "at_1_percent_fpr": self.report.to_dict(),
            "poisons": self.poisons.manifest,
        }


def how_crafted(poisons: Poisons, dataset: Dataset) -> str:
    """How a set of poisons was made, in a line."""
    config = poisons.manifest.get("config", {})
    split = poisons.manifest.get("split", "unknown data")
    method = METHODS.get(config.get("method"), config.get("method", "unknown method"))
    return (
        f"{len(poisons)} poisons, {method}, β = {config.get('beta', float('nan')):g}, "
        f"{poisons.iterations.mean():.0f} iterations on average, crafted on {dataset.brief(split)}, "
        f"seed {poisons.manifest.get('seed', '?')}" + _age(poisons.manifest)
    )


def _age(manifest: dict[str, Any]) -> str:
    """With what and when poisons were made; those from elsewhere do not say."""
    if "attack_revision" not in manifest:
        return ", by an unnamed revision of the attack"
    revision, today = manifest["attack_revision"], ATTACK_REVISION
    older = "" if revision == today else f" (today's is {today})"
    return f", attack revision {revision}{older}, {manifest['made']}"
