"""Options that several commands have, and the data that they name."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from lgm.cli.tables import Answer
from lgm.data.base import Split
from lgm.data.own import OWN_SPLITS
from lgm.data.registry import DATASETS, dataset_names, default_split, find_dataset, load_split
from lgm.models.card import Card, require_same_data
from lgm.utils.fields import Field, field_of, fields_of


class _Help(argparse.ArgumentDefaultsHelpFormatter):
    """Adds the default, unless there is none."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        none = action.default is None or action.default is False
        return action.help if none else super()._get_help_string(action)


def add_command(
    commands: Any,
    name: str,
    run: Callable[[argparse.Namespace], Answer | None],
    description: str,
    *,
    device: bool = True,
    download: bool = True,
) -> argparse.ArgumentParser:
    """A sub-command, with --json, with --device if it computes, and with --download if it reads official data."""
    parser = commands.add_parser(
        name,
        help=description.replace("%", "%%"),
        description=description,
        formatter_class=_Help,
    )
    parser.set_defaults(run=run, command=parser, fields=[])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if device:
        parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1, ...")
    if download:
        sizes = ", ".join(f"{dataset.title}: {dataset.download_size}" for dataset in DATASETS.values())
        parser.add_argument("--download", action="store_true", help=f"fetch the official data first ({sizes})")
    return parser


def add_field(
    parser: argparse.ArgumentParser, config: type, name: str, *, help: str | None = None, default: str | None = None
) -> None:
    """The option of a configuration's field: type, choices, bounds, default and help are the field's.

    ``help`` is for a command that says it in other words, ``default`` for one whose default is not a value.
    """
    field = fields_of(config)[name]
    text = help or field.doc
    if default is not None:
        field, text = replace(field, default=None), f"{text} (default: {default})"
    _add(parser, field, text)


def add_value(parser: argparse.ArgumentParser, name: str, annotation: Any, default: Any, help: str) -> None:
    """An option that is no configuration's, within the bounds of an annotation."""
    _add(parser, field_of(name, annotation, default), help)


def _add(parser: argparse.ArgumentParser, field: Field, text: str) -> None:
    parser.get_default("fields").append(field)
    given: dict[str, Any] = {"action": "store_true", "default": None}
    if field.kind is not bool:
        given = {"type": field.kind, "choices": field.choices or None, "default": field.default}
    parser.add_argument(f"--{field.name.replace('_', '-')}", help=text.replace("%", "%%"), **given)


def check_options(args: argparse.Namespace) -> None:
    """Raise ValueError, named after the field, for the first option that is out of bounds: before anything is read."""
    for field in args.fields:
        if (value := getattr(args, field.name)) is not None:
            field.check(value)


def given(args: argparse.Namespace, config: type) -> dict[str, Any]:
    """What the options say of the fields of a configuration, as far as they say something."""
    values = {name: getattr(args, name, None) for name in fields_of(config)}
    return {name: value for name, value in values.items() if value is not None}


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
    own = f"A dataset of your own: {', '.join(OWN_SPLITS)}; or its name, for all of it in the form of the model's"
    parser.add_argument("--data", type=_data, metavar="NAME", help=f"{which}. {named}. {own}. (default: {default})")


def _data(name: str) -> str:
    """A name that means something; of which dataset is known once the model is. Raises argparse's error otherwise."""
    splits = [split for dataset in DATASETS.values() for split in dataset.splits]
    known = list(dict.fromkeys((*splits, *OWN_SPLITS, *dataset_names())))
    if name not in known:
        raise argparse.ArgumentTypeError(
            f"expected one of {', '.join(known)}, got {name!r}; `lgm data add NAME FOLDER` registers images of your own"
        )
    return name


def split_of(args: argparse.Namespace, *cards: Card) -> Split:
    """The split that ``--data`` names, or the default of the dataset that these networks were trained on.

    Raises:
        DataError: the dataset has been registered anew since, or its images do not read.
    """
    dataset = cards[0].config.dataset
    download_if_asked(args, dataset)
    for card in cards:
        require_same_data(card)
    return load_split(args.data or default_split(dataset), dataset)


def download_if_asked(args: argparse.Namespace, dataset: str) -> None:
    """``--download``: fetch the official files, telling how far it is on standard error."""
    if args.download:
        find_dataset(dataset).download(
            lambda done, total, name: print(f"download {done}/{total} {name}", file=sys.stderr)
        )


def add_cache(parser: argparse.ArgumentParser) -> None:
    """``--cache``: where crafted poisons are kept."""
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep crafted poisons there: a run that was killed goes on, and the same settings need no crafting again",
    )
