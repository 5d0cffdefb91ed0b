"""Studies: what all measurements of a pair of networks are kept as, and stored studies, read and checked.

To read a study needs no torch. A study says what it was made with, and when, so that a reader can tell whether it is
older than the attack, the weights or the data of today.
"""

import json
import os
import platform
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Generic, TypeVar

from lgm.config import ATTACK_REVISION, GAMMA_GRID, DefenseConfig, Loss
from lgm.data.base import Split
from lgm.defense.report import DefenseReport
from lgm.detection.compare import REFERENCE, Comparison
from lgm.experiments.adaptive_rows import AdaptiveRow
from lgm.experiments.beta_sweep import Tradeoff
from lgm.models.card import CheckpointError
from lgm.models.registry import SHIPPED, read_card
from lgm.utils.codec import Key, decode
from lgm.utils.io import write_atomically
from lgm.utils.json import to_json

T = TypeVar("T")


@dataclass(frozen=True)
class ByLoss(Generic[T]):
    """A value for each of the two networks that are compared, by the loss that they were trained with."""

    lgm: T
    softmax: T

    def of(self, loss: Loss) -> T:
        """That of the network trained with this loss."""
        return self.lgm if loss == "lgm" else self.softmax

    def items(self) -> Iterator[tuple[Loss, T]]:
        """Loss and value of both."""
        yield "lgm", self.lgm
        yield "softmax", self.softmax


@dataclass(frozen=True)
class StudySize:
    """How much is measured.

    Attributes:
        pairs: Of the sweep over beta.
        attacks: On fine-tuning, at each beta of that sweep; 0: none.
        trials: Attacks for each setting of the defence.
        poisons, clean: Its settings: poisons K for one target, and clean images a class.
        adaptive_trials: Adaptive attacks for each gamma, of ten poisons each; 0: none.
        all_classes: Attacks on a head for all classes; 0: none.
        resamples: Of the intervals of the detectors.
        gammas: Of the adaptive attackers.
    """

    pairs: int
    attacks: int
    trials: int
    poisons: tuple[int, ...]
    clean: tuple[int, ...]
    adaptive_trials: Annotated[int, Key("knowing")]
    all_classes: int
    resamples: int
    gammas: tuple[float, ...] = GAMMA_GRID


@dataclass(frozen=True)
class Baselines:
    """All detectors on the poisons that were crafted on one network, by the features of one; the reference first."""

    poisons: Loss
    features: Loss
    detectors: list[Comparison]


@dataclass(frozen=True)
class StudyOrigin:
    """What a study was measured on, and with what.

    Attributes:
        models: Names of the networks.
        weights_sha256: Hashes of their weights.
        others: Further networks, of which only the usual defence is measured: hashes of their weights by name.
        dataset, data, data_sha256: Names of dataset and split, and the hash of its images.
        attack_revision: `lgm.config.ATTACK_REVISION` of the day; None if unknown.
        made: The day, as ISO 8601 has it.
        machine: `machine` of the day.
        seed: Of all draws.
        extent: How much was measured.
        versions: Of packages, by their names.
    """

    models: ByLoss[str]
    weights_sha256: ByLoss[str]
    others: dict[str, str]
    dataset: str
    data: str
    data_sha256: str
    attack_revision: int | None
    made: str
    machine: str
    seed: int
    extent: StudySize
    versions: dict[str, str]


@dataclass(frozen=True)
class Study:
    """All that was measured of a pair of networks.

    Attributes:
        tradeoff: The sweeps over beta.
        defense: All settings of both networks, and the usual one of the others.
        frontier: Adaptive attackers, by ascending gamma; none if not measured.
        baselines: Simpler detectors; none for networks without poisons.
        about: What all of it was measured on.
    """

    tradeoff: ByLoss[Tradeoff]
    defense: list[DefenseReport]
    frontier: list[AdaptiveRow]
    baselines: list[Baselines]
    about: StudyOrigin

    @property
    def in_usual_setting(self) -> list[DefenseReport]:
        """The defence of each network in the setting of `DefenseConfig`'s defaults."""
        usual = _setting(DefenseConfig())
        return [report for report in self.defense if _setting(report.config) == usual]

    @property
    def usual_defense(self) -> ByLoss[DefenseReport | None]:
        """That of the two networks; None where it is not measured."""
        found = {report.model: report for report in self.in_usual_setting}
        return ByLoss(found.get(self.about.models.lgm), found.get(self.about.models.softmax))

    @property
    def other_detectors(self) -> list[Comparison]:
        """What was compared with the LGM network's likelihood, on its own poisons."""
        own = [each.detectors for each in self.baselines if each.poisons == each.features == "lgm"]
        return [row for rows in own for row in rows if row.overall.verdict != REFERENCE]


def _setting(config: DefenseConfig) -> tuple[str, str, int, int]:
    return config.task, config.layers, config.poisons, config.clean


def machine() -> str:
    """What a record was made on, as far as it matters for rounding and time."""
    import torch

    return f"{platform.machine()}, {os.cpu_count()} cores, {torch.backends.cpu.get_cpu_capability()}"


def versions() -> dict[str, str]:
    """Of the packages that figures come from."""
    return {package: version(package) for package in ("torch", "numpy", "scikit-learn")}


def outdated(revision: int | None) -> str | None:
    """Why what was made with this revision of the attack is older than it; None if it is not."""
    if revision == ATTACK_REVISION:
        return None
    made = "an unnamed revision" if revision is None else f"revision {revision}"
    return f"made with {made} of the attack, and today's is {ATTACK_REVISION}"


def provenance(about: StudyOrigin) -> str:
    """When a study was made, of what and with what: the line that stands below its numbers."""
    models = ", ".join(f"`{name}`" for name in (about.models.lgm, about.models.softmax, *about.others))
    revision = "unnamed" if about.attack_revision is None else about.attack_revision
    return (
        f"Measured {about.made} on {models}; clean images `{about.data}`, attack revision {revision}, seed "
        f"{about.seed}, torch {about.versions['torch']}, {about.machine}."
    )


def read_study(dataset: str) -> Study | None:
    """What was measured on a dataset and is shipped with its networks; None if nothing was.

    Raises:
        CheckpointError: the file does not read, or holds other fields than a `Study` has.
    """
    return read_record(SHIPPED / f"{dataset}.study.json", Study, "a study")


def read_record(path: Path, kind: type[T], what: str) -> T | None:
    """A record of this kind, which ``what`` names, from a JSON file; None if there is no file.

    Raises:
        CheckpointError: the file does not read, or holds other fields than the record has.
    """
    if not path.is_file():
        return None
    try:
        return decode(kind, json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: expected {what} in JSON, found {error}; restore it or delete it") from error


def stored_study(names: dict[str, str], split: Split, seed: int) -> Study | None:
    """The shipped study if it is of these networks, these images, this seed and today's attack, else None.

    Raises:
        CheckpointError: see `read_study`.
    """
    study = read_study(split.dataset)
    if study is None or outdated(study.about.attack_revision):
        return None
    about, weights = study.about, {loss: read_card(name).weights_sha256 for loss, name in names.items()}
    same = dict(about.weights_sha256.items()) == weights and about.data_sha256 == split.sha256 and about.seed == seed
    return study if same else None


def save_study(study: Study, path: Path) -> None:
    """Write a study as JSON, whole or not at all."""
    write_atomically(path, lambda part: Path(part).write_text(to_json(study), encoding="utf-8"))
