"""Options that several commands have, and the data that they name."""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lgm.data.base import Split
from lgm.data.registry import DATASETS, default_split, load_split


def add_command(
    commands: Any,
    name: str,
    run: Callable[..., dict[str, Any] | list[dict[str, Any]] | None],
    description: str,
    *,
    device: bool = True,
) -> argparse.ArgumentParser:
    """A sub-command, with the options that all have: --json, --download, and --device unless it computes nothing."""
    parser = commands.add_parser(
        name,
        help=description.replace("%", "%%"),
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run, command=parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if device:
        parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1, ...")
    sizes = ", ".join(f"{dataset.title}: {dataset.download_size}" for dataset in DATASETS.values())
    parser.add_argument("--download", action="store_true", help=f"fetch the official data first ({sizes})")
    return parser


def add_data(
    parser: argparse.ArgumentParser,
    which: str = "clean data of the model's dataset",
    default: str = "test if it is on disk, else what is held out",
) -> None:
    """``--data`` takes any split that some dataset has; whether it is one of the model's is known when that is."""
    named = ". ".join(
        f"{dataset.title}: " + "; ".join(f"{name}, {what}" for name, what in dataset.splits.items())
        for dataset in DATASETS.values()
    )
    choices = list(dict.fromkeys(name for dataset in DATASETS.values() for name in dataset.splits))
    parser.add_argument("--data", choices=choices, help=f"{which}. {named}. (default: {default})")


def split_of(args: argparse.Namespace, dataset: str) -> Split:
    """The split that ``--data`` names, or the default of this dataset."""
    download_if_asked(args, dataset)
    return load_split(args.data or default_split(dataset), dataset)


def download_if_asked(args: argparse.Namespace, dataset: str) -> None:
    """``--download``: fetch the official files, telling how far it is on standard error."""
    if args.download:
        DATASETS[dataset].download(lambda done, total, name: print(f"download {done}/{total} {name}", file=sys.stderr))


def add_cache(parser: argparse.ArgumentParser) -> None:
    """``--cache``: where crafted poisons are kept."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep crafted poisons there: a run that was killed goes on, and the same settings need no crafting again",
    )
