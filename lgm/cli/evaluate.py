"""python -m lgm evaluate: accuracy of a network."""

import argparse
from dataclasses import dataclass
from typing import Annotated, Any

from lgm.cli.options import add_command, add_data, split_of
from lgm.cli.tables import Answer
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.utils.codec import Interval


@dataclass(frozen=True)
class Evaluation:
    """Accuracy of a network on n images of a split.

    Attributes:
        model, data: Names of network and split.
        n: How many images.
        accuracy: Share that is classified correctly, with Wilson's interval.
        closest_centers: See `lgm.models.card.Card`.
        mean_log_likelihood: Under the true labels, nats; None for softmax.
        weights_sha256: Of the network.
    """

    model: str
    data: str
    n: int
    accuracy: Annotated[Estimate, Interval("interval")]
    closest_centers: float | None
    mean_log_likelihood: float | None
    weights_sha256: str


def add_evaluate(commands: Any) -> None:
    """Add the command ``evaluate``."""
    parser = add_command(commands, "evaluate", _evaluate, "Accuracy of a model, with a 95 % Wilson interval.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    add_data(parser)


def _evaluate(args: argparse.Namespace) -> Answer:
    from lgm.models.checkpoint import embed_split, load_checkpoint

    model, card = load_checkpoint(args.model, args.device)
    split = split_of(args, card)
    features = embed_split(model, split)
    hits = int((features.predicted == features.labels).sum())
    evaluation = Evaluation(
        model=card.name,
        data=split.name,
        n=len(split),
        accuracy=Estimate(hits / len(split), *wilson_interval(hits, len(split))),
        closest_centers=card.closest_centers,
        mean_log_likelihood=float(features.score.mean()) if card.config.model.loss == "lgm" else None,
        weights_sha256=card.weights_sha256,
    )
    return Answer(evaluation)
