"""python -m lgm bench: crafting against ART."""

import argparse
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_command, add_data, split_of
from lgm.config import PoisonConfig


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
    parser.add_argument("--pairs", type=int, default=10, help="random pairs to craft for")
    parser.add_argument("--beta", type=float, default=PoisonConfig().beta, help="weight of looking like the base")
    parser.add_argument("--iterations", type=int, default=1000, help="of the others, a poison")
    parser.add_argument("--seed", type=int, default=1, help="of the pairs")


def _bench(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.attacks.result import check_count
    from lgm.experiments.benchmark import bench_craft
    from lgm.models.checkpoint import load_checkpoint

    PoisonConfig(beta=args.beta, iterations=args.iterations)  # refuses what makes no sense
    if args.pairs < 1:
        raise ValueError(f"pairs: expected 1 or more, got {args.pairs}")
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
    return {"model": card.name, "data": split.name, **result}
