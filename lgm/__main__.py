"""The command line: python -m lgm train | evaluate | craft | detect | defend | report | results | bench.

Results go to standard output (``--json``: one JSON object, a list for a sweep), progress and errors to standard error.
Exit codes: 0 done, 1 the message says what was wrong, 2 bad usage, 130 interrupted, 141 nobody reads the output.
"""

import argparse
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tqdm import tqdm

from lgm.config import BETA_GRID, GAMMA_GRID, METHODS, DefenseConfig, PoisonConfig, TrainConfig, check_rate, check_seed
from lgm.data.base import DataError, Split
from lgm.data.registry import DATASETS, default_split, load_split
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, check_name, list_checkpoints, read_card, user_folder
from lgm.training.presets import PRESETS
from lgm.utils.console import HUNG_UP, flush, give_up, say_every_letter
from lgm.utils.io import SaveError
from lgm.utils.json import to_json
from lgm.utils.outputs import require_room, reserved, save_or_keep
from lgm.utils.progress import OnStep
from lgm.utils.shutdown import end_soon_after_signals
from lgm.utils.threads import limit_threads

if TYPE_CHECKING:
    from lgm.attacks.result import Poisons
    from lgm.detection.suspects import LabelledImages
    from lgm.models.classifier import Classifier
    from lgm.models.features import Features
    from lgm.utils.distributed import Team

_EXAMPLES = """examples:
  python -m lgm evaluate mnist-lgm                     accuracy on the bundled digits
  python -m lgm craft mnist-lgm --poisons 100 --seed 1 --out poisons.safetensors
  python -m lgm detect mnist-lgm poisons.safetensors   AUC, TPR and FPR of the likelihood filter
  python -m lgm defend mnist-lgm --seed 1              attack success: without the filter, with it
  python -m lgm report --quick --out report.html       the paper's figures and claims, measured
  python -m lgm train mnist-lgm --name mine --data bundled-train --epochs 5
"""


def main(argv: list[str] | None = None) -> int:
    """Run one command; returns the exit code."""
    limit_threads()
    say_every_letter()
    try:
        try:
            return _run(argv)
        finally:  # argparse ends in its own way, once it has helped
            flush()
    except OSError as error:  # of the output itself
        give_up()
        if isinstance(error, BrokenPipeError):
            return HUNG_UP
        print(f"error: the output cannot be written ({error.strerror})", file=sys.stderr)
        return 1


def _run(argv: list[str] | None) -> int:
    args = _parser().parse_args(argv)
    try:
        _check_first(args)
        result = args.run(args)
    except KeyboardInterrupt as stop:
        print("; ".join(["interrupted", *getattr(stop, "__notes__", [])]), file=sys.stderr)
        return 130
    except BrokenPipeError:
        raise
    except _expected_errors() as error:
        print(f"error: {_by_option(str(error), args)}", file=sys.stderr)
        return 1
    if result is not None:  # only the first of several processes has something to say
        print(to_json(result) if args.json else _for_people(result))
    return 0


def _expected_errors() -> tuple[type[Exception], ...]:
    from lgm.training.loop import TrainingError

    return (DataError, CheckpointError, TrainingError, ValueError, OSError, ImportError, MemoryError)


def _check_first(args: argparse.Namespace) -> None:
    """What makes no sense whatever the network and the data, before either is read; configs check the rest.

    Raises:
        ValueError: named after the option.
    """
    if getattr(args, "seed", None) is not None:
        check_seed(args.seed)
    if "fpr" in args:
        check_rate("fpr", args.fpr)
    if getattr(args, "device", "cpu") != "cpu":
        from lgm.models.classifier import check_device

        check_device(args.device)


def _by_option(message: str, args: argparse.Namespace) -> str:
    """The same message, with what it is about as the command line has it: "--likelihood-weight: expected ..."."""
    names, colon, rest = message.partition(": ")
    options = {action.dest: action.option_strings[-1] for action in args.command._actions if action.option_strings}
    meant = [options.get(name) for name in names.split(", ")]
    return f"{', '.join(map(str, meant))}{colon}{rest}" if colon and all(meant) else message


def _for_people(result: dict[str, Any] | list[dict[str, Any]]) -> str:
    return _table(result) if isinstance(result, dict) else _curves(result)


