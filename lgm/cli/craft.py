"""python -m lgm craft: poisons from random pairs, or from one pair over all beta."""

import argparse
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lgm.attacks.poison_folder import TABLE
from lgm.cli.options import add_command, add_data, add_field, add_value, given, split_of
from lgm.cli.output import output, progress_bar
from lgm.cli.tables import Answer
from lgm.config import BETA_GRID, FPR_GRID, PoisonConfig, Seed
from lgm.data.base import Split
from lgm.utils.io import write_atomically
from lgm.utils.outputs import require_room, save_or_keep

if TYPE_CHECKING:
    from lgm.attacks.result import Poisons
    from lgm.models.classifier import Classifier
    from lgm.utils.distributed import Team


_FPR = FPR_GRID[0]  # of the filter that an attacker knows of
_OUT = (
    "where to save the poisons: .safetensors keeps all of them and how they came about, .npz the arrays that other "
    "programs need, a name without an ending is a folder of PNGs (8 bits) with tables"
)
_SMALLEST_POISON = 6  # bytes a pixel: the poison in float32, base and target


def add_craft(commands: Any) -> None:
    """Add the command ``craft``."""
    parser = add_command(commands, "craft", _craft, "Craft poisons from random pairs (eq. 1) and save them losslessly.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    add_data(parser)
    parser.add_argument("--poisons", type=int, default=100, help="how many")
    for name in ("beta", "method", "iterations", "tolerance", "gamma"):
        add_field(parser, PoisonConfig, name)
    add_field(parser, PoisonConfig, "threshold", default=f"calibrated on the clean data for {100 * _FPR:g} % FPR")
    add_value(parser, "seed", Seed, 1, "of the pairs")
    parser.add_argument(
        "--pair",
        type=int,
        nargs=2,
        metavar=("BASE", "TARGET"),
        help="instead of random pairs: these two positions, for a whole grid of betas",
    )
    parser.add_argument("--out", type=Path, required=True, help=_OUT)
    parser.add_argument("--force", action="store_true", help="replace an existing file")


def _craft(args: argparse.Namespace) -> Answer | None:
    from lgm.utils.distributed import Team

    if args.threshold is not None and not args.gamma:
        raise ValueError("threshold: expected --gamma with it, for the attacker who knows of T, got none")
    # Until T is calibrated, any serves to check the rest.
    options: dict[str, Any] = {"threshold": 0.0 if args.gamma else None, **given(args, PoisonConfig)}
    config = PoisonConfig(**options)
    team = Team.join(args.device)
    if args.pair and team.size > 1:
        raise ValueError(f"pair: expected one process, for there is one batch, got {team.size}")
    with ExitStack() as held:
        team.only_first(lambda: held.enter_context(_place(args.out, force=args.force)))
        return _craft_into(args, config, team)


def _place(out: Path, *, force: bool) -> AbstractContextManager[None]:
    """Hold what is to be written: a file, or of a folder the table that makes it one of poisons."""
    if out.suffix:
        return output(out, (".safetensors", ".npz"), "out", force=force)
    if out.is_dir() and any(out.iterdir()) and not (out / TABLE).exists():
        raise ValueError(f"out: expected a new or empty folder, or one of poisons, and {out} holds other files")
    return output(out / TABLE, ".csv", "out", force=force)


def _craft_into(args: argparse.Namespace, config: PoisonConfig, team: "Team") -> Answer | None:
    import numpy as np

    from lgm.attacks.batches import batch_length
    from lgm.attacks.craft import craft_beta_path, craft_random
    from lgm.attacks.distributed import gather, share
    from lgm.attacks.export import rounded
    from lgm.attacks.result import check_count
    from lgm.detection.thresholds import conformal_words
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(args.model, team.device)
    split = split_of(args, card)
    check_count(args.poisons, len(split))
    batch = batch_length(args.poisons, config)
    mine = share(team, args.poisons, batch)
    count = len(BETA_GRID) if args.pair else args.poisons
    require_room(args.out, count * _SMALLEST_POISON * split.images[0].size)
    if args.gamma:
        config = replace(config, threshold=_known_threshold(args, model, split))
    with progress_bar("poison-iteration", team.rank > 0) as on_step:
        if args.pair:
            part = craft_beta_path(model, card, split, tuple(args.pair), config, on_step=on_step)
        else:
            part = craft_random(model, card, split, args.poisons, config, seed=args.seed, only=mine, on_step=on_step)
    poisons = gather(team, part, batch)
    team.leave()
    if poisons is None:
        return None
    save_or_keep(partial(_save, poisons, card.class_names, model), args.out)
    values = {
        "model": card.name,
        "data": split.name,
        "poisons": len(poisons),
        "method": args.method,
        "beta": [float(beta) for beta in poisons.beta] if args.pair else args.beta,
        "gamma": config.gamma,
        "threshold": config.threshold,
        "threshold_means": conformal_words(_FPR, len(split)) if args.gamma and args.threshold is None else None,
        "seed": None if args.pair else args.seed,
        "collided": float(poisons.collided.mean()),
        "objective": float(poisons.objective.mean()),
        "objective_median": float(np.median(poisons.objective)),
        "l2": float(poisons.l2.mean()),
        "linf": float(poisons.linf.mean()),
        "iterations": float(poisons.iterations.mean()),
        "out": str(args.out),
    }
    if not args.out.suffix:
        values["collided_8_bit"] = float(rounded(model, poisons).collided.mean())
    return Answer(values)


def _save(poisons: "Poisons", classes: tuple[str, ...], model: "Classifier", path: Path) -> None:
    """Write the poisons in the form that the name asks for. Raises SaveError."""
    from lgm.attacks.export import arrays
    from lgm.attacks.poison_folder import write_folder

    if path.suffix == ".npz":
        write_atomically(path, lambda part: part.write_bytes(arrays(poisons)))
    elif path.suffix:
        poisons.save(path)
    else:
        write_folder(poisons, classes, path, model)


def _known_threshold(args: argparse.Namespace, model: "Classifier", split: Split) -> float:
    """T of the filter that the attacker knows of."""
    if args.threshold is not None:
        return args.threshold
    from lgm.detection.thresholds import conformal_threshold
    from lgm.models.scoring import log_likelihood

    return conformal_threshold(log_likelihood(model, split.pixels(), split.targets()).numpy(), fpr=_FPR)
