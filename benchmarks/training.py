"""How long the MNIST presets train, against the recipe of the shipped networks: python benchmarks/training.py

Both take turns on the same images, in the same process, so that a busy machine slows them alike. An epoch is timed on a
part of the training set and scaled to all of it; a run is the sum over its epochs, without validation.
"""

import argparse
import sys
import time
from pathlib import Path

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


def main() -> None:
    """Print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--preset", default="mnist-lgm", choices=("mnist-lgm", "mnist-softmax"))
    parser.add_argument("--images", type=int, default=1024, help="of an epoch, to time it by")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    train = load_split("train")
    part = train[np.random.default_rng(1).permutation(len(train))[: args.images]]
    scale = len(train) / len(part)
    recipes = {"before": read_card(args.preset).config, "now": PRESETS[args.preset]}
    core_seconds: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(args.rounds):
        for name, recipe in recipes.items():
            core_seconds[name].append(scale * run_seconds(recipe, part, own_prelu=name == "now"))
    ratios = np.divide(core_seconds["now"], core_seconds["before"])
    print(
        to_json(
            {
                "preset": args.preset,
                "precision": str(fast_precision(torch.device("cpu"))),
                "threads": torch.get_num_threads(),
                "images": len(part),
                "core_seconds": {name: [round(s, 1) for s in seconds] for name, seconds in core_seconds.items()},
                "median": {name: round(float(np.median(seconds)), 1) for name, seconds in core_seconds.items()},
                "ratio": round(float(np.median(ratios)), 3),
                "ratios": [round(float(ratio), 3) for ratio in ratios],
            }
        )
    )


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
