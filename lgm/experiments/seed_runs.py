"""Training and measuring the networks of several seeds."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import torch

from lgm.attacks.craft import craft_random
from lgm.config import ATTACK_REVISION, PoisonConfig, TrainConfig
from lgm.data.base import Split
from lgm.data.registry import held_out_of, load_split
from lgm.experiments.claims import paper_claims
from lgm.experiments.records import ByLoss, Study, StudySize, machine, outdated, read_record, save_study
from lgm.experiments.seeds import SeedClaim, SeedNetwork, SeedRun, Seeds
from lgm.experiments.study import QUICK, run_study, stored_findings
from lgm.models.card import CheckpointError, write_card
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import fast_precision
from lgm.models.features import read_features, write_features
from lgm.models.registry import read_card
from lgm.training.train import train_checkpoint

OnStage = Callable[[str, float], None]  # what is being done, share of it done

# Of each seed's study. Of 80 attacks, none that succeeds shows a rate below 5 %; of fewer, it does not.
EXTENT = replace(QUICK, trials=80, gammas=(0.0, 3e-2, 1.0))


def measure_seeds(
    recipes: ByLoss[TrainConfig],
    seeds: Sequence[int],
    folder: Path,
    *,
    poisons: int = 200,
    extent: StudySize = EXTENT,
    on_stage: OnStage | None = None,
) -> Seeds:
    """Train, attack and judge the networks of each seed.

    Args:
        recipes: For both losses, of one dataset; each is trained with every seed.
        seeds: Different ones.
        folder: Networks, poisons and studies are kept there, and what is there already is not made again.
        poisons: To craft on each network from random pairs of held-out images.
        extent: Of the study of each seed's two networks.
        on_stage: Called as (what is being done, share of it done).

    Raises:
        ValueError: no seeds, or one twice.
        CheckpointError: a network in the folder has another recipe, or does not read.
        DataError, TrainingError: see `train_checkpoint`.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds: expected different ones, got {', '.join(map(str, seeds)) or 'none'}")
    seeded = {seed: ByLoss(recipes.lgm.seeded(seed), recipes.softmax.seeded(seed)) for seed in sorted(seeds)}
    dataset = recipes.lgm.dataset
    split = load_split(held_out_of(dataset), dataset)
    work = _Work(folder, split, poisons, extent, on_stage or (lambda stage, share: None))
    runs = [work.run(own, seed) for seed, own in seeded.items()]
    return Seeds(
        dataset=dataset,
        split=split.name,
        split_sha256=split.sha256,
        epochs=recipes.lgm.epochs,
        precision=str(fast_precision(torch.device("cpu"))).removeprefix("torch."),
        poisons=poisons,
        extent=extent,
        attack_revision=ATTACK_REVISION,
        made=date.today().isoformat(),
        machine=machine(),
        versions={name: version(name) for name in ("torch", "numpy", "scikit-learn", "scikit-image")},
        runs=tuple(runs),
    )


def keep_measurements(source: Path, folder: Path) -> None:
    """Copy a network's card and its features of held-out images to another folder; its weights are not copied."""
    card, features = read_card(source), read_features(source)
    held_out = held_out_of(card.config.dataset)
    write_card(card, folder)
    write_features(card.name, replace(features, splits={held_out: features.splits[held_out]}), folder)


def network_path(recipe: TrainConfig, seed: int, folder: Path) -> Path:
    """Where the weights of a recipe's network of this seed lie."""
    return folder / f"{recipe.dataset}-{recipe.model.loss}-{seed}.safetensors"


@dataclass(frozen=True)
class _Work:
    """What is done for each seed, and where it is kept."""

    folder: Path
    split: Split
    poisons: int
    extent: StudySize
    told: OnStage

    def run(self, recipes: ByLoss[TrainConfig], seed: int) -> SeedRun:
        """``recipes``: with this seed."""
        names: dict[str, str] = {}
        of_seed = self.folder / f"{self.split.dataset}-{seed}.study.json"
        for loss, recipe in recipes.items():
            path = network_path(recipe, seed, self.folder)
            self.train(recipe, path)
            if not self._is_crafted(path):
                of_seed.unlink(missing_ok=True)  # it compares filters on the poisons that were there
                self.craft(path)
            names[loss] = str(path)
        study = self.study(names, of_seed, seed)
        claims = paper_claims(stored_findings(names["lgm"]), stored_findings(names["softmax"]), study)
        networks = ByLoss(*(_network(names[loss]) for loss in ("lgm", "softmax")))
        return SeedRun(seed, networks, tuple(map(SeedClaim.of, claims)))

    def train(self, config: TrainConfig, path: Path) -> None:
        """Unless it is trained already; an unfinished run goes on after its last epoch."""
        if path.exists():
            if read_card(path).config != config:
                raise CheckpointError(
                    f"{path}: expected the preset's recipe, found another; delete it, or choose another --folder"
                )
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        stage = f"train {path.stem}"

        def on_step(done: int, total: int, metrics: dict[str, float]) -> None:
            del metrics
            self.told(stage, done / total)

        # Training images are what LGM's filter is compared by; of softmax nothing is measured on them.
        measured = ("train", "test") if config.model.loss == "lgm" else ("test",)
        train_checkpoint(config, path.stem, path.parent, resume=True, measured=measured, on_step=on_step)

    def craft(self, path: Path) -> None:
        """Those of the same pairs for every seed."""
        model, card = load_checkpoint(path)

        def on_step(done: int, total: int) -> None:
            self.told(f"craft {path.stem}", done / total)

        poisons = craft_random(model, card, self.split, self.poisons, PoisonConfig(), seed=1, on_step=on_step)
        poisons.save(path.with_name(f"{path.stem}.poisons.safetensors"))

    def _is_crafted(self, path: Path) -> bool:
        found = stored_findings(path).poisons
        return found is not None and len(found) == self.poisons and not outdated(found.manifest.get("attack_revision"))

    def study(self, names: dict[str, str], path: Path, seed: int) -> Study:
        """The one in the folder, if it is of these networks and this size, else a new one."""
        found = read_record(path, Study, "a study")
        weights = ByLoss(*(read_card(names[loss]).weights_sha256 for loss in ("lgm", "softmax")))
        if found is not None:
            about = found.about
            made_of = about.weights_sha256, about.extent, about.data_sha256
            if made_of == (weights, self.extent, self.split.sha256) and not outdated(about.attack_revision):
                return found

        def on_stage(stage: str, share: float) -> None:
            self.told(f"seed {seed}, {stage}", share)

        study = run_study(names, self.split, self.extent, own_filters=True, on_stage=on_stage)
        save_study(study, path)
        return study


def _network(source: str) -> SeedNetwork:
    card = read_card(source)
    return SeedNetwork(
        name=card.name,
        weights_sha256=card.weights_sha256,
        accuracy=dict(sorted(card.accuracy.items())),
        closest_centers=card.closest_centers,
        core_seconds=round(sum(record["core_seconds"] for record in card.history), 1),
    )
