"""python -m lgm evaluate: accuracy of a network."""

import argparse
from typing import Any

from lgm.cli.options import add_command, add_data, split_of


def add_evaluate(commands: Any) -> None:
    """Add the command ``evaluate``."""
    parser = add_command(commands, "evaluate", _evaluate, "Accuracy of a model, with a 95 % Wilson interval.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    add_data(parser)


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.models.checkpoint import embed_split, load_checkpoint
    from lgm.stats.intervals import wilson_interval

    model, card = load_checkpoint(args.model, args.device)
    split = split_of(args, card.config.dataset)
    features = embed_split(model, split)
    hits = int((features.predicted == features.labels).sum())
    low, high = wilson_interval(hits, len(split))
    return {
        "model": card.name,
        "data": split.name,
        "n": len(split),
        "accuracy": hits / len(split),
        "interval": [low, high],
        "closest_centers": card.closest_centers,
        "mean_log_likelihood": float(features.score.mean()) if card.config.model.loss == "lgm" else None,
        "weights_sha256": card.weights_sha256,
    }
