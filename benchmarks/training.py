"""How long the MNIST presets train, against the recipe of the shipped networks: python benchmarks/training.py

Both take turns on the same images, so that a busy machine slows them alike, each time in a process of its own: what one
sets there (`lgm.utils.memory`) stays. An epoch is timed on a part of the training set and scaled to all of it; a run is
the sum over its epochs, without validation.
"""

import argparse
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Literal

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for lgm, in a checkout

import numpy as np
import torch
from torch import nn

from lgm.config import TrainConfig
from lgm.data.base import Split
from lgm.data.registry import load_split
from lgm.models.classifier import Classifier, build_model, fast_precision, to_device
from lgm.models.prelu import PReLU
from lgm.models.registry import read_card
from lgm.training.presets import PRESETS
from lgm.training.run import Run
from lgm.utils.json import to_json
from lgm.utils.memory import keep_freed_memory

When = Literal["before", "now"]


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mnist-lgm", choices=("mnist-lgm", "mnist-softmax"))
    parser.add_argument("--images", type=int, default=1024, help="of an epoch, to time it by")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    core_seconds: dict[When, list[float]] = {"before": [], "now": []}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn, max_tasks_per_child=1) as alone:
        for _ in range(args.rounds):
            for when, found in core_seconds.items():
                found.append(alone.submit(core_seconds_of, when, args.preset, args.images).result())
    ratios = np.divide(core_seconds["now"], core_seconds["before"])
    print(
        to_json(
            {
                "preset": args.preset,
                "precision": str(fast_precision(torch.device("cpu"))),
                "threads": torch.get_num_threads(),
                "images": args.images,
                "core_seconds": {name: [round(s, 1) for s in seconds] for name, seconds in core_seconds.items()},
                "median": {name: round(float(np.median(seconds)), 1) for name, seconds in core_seconds.items()},
                "ratio": round(float(np.median(ratios)), 3),
                "ratios": [round(float(ratio), 3) for ratio in ratios],
            }
        )
    )


def core_seconds_of(when: When, preset: str, images: int) -> float:
    """A whole run of a preset, or of the recipe before it, from so many images."""
    train = load_split("train")
    part = train[np.random.default_rng(1).permutation(len(train))[:images]]
    if when == "now":
        keep_freed_memory()  # as training does
    recipe = PRESETS[preset] if when == "now" else read_card(preset).config
    run_seconds(recipe, part[:64], own_prelu=when == "now")  # what a first step loads
    return len(train) / len(part) * run_seconds(recipe, part, own_prelu=when == "now")


def run_seconds(recipe: TrainConfig, part: Split, *, own_prelu: bool) -> float:
    """Core-seconds of all epochs on these images: one of small images and one of whole ones, as often as there are."""
    total = 0.0
    for number, phase in enumerate(recipe.phases):
        model = to_device(build_model(phase.model, phase.seed), "cpu")
        if not own_prelu:
            replace_prelu(model)
        run = Run(model, part, recipe, number)
        for first, epochs in ((0, phase.small_epochs), (phase.small_epochs, phase.epochs - phase.small_epochs)):
            if epochs:
                run.epoch = first
                started = time.process_time()
                run.train_epoch(None, None)
                total += epochs * (time.process_time() - started)
    return total


def replace_prelu(model: Classifier) -> None:
    """PyTorch's PReLU in the place of ours, with which the shipped networks were trained."""
    assert isinstance(model.backbone, nn.Sequential)
    for i, layer in enumerate(model.backbone):
        if isinstance(layer, PReLU):
            model.backbone[i] = nn.PReLU()


if __name__ == "__main__":
    main()
