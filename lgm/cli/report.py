"""python -m lgm report: the paper's figures and claims, measured."""

import argparse
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_cache, add_command, add_data, add_value, split_of
from lgm.cli.output import output, save_all
from lgm.cli.tables import Answer
from lgm.config import Seed
from lgm.models.card import Card
from lgm.models.registry import read_card
from lgm.utils.outputs import require_room


def add_report(commands: Any) -> None:
    """Add the command ``report``."""
    from lgm.experiments.study import EXTENTS

    parser = add_command(
        commands,
        "report",
        _report,
        "All figures of the paper, and all that can be measured of two networks, as one HTML file that needs no other.",
        device=False,
    )
    parser.add_argument("--lgm", default="mnist-lgm", help="checkpoint trained with the LGM loss")
    parser.add_argument(
        "--softmax", default="mnist-softmax", help="checkpoint trained with softmax, of the same dataset"
    )
    add_data(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take the study that is shipped, if it is of these networks, data and seed and of today's attack; without "
        "one, measure fewer pairs and attacks, with wider intervals",
    )
    parser.add_argument("--extent", choices=list(EXTENTS), help="how much to measure anew (default: full)")
    parser.add_argument(
        "--others", nargs="+", default=[], metavar="MODEL", help="further networks, to measure the usual defence of"
    )
    add_value(parser, "seed", Seed, 1, "of all draws")
    parser.add_argument("--out", type=Path, required=True, help="file for the report (.html)")
    parser.add_argument("--study", type=Path, help="file for the numbers (.json), as the app reads them")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    add_cache(parser)


_SMALLEST_REPORT = 4_000_000  # bytes: the library that draws its figures alone has more


def _report(args: argparse.Namespace) -> Answer:
    with ExitStack() as held:
        held.enter_context(output(args.out, ".html", "out", force=args.force))
        require_room(args.out, _SMALLEST_REPORT)
        if args.study is not None:
            held.enter_context(output(args.study, ".json", "study", force=args.force))
        return _report_into(args)


def _report_into(args: argparse.Namespace) -> Answer:
    from lgm.experiments.records import save_study, stored_study
    from lgm.experiments.study import EXTENTS, run_study
    from lgm.reports.html import write_report

    names, began = {"lgm": args.lgm, "softmax": args.softmax}, time.monotonic()
    split = split_of(args, *_of_one_dataset(names))
    stored = stored_study(names, split, args.seed) if args.quick and not args.extent else None
    with tqdm(bar_format="{desc} {elapsed}", dynamic_ncols=True, disable=None) as bar:

        def on_stage(stage: str, share: float) -> None:
            bar.set_description(f"{stage}: {share:.0%}")

        extent = EXTENTS[args.extent or ("quick" if args.quick else "full")]
        options = {"others": args.others, "on_stage": on_stage, "cache": args.cache}
        study = stored or run_study(names, split, extent, args.seed, **options)
        saves = {args.study: partial(save_study, study)} if args.study is not None else {}
        saves[args.out] = partial(write_report, study, names, split)
        save_all(saves)
    return Answer(
        {
            "out": str(args.out),
            "study": args.study and str(args.study),
            "measured": stored is None,
            "made": study.about.made,
            "seconds": round(time.monotonic() - began, 1),
        }
    )


def _of_one_dataset(names: dict[str, str]) -> list[Card]:
    """The cards of a report's networks, which are given by loss.

    Raises:
        ValueError: one was trained with the other loss, or they are of two datasets.
    """
    cards = {loss: read_card(name) for loss, name in names.items()}
    for loss, card in cards.items():
        if (trained := card.config.model.loss) != loss:
            got = f"{names[loss]!r}, trained with {trained}"
            raise ValueError(f"{loss}: expected a network trained with {loss}, got {got}")
    datasets = {names[loss]: card.config.dataset for loss, card in cards.items()}
    if len(set(datasets.values())) > 1:
        raise ValueError(f"lgm, softmax: expected two networks of one dataset, got {datasets}")
    return list(cards.values())
