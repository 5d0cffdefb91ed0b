"""python -m lgm bench: crafting against ART."""

import argparse
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_command, add_data, add_field, add_value, split_of
from lgm.cli.tables import Answer
from lgm.config import Count, PoisonConfig, Seed
from lgm.utils.codec import encode


def add_bench(commands: Any) -> None:
    """Add the command ``bench``."""
    parser = add_command(
        commands,
        "bench",
        _bench,
        "Time crafting against ART and against the paper's procedure, on the same pairs, on the CPU.",
        device=False,
    )
    parser.add_argument("what", choices=["craft"])
    parser.add_argument("--model", default="mnist-lgm", help="name of a checkpoint, or path to its weights")
    add_data(parser)
    add_value(parser, "pairs", Count, 10, "random pairs to craft for")
    add_field(parser, PoisonConfig, "beta")
    add_field(parser, PoisonConfig, "iterations", help="of the others, a poison")
    add_value(parser, "seed", Seed, 1, "of the pairs")


def _bench(args: argparse.Namespace) -> Answer:
    from lgm.attacks.result import check_count
    from lgm.experiments.benchmark import bench_craft
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(args.model)
    split = split_of(args, card.config.dataset)
    check_count(args.pairs, len(split), "pairs")
    with tqdm(bar_format="{desc} {elapsed}", dynamic_ncols=True, disable=None) as bar:
        result = bench_craft(
            model,
            split,
            pairs=args.pairs,
            beta=args.beta,
            iterations=args.iterations,
            seed=args.seed,
            progress=bar.set_description_str,
        )
    return Answer({"model": card.name, "data": split.name, **encode(result)})
