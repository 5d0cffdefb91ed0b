"""python -m lgm defend: attack success with and without the filter."""

import argparse
from typing import Any

from lgm.cli.options import add_cache, add_command, add_data, split_of
from lgm.cli.output import crafting
from lgm.config import GAMMA_GRID, DefenseConfig

# What a sweep goes through, and the number of poisons that was asked for.
_SWEEP_POISONS = (1, 2, 5, 10, 20, 50, 100)
_SWEEP_CLEAN = (2, 5, 10, 20, 50)


def add_defend(commands: Any) -> None:
    """Add the command ``defend``."""
    default = DefenseConfig()
    parser = add_command(
        commands,
        "defend",
        _defend,
        "Does filtering save the model? Attack success after fine-tuning on data with poisons in them: without the "
        "filter, with it, and for a clean control.",
    )
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    add_data(parser)
    parser.add_argument("--task", choices=["two", "all"], default=default.task, help="classes the new head tells apart")
    parser.add_argument(
        "--classes",
        type=int,
        nargs=2,
        metavar=("BASE", "TARGET"),
        help="of base and target (default: each trial's own)",
    )
    parser.add_argument("--poisons", type=int, default=default.poisons, help="for one target")
    parser.add_argument("--clean", type=int, default=default.clean, help="clean images a class to fine-tune on")
    parser.add_argument("--trials", type=int, default=default.trials, help="independent draws")
    parser.add_argument("--beta", type=float, default=default.beta, help="weight of looking like the base")
    parser.add_argument(
        "--gamma", type=float, default=default.gamma, help="weight of passing the filter, for an attacker who knows it"
    )
    parser.add_argument("--watermark", type=float, default=default.watermark, help="opacity of the target on the bases")
    parser.add_argument("--layers", choices=["head", "all"], default=default.layers, help="what is fine-tuned")
    parser.add_argument("--strength", type=float, default=default.strength, help="C of the logistic regression")
    parser.add_argument("--fpr", type=float, default=default.fpr, help="share of clean images that may be removed")
    parser.add_argument(
        "--density",
        choices=["own", "fitted"],
        help="what scores images: the network's own Gaussians, or some fitted afterwards (default: own, if any)",
    )
    parser.add_argument("--seed", type=int, default=default.seed, help="of all draws")
    parser.add_argument(
        "--sweep",
        action="store_true",
        help=f"a list: up to --poisons of {_SWEEP_POISONS}, and {_SWEEP_CLEAN} clean images a class",
    )
    parser.add_argument("--frontier", action="store_true", help=f"a list: attackers with a gamma of {GAMMA_GRID}")
    add_cache(parser)


def _defend(args: argparse.Namespace) -> dict[str, Any] | list[dict[str, Any]]:
    from lgm.defense.experiment import frontier, sweep
    from lgm.experiments.adaptive_rows import frontier_row
    from lgm.models.checkpoint import load_checkpoint

    if args.sweep and args.frontier:
        raise ValueError("sweep, frontier: expected one of them, got both")
    given = [
        "task",
        "poisons",
        "clean",
        "trials",
        "beta",
        "gamma",
        "watermark",
        "layers",
        "strength",
        "fpr",
        "density",
        "seed",
    ]
    classes = args.classes and (args.classes[0], args.classes[1])
    config = DefenseConfig(classes=classes, **{name: getattr(args, name) for name in given})
    model, card = load_checkpoint(args.model, args.device)
    split = split_of(args, card.config.dataset)
    settings = [(config.poisons, config.clean)]
    if args.sweep:
        numbers = sorted({k for k in _SWEEP_POISONS if k < config.poisons} | {config.poisons})
        settings = [(k, n) for n in _SWEEP_CLEAN for k in numbers]
    with crafting() as on_step:
        if args.frontier:
            return [
                frontier_row(report)
                for report in frontier(model, card, split, config, on_step=on_step, cache=args.cache)
            ]
        found = sweep(model, card, split, config, settings, on_step=on_step, cache=args.cache)
        reports = [report.to_dict() for report in found]
    return reports if args.sweep else reports[0]
