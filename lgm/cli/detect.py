"""python -m lgm detect: what a filter catches of a set of poisons."""

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgm.cli.options import add_command, add_data, add_value, split_of
from lgm.cli.tables import Answer, detector_table, key_values
from lgm.config import FPR_GRID, Rate, Seed
from lgm.utils.codec import encode

if TYPE_CHECKING:
    from lgm.attacks.result import Poisons
    from lgm.detection.suspects import LabelledImages
    from lgm.models.classifier import Classifier
    from lgm.models.features import Features


def add_detect(commands: Any) -> None:
    """Add the command ``detect``."""
    parser = add_command(commands, "detect", _detect, "Score clean data and poisons; AUC, TPR and FPR of the filter.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights; LGM, unless with --baselines")
    parser.add_argument(
        "poisons",
        type=Path,
        help="made by craft; or .npz or .safetensors with the arrays images and labels; or a folder of images, with "
        "poisons.csv (file, claimed_label) or a sub-folder a class",
    )
    add_data(parser)
    add_value(parser, "fpr", Rate, FPR_GRID[0], "false-positive rate at which to set the threshold")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also what simpler detectors do on the same features; of a softmax network, which has no likelihood, "
        "only that",
    )
    add_value(parser, "seed", Seed, 1, "of the baselines' bootstrap intervals")


def _detect(args: argparse.Namespace) -> Answer:
    from lgm.detection.compare import compare
    from lgm.detection.filters import gather_evidence
    from lgm.detection.suspects import read_suspects
    from lgm.models.checkpoint import embed_split, load_checkpoint
    from lgm.models.features import read_features
    from lgm.models.scoring import require_mixture

    model, card = load_checkpoint(args.model, args.device)
    features = read_features(args.model)
    if not args.baselines:
        require_mixture(model)
    poisons = read_suspects(args.poisons, model.image_shape, card.class_names)
    if poisons.collided is None:
        print("note: without bases and targets, what depends on them is left out: who collides", file=sys.stderr)
    split = split_of(args, card)
    crafted_from = poisons.manifest.get("split_sha256", split.sha256)
    if crafted_from != split.sha256:
        print(f"note: these poisons were crafted from other data than {split.name!r}", file=sys.stderr)
    stored = features.splits.get(split.name) if card.data_sha256.get(split.name) == split.sha256 else None
    clean = embed_split(model, split) if stored is None else stored  # the very scores, and so the T, that the app has
    known = poisons.collided is not None
    result: dict[str, Any] = {"model": card.name, "data": split.name, "wanted_fpr": args.fpr}
    if known:
        result["crafted_on"] = poisons.manifest.get("model")
    if card.config.model.loss == "lgm":
        result |= _filter_report(model, clean, poisons, args.fpr)
    if not args.baselines:
        return Answer(result)
    baselines = compare(gather_evidence(model, card, features, clean, poisons), args.seed, fpr=args.fpr)
    rows = [{key: value for key, value in encode(row).items() if known or key != "collided"} for row in baselines]
    return Answer(
        {**result, "baselines": rows}, lambda: "\n".join([key_values(result), "baselines", detector_table(baselines)])
    )


def _filter_report(
    model: "Classifier", clean: "Features", poisons: "Poisons | LabelledImages", fpr: float
) -> dict[str, Any]:
    """What the likelihood filter does; nothing of who collides where that is not known."""
    from lgm.detection.metrics import detection_report
    from lgm.detection.thresholds import empirical_words, nominal_fpr
    from lgm.models.scoring import log_likelihood, require_mixture

    mixture = require_mixture(model)
    score = log_likelihood(model, poisons.images, poisons.labels).numpy()
    report = detection_report(clean.score, score, poisons.collided, fpr)
    known = poisons.collided is not None
    values = {key: value for key, value in encode(report).items() if known or "collided" not in key}
    values["threshold_means"] = empirical_words(fpr, len(clean.score))
    if math.isfinite(report.threshold):
        values["nominal_fpr"] = nominal_fpr(report.threshold, mixture.peak().cpu().numpy(), mixture.means.shape[1])
    return values
