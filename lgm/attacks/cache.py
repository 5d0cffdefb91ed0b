"""On-disk cache of crafted poisons, keyed by everything that they depend on.

Each file is named by the hash of all that its poisons depend on: nothing has to be declared stale, a changed attack,
network, image or setting is simply another file. The folder may be deleted at any time.
"""

import hashlib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from lgm.attacks.batches import BatchProgress, Progress, batch_length
from lgm.attacks.craft import craft_poisons
from lgm.attacks.result import Poisons, read_poisons
from lgm.attacks.trajectory import max_iterations
from lgm.config import ATTACK_REVISION, PoisonConfig
from lgm.data.base import Split
from lgm.models.checkpoint import network_sha256
from lgm.models.classifier import Classifier
from lgm.utils.json import to_json
from lgm.utils.progress import OnStep

_BATCHES = 2  # in a file: as many as two cores craft at a time


def craft_cached(
    model: Classifier,
    bases: Split,
    targets: Split,
    config: PoisonConfig,
    *,
    beta: np.ndarray | None = None,
    threshold: np.ndarray | None = None,
    goal: np.ndarray | None = None,
    folder: Path | None = None,
    on_step: OnStep | None = None,
) -> Poisons:
    """`craft_poisons`, reading from ``folder`` what is there already and keeping there what is not.

    The batches are those of `craft_poisons`, so the poisons are the same, bit for bit. A craft that is stopped or
    killed keeps the files that are complete.
    """
    n, batch = len(bases), batch_length(len(bases), config)
    if folder is None or not n:
        return craft_poisons(model, bases, targets, config, beta=beta, threshold=threshold, goal=goal, on_step=on_step)
    network = network_sha256(model)
    setting = {"network": network, "config": asdict(config), "batch": batch}
    progress = Progress(n * max_iterations(config), on_step)
    parts = []
    for start in range(0, n, _BATCHES * batch):
        index = np.arange(start, min(start + _BATCHES * batch, n))
        betas, limits = (None if v is None else np.asarray(v, np.float32)[index] for v in (beta, threshold))
        b, t = bases[index], targets[index]
        aims = {} if goal is None else {"goal": np.asarray(goal, np.float32)[index]}
        path = folder / f"{_key(b, t, {**setting, 'beta': betas, 'threshold': limits, **aims})}.safetensors"
        told = BatchProgress(progress, start)
        if path.is_file():
            parts.append(read_poisons(path))
            told.report(len(index) * max_iterations(config))
            continue
        parts.append(
            craft_poisons(model, b, t, config, beta=betas, threshold=limits, **aims, batch=batch, on_step=told.on_step)
        )
        if not progress.stopped:
            parts[-1].save(path)
    position = np.arange(n)
    return replace(Poisons.concatenate(parts), base_index=position, target_index=position)


def _key(bases: Split, targets: Split, setting: dict[str, Any]) -> str:
    numbers = {name: v.tolist() if isinstance(v, np.ndarray) else v for name, v in setting.items()}
    digest = hashlib.sha256(to_json({"revision": ATTACK_REVISION, **numbers}, sort_keys=True).encode())
    for split in (bases, targets):
        digest.update(split.sha256.encode())
    return digest.hexdigest()