def _table(result: dict[str, Any], indent: str = "") -> str:
    lines = []
    for key, value in result.items():
        if key == "baselines":
            lines += [key, _ranking(value)]
        elif isinstance(value, dict):
            lines += [f"{indent}{key}", _table(value, indent + "  ")]
        else:
            lines.append(f"{indent}{key:<24}{_short(value)}")
    return "\n".join(lines)


def _short(value: Any) -> str:
    """Six digits of a number, also in a list; but what is not quite 1 does not read as 1."""
    if isinstance(value, list):
        return " to ".join(map(_short, value))
    if isinstance(value, float):
        return "0.999999" if 0.999999 < value < 1 else f"{value:.6g}"
    return str(value)


def _ranking(baselines: list[dict[str, Any]]) -> str:
    """Detectors for people: a line each, over all poisons and over those that collide."""
    from lgm.detection.compare import DECIDING, rule_in_words
    from lgm.stats.intervals import Estimate

    rates = [f"{fpr:g}" for fpr in DECIDING]
    heads = [f"TPR at {100 * fpr:g} % FPR" for fpr in DECIDING]
    versus = [f"at {100 * fpr:g} %, points" for fpr in DECIDING]
    lines = [f"{'detector':<32}{'poisons':>7}  {'AUC':<28}{heads[0]:<26}{heads[1]:<26}{versus[0]:<24}{versus[1]:<24}"]
    for baseline in baselines:
        for group in filter(None, (baseline, baseline.get("collided"))):
            title = baseline["title"] if group is baseline else "  those that collide"
            line = f"{title:<32}{group['n']:>7}  {Estimate(group['auc'], *group['auc_interval']).in_full():<28}"
            for rate in rates:
                line += f"{Estimate(group['tpr_at_fpr'][rate], *group['tpr_at_fpr_interval'][rate]).percent():<26}"
            for rate in rates:
                difference = group["tpr_difference"].get(rate)  # the first one differs from itself by nothing
                line += f"{Estimate(*difference).points() if difference else '–':<24}"
            lines.append(line + group["verdict"])
    first = baselines[0]["title"]
    lines.append(f"Points: of TPR, against {first}. {rule_in_words().replace('*', '')}")
    return "\n".join(line.rstrip() for line in lines)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lgm",
        description="Clean-label poisons against networks trained with softmax or Gaussian mixture (LGM) loss.",
        epilog=_EXAMPLES + "\nmodels: " + (", ".join(list_checkpoints()) or "none yet"),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(
        required=True, metavar="train | evaluate | craft | detect | defend | report | results | bench"
    )
    _add_train(commands)
    _add_evaluate(commands)
    _add_craft(commands)
    _add_detect(commands)
    _add_defend(commands)
    _add_report(commands)
    _add_results(commands)
    _add_bench(commands)
    return parser


