"""Command `data`: datasets of the user's own, registered by name."""

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from lgm.cli.options import add_command, add_value
from lgm.cli.output import progress_bar
from lgm.cli.tables import Answer
from lgm.config import Seed
from lgm.data.cautions import cautions
from lgm.data.scan import Scan, Skipped
from lgm.data.store import Registration, check, per_class, read_registration, register, registered
from lgm.utils.fields import Bounds

_Size = Annotated[int, Bounds("a number of pixels from {ge} to {le}", ge=1, le=1024)]
_SOURCES = (
    "a folder with a sub-folder a class, or with train, test and val above them; a CSV with path and label; an .npz "
    "with images and labels; features with labels: .npz, .npy beside NAME.labels.npy or NAME.labels.csv, or Parquet"
)
_SHOWN = 5  # files of a kind in what people read; --json has all


def add_data_commands(commands: Any) -> None:
    """`data add | list | check`."""
    text = "Registers labelled images, or features, under a name, and looks at what is registered."
    parser = commands.add_parser("data", help=text, description=text)
    actions = parser.add_subparsers(required=True, metavar="add | list | check")
    adding = add_command(
        actions, "add", _add, "Looks at labelled images and registers them.", device=False, download=False
    )
    adding.add_argument("name", help="what commands call it from then on: a-z, 0-9, - and _")
    adding.add_argument("source", type=Path, help=_SOURCES)
    add_value(adding, "size", _Size, None, "pixels a side that images are scaled to (default: as they are, or 224)")
    add_value(
        adding,
        "seed",
        Seed,
        1,
        "of the splits, where the folders name none: a fifth of each class is held out, a "
        "fifth serves to fine-tune on, the rest to train on",
    )
    adding.add_argument(
        "--colour", action="store_true", help="take grey images in colour, as networks trained on ImageNet do"
    )
    adding.add_argument("--force", action="store_true", help="look anew at a dataset that is registered")
    add_command(actions, "list", _list, "Lists what is registered.", device=False, download=False)
    checking = add_command(
        actions, "check", _check, "Reads all images of a dataset again.", device=False, download=False
    )
    checking.add_argument("name", help="a registered dataset")


@dataclass(frozen=True)
class Added:
    """What `data add` found."""

    dataset: Registration
    per_class: dict[str, int]
    skipped: tuple[Skipped, ...]
    duplicates: list[tuple[str, ...]]  # paths of the same content under different labels
    cautions: list[str]


def _add(args: argparse.Namespace) -> Answer:
    with progress_bar("file") as on_image:
        form = {"size": args.size, "colour": args.colour, "seed": args.seed}
        made, found = register(args.name, args.source, **form, replace=args.force, on_image=on_image)
    duplicates = [tuple(image.path for image in files) for files in found.duplicates()]
    said = cautions(made, found.images)
    added = Added(made, per_class(found), found.skipped, duplicates, said)
    return Answer(added, lambda: "\n".join([_added_text(made, found), *said]))


def _added_text(made: Registration, found: Scan) -> str:
    first, height, width = made.shape
    taken = f"taken as {width} x {height} pixels in {'grey' if first == 1 else 'colour'}"
    what = f"rows of {first:,} features," if made.kind == "features" else "images"
    lines = [
        f"{made.name}: {made.images:,} {what} of {len(made.classes)} classes"
        f"{'' if made.kind == 'features' else f', {taken}'}. They stay in {made.source}."
    ]
    lines += [f"  {name:<30}{count:>9,}" for name, count in per_class(found).items()]
    lines += _some("skipped", [f"{entry.path}: {entry.reason}" for entry in found.skipped])
    same = [" = ".join(f"{image.path} ({image.label})" for image in files) for files in found.duplicates()]
    return "\n".join(lines + _some("of the same content under different labels", same))


def _some(title: str, entries: list[str]) -> list[str]:
    if not entries:
        return []
    more = [f"  and {len(entries) - _SHOWN:,} more"] if len(entries) > _SHOWN else []
    return [f"{len(entries):,} {title}:", *(f"  {entry}" for entry in entries[:_SHOWN]), *more]


def _list(args: argparse.Namespace) -> Answer:
    del args
    found = [read_registration(name) for name in registered()]
    lines = [
        f"{each.name:<20}{each.images:>9,} {'rows' if each.kind == 'features' else 'images':<6} "
        f"{len(each.classes):>4} classes  {each.source}"
        for each in found
    ]
    return Answer(found, lambda: "\n".join(lines) or "none yet; see `lgm data add --help`")


def _check(args: argparse.Namespace) -> Answer:
    with progress_bar("file") as on_image:
        changes = check(args.name, on_image)
    lines = _some("missing", list(changes.missing)) + _some("changed since they were registered", list(changes.changed))
    lines += _some("unreadable", [f"{entry.path}: {entry.reason}" for entry in changes.unreadable])
    return Answer(changes, lambda: "\n".join(lines) or f"{args.name} is as it was registered", code=int(bool(lines)))
