"""The study of a pair of networks: all measurements in one record, which app, report and documents show."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lgm.attacks.result import NoPoisonsError, Poisons, read_shipped_poisons
from lgm.config import ATTACK_REVISION, DefenseConfig, Loss
from lgm.data.base import Split
from lgm.data.registry import held_out_of
from lgm.defense.report import DefenseReport
from lgm.detection.compare import compare
from lgm.detection.filters import gather_evidence
from lgm.experiments.adaptive_rows import AdaptiveRow, adaptive_row
from lgm.experiments.beta_sweep import Tradeoff, beta_sweep
from lgm.experiments.findings import Findings
from lgm.experiments.records import Baselines, ByLoss, Study, StudyOrigin, StudySize, machine
from lgm.models.card import Card
from lgm.models.features import Features, read_features
from lgm.models.registry import read_card
from lgm.utils.progress import OnStep

if TYPE_CHECKING:  # to read a study needs no torch
    from lgm.models.classifier import Classifier


OnStage = Callable[[str, float], bool | None]  # what is being measured, share of it done

QUICK = StudySize(
    pairs=20, attacks=0, trials=20, poisons=(1, 5, 10), clean=(10,), adaptive_trials=10, all_classes=0, resamples=200
)
FULL = StudySize(
    pairs=100,
    attacks=20,
    trials=100,
    poisons=(1, 2, 5, 10, 20),
    clean=(2, 5, 10, 20, 50),
    adaptive_trials=100,
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
    own_filters: bool = False,
    on_stage: OnStage | None = None,
    cache: Path | None = None,
) -> Study:
    """Measure everything of a pair of networks.

    Args:
        names: Checkpoints by loss, "lgm" and "softmax", of the same dataset.
        others: Further checkpoints, of which only the defence in its usual setting is measured.
        own_filters: Compare filters on the LGM network's poisons by its own features alone, which the claims need.
        split: Clean images that neither was trained on.
        extent: `QUICK` or `FULL`.
        seed: Of all draws.
        on_stage: Called as (what is being measured, share of it done).
        cache: Folder for crafted poisons (`lgm.attacks.cache`): a study that was killed goes on from there.

    Raises:
        CheckpointError: a network or its poisons do not read.
        ValueError: see `beta_sweep` and `lgm.defend`.
    """
    networks = ByLoss(*(_Network.load(names[loss], split) for loss in ("lgm", "softmax")))
    stages = _Stages(split, extent, seed, on_stage, cache)
    tradeoff, defense = {}, list[DefenseReport]()
    for loss, network in networks.items():
        tradeoff[loss] = stages.tradeoff(network, loss)
        defense += stages.defense(network, loss)
    return Study(
        tradeoff=ByLoss(**tradeoff),
        defense=defense + [stages.usual_defense(_Network.load(name, split)) for name in others],
        frontier=stages.frontier(networks.lgm),
        baselines=_baselines(networks, split, seed, extent.resamples, ("lgm",) if own_filters else ("lgm", "softmax")),
        about=_origin(networks, others, split, extent, seed),
    )


@dataclass(frozen=True)
class _Network:
    """A checkpoint, and what is stored with it of these very images; None if nothing is."""

    source: str
    model: "Classifier"
    card: Card
    stored: Features | None

    @staticmethod
    def load(source: str, split: Split) -> "_Network":
        from lgm.models.checkpoint import load_checkpoint

        model, card = load_checkpoint(source)
        same = card.data_sha256.get(split.name) == split.sha256
        return _Network(source, model, card, read_features(source).splits.get(split.name) if same else None)

    @property
    def z(self) -> np.ndarray | None:
        """Features of the images, as far as they are stored."""
        return None if self.stored is None else self.stored.z


@dataclass(frozen=True)
class _Stages:
    """What a study measures of a network, stage by stage."""

    split: Split
    extent: StudySize
    seed: int
    on_stage: OnStage | None
    cache: Path | None

    def _on_step(self, stage: str) -> OnStep:
        return lambda done, total: self.on_stage(stage, done / max(1, total)) if self.on_stage else None

    def tradeoff(self, network: _Network, loss: Loss) -> Tradeoff:
        return beta_sweep(
            network.model,
            network.card,
            self.split,
            pairs=self.extent.pairs,
            seed=self.seed,
            trials=self.extent.attacks,
            on_step=self._on_step(f"β, {loss}"),
            cache=self.cache,
        )

    def defense(self, network: _Network, loss: Loss) -> list[DefenseReport]:
        """All settings with a head for two classes, and one with a head for all."""
        from lgm.defense.experiment import defend, sweep

        settings = [(poisons, clean) for clean in self.extent.clean for poisons in self.extent.poisons]
        base = DefenseConfig(trials=self.extent.trials, seed=self.seed)
        at, on_step = (network.model, network.card, self.split), self._on_step(f"defence, {loss}")
        reports = sweep(*at, base, settings, z=network.z, on_step=on_step, cache=self.cache)
        if self.extent.all_classes:
            config = replace(base, trials=self.extent.all_classes, task="all")
            on_step = self._on_step(f"defence, {loss}, all classes")
            reports.append(defend(*at, config, on_step, z=network.z, cache=self.cache))
        return reports

    def usual_defense(self, network: _Network) -> DefenseReport:
        from lgm.defense.experiment import defend

        config, on_step = DefenseConfig(trials=self.extent.trials, seed=self.seed), self._on_step
        at = network.model, network.card, self.split
        return defend(*at, config, on_step(f"defence, {network.source}"), z=network.z, cache=self.cache)

    def frontier(self, network: _Network) -> list[AdaptiveRow]:
        """Adaptive attackers; none if none were asked for."""
        from lgm.defense.experiment import frontier

        if not self.extent.adaptive_trials:
            return []
        config, on_step = DefenseConfig(trials=self.extent.adaptive_trials, seed=self.seed), self._on_step
        at = network.model, network.card, self.split, config, self.extent.gammas
        reports = frontier(*at, z=network.z, on_step=on_step("adaptive attackers"), cache=self.cache)
        return [adaptive_row(report) for report in reports]


def _baselines(
    networks: ByLoss[_Network], split: Split, seed: int, resamples: int, losses: Sequence[Loss]
) -> list[Baselines]:
    """All detectors on the poisons beside these networks, by the features of each; without poisons there are none."""
    from lgm.models.checkpoint import embed_split

    found = []
    chosen = {loss: networks.of(loss) for loss in losses}
    for seen, network in chosen.items():
        features = read_features(network.source)
        clean = network.stored or embed_split(network.model, split)
        for made, maker in chosen.items():
            poisons = poisons_or_none(maker.source)
            if poisons is not None:
                evidence = gather_evidence(network.model, network.card, features, clean, poisons)
                found.append(Baselines(made, seen, compare(evidence, seed, resamples=resamples)))
    return found


def _origin(
    networks: ByLoss[_Network], others: Sequence[str], split: Split, extent: StudySize, seed: int
) -> StudyOrigin:
    lgm, softmax = networks.lgm.card, networks.softmax.card
    return StudyOrigin(
        models=ByLoss(lgm.name, softmax.name),
        weights_sha256=ByLoss(lgm.weights_sha256, softmax.weights_sha256),
        others={name: read_card(name).weights_sha256 for name in others},
        dataset=split.dataset,
        data=split.name,
        data_sha256=split.sha256,
        attack_revision=ATTACK_REVISION,
        made=date.today().isoformat(),
        machine=machine(),
        seed=seed,
        extent=extent,
        versions={name: version(name) for name in ("torch", "numpy", "scikit-learn", "scikit-image")},
    )


def stored_findings(source: str | Path) -> Findings:
    """What is stored beside a checkpoint: features, and poisons if there are any."""
    features, poisons = read_features(source), poisons_or_none(source)
    clean = None if poisons is None else features.splits.get(str(poisons.manifest["split"]))
    return Findings(features.splits[held_out_of(read_card(source).config.dataset)], poisons, clean)


def poisons_or_none(name: str | Path) -> Poisons | None:
    """The poisons beside a checkpoint; None if it has none."""
    try:
        return read_shipped_poisons(name)
    except NoPoisonsError:
        return None
