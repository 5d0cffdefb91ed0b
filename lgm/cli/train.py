"""python -m lgm train: a network from a preset."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_command, add_data, add_field, download_if_asked, given
from lgm.cli.tables import Answer
from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, check_name, user_folder
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
        "Train a network from a preset and save it with its card. Where the preset has a warm start, that comes first; "
        "it is kept beside the model as warm-*.state.safetensors, for other heads to start from, and may be deleted.",
    )
    parser.set_defaults(device=launched_device())
    parser.add_argument("preset", choices=list(PRESETS))
    parser.add_argument("--name", help="what to call it (default: the preset's name)")
    parser.add_argument("--out", type=Path, default=user_folder(), help="folder for weights, card and features")
    add_data(parser, "what to train on", _PRESETS_OWN)
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


def _train_config(args: argparse.Namespace) -> TrainConfig:
    preset = PRESETS[args.preset]
    config = replace(preset, split=args.data or preset.split, limit=args.limit or preset.limit)
    model = replace(config.model, **given(args, ModelConfig))
    config = config.with_last(model=model, epochs=args.epochs or preset.phases[-1].epochs)
    return config if args.seed is None else config.seeded(args.seed)


def _train(args: argparse.Namespace) -> Answer | None:
    from lgm.training.train import train_checkpoint
    from lgm.utils.distributed import Team

    name = check_name(args.name or args.preset)
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
