"""Clean-label poisons and the Gaussian mixture loss that is meant to give them away.

Letters in docstrings: N images or points, C x H x W pixels, D features, K classes.
Higher scores are cleaner, everywhere. Names are loaded on first use, because torch takes two seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgm.attacks.craft import craft_poisons as craft_poisons
    from lgm.attacks.result import Poisons as Poisons
    from lgm.attacks.result import pick_pairs as pick_pairs
    from lgm.attacks.result import read_poisons as read_poisons
    from lgm.config import DefenseConfig as DefenseConfig
    from lgm.config import ModelConfig as ModelConfig
    from lgm.config import Phase as Phase
    from lgm.config import PoisonConfig as PoisonConfig
    from lgm.config import TrainConfig as TrainConfig
    from lgm.data.base import DataError as DataError
    from lgm.data.registry import load_split as load_split
    from lgm.defense.example import demonstrate as demonstrate
    from lgm.defense.experiment import defend as defend
    from lgm.defense.experiment import frontier as frontier
    from lgm.detection.art_defence import LikelihoodDefence as LikelihoodDefence
    from lgm.detection.compare import compare as compare
    from lgm.detection.filters import gather_evidence as gather_evidence
    from lgm.detection.likelihood_filter import LikelihoodFilter as LikelihoodFilter
    from lgm.detection.metrics import outcome as outcome
    from lgm.detection.metrics import roc as roc
    from lgm.detection.thresholds import conformal_threshold as conformal_threshold
    from lgm.experiments.beta_selection import choose_beta as choose_beta
    from lgm.experiments.beta_sweep import Tradeoff as Tradeoff
    from lgm.experiments.beta_sweep import beta_sweep as beta_sweep
    from lgm.experiments.claims import paper_claims as paper_claims
    from lgm.experiments.records import read_study as read_study
    from lgm.models.card import Card as Card
    from lgm.models.card import CheckpointError as CheckpointError
    from lgm.models.checkpoint import load_checkpoint as load_checkpoint
    from lgm.models.mixture import GaussianMixture as GaussianMixture
    from lgm.models.registry import list_checkpoints as list_checkpoints
    from lgm.models.scoring import embed as embed
    from lgm.models.scoring import log_likelihood as log_likelihood
    from lgm.training.loop import fit as fit
    from lgm.training.presets import PRESETS as PRESETS
    from lgm.training.run import TrainingError as TrainingError

_HOME = {
    "craft_poisons": "attacks.craft",
    "pick_pairs": "attacks.result",
    "Poisons": "attacks.result",
    "read_poisons": "attacks.result",
    "DefenseConfig": "config",
    "ModelConfig": "config",
    "Phase": "config",
    "PoisonConfig": "config",
    "TrainConfig": "config",
    "DataError": "data.base",
    "load_split": "data.registry",
    "demonstrate": "defense.example",
    "defend": "defense.experiment",
    "frontier": "defense.experiment",
    "LikelihoodDefence": "detection.art_defence",
    "compare": "detection.compare",
    "gather_evidence": "detection.filters",
    "LikelihoodFilter": "detection.likelihood_filter",
    "outcome": "detection.metrics",
    "roc": "detection.metrics",
    "conformal_threshold": "detection.thresholds",
    "choose_beta": "experiments.beta_selection",
    "beta_sweep": "experiments.beta_sweep",
    "Tradeoff": "experiments.beta_sweep",
    "paper_claims": "experiments.claims",
    "read_study": "experiments.records",
    "Card": "models.card",
    "CheckpointError": "models.card",
    "load_checkpoint": "models.checkpoint",
    "GaussianMixture": "models.mixture",
    "list_checkpoints": "models.registry",
    "embed": "models.scoring",
    "log_likelihood": "models.scoring",
    "fit": "training.loop",
    "TrainingError": "training.run",
    "PRESETS": "training.presets",
}
__all__ = [*_HOME]  # noqa: PLE0604 # type: ignore[unresolvable-dunder-all] the same names


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lgm' has no attribute {name!r}")
    return getattr(import_module(f"lgm.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
