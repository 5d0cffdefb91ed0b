"""A network, clean images as its features, and what each trial trusts: what all attackers and defences share."""

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Self

import numpy as np

from lgm.config import DefenseConfig, Task
from lgm.data.base import Split
from lgm.defense.finetune import Examples
from lgm.defense.trials import Trial, draw_trials
from lgm.detection.likelihood_filter import LikelihoodFilter
from lgm.detection.score import Score
from lgm.detection.scores import make_score
from lgm.detection.spectral import SpectralSignature
from lgm.detection.trusted_scores import NeighbourVote
from lgm.experiments.board.config import ATTACKERS, DENSITY, BoardConfig
from lgm.models.checkpoint import weights_sha256
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed


def board_filters(model: Classifier, seed: int) -> dict[str, Score]:
    """The filters of a network by key of `lgm.experiments.board.config.FILTERS`, not fitted; none of them is left out.

    The density comes first: of the network's own Gaussians if it has any.
    """
    own = ("likelihood", "gaussian") if model.head.mixture is not None else ("gaussian",)
    fitted = LikelihoodFilter(covariance="class", random_state=seed)
    others = {name: make_score(name, model, seed) for name in ("log-odds", "confidence", "knn")}
    densities = {name: fitted if name == "gaussian" else make_score(name, model, seed) for name in own}
    return {**densities, **others, "vote": NeighbourVote(random_state=seed), "spectral": SpectralSignature()}


@dataclass(frozen=True)
class TrialFilters:
    """A trial with its filters, fitted and calibrated to images that the trial uses for nothing else."""

    trial: Trial
    filters: dict[str, Score]

    @property
    def density(self) -> str:
        """Key of the filter by density: of the network's own Gaussians if it has any."""
        return next(iter(self.filters))

    def evaded(self, attacker: str) -> str:
        """Key of the filter whose T an attacker knows; that by density where it knows of none."""
        name = ATTACKERS[attacker].evades or DENSITY
        return self.density if name == DENSITY else name


def trials_of(labels: np.ndarray, config: BoardConfig, task: Task = "two") -> list[Trial]:
    """The draws of a board from images with these labels (N,). Raises ValueError: see `draw_trials`."""
    how = DefenseConfig(poisons=config.poisons, clean=config.clean, trials=config.trials, seed=config.seed, task=task)
    return draw_trials(labels, how)


class Setting:
    """A network and clean images as it sees them.

    Attributes:
        labels: (N,) of the images.
        trials: As they were drawn.
        z: (N, D) features of the images as the network gives them; filters see these.
        scale: (D,) what rescales them; heads are trained on rescaled ones.
        surrogate: The same images and trials as another network sees them, for attackers who know that one only.
    """

    def __init__(
        self,
        model: Classifier,
        labels: np.ndarray,
        z: np.ndarray,
        config: BoardConfig,
        surrogate: "Setting | None" = None,
    ) -> None:
        """Raises ValueError: see `draw_trials`."""
        self.model, self.labels, self.z, self.config, self.surrogate = model, labels, z, config, surrogate
        self.trials = trials_of(labels, config)
        self.scale = model.feature_scale.cpu().numpy()

    @classmethod
    def of_split(
        cls, model: Classifier, split: Split, config: BoardConfig, surrogate: Classifier | None = None
    ) -> Self:
        """Of images that are at hand. Raises ValueError: see `draw_trials`."""
        other = None if surrogate is None else cls.of_split(surrogate, split, config)
        return cls(model, split.labels, embed(model, split.pixels()).numpy(), config, other)

    def known_to(self, attacker: str) -> tuple[str, "Setting"]:
        """What the attacker is on the network that it knows, and that network's setting.

        Raises:
            ValueError: it knows a surrogate only, and there is none.
        """
        if not (there := ATTACKERS[attacker].on_surrogate):
            return attacker, self
        if self.surrogate is None:
            raise ValueError(f"attackers: {attacker} needs a surrogate; name one (--surrogates)")
        return there, self.surrogate

    @property
    def surrogate_sha256(self) -> str:
        """Hash of the surrogate's weights; "" if there is none."""
        return "" if self.surrogate is None else weights_sha256(self.surrogate.model.state_dict())

    @cached_property
    def all_classes(self) -> list[Trial]:
        """The same trials with clean images of all classes to fine-tune on, and to measure accuracy."""
        return trials_of(self.labels, self.config, "all")

    @cached_property
    def trial_filters(self) -> list[TrialFilters]:
        """Of each trial."""
        return [self.filters_of(trial) for trial in self.trials]

    def filters_of(self, trial: Trial) -> TrialFilters:
        """Fitted and calibrated to images that the trial uses for nothing else. Raises ValueError: too few."""
        filters = board_filters(self.model, self.config.seed)
        z, labels = self.z[trial.calibration], self.labels[trial.calibration]
        fitted = {name: score.fit(z, labels) for name, score in filters.items()}
        fewest = min(len(score.calibration_scores_) for score in fitted.values())
        least = min(self.config.fprs)
        if fewest < 1 / least - 1:  # T would be -inf: nothing is removed, and nothing would be evaded
            raise ValueError(
                f"data: expected enough clean images to calibrate a filter for {100 * least:g} % on, at least "
                f"{math.ceil(1 / least - 1)}, got {fewest}, as half calibrates, and half of that where a filter learns"
            )
        return TrialFilters(trial, fitted)

    @cached_property
    def predicted(self) -> np.ndarray:
        """(N,) classes that the network sees in the images."""
        return self.classes_of(self.z)

    def classes_of(self, z: np.ndarray) -> np.ndarray:
        """(n,) classes that the network sees in features (n, D)."""
        import torch

        with torch.inference_mode():
            logits = self.model.head.logits(torch.from_numpy(z).to(self.model.feature_scale.device))
        return logits.argmax(-1).cpu().numpy()

    def examples(self, z: np.ndarray, labels: np.ndarray, *, poisoned: bool) -> Examples:
        """Features (N, D) with labels, to fine-tune on."""
        n = len(z)
        return Examples(z * self.scale, labels, np.full(n, np.nan), np.full(n, poisoned), np.empty((n, 0), np.float32))

    def images(self, positions: np.ndarray) -> Examples:
        """Clean images of the split."""
        return self.examples(self.z[positions], self.labels[positions], poisoned=False)


def with_target(trial: Trial, target: int) -> Trial:
    """The same trial with another image of the target's class as the target; the first becomes one that is held out."""
    if target == trial.target:
        return trial
    evaluation = np.where(trial.evaluation == target, trial.target, trial.evaluation)
    return replace(trial, target=target, evaluation=evaluation)
