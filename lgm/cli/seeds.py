"""python -m lgm seeds: the paper's claims over networks that differ in their seed."""

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_command, add_value, download_if_asked
from lgm.cli.output import recorded
from lgm.cli.tables import Answer
from lgm.config import Count
from lgm.training.presets import PRESETS


def add_seeds(commands: Any) -> None:
    """Add the command ``seeds``."""
    parser = add_command(
        commands,
        "seeds",
        _seeds,
        "Train the networks of a preset with several seeds, craft poisons on each, and judge the paper's claims for "
        "each seed and over all of them.",
        device=False,
    )
    kinds = [name.removesuffix("-lgm") for name in PRESETS if f"{name.removesuffix('-lgm')}-softmax" in PRESETS]
    parser.add_argument("--preset", choices=kinds, default="mnist", help="its recipes for LGM and for softmax")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="SEED", help="different ones")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("runs/seeds"),
        help="for networks, poisons and studies; what is there already is not made again",
    )
    add_value(parser, "poisons", Count, 200, "random pairs of held-out images to craft for, on each network")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="copy cards and held-out features there, without the weights"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write the record to")
    parser.add_argument("--force", action="store_true", help="overwrite it")


def _seeds(args: argparse.Namespace) -> Answer:
    from lgm.experiments.records import ByLoss
    from lgm.experiments.seed_runs import keep_measurements, measure_seeds, network_path

    recipes = ByLoss(PRESETS[f"{args.preset}-lgm"], PRESETS[f"{args.preset}-softmax"])
    download_if_asked(args, recipes.lgm.dataset)
    with tqdm(bar_format="{desc} {elapsed}", dynamic_ncols=True, disable=None) as bar:

        def on_stage(stage: str, share: float) -> None:
            bar.set_description(f"{stage}: {share:.0%}")

        record = recorded(
            lambda: measure_seeds(recipes, args.seeds, args.folder, poisons=args.poisons, on_stage=on_stage),
            args.out,
            force=args.force,
            indent=1,
        )
    if args.keep is not None:
        for run in record.runs:
            for _, recipe in recipes.items():
                keep_measurements(network_path(recipe, run.seed, args.folder), args.keep)
    return Answer(record, lambda: _table(record))


def _table(record: Any) -> str:
    lines = [f"{record.dataset}: {len(record.runs)} seeds, {record.epochs} epochs each, trained in {record.precision}"]
    for loss in ("lgm", "softmax"):
        for split in record.runs[0].networks.of(loss).accuracy:
            lines.append(f"{loss:<8} {split:<8} {record.accuracy(loss, split).percent(2)}")
        lines.append(f"{loss:<8} training {record.core_seconds(loss).value:.0f} core-seconds")
    for claim in record.claims:
        verdicts = ", ".join(f"{n} {verdict}" for verdict, n in claim.verdicts.items())
        lines += ["", f"{claim.text} ({claim.section}): {claim.verdict} ({verdicts})"]
        lines += [f"  {reading.name}: {reading.text()}" for reading in claim.readings]
    return "\n".join(lines)
