"""python -m lgm train: a network from a preset, or for any dataset."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from lgm.cli.options import add_command, add_data, add_field, download_if_asked, given
from lgm.cli.tables import Answer
from lgm.config import Loss, ModelConfig, Phase, TrainConfig
from lgm.data.registry import dataset_names, find_dataset
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, check_name, user_folder
from lgm.training.own_recipe import BACKBONES, Choice, recipe_for
from lgm.training.presets import PRESETS
from lgm.utils.json import to_json

_PRESETS_OWN = "the preset's"


def add_train(commands: Any) -> None:
    """Add the command ``train``."""
    from lgm.utils.distributed import launched_device

    parser = add_command(
        commands,
        "train",
        _train,
        "Train a network from a preset, or for a dataset (--data), and save it with its card. Where the recipe has a "
        "warm start, that comes first; it is kept beside the model as warm-*.state.safetensors, for other heads to "
        "start from, and may be deleted.",
    )
    parser.set_defaults(device=launched_device())
    parser.add_argument("preset", nargs="?", choices=list(PRESETS), help="default: a recipe for what --data names")
    parser.add_argument("--name", help="what to call it (default: the preset's name, or that of the data and the loss)")
    parser.add_argument("--out", type=Path, default=user_folder(), help="folder for weights, card and features")
    add_data(
        parser,
        "what to train on: a split of the preset's dataset or, without a preset, a dataset",
        _PRESETS_OWN,
    )
    _add_choice(parser)
    add_field(parser, Phase, "epochs", default=_PRESETS_OWN)
    add_field(parser, ModelConfig, "margin", default=_PRESETS_OWN)
    add_field(parser, ModelConfig, "likelihood_weight", default=_PRESETS_OWN)
    add_field(parser, ModelConfig, "covariance", default=_PRESETS_OWN)
    add_field(parser, ModelConfig, "learn_priors")
    add_field(parser, ModelConfig, "center_radius", default=_PRESETS_OWN)
    add_field(parser, TrainConfig, "limit", default=_PRESETS_OWN)
    add_field(parser, Phase, "seed", default=_PRESETS_OWN)
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing model of this name; without --resume, discard what a stopped run has left",
    )


def _add_choice(parser: argparse.ArgumentParser) -> None:
    """Options of a recipe without a preset."""
    parser.add_argument(
        "--backbone",
        metavar="NETWORK",
        help=f"{', '.join(BACKBONES)}, or another architecture of torchvision's with --weights (default: small up to "
        "64 pixels a side; of larger images efficientnet-lite0, frozen)",
    )
    parser.add_argument(
        "--frozen",
        action="store_true",
        help="keep a network pre-trained on ImageNet as it is: a projection and a head learn from its features",
    )
    parser.add_argument("--weights", type=Path, help="file with a state dict of a torchvision architecture")
    parser.add_argument("--loss", choices=get_args(Loss), help="default: lgm")
    parser.add_argument(
        "--dims",
        type=_dims,
        help="number of features, or K-1: one less than classes (default: 2, and 1 for two classes)",
    )


def _dims(text: str) -> int | str:
    if text.upper() == "K-1":
        return "K-1"
    if text.isdecimal() and int(text):
        return int(text)
    raise argparse.ArgumentTypeError(f"expected a number of features from 1, or K-1, got {text!r}")


def _chosen(args: argparse.Namespace) -> TrainConfig:
    """The recipe for a dataset, without a preset."""
    if args.data not in dataset_names():
        got = "neither" if args.data is None else f"--data {args.data}"
        known = ", ".join(dataset_names())
        raise ValueError(f"preset: expected one of {', '.join(PRESETS)}, or --data with a dataset ({known}), got {got}")
    names = ("backbone", "frozen", "weights", "loss", "dims")
    return recipe_for(
        find_dataset(args.data), Choice(**{name: getattr(args, name) for name in names if getattr(args, name)})
    )


def _of_preset(args: argparse.Namespace) -> TrainConfig:
    """A preset, with another split if there is a choice."""
    for name in ("backbone", "frozen", "weights", "loss", "dims"):
        if getattr(args, name):
            raise ValueError(f"{name}: the preset {args.preset} has its own; leave one of the two out")
    preset = PRESETS[args.preset]
    if args.data in dataset_names():
        raise ValueError(
            f"data: the preset {args.preset} is for {preset.dataset}; leave the preset out for {args.data}"
        )
    return replace(preset, split=args.data or preset.split)


def _train_config(args: argparse.Namespace) -> TrainConfig:
    config = _of_preset(args) if args.preset else _chosen(args)
    config = replace(config, limit=args.limit or config.limit)
    model = replace(config.model, **{name: value for name, value in given(args, ModelConfig).items() if name != "loss"})
    config = config.with_last(model=model, epochs=args.epochs or config.phases[-1].epochs)
    return config if args.seed is None else config.seeded(args.seed)


def _train(args: argparse.Namespace) -> Answer | None:
    from lgm.training.train import train_checkpoint
    from lgm.utils.distributed import Team

    name = check_name(args.name or args.preset or f"{args.data}-{args.loss or 'lgm'}")
    if args.out == user_folder() and _is_shipped(name) and not args.force:
        raise CheckpointError(f"a model named {name!r} exists already, for it is shipped; choose another --name")
    config, team = _train_config(args), Team.join(args.device)
    team.only_first(lambda: download_if_asked(args, config.dataset))
    with tqdm(unit="step", dynamic_ncols=True, disable=team.rank > 0 or None) as bar:

        def on_step(step: int, total: int, metrics: dict[str, float]) -> None:
            bar.total = total
            bar.set_postfix({key: f"{value:.4g}" for key, value in metrics.items()}, refresh=False)
            bar.update(step - bar.n)

        card = train_checkpoint(
            config,
            name,
            args.out,
            resume=args.resume,
            force=args.force,
            device=team.device,
            weights=args.weights,
            on_step=on_step,
            on_epoch=lambda record, _: bar.write(to_json(record), file=sys.stderr),
        )
    team.leave()
    if card is None:  # nobody can stop this run but the user, with a signal: this is not the first process
        return None
    values = {
        "model": name,
        "folder": str(args.out),
        "epochs": len(card.history),
        "accuracy": card.accuracy,
        "closest_centers": card.closest_centers,
        "weights_sha256": card.weights_sha256,
    }
    return Answer(values)


def _is_shipped(name: str) -> bool:
    return (SHIPPED / f"{name}.safetensors").exists()
