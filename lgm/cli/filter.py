"""Command `filter`: which images of a dataset to keep."""

import argparse
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from lgm.cli.options import add_command, add_value
from lgm.cli.output import output, progress_bar, save_all
from lgm.cli.tables import Answer
from lgm.config import Rate
from lgm.data.store import read_registration, read_skipped
from lgm.detection.scores import SCORES
from lgm.utils.fields import Bounds
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

if TYPE_CHECKING:
    from lgm.detection.filter_run import Filtered
    from lgm.detection.filter_summary import FilterSummary

_Workers = Annotated[int, Bounds("a number of processes from {ge} to {le}", ge=0, le=256)]


def add_filter(commands: Any) -> None:
    """Add the command ``filter``."""
    text = "Lists which images of a registered dataset to keep, and which are unlikely under their label."
    parser = add_command(commands, "filter", _filter, text, download=False)
    parser.add_argument("data", help="a dataset of `lgm data add`, whose labels are not trusted")
    parser.add_argument(
        "--model", help="name of a checkpoint, or path to its weights; not needed for features without images"
    )
    parser.add_argument(
        "--trusted",
        metavar="NAME",
        help="a registered dataset whose labels are right; images that the other one holds too are left out of it. "
        "none: the filter is fitted to the data that it judges, and promises no rate (default: what was held out of "
        "the network's training, or none where that is of other classes)",
    )
    words = "; ".join(f"{name}: {what}" for name, what in SCORES.items())
    parser.add_argument(
        "--score",
        action="append",
        metavar="NAME[,NAME...]",
        help=f"what to go by (default: likelihood; gaussian without a network). Of several, the first decides. {words}",
    )
    add_value(parser, "fpr", Rate, 0.02, "share of clean images that may be removed; of all images, if none is trusted")
    add_value(parser, "workers", _Workers, 0, "processes that read images; 0: threads of this one")
    parser.add_argument("--out", type=Path, required=True, help="CSV file to write, with a row an image")
    parser.add_argument("--report", type=Path, metavar="FILE.html", help="write a report too: one file with pictures")
    parser.add_argument("--summary", type=Path, metavar="FILE.json", help="write what --json prints to a file too")
    parser.add_argument(
        "--links", type=Path, metavar="FOLDER", help="make a folder of links too: kept/CLASS/file, removed/CLASS/file"
    )
    parser.add_argument(
        "--no-resume", action="store_true", help="neither go on where a killed run stopped nor keep what was computed"
    )
    parser.add_argument("--force", action="store_true", help="replace what is there already")


def _filter(args: argparse.Namespace) -> Answer | None:
    from lgm.detection.filter_run import filter_dataset
    from lgm.utils.distributed import Team

    scores, team = _scores(args.score or ["likelihood" if args.model else "gaussian"]), Team.join(args.device)
    silent = team.rank > 0
    with ExitStack() as held:
        team.only_first(lambda: _hold_outputs(args, held))
        with progress_bar("trusted image", silent) as on_trusted, progress_bar("image", silent) as on_batch:
            found = filter_dataset(
                args.data,
                args.model,
                trusted=args.trusted,
                scores=scores,
                fpr=args.fpr,
                workers=args.workers,
                team=team,
                resume=not args.no_resume,
                on_batch=on_batch,
                on_trusted=on_trusted,
            )
        team.leave()
        if found is None:
            return None
        values = _save(args, found)
        found.done()
    return Answer(values, lambda: _text(values))


def _scores(given: list[str]) -> list[str]:
    """Names of scores, each once, in the order in which they were given."""
    names = [name.strip() for entry in given for name in entry.split(",") if name.strip()]
    for name in names:
        if name not in SCORES:
            raise ValueError(f"score: expected one of {', '.join(SCORES)}, got {name!r}")
    if not names:
        raise ValueError(f"score: expected one of {', '.join(SCORES)}, got none")
    return list(dict.fromkeys(names))


def _hold_outputs(args: argparse.Namespace, held: ExitStack) -> None:
    held.enter_context(output(args.out, ".csv", "out", force=args.force))
    if args.report:
        held.enter_context(output(args.report, ".html", "report", force=args.force))
    if args.summary:
        held.enter_context(output(args.summary, ".json", "summary", force=args.force))
    if args.links:
        from lgm.detection.links import check_links

        if args.links in (args.out, args.report, args.summary):
            raise ValueError(f"links: expected a folder of its own, got {args.links}, which is a file to write")

        kind = read_registration(args.data).kind
        if kind not in ("folder", "list"):
            raise ValueError(f"links: expected a dataset of image files, and {args.data} is one file; leave it out")
        check_links(args.links, force=args.force)


def _save(args: argparse.Namespace, found: "Filtered") -> "FilterSummary":
    from lgm.detection.filter_summary import summarise

    values = summarise(
        found.kept,
        found.trusted,
        model=args.model or "",
        fpr=args.fpr,
        skipped=read_skipped(args.data),
        out=str(args.out),
        report=str(args.report or ""),
        links=str(args.links or ""),
    )
    saves: dict[Path, Callable[[Path], object]] = {args.out: found.kept.write}
    if args.summary:
        text = to_json(values, indent=1) + "\n"
        saves[args.summary] = lambda path: write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"))
    if args.report:
        from lgm.reports.filter_report import write_filter_report

        saves[args.report] = partial(write_filter_report, found.kept, values, found.shape)
    save_all(saves)
    if args.links:
        from lgm.detection.links import write_links

        write_links(found.kept, args.links)
    return values


def _text(found: "FilterSummary") -> str:
    lines = [
        f"{found.out}: {found.images - found.removed:,} of {found.images:,} images kept, {found.removed:,} removed.",
        f"T = {found.threshold:.6g}: {found.promise}.",
        f"{'class':<30}{'images':>9}{'removed':>9}",
    ]
    for name, images in found.images_per_class.items():
        lines.append(f"{name:<30}{images:>9,}{found.removed_per_class.get(name, 0):>9,}")
    for other in found.scores[1:]:
        lines.append(
            f"By {other.score} (T = {other.threshold:.6g}), {other.removed:,} would be removed, of which "
            f"{other.removed_by_both:,} are."
        )
    lines += found.notes
    if found.unreadable:
        lines.append(
            f"{len(found.unreadable):,} registered files do not read any more; see `lgm data check {found.data}`."
        )
    if found.skipped:
        lines.append(f"{len(found.skipped):,} files were no images when it was registered; --json names them.")
    return "\n".join(lines)
