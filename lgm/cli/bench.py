"""python -m lgm bench: crafting against ART; Poison Frogs' one-shot experiment on photos; how visible poisons are."""

import argparse
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lgm.cli.options import add_cache, add_command, add_data, add_field, add_value, given, split_of
from lgm.cli.output import progress_bar, recorded
from lgm.cli.tables import Answer
from lgm.config import Count, PoisonConfig, Seed
from lgm.models.pretrained import LITE0
from lgm.utils.codec import encode


def add_bench(commands: Any) -> None:
    """`bench craft | oneshot | visibility`."""
    text = "Measures crafting beside other implementations, Poison Frogs' one-shot attack, and how visible poisons are."
    parser = commands.add_parser("bench", help=text, description=text)
    kinds = parser.add_subparsers(required=True, metavar="craft | oneshot | visibility")
    _add_craft(kinds)
    _add_oneshot(kinds)
    _add_visibility(kinds)


def _add_craft(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "craft",
        _craft,
        "Time crafting against ART and against the paper's procedure, on the same pairs, on the CPU.",
        device=False,
    )
    parser.add_argument("--model", default="mnist-lgm", help="name of a checkpoint, or path to its weights")
    add_data(parser)
    add_value(parser, "pairs", Count, 10, "random pairs to craft for")
    add_field(parser, PoisonConfig, "beta")
    add_field(parser, PoisonConfig, "iterations", help="of the others, a poison")
    add_value(parser, "seed", Seed, 1, "of the pairs")


def _craft(args: argparse.Namespace) -> Answer:
    from lgm.attacks.result import check_count
    from lgm.experiments.benchmark import bench_craft
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(args.model)
    split = split_of(args, card)
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


def _add_oneshot(kinds: Any) -> None:
    from lgm.experiments.one_shot_config import OneShotConfig

    parser = add_command(
        kinds,
        "oneshot",
        _oneshot,
        "Poison Frogs' transfer-learning experiment: one poison among clean photos, whether it flips what a new head "
        "on a pre-trained network says of one target, and what filters see of it.",
        download=False,
    )
    parser.add_argument("--data", required=True, metavar="NAME", help="a registered dataset of photos")
    parser.add_argument("--network", default=LITE0, help="pre-trained: this one, or torchvision's by name")
    parser.add_argument("--weights", type=Path, metavar="FILE", help="its state dict, for one of torchvision's")
    for name in ("attacks", "beta", "iterations", "trusted", "calibration", "strength", "seed"):
        add_field(parser, OneShotConfig, name)
    add_cache(parser)
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write the record to")
    parser.add_argument("--force", action="store_true", help="overwrite it")


def _oneshot(args: argparse.Namespace) -> Answer:
    from lgm.experiments.one_shot_report import one_shot_table

    report = recorded(lambda: _measure(args), args.out, force=args.force, indent=1)
    return Answer(report, lambda: one_shot_table(report))


def _measure(args: argparse.Namespace) -> Any:
    from lgm.attacks.one_shot import frozen_network
    from lgm.data.own import ALL, load_own, own_dataset
    from lgm.data.store import read_images, read_registration
    from lgm.experiments.one_shot import one_shot
    from lgm.experiments.one_shot_config import OneShotConfig

    read_registration(args.data)  # refused before the network is read, as what follows
    classes = own_dataset(args.data).classes
    config = OneShotConfig(**given(args, OneShotConfig))
    model = frozen_network(args.network, len(classes), args.weights, args.device)
    split = load_own(args.data, ALL, model.image_shape)
    names = tuple(file.path for file in read_images(args.data))
    with progress_bar("poison-iteration") as on_step:
        return one_shot(
            model, split, names, config, network=args.network, classes=classes, cache=args.cache, on_step=on_step
        )


def _add_visibility(kinds: Any) -> None:
    parser = add_command(
        kinds,
        "visibility",
        _visibility,
        "The L2 that poisons of eq. (1) need to collide, beside the least change of any kind with which the network "
        "takes the base for the target's class (foolbox's targeted DDN), for the pairs of the shipped study.",
        device=False,
        download=False,
    )
    parser.add_argument("--dataset", default="mnist", help="whose networks come with a study")
    parser.add_argument("--out", type=Path, metavar="FILE", help="JSON file to write the record to")
    parser.add_argument("--force", action="store_true", help="overwrite it")


def _visibility(args: argparse.Namespace) -> Answer:
    record = recorded(lambda: _measured_visibility(args.dataset), args.out, force=args.force)
    lines = [(f"median L2 of {len(record.least.lgm)} pairs", "LGM", "softmax", "LGM less softmax")]
    lines += [(row.name, row.lgm.text(), row.softmax.text(), row.difference.text()) for row in record.rows()]
    return Answer(record, lambda: "\n".join("{:<32}{:>24}{:>24}{:>26}".format(*line) for line in lines))


def _measured_visibility(dataset: str) -> Any:
    from lgm.data.registry import load_split
    from lgm.experiments.records import ByLoss, read_study
    from lgm.experiments.visibility import measure_visibility
    from lgm.models.checkpoint import load_checkpoint

    study = read_study(dataset)
    if study is None:
        raise ValueError(f"dataset: expected one whose networks come with a study, got {dataset}")
    names = study.about.models
    models = ByLoss(load_checkpoint(names.lgm)[0], load_checkpoint(names.softmax)[0])
    return measure_visibility(models, load_split(study.about.data, dataset), study)
