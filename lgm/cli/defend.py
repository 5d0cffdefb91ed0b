"""python -m lgm defend: attack success with and without the filter."""

import argparse
from typing import Any

from lgm.cli.options import add_cache, add_command, add_data, add_field, given, split_of
from lgm.cli.output import progress_bar
from lgm.cli.tables import Answer, frontier_table, success_table
from lgm.config import GAMMA_GRID, DefenseConfig

# What a sweep goes through, and the number of poisons that was asked for.
_SWEEP_POISONS = (1, 2, 5, 10, 20, 50, 100)
_SWEEP_CLEAN = (2, 5, 10, 20, 50)


def add_defend(commands: Any) -> None:
    """Add the command ``defend``."""
    parser = add_command(
        commands,
        "defend",
        _defend,
        "Does filtering save the model? Attack success after fine-tuning on data with poisons in them: without the "
        "filter, with it, and for a clean control.",
    )
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    add_data(parser)
    add_field(parser, DefenseConfig, "task")
    parser.add_argument(
        "--classes",
        type=int,
        nargs=2,
        metavar=("BASE", "TARGET"),
        help="of base and target (default: each trial's own)",
    )
    for name in ("poisons", "clean", "trials", "beta", "gamma", "watermark", "layers", "strength", "fpr"):
        add_field(parser, DefenseConfig, name)
    add_field(parser, DefenseConfig, "density", default="own, if any")
    add_field(parser, DefenseConfig, "seed")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help=f"a list: up to --poisons of {_SWEEP_POISONS}, and {_SWEEP_CLEAN} clean images a class",
    )
    parser.add_argument("--frontier", action="store_true", help=f"a list: attackers with a gamma of {GAMMA_GRID}")
    add_cache(parser)


def _defend(args: argparse.Namespace) -> Answer:
    from lgm.defense.experiment import frontier, sweep
    from lgm.experiments.adaptive_rows import adaptive_row
    from lgm.models.checkpoint import load_checkpoint

    if args.sweep and args.frontier:
        raise ValueError("sweep, frontier: expected one of them, got both")
    classes = args.classes and (args.classes[0], args.classes[1])
    options: dict[str, Any] = {**given(args, DefenseConfig), "classes": classes}
    config = DefenseConfig(**options)
    model, card = load_checkpoint(args.model, args.device)
    split = split_of(args, card)
    settings = [(config.poisons, config.clean)]
    if args.sweep:
        numbers = sorted({k for k in _SWEEP_POISONS if k < config.poisons} | {config.poisons})
        settings = [(k, n) for n in _SWEEP_CLEAN for k in numbers]
    with progress_bar("poison-iteration") as on_step:
        if args.frontier:
            attackers = frontier(model, card, split, config, on_step=on_step, cache=args.cache)
            rows = [adaptive_row(report) for report in attackers]
            return Answer(rows, lambda: frontier_table(rows))
        reports = sweep(model, card, split, config, settings, on_step=on_step, cache=args.cache)
    return Answer(reports, lambda: success_table(reports)) if args.sweep else Answer(reports[0])
