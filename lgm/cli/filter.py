"""Command `filter`: which images of a dataset to keep."""

import argparse
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgm.cli.options import add_command, add_value
from lgm.cli.output import output, progress_bar
from lgm.cli.tables import Answer
from lgm.config import Rate
from lgm.data.scan import Skipped
from lgm.data.store import read_registration, read_skipped
from lgm.detection.scores import SCORES
from lgm.detection.thresholds import conformal_words
from lgm.utils.outputs import save_or_keep
from lgm.utils.progress import OnStep

if TYPE_CHECKING:
    from lgm.detection.kept_list import KeptList


def add_filter(commands: Any) -> None:
    """Add the command ``filter``."""
    text = "Lists which images of a registered dataset to keep, and which are unlikely under their label."
    parser = add_command(commands, "filter", _filter, text, download=False)
    parser.add_argument("data", help="a dataset of `lgm data add`, whose labels are not trusted")
    parser.add_argument("--model", required=True, help="name of a checkpoint, or path to its weights")
    parser.add_argument(
        "--trusted",
        metavar="NAME",
        help="a registered dataset whose labels are right, and that shares no image with the other one (default: what "
        "was held out of the network's training)",
    )
    words = "; ".join(f"{name}: {what}" for name, what in SCORES.items())
    parser.add_argument("--score", choices=SCORES, default="likelihood", help=f"what to go by. {words}")
    add_value(parser, "fpr", Rate, 0.02, "share of clean images that may be removed")
    parser.add_argument("--workers", type=int, default=0, help="processes that read images")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write, with a row an image")
    parser.add_argument("--force", action="store_true", help="overwrite it")


@dataclass(frozen=True)
class Filtered:
    """What `filter` found.

    Attributes:
        data, model, score, fpr: What was asked for.
        threshold: T in the unit of the score; removed is score <= T.
        promise: What T stands for.
        calibrated_on: Trusted images that vouch for it.
        images: How many were scored.
        removed: How many of them were removed.
        images_per_class, removed_per_class: The same by the class that they claim.
        unreadable: Files that were registered and do not read any more.
        skipped: Files of the dataset's folder that were no images when it was registered.
        out: The list.
    """

    data: str
    model: str
    score: str
    fpr: float
    threshold: float
    promise: str
    calibrated_on: int
    images: int
    removed: int
    images_per_class: dict[str, int]
    removed_per_class: dict[str, int]
    unreadable: tuple[str, ...]
    skipped: tuple[Skipped, ...]
    out: str


def _filter(args: argparse.Namespace) -> Answer:
    with output(args.out, ".csv", "out", force=args.force), progress_bar("image") as on_batch:
        found = _kept_list(args, on_batch)
        save_or_keep(found.write, args.out)
    removed, claims = ~found.kept, found.images.claims
    values = Filtered(
        data=args.data,
        model=args.model,
        score=args.score,
        fpr=args.fpr,
        threshold=found.threshold,
        promise=conformal_words(args.fpr, found.calibrated_on),
        calibrated_on=found.calibrated_on,
        images=len(claims),
        removed=int(removed.sum()),
        images_per_class=dict(sorted(Counter(claims.tolist()).items())),
        removed_per_class=dict(sorted(Counter(claims[removed].tolist()).items())),
        unreadable=found.images.unreadable,
        skipped=read_skipped(args.data),
        out=str(args.out),
    )
    return Answer(values, lambda: _text(values))


def _text(found: Filtered) -> str:
    lines = [
        f"{found.out}: {found.images - found.removed:,} of {found.images:,} images kept, {found.removed:,} removed.",
        f"T = {found.threshold:.6g}: {found.promise}.",
        f"{'class':<30}{'images':>9}{'removed':>9}",
    ]
    for name, images in found.images_per_class.items():
        lines.append(f"{name:<30}{images:>9,}{found.removed_per_class.get(name, 0):>9,}")
    if found.unreadable:
        lines.append(
            f"{len(found.unreadable):,} registered files do not read any more; see `lgm data check {found.data}`."
        )
    if found.skipped:
        lines.append(f"{len(found.skipped):,} files were no images when it was registered; --json names them.")
    return "\n".join(lines)


def _kept_list(args: argparse.Namespace, on_batch: OnStep) -> "KeptList":
    from lgm.detection.kept_list import class_names, embed_dataset, held_out_of_training, keep, trusted_dataset
    from lgm.models.checkpoint import load_checkpoint

    read_registration(args.data)  # refused before the network is read
    model, card = load_checkpoint(args.model, args.device)
    names = class_names(card, args.data, *([args.trusted] if args.trusted else []))
    if args.trusted:
        trusted = trusted_dataset(model, names, args.trusted, args.data, workers=args.workers)
    else:
        trusted = held_out_of_training(args.model, card)
    images = embed_dataset(model, names, args.data, workers=args.workers, on_batch=on_batch)
    return keep(model, names, images, trusted, score=args.score, fpr=args.fpr)
