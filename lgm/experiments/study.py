"""The study of a pair of networks: all measurements in one record, which app, report and documents show.

A record says what it was made with, and when: `lgm.experiments.records.outdated` tells whether it is
older than the attack.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lgm.attacks.result import NoPoisonsError, Poisons, read_shipped_poisons
from lgm.config import ATTACK_REVISION, GAMMA_GRID, DefenseConfig
from lgm.data.base import Split
from lgm.detection.compare import Comparison, compare
from lgm.detection.filters import gather_evidence
from lgm.experiments.adaptive_rows import frontier_row
from lgm.experiments.beta_sweep import beta_sweep
from lgm.experiments.records import Study, machine
from lgm.models.card import Card
from lgm.models.features import Features, read_features
from lgm.models.registry import read_card

if TYPE_CHECKING:  # to read a study needs no torch
    from lgm.models.classifier import Classifier


OnPart = Callable[[str, float], bool | None]


@dataclass(frozen=True)
class StudySize:
    """How much is measured.

    Attributes:
        pairs: Of the sweep over beta.
        attacks: On fine-tuning, at each beta of that sweep; 0: none.
        trials: Attacks for each setting of the defence.
        poisons, clean: Its settings: poisons K for one target, and clean images a class.
        knowing: Attacks for each gamma, of ten poisons each; 0: none.
        gammas: Of the attackers who know of the filter.
        all_classes: Attacks on a head for all classes; 0: none.
        resamples: Of the intervals of the detectors.
    """

    pairs: int
    attacks: int
    trials: int
    poisons: tuple[int, ...]
    clean: tuple[int, ...]
    knowing: int
    all_classes: int
    resamples: int
    gammas: tuple[float, ...] = GAMMA_GRID


QUICK = StudySize(
    pairs=20, attacks=0, trials=20, poisons=(1, 5, 10), clean=(10,), knowing=10, all_classes=0, resamples=200
)
FULL = StudySize(
    pairs=100,
    attacks=20,
    trials=100,
    poisons=(1, 2, 5, 10, 20),
    clean=(2, 5, 10, 20, 50),
    knowing=100,
    all_classes=30,
    resamples=1000,
)
# Where a poison takes seconds: all trials of the usual setting, little of the rest.
LEAN = replace(QUICK, trials=FULL.trials, resamples=FULL.resamples, gammas=(0.0, 3e-2, 1.0))
EXTENTS = {"quick": QUICK, "lean": LEAN, "full": FULL}


def run_study(
    names: dict[str, str],
    split: Split,
    extent: StudySize,
    seed: int = 1,
    *,
    others: Sequence[str] = (),
    on_part: OnPart | None = None,
    cache: Path | None = None,
) -> Study:
    """Measure everything of a pair of networks.

    Args:
        names: Checkpoints by loss, "lgm" and "softmax", of the same dataset.
        others: Further checkpoints, of which only the defence in its usual setting is measured.
        split: Clean images that neither was trained on.
        extent: `QUICK` or `FULL`.
        seed: Of all draws.
        on_part: Called as (what is being measured, share of it done).
        cache: Folder for crafted poisons (`lgm.attacks.cache`): a study that was killed goes on from there.

    Returns:
        Plain values for JSON: ``tradeoff`` by loss (`Tradeoff.to_dict`), ``defense`` (`DefenseReport.to_dict` of all
        settings and both networks), ``frontier`` (`frontier_row`), ``baselines`` (each: on whose poisons, by whose
        features, `Comparison.to_dict` of all detectors), and ``about``: what all of it was measured on.

    Raises:
        CheckpointError: a network or its poisons do not read.
        ValueError: see `beta_sweep` and `lgm.defend`.
    """
    from lgm.defense.experiment import defend, frontier, sweep
    from lgm.models.checkpoint import load_checkpoint

    loaded = {loss: load_checkpoint(name) for loss, name in names.items()}
    study: Study = {"tradeoff": {}, "defense": [], "frontier": [], "baselines": []}

    def step(part: str) -> Callable[[int, int], bool | None]:
        return lambda done, total: on_part(part, done / max(1, total)) if on_part else None

    settings = [(poisons, clean) for clean in extent.clean for poisons in extent.poisons]
    base = DefenseConfig(trials=extent.trials, seed=seed)
    for loss, (model, card) in loaded.items():
        part = step(f"β, {loss}")
        found = beta_sweep(
            model, card, split, pairs=extent.pairs, seed=seed, trials=extent.attacks, on_step=part, cache=cache
        )
        study["tradeoff"][loss] = found.to_dict()
        options: dict[str, Any] = {"z": _features(names[loss], card, split), "cache": cache}
        reports = sweep(model, card, split, base, settings, on_step=step(f"defence, {loss}"), **options)
        if extent.all_classes:
            config, part = replace(base, trials=extent.all_classes, task="all"), step(f"defence, {loss}, all classes")
            reports.append(defend(model, card, split, config, on_step=part, **options))
        study["defense"] += [report.to_dict() for report in reports]
    for name in others:
        model, card = load_checkpoint(name)
        part = step(f"defence, {name}")
        report = defend(model, card, split, base, part, z=_features(name, card, split), cache=cache)
        study["defense"].append(report.to_dict())
    if extent.knowing:
        knowing = DefenseConfig(trials=extent.knowing, seed=seed)
        adaptive = step("adaptive attackers")
        z = _features(names["lgm"], loaded["lgm"][1], split)
        attackers = frontier(*loaded["lgm"], split, knowing, extent.gammas, z=z, on_step=adaptive, cache=cache)
        study["frontier"] = [frontier_row(report) for report in attackers]
    study["baselines"] = [
        {"poisons": maker, "features": seen, "detectors": [row.to_dict() for row in rows]}
        for (maker, seen), rows in compare_all(names, loaded, split, seed, resamples=extent.resamples).items()
    ]
    study["about"] = {
        "models": {loss: card.name for loss, (_, card) in loaded.items()},
        "weights_sha256": {loss: card.weights_sha256 for loss, (_, card) in loaded.items()},
        "others": {name: read_card(name).weights_sha256 for name in others},
        "dataset": split.dataset,
        "data": split.name,
        "data_sha256": split.sha256,
        "attack_revision": ATTACK_REVISION,
        "made": date.today().isoformat(),
        "machine": machine(),
        "seed": seed,
        "extent": asdict(extent),
        "versions": {name: version(name) for name in ("torch", "numpy", "scikit-learn", "scikit-image")},
    }
    return study


def _embedded(source: str, card: Card, split: Split) -> Features | None:
    """What is stored with a network of these very images; None if nothing is."""
    same = card.data_sha256.get(split.name) == split.sha256
    return read_features(source).splits.get(split.name) if same else None


def _features(source: str, card: Card, split: Split) -> np.ndarray | None:
    stored = _embedded(source, card, split)
    return None if stored is None else stored.z


def compare_all(
    names: dict[str, str],
    loaded: dict[str, tuple["Classifier", Card]],
    split: Split,
    seed: int = 1,
    *,
    resamples: int = 1000,
) -> dict[tuple[str, str], list[Comparison]]:
    """All detectors on the shipped poisons of each network, by the features of each: keys are (poisons', features').

    Raises:
        CheckpointError: poisons do not read; a network that has none is left out.
    """
    from lgm.models.checkpoint import embed_split

    made = {loss: poisons for loss, name in names.items() if (poisons := poisons_or_none(name)) is not None}
    found = {}
    for seen, (model, card) in loaded.items():
        features = read_features(names[seen])
        clean = _embedded(names[seen], card, split) or embed_split(model, split)
        for maker, poisons in made.items():
            evidence = gather_evidence(model, card, features, clean, poisons)
            found[maker, seen] = compare(evidence, seed, resamples=resamples)
    return found


def poisons_or_none(name: str) -> Poisons | None:
    """The poisons beside a checkpoint; None if it has none."""
    try:
        return read_shipped_poisons(name)
    except NoPoisonsError:
        return None


def for_claims(study: Study | None) -> dict[str, Any]:
    """What `lgm.paper_claims` asks of a study."""
    if not study:
        return {}
    usual = DefenseConfig()
    setting = {"task": usual.task, "layers": usual.layers, "poisons": usual.poisons, "clean": usual.clean}
    reports = {
        loss: report
        for loss, model in study["about"]["models"].items()
        for report in study["defense"]
        if report["model"] == model and all(report[name] == value for name, value in setting.items())
    }
    own = [part["detectors"] for part in study["baselines"] if part["poisons"] == part["features"] == "lgm"]
    others = [row for rows in own for row in rows if row["title"] != row["against"]]
    return {**study, "defense": reports, "baselines": others}
