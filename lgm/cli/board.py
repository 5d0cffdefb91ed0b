"""python -m lgm board: every attacker against every defence."""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lgm.cli.options import add_cache, add_command, add_data, add_field, given, split_of
from lgm.cli.output import output
from lgm.cli.tables import Answer
from lgm.experiments.board.config import ATTACKERS, CHOICES, QUICK, BoardConfig
from lgm.models.registry import read_card
from lgm.utils.fields import require
from lgm.utils.outputs import save_or_keep
from lgm.utils.threads import usable_cores

if TYPE_CHECKING:  # it brings torch
    from lgm.experiments.board.stored import MeasuredBoard


_NONE = "none"  # in the place of a surrogate


def add_board(commands: Any) -> None:
    """Add the command ``board``."""
    parser = add_command(
        commands,
        "board",
        _board,
        "Every attacker against every defence: attack success by attacker, choice of target, filter, head, "
        "false-positive rate and budget.",
        device=False,
    )
    parser.add_argument(
        "--models",
        nargs="+",
        default=["mnist-lgm", "mnist-softmax"],
        metavar="MODEL",
        help="checkpoints of one dataset",
    )
    parser.add_argument(
        "--surrogates",
        nargs="+",
        default=[],
        metavar="MODEL",
        help="for each of --models another network of its kind, or none, for attackers who know neither network nor T",
    )
    add_data(parser)
    parser.add_argument(
        "--add-to",
        type=Path,
        metavar="FILE",
        help="a record, its attacks beside it, whose setting and rows are taken over: what is named beside is "
        "measured; further budgets on the poisons that are there: no more of them, nor of clean images, none heavier",
    )
    parser.add_argument(
        "--simulate",
        action="store_true",
        help="do not craft: features are exactly where attackers want them, as no image may have them; to look for "
        "settings, in a minute",
    )
    _add_setting(parser)
    parser.add_argument(
        "--processes",
        type=int,
        default=usable_cores(),
        metavar="N",
        help="rows that are measured at a time (default: as many as there are cores)",
    )
    add_cache(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="JSON file to write the record to; the attacks, to be drawn again, go beside it, ending in .safetensors",
    )
    parser.add_argument("--force", action="store_true", help="overwrite it")


def _add_setting(parser: argparse.ArgumentParser) -> None:
    """Rows and columns: the fields of `BoardConfig`."""
    parser.add_argument(
        "--quick",
        action="store_true",
        help=f"{QUICK.trials} attacks a row, of one budget, on {' and '.join(QUICK.choices)} targets",
    )
    slow = [name for name, each in ATTACKERS.items() if each.layers]
    parser.add_argument(
        "--attackers",
        nargs="+",
        metavar="NAME",
        help=f"of {', '.join(ATTACKERS)} (default: all but {', '.join(slow)}: nearest targets only, half an hour or "
        "more, for all layers are fine-tuned on its poisons as well)",
    )
    parser.add_argument(
        "--choices", nargs="+", metavar="NAME", help=f"of {', '.join(CHOICES)} (default: all, or those of --quick)"
    )
    parser.add_argument("--budgets", nargs="+", type=_budget, metavar="K:N", help="K poisons, N clean images a class")
    for name in ("trials", "beta", "aim", "gamma", "candidates", "seed"):
        add_field(
            parser, BoardConfig, name, default="as --quick or the full board has it" if name == "trials" else None
        )


def _budget(text: str) -> tuple[int, int]:
    try:
        poisons, clean = map(int, text.split(":"))
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected poisons and clean images a class, as 10:10, got {text!r}") from None
    return poisons, clean


def _board(args: argparse.Namespace) -> Answer:
    from lgm.experiments.board.stored import attacks_path, read_measured, write_measured
    from lgm.experiments.board.table import board_table

    require(not (args.add_to and args.quick), "quick", "none with --add-to: the setting is the record's", args.quick)
    for name in ("out", "add_to", "surrogates"):
        alone = not (args.simulate and getattr(args, name))
        require(alone, name.replace("_", "-"), "none with --simulate", getattr(args, name))
    earlier = None if args.add_to is None else read_measured(args.add_to)
    config = _config(args, None if earlier is None else earlier.board.config)
    if args.processes < 1:
        raise ValueError(f"processes: expected at least 1, got {args.processes}")
    if args.out is None:
        board = _measured(args, config, earlier).board
        simulated = "Simulated: no poison was crafted.\n\n" if args.simulate else ""
        return Answer(board, lambda: simulated + board_table(board))
    beside = attacks_path(args.out)
    with output(args.out, ".json", "out", force=args.force), output(beside, ".safetensors", "out", force=args.force):
        found = _measured(args, config, earlier)
        save_or_keep(partial(write_measured, found), args.out)
    return Answer(found.board, lambda: board_table(found.board))


def _config(args: argparse.Namespace, earlier: BoardConfig | None) -> BoardConfig:
    """What is asked for; ``earlier``: of the record to add to, which keeps what it has."""
    options = given(args, BoardConfig)
    options |= {name: tuple(options[name]) for name in ("attackers", "choices", "budgets") if name in options}
    if earlier is not None:
        for name, known in (("attackers", ATTACKERS), ("choices", CHOICES)):
            there = {*getattr(earlier, name), *options.get(name, ())}
            options[name] = (*filter(there.__contains__, known), *sorted(there - {*known}))
        budgets = {*earlier.budgets, *options.get("budgets", ())}
        options["budgets"] = tuple(sorted(budgets, key=lambda budget: (budget[1], budget[0])))
    config = replace(earlier or (QUICK if args.quick else BoardConfig()), **options)
    if args.simulate:
        known = tuple(name for name, each in ATTACKERS.items() if each.wants_features)
        asked = options.get("attackers", known)
        require({*asked} <= {*known}, "attackers", f"of {', '.join(known)}, with --simulate", asked)
        config = replace(config, attackers=asked)
    return config


def _measured(args: argparse.Namespace, config: BoardConfig, earlier: "MeasuredBoard | None") -> "MeasuredBoard":
    from lgm.experiments.board.measure import measure_board
    from lgm.models.checkpoint import load_checkpoint

    cards = [read_card(name) for name in (*args.models, *args.surrogates) if name != _NONE]
    if len(args.surrogates) not in (0, len(args.models)):
        raise ValueError(f"surrogates: expected one for each of {len(args.models)} models, got {len(args.surrogates)}")
    datasets = {card.config.dataset for card in cards}
    if len(datasets) > 1:
        raise ValueError(f"models: expected networks of one dataset, got {', '.join(sorted(datasets))}")
    split = split_of(args, *cards)
    with tqdm(unit="row", dynamic_ncols=True, disable=None) as bar:

        def on_row(row: str, done: int, total: int) -> None:
            bar.total = total
            bar.set_description_str(row)
            bar.update(done - bar.n)

        networks = [load_checkpoint(name) for name in args.models]
        others = [None if name == _NONE else load_checkpoint(name)[0] for name in args.surrogates]
        how = {"processes": args.processes, "cache": args.cache, "on_row": on_row}
        found = measure_board(
            networks, split, config, surrogates=others, earlier=earlier, simulate=args.simulate, **how
        )
    assert found is not None, "nobody asked it to stop"
    return found
