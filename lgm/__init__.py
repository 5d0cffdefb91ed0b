"""Clean-label poisons and the Gaussian mixture loss that gives them away.

Letters in docstrings: N images or points, C x H x W pixels, D features, K classes.
Higher scores are cleaner, everywhere. Names are loaded on first use, because torch takes two seconds.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lgm.baselines import compare as compare
    from lgm.baselines import gather_evidence as gather_evidence
    from lgm.cards import Card as Card
    from lgm.cards import CheckpointError as CheckpointError
    from lgm.cards import list_checkpoints as list_checkpoints
    from lgm.checkpoints import load_checkpoint as load_checkpoint
    from lgm.choice import choose_beta as choose_beta
    from lgm.claims import paper_claims as paper_claims
    from lgm.config import PRESETS as PRESETS
    from lgm.config import DefenseConfig as DefenseConfig
    from lgm.config import ModelConfig as ModelConfig
    from lgm.config import PoisonConfig as PoisonConfig
    from lgm.config import TrainConfig as TrainConfig
    from lgm.data import DataError as DataError
    from lgm.datasets import load_split as load_split
    from lgm.defense import defend as defend
    from lgm.defense import frontier as frontier
    from lgm.demonstration import demonstrate as demonstrate
    from lgm.detection import conformal_threshold as conformal_threshold
    from lgm.detection import outcome as outcome
    from lgm.detection import roc as roc
    from lgm.mixture import GaussianMixture as GaussianMixture
    from lgm.networks import embed as embed
    from lgm.networks import log_likelihood as log_likelihood
    from lgm.poisoning import craft_poisons as craft_poisons
    from lgm.poisons import Poisons as Poisons
    from lgm.poisons import pick_pairs as pick_pairs
    from lgm.poisons import read_poisons as read_poisons
    from lgm.tradeoff import Tradeoff as Tradeoff
    from lgm.tradeoff import beta_sweep as beta_sweep
    from lgm.training import TrainingError as TrainingError
    from lgm.training import fit as fit

_HOME = {
    "compare": "baselines",
    "gather_evidence": "baselines",
    "Card": "cards",
    "CheckpointError": "cards",
    "list_checkpoints": "cards",
    "load_checkpoint": "checkpoints",
    "choose_beta": "choice",
    "paper_claims": "claims",
    "PRESETS": "config",
    "DefenseConfig": "config",
    "ModelConfig": "config",
    "PoisonConfig": "config",
    "TrainConfig": "config",
    "DataError": "data",
    "load_split": "datasets",
    "defend": "defense",
    "frontier": "defense",
    "demonstrate": "demonstration",
    "conformal_threshold": "detection",
    "outcome": "detection",
    "roc": "detection",
    "GaussianMixture": "mixture",
    "embed": "networks",
    "log_likelihood": "networks",
    "craft_poisons": "poisoning",
    "Poisons": "poisons",
    "pick_pairs": "poisons",
    "read_poisons": "poisons",
    "beta_sweep": "tradeoff",
    "Tradeoff": "tradeoff",
    "TrainingError": "training",
    "fit": "training",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'lgm' has no attribute {name!r}")
    return getattr(import_module(f"lgm.{_HOME[name]}"), name)