def _command(
    commands: Any,
    name: str,
    run: Callable[..., dict[str, Any] | list[dict[str, Any]] | None],
    description: str,
    *,
    device: bool = True,
) -> argparse.ArgumentParser:
    parser = commands.add_parser(
        name,
        help=description.replace("%", "%%"),
        description=description,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.set_defaults(run=run, command=parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    if device:
        parser.add_argument("--device", default="cpu", help="where to compute: cpu, cuda, cuda:1, ...")
    sizes = ", ".join(f"{dataset.title}: {dataset.download_size}" for dataset in DATASETS.values())
    parser.add_argument("--download", action="store_true", help=f"fetch the official data first ({sizes})")
    return parser


def _add_data(
    parser: argparse.ArgumentParser,
    which: str = "clean data of the model's dataset",
    default: str = "test if it is on disk, else what is held out",
) -> None:
    """``--data`` takes any split that some dataset has; whether it is one of the model's is known when that is."""
    named = ". ".join(
        f"{dataset.title}: " + "; ".join(f"{name}, {what}" for name, what in dataset.splits.items())
        for dataset in DATASETS.values()
    )
    choices = list(dict.fromkeys(name for dataset in DATASETS.values() for name in dataset.splits))
    parser.add_argument("--data", choices=choices, help=f"{which}. {named}. (default: {default})")


def _split(args: argparse.Namespace, dataset: str) -> Split:
    _download_if_asked(args, dataset)
    return load_split(args.data or default_split(dataset), dataset)


def _download_if_asked(args: argparse.Namespace, dataset: str) -> None:
    if args.download:
        DATASETS[dataset].download(lambda done, total, name: print(f"download {done}/{total} {name}", file=sys.stderr))


def _add_train(commands: Any) -> None:
    from lgm.utils.distributed import launched_device

    parser = _command(
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
    _add_data(parser, "what to train on", "the preset's")
    parser.add_argument("--epochs", type=int, help="passes over the data, after a warm start (default: the preset's)")
    parser.add_argument("--margin", type=float, help="alpha of the LGM loss (default: the preset's)")
    parser.add_argument("--likelihood-weight", type=float, help="lambda of the LGM loss (default: the preset's)")
    parser.add_argument("--covariance", choices=["identity", "diagonal"], help="learnt if diagonal")
    parser.add_argument("--learn-priors", action="store_true", help="learn the class priors of eq. (2)")
    parser.add_argument("--center-radius", type=float, help="where the class means start (default: the preset's)")
    parser.add_argument("--limit", type=int, help="images per class (default: the preset's)")
    parser.add_argument("--seed", type=int, help="of weights, order and shifts (default: the preset's)")
    parser.add_argument("--resume", action="store_true", help="go on after the last finished epoch")
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing model of this name; without --resume, discard what a stopped run has left",
    )


def _train_config(args: argparse.Namespace) -> TrainConfig:
    def given(**values: Any) -> dict[str, Any]:
        return {key: value for key, value in values.items() if value is not None}

    preset = PRESETS[args.preset]
    model = replace(
        preset.model,
        learn_priors=args.learn_priors or preset.model.learn_priors,
        **given(
            margin=args.margin,
            likelihood_weight=args.likelihood_weight,
            covariance=args.covariance,
            center_radius=args.center_radius,
        ),
    )
    chosen = given(split=args.data, epochs=args.epochs, limit=args.limit)
    config = replace(preset, model=model, **chosen)
    return config if args.seed is None else config.seeded(args.seed)


def _train(args: argparse.Namespace) -> dict[str, Any] | None:
    from lgm.training.loop import train_checkpoint
    from lgm.utils.distributed import Team

    name = check_name(args.name or args.preset)
    if args.out == user_folder() and _is_shipped(name) and not args.force:
        raise CheckpointError(f"a model named {name!r} exists already, for it is shipped; choose another --name")
    config, team = _train_config(args), Team.join(args.device)
    team.only_first(lambda: _download_if_asked(args, config.dataset))
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
    return {
        "model": name,
        "folder": str(args.out),
        "epochs": len(card.history),
        "accuracy": card.accuracy,
        "closest_centers": card.closest_centers,
        "weights_sha256": card.weights_sha256,
    }


def _is_shipped(name: str) -> bool:
    return (SHIPPED / f"{name}.safetensors").exists()


def _add_evaluate(commands: Any) -> None:
    parser = _command(commands, "evaluate", _evaluate, "Accuracy of a model, with a 95 % Wilson interval.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    _add_data(parser)


def _evaluate(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.models.checkpoint import embed_split, load_checkpoint
    from lgm.stats.intervals import wilson_interval

    model, card = load_checkpoint(args.model, args.device)
    split = _split(args, card.config.dataset)
    features = embed_split(model, split)
    hits = int((features.predicted == features.labels).sum())
    low, high = wilson_interval(hits, len(split))
    return {
        "model": card.name,
        "data": split.name,
        "n": len(split),
        "accuracy": hits / len(split),
        "interval": [low, high],
        "closest_centers": card.closest_centers,
        "mean_log_likelihood": float(features.score.mean()) if card.config.model.loss == "lgm" else None,
        "weights_sha256": card.weights_sha256,
    }


def _add_craft(commands: Any) -> None:
    default = PoisonConfig()
    parser = _command(commands, "craft", _craft, "Craft poisons from random pairs (eq. 1) and save them losslessly.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    _add_data(parser)
    parser.add_argument("--poisons", type=int, default=100, help="how many")
    parser.add_argument("--beta", type=float, default=default.beta, help="weight of looking like the base")
    parser.add_argument(
        "--method",
        choices=list(METHODS),
        default=default.method,
        help="lm: Levenberg-Marquardt, finds lower objectives; fbs: forward-backward splitting, as in the paper",
    )
    parser.add_argument("--iterations", type=int, default=default.iterations, help="at most, a poison")
    parser.add_argument("--tolerance", type=float, default=default.tolerance, help="0: never stop before the limit")
    parser.add_argument(
        "--gamma", type=float, default=default.gamma, help="weight of passing the filter, for an attacker who knows it"
    )
    parser.add_argument(
        "--threshold", type=float, help="T of that filter, in nats (default: calibrated on the clean data for 1 %% FPR)"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the pairs")
    parser.add_argument(
        "--pair",
        type=int,
        nargs=2,
        metavar=("BASE", "TARGET"),
        help="instead of random pairs: these two positions, for a whole grid of betas",
    )
    parser.add_argument("--out", type=Path, required=True, help="file for the poisons (.safetensors)")
    parser.add_argument("--force", action="store_true", help="replace an existing file")


_SMALLEST_POISON = 6  # bytes a pixel: the poison in float32, base and target


def _craft(args: argparse.Namespace) -> dict[str, Any] | None:
    from lgm.utils.distributed import Team

    if args.threshold is not None and not args.gamma:
        raise ValueError("threshold: expected --gamma with it, for the attacker who knows of T, got none")
    given = {name: getattr(args, name) for name in ("beta", "method", "iterations", "tolerance", "gamma")}
    # Until T is calibrated, any serves to check the rest.
    config = PoisonConfig(**given, threshold=0.0 if args.gamma and args.threshold is None else args.threshold)
    team = Team.join(args.device)
    if args.pair and team.size > 1:
        raise ValueError(f"pair: expected one process, for there is one batch, got {team.size}")
    with ExitStack() as held:
        team.only_first(lambda: held.enter_context(_output(args.out, ".safetensors", "out", force=args.force)))
        return _craft_into(args, config, team)


def _craft_into(args: argparse.Namespace, config: PoisonConfig, team: "Team") -> dict[str, Any] | None:
    import numpy as np

    from lgm.attacks.craft import batch_length, craft_path, craft_random
    from lgm.attacks.distributed import gather, share
    from lgm.attacks.result import check_count
    from lgm.detection.thresholds import conformal_words
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(args.model, team.device)
    split = _split(args, card.config.dataset)
    check_count(args.poisons, len(split))
    batch = batch_length(args.poisons, config)
    mine = share(team, args.poisons, batch)
    count = len(BETA_GRID) if args.pair else args.poisons
    require_room(args.out, count * _SMALLEST_POISON * split.images[0].size)
    if args.gamma:
        config = replace(config, threshold=_known_threshold(args, model, split))
    with _crafting(team.rank > 0) as on_step:
        if args.pair:
            part = craft_path(model, card, split, tuple(args.pair), config, on_step=on_step)
        else:
            part = craft_random(model, card, split, args.poisons, config, seed=args.seed, only=mine, on_step=on_step)
    poisons = gather(team, part, batch)
    team.leave()
    if poisons is None:
        return None
    save_or_keep(poisons.save, args.out)
    return {
        "model": card.name,
        "data": split.name,
        "poisons": len(poisons),
        "method": args.method,
        "beta": [float(beta) for beta in poisons.beta] if args.pair else args.beta,
        "gamma": config.gamma,
        "threshold": config.threshold,
        "threshold_means": conformal_words(0.01, len(split)) if args.gamma and args.threshold is None else None,
        "seed": None if args.pair else args.seed,
        "collided": float(poisons.collided.mean()),
        "objective": float(poisons.objective.mean()),
        "objective_median": float(np.median(poisons.objective)),
        "l2": float(poisons.l2.mean()),
        "linf": float(poisons.linf.mean()),
        "iterations": float(poisons.iterations.mean()),
        "out": str(args.out),
    }


@contextmanager
def _output(path: Path, suffix: str, option: str, *, force: bool) -> Iterator[None]:
    """Hold the file that an option names, from before the work until it is saved.

    Raises:
        ValueError: it has another kind of name, or is there already and nobody said that it may be replaced.
        SaveError: see `lgm.utils.outputs.reserved`.
    """
    if path.suffix != suffix:
        raise ValueError(f"{option}: expected a name that ends in {suffix}, got {path}")
    with reserved(path):
        if path.exists() and not force:
            raise ValueError(f"{path} exists already; choose another --{option}, or replace it with --force")
        yield


@contextmanager
def _crafting(silent: bool = False) -> Iterator[OnStep]:
    """A progress bar on a terminal, unless ``silent``; yields what moves it."""
    with tqdm(unit="poison-iteration", unit_scale=True, dynamic_ncols=True, disable=silent or None) as bar:

        def on_step(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield on_step


def _known_threshold(args: argparse.Namespace, model: "Classifier", split: Split) -> float:
    """T of the filter that the attacker knows of."""
    if args.threshold is not None:
        return args.threshold
    from lgm.detection.thresholds import conformal_threshold
    from lgm.models.scoring import log_likelihood

    return conformal_threshold(log_likelihood(model, split.pixels(), split.targets()).numpy(), fpr=0.01)


def _add_bench(commands: Any) -> None:
    parser = _command(
        commands,
        "bench",
        _bench,
        "Time crafting against ART and against the paper's procedure, on the same pairs, on the CPU.",
        device=False,
    )
    parser.add_argument("what", choices=["craft"])
    parser.add_argument("--model", default="mnist-lgm", help="name of a checkpoint, or path to its weights")
    _add_data(parser)
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
    split = _split(args, card.config.dataset)
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


def _add_detect(commands: Any) -> None:
    parser = _command(commands, "detect", _detect, "Score clean data and poisons; AUC, TPR and FPR of the filter.")
    parser.add_argument("model", help="name of a checkpoint, or path to its weights; LGM, unless with --baselines")
    parser.add_argument(
        "poisons", type=Path, help="file made by craft; or .npz or .safetensors with the arrays images and labels"
    )
    _add_data(parser)
    parser.add_argument("--fpr", type=float, default=0.01, help="false-positive rate at which to set the threshold")
    parser.add_argument(
        "--baselines",
        action="store_true",
        help="also what simpler detectors do on the same features; of a softmax network, which has no likelihood, "
        "only that",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the baselines' bootstrap intervals")


def _detect(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.detection.compare import compare
    from lgm.detection.filters import gather_evidence
    from lgm.detection.suspects import LabelledImages, read_suspects
    from lgm.models.checkpoint import embed_split, load_checkpoint
    from lgm.models.features import read_features
    from lgm.models.scoring import require_mixture

    model, card = load_checkpoint(args.model, args.device)
    features = read_features(args.model)
    if not args.baselines:
        require_mixture(model)
    poisons = read_suspects(args.poisons, model.image_shape, model.head.n_classes)
    if isinstance(poisons, LabelledImages):
        print("note: without bases and targets, what depends on them is left out: who collides", file=sys.stderr)
    split = _split(args, card.config.dataset)
    crafted_from = poisons.manifest.get("split_sha256", split.sha256)
    if crafted_from != split.sha256:
        print(f"note: these poisons were crafted from other data than {split.name!r}", file=sys.stderr)
    stored = features.splits.get(split.name) if card.data_sha256.get(split.name) == split.sha256 else None
    clean = embed_split(model, split) if stored is None else stored  # the very scores, and so the T, that the app has
    result: dict[str, Any] = {"model": card.name, "data": split.name, "wanted_fpr": args.fpr}
    if poisons.collided is not None:
        result["crafted_on"] = poisons.manifest.get("model")
    if card.config.model.loss == "lgm":
        result |= _filter_report(model, clean, poisons, args.fpr)
    if args.baselines:
        evidence = gather_evidence(model, card, features, clean, poisons)
        result["baselines"] = [each.to_dict() for each in compare(evidence, args.seed, fpr=args.fpr)]
        for each in result["baselines"] if poisons.collided is None else ():
            del each["collided"]
    return result


def _filter_report(
    model: "Classifier", clean: "Features", poisons: "Poisons | LabelledImages", fpr: float
) -> dict[str, Any]:
    """What the likelihood filter does; nothing of who collides where that is not known."""
    from lgm.detection.metrics import detection_report
    from lgm.detection.thresholds import empirical_words, nominal_fpr
    from lgm.models.scoring import log_likelihood, require_mixture

    mixture = require_mixture(model).mixture
    score = log_likelihood(model, poisons.images, poisons.labels).numpy()
    report = detection_report(clean.score, score, poisons.collided, fpr).to_dict()
    if poisons.collided is None:
        report = {name: value for name, value in report.items() if "collided" not in name}
    report["threshold_means"] = empirical_words(fpr, len(clean.score))
    if report["threshold"] is not None:
        peak = mixture.peak().cpu().numpy()
        report["nominal_fpr"] = nominal_fpr(report["threshold"], peak, mixture.means.shape[1])
    return report


# What a sweep goes through, and the number of poisons that was asked for.
_SWEEP_POISONS = (1, 2, 5, 10, 20, 50, 100)
_SWEEP_CLEAN = (2, 5, 10, 20, 50)


def _add_defend(commands: Any) -> None:
    default = DefenseConfig()
    parser = _command(
        commands,
        "defend",
        _defend,
        "Does filtering save the model? Attack success after fine-tuning on data with poisons in them: without the "
        "filter, with it, and for a clean control.",
    )
    parser.add_argument("model", help="name of a checkpoint, or path to its weights")
    _add_data(parser)
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
    _add_cache(parser)


def _add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="FOLDER",
        help="keep crafted poisons there: a run that was killed goes on, and the same settings need no crafting again",
    )


def _defend(args: argparse.Namespace) -> dict[str, Any] | list[dict[str, Any]]:
    from lgm.defense.experiment import frontier, sweep
    from lgm.experiments.study import frontier_row
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
    split = _split(args, card.config.dataset)
    settings = [(config.poisons, config.clean)]
    if args.sweep:
        numbers = sorted({k for k in _SWEEP_POISONS if k < config.poisons} | {config.poisons})
        settings = [(k, n) for n in _SWEEP_CLEAN for k in numbers]
    with _crafting() as on_step:
        if args.frontier:
            return [
                frontier_row(report)
                for report in frontier(model, card, split, config, on_step=on_step, cache=args.cache)
            ]
        found = sweep(model, card, split, config, settings, on_step=on_step, cache=args.cache)
        reports = [report.to_dict() for report in found]
    return reports if args.sweep else reports[0]


def _add_report(commands: Any) -> None:
    from lgm.experiments.study import EXTENTS

    parser = _command(
        commands,
        "report",
        _report,
        "All figures of the paper, and all that can be measured of two networks, as one HTML file that needs no other.",
        device=False,
    )
    parser.add_argument("--lgm", default="mnist-lgm", help="checkpoint trained with the LGM loss")
    parser.add_argument(
        "--softmax", default="mnist-softmax", help="checkpoint trained with softmax, of the same dataset"
    )
    _add_data(parser)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="take the study that is shipped, if it is of these networks, data and seed and of today's attack; without "
        "one, measure fewer pairs and attacks, with wider intervals",
    )
    parser.add_argument("--extent", choices=list(EXTENTS), help="how much to measure anew (default: full)")
    parser.add_argument(
        "--others", nargs="+", default=[], metavar="MODEL", help="further networks, to measure the usual defence of"
    )
    parser.add_argument("--seed", type=int, default=1, help="of all draws")
    parser.add_argument("--out", type=Path, required=True, help="file for the report (.html)")
    parser.add_argument("--study", type=Path, help="file for the numbers (.json), as the app reads them")
    parser.add_argument("--force", action="store_true", help="replace existing files")
    _add_cache(parser)


_SMALLEST_REPORT = 4_000_000  # bytes: the library that draws its figures alone has more


def _report(args: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as held:
        held.enter_context(_output(args.out, ".html", "out", force=args.force))
        require_room(args.out, _SMALLEST_REPORT)
        if args.study is not None:
            held.enter_context(_output(args.study, ".json", "study", force=args.force))
        return _report_into(args)


def _report_into(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.experiments.study import EXTENTS, run_study, save_study, stored_study
    from lgm.reports.html import write_report

    names, began = {"lgm": args.lgm, "softmax": args.softmax}, time.monotonic()
    split = _split(args, _dataset_of_both(names))
    stored = stored_study(names, split, args.seed) if args.quick and not args.extent else None
    with tqdm(bar_format="{desc} {elapsed}", dynamic_ncols=True, disable=None) as bar:

        def on_part(part: str, share: float) -> None:
            bar.set_description(f"{part}: {share:.0%}")

        extent = EXTENTS[args.extent or ("quick" if args.quick else "full")]
        options = {"others": args.others, "on_part": on_part, "cache": args.cache}
        study = stored or run_study(names, split, extent, args.seed, **options)
        saves = {args.study: partial(save_study, study)} if args.study is not None else {}
        saves[args.out] = partial(write_report, study, names, split)
        _save_all(saves)
    return {
        "out": str(args.out),
        "study": args.study and str(args.study),
        "measured": stored is None,
        "made": study["about"]["made"],
        "seconds": round(time.monotonic() - began, 1),
    }


def _add_results(commands: Any) -> None:
    parser = _command(
        commands, "results", _results, "Render the numbers in README and docs from the records, or check that they are."
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="change nothing; fail if a document differs from the records, or a record is older than the attack",
    )


def _results(args: argparse.Namespace) -> dict[str, Any]:
    from lgm.reports.documents import DOCUMENTS, ROOT, problems, write_documents

    root = ROOT
    missing = [name for name in DOCUMENTS if not (root / name).is_file()]
    if missing:
        raise CheckpointError(
            f"{root}: expected the project's documents, found no {', '.join(missing)}; use a checkout"
        )
    if not args.check:
        return {"rendered": write_documents(root), "checked": list(DOCUMENTS)}
    if found := problems(root):
        raise CheckpointError("\n".join(["documents or records are not as they should be:", *found]))
    return {"checked": list(DOCUMENTS)}


def _save_all(saves: Mapping[Path, Callable[[Path], object]]) -> None:
    """Write each file, even if another one cannot be."""
    failures = []
    for path, save in saves.items():
        try:
            save_or_keep(save, path)
        except SaveError as error:
            failures.append(str(error))
    if failures:
        raise SaveError("; ".join(failures))


def _dataset_of_both(names: dict[str, str]) -> str:
    """The dataset of a report's networks, by loss.

    Raises:
        ValueError: one was trained with the other loss, or they are of two datasets.
    """
    configs = {loss: read_card(name).config for loss, name in names.items()}
    for loss, config in configs.items():
        if config.model.loss != loss:
            raise ValueError(
                f"{loss}: expected a network trained with {loss}, got {names[loss]!r}, trained with {config.model.loss}"
            )
    datasets = {names[loss]: config.dataset for loss, config in configs.items()}
    if len(set(datasets.values())) > 1:
        raise ValueError(f"lgm, softmax: expected two networks of one dataset, got {datasets}")
    return configs["lgm"].dataset


def _curves(reports: list[dict[str, Any]]) -> str:
    """A sweep for people: attack success and its interval, a line a setting."""
    if "gamma" in reports[0] and "detected" in reports[0]:
        return _frontier(reports)
    lines = [reports[0]["definition"], f"{'clean':>5} {'poisons':>7} {'n':>4}   {'unfiltered':<22} {'filtered':<22}"]
    for report in reports:
        line = f"{report['clean']:>5} {report['poisons']:>7} {report['n']:>4}  "
        for arm in ("unfiltered", "filtered"):
            share, (low, high) = report["attack_success"][arm], report["interval"][arm]
            line += f" {'none' if share is None else f'{share:.3f} ({low:.3f} to {high:.3f})':<22}"
        lines.append(line.rstrip())
    return "\n".join(lines)


def _frontier(rows: list[dict[str, Any]]) -> str:
    """A frontier for people: a line an attacker, and what it means."""
    from lgm.experiments.study import frontier_meaning

    lines = [f"{'gamma':>6} {'n':>4}   {'unfiltered':>10} {'filtered':>8} {'caught':>7} {'collide':>8}"]
    for row in rows:
        shares = row["unfiltered"], row["attack_success"], row["detected"], row["collided"]
        known = ["none" if share is None else f"{share:.3f}" for share in shares]
        lines.append(f"{row['gamma']:>6g} {row['n']:>4}   " + "{:>10} {:>8} {:>7} {:>8}".format(*known))
    return "\n".join([*lines, frontier_meaning(rows)])


if __name__ == "__main__":
    end_soon_after_signals(lambda number: signal.default_int_handler)
    sys.exit(main())
