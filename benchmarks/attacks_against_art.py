"""Bullseye polytope and gradient matching beside ART's, on the same networks and images: objective and core-seconds.

`python benchmarks/attacks_against_art.py [NETWORK ...]`: by default `mnist-lgm` and `mnist-softmax`; bundled digits.

Both sides are measured by the same function, on one thread. ART is measured at its best: the lowest point anywhere on
its way counts, reading it is not on its clock, and its learning rates are chosen on other attacks. Two things are
changed in its favour:

- Its `BullseyePolytopeAttackPyTorch` 1.20.1 takes the features of the bases for those of the target, which it never
  looks at, and averages over features where the paper averages over poisons (`loss_from_center`). Its Adam, projection
  and schedule get the objective that is compared instead; a row shows what it reaches as it is.
- Its `GradientMatchingAttack` starts a worker process in every epoch to read K images from memory. They are read in
  the process.
"""

import argparse
import importlib
import os
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for lgm, in a checkout

import numpy as np
import torch
from torch import Tensor, nn

from lgm.attacks.bullseye_polytope import bullseye_objective, craft_bullseye
from lgm.attacks.gradient_matching import Matching, craft_gradient_matching, matching_objective, matchings_of
from lgm.config import PAPER_BETA, MatchingConfig, PoisonConfig
from lgm.data.base import Split
from lgm.data.registry import load_split
from lgm.defense.finetune import Examples, fine_tune
from lgm.experiments.records import machine
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.linear_head import LinearHead
from lgm.models.scoring import embed

_TUNED_ON = 3  # attacks
_RATES = (0.01, 0.03, 0.1, 0.3)  # of ART's bullseye polytope; its default is 0.04
_STARTS = 8  # of ours, in a row of its own
_FACTORS = (1.0, 3.0, 10.0, 30.0)  # of ART's schedule for gradient matching
_TUNING_STEPS = 60
_AS_IT_IS = 50  # iterations that show what ART's bullseye polytope does
_CLEAN = 10  # images a class that the attacker's head is made of


@dataclass(frozen=True)
class Attack:
    """One attack of K poisons."""

    bases: Split
    targets: Split
    head: LinearHead


@dataclass(frozen=True)
class Run:
    """A method on one attack: lowest objective, core-seconds in all, and those until each lowest one so far."""

    lowest: float
    seconds: float
    curve: tuple[tuple[float, float], ...] = ()

    def seconds_to(self, level: float) -> float:
        """Core-seconds until the objective is as low; infinite if it never is."""
        return next((at for at, value in self.curve if value <= level), np.inf)


class Way:
    """Points that a method visits, each with the core-seconds to it; keeping them is not on the clock."""

    def __init__(self) -> None:
        self.points: list[tuple[float, Tensor]] = []
        self.pause, self.start = 0.0, time.process_time()

    def see(self, x: Tensor) -> None:
        now = time.process_time()
        self.points.append((now - self.start - self.pause, x.detach().clone()))
        self.pause += time.process_time() - now

    def run(self, objective: Callable[[Tensor], float]) -> Run:
        """The clock ends here."""
        seconds = time.process_time() - self.start - self.pause
        values = np.minimum.accumulate([objective(x) for _, x in self.points]).tolist()
        return Run(values[-1], seconds, tuple(zip((at for at, _ in self.points), values, strict=True)))


def draw_attacks(model: Classifier, split: Split, count: int, group: int, seed: int) -> list[Attack]:
    """Each of two classes at random, with a head that an attacker has made of other images of them."""
    rng = np.random.default_rng(seed)

    def attack() -> Attack:
        base, target = rng.permutation(10)[:2]
        of_base, of_target = (rng.permutation(np.flatnonzero(split.labels == k)) for k in (base, target))
        own = np.r_[of_base[group : group + _CLEAN], of_target[1 : 1 + _CLEAN]]
        z = embed(model, split.pixels(own)).numpy() * model.feature_scale.numpy()
        nothing = np.full(len(own), np.nan)
        examples = Examples(z, split.labels[own], nothing, np.zeros(len(own), bool), np.empty((len(own), 0)))
        return Attack(split[of_base[:group]], split[of_target[:1].repeat(group)], fine_tune(examples))

    return [attack() for _ in range(count)]


def art(name: str) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module(f"art.{name}")


class Scaled(nn.Module):
    """Rescaled features."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.normalise, self.backbone, self.scale = model.normalise, model.backbone, model.feature_scale

    def forward(self, x: Tensor) -> Tensor:
        return self.backbone(self.normalise(x)) * self.scale


def wrapped(model: Classifier, head: LinearHead) -> tuple[nn.Sequential, Any]:
    """The network with this head, and ART's classifier of it."""
    linear = nn.Linear(*head.weight.shape[::-1])
    linear.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    network = nn.Sequential()
    network.add_module("features", Scaled(model))
    network.add_module("head", linear)
    return network.eval(), art("estimators.classification").PyTorchClassifier(
        model=network,
        loss=nn.CrossEntropyLoss(),
        input_shape=model.image_shape,
        nb_classes=len(head.classes),
        clip_values=(0.0, 1.0),
        device_type="cpu",
    )


def art_bullseye(
    model: Classifier, attack: Attack, *, beta: float, rate: float, steps: int, as_it_is: bool = False
) -> Run:
    """Without a bound on the pixels, as ours; every step's point is seen."""
    _, classifier = wrapped(model, attack.head)
    b = attack.bases.pixels()
    module = art("attacks.poisoning.bullseye_polytope_attack")
    target = embed(model, attack.targets.pixels(slice(0, 1))) * model.feature_scale
    its_own = module.loss_from_center

    def compared(nets: list[Any], _: Any, poisons: Any, *__: Any) -> Tensor:
        way.see(poisons())
        z = nets[0].get_activations(poisons(), layer="features", framework=True)
        return (z.mean(0) - target).square().sum() + beta / len(b) * (poisons() - b).square().sum()

    def watched(nets: list[Any], center: Any, poisons: Any, *rest: Any) -> Tensor:
        way.see(poisons())
        return its_own(nets, center, poisons, *rest)

    loss = watched if as_it_is else compared
    with patch.object(module, "loss_from_center", loss), patch.object(module, "trange", range):
        way = Way()
        found, _ = module.BullseyePolytopeAttackPyTorch(
            classifier, attack.targets.pixels().numpy(), "features", max_iter=steps, learning_rate=rate, epsilon=1.0
        ).poison(b.numpy(), attack.bases.labels)
        way.see(torch.from_numpy(found))
    how = {"beta": beta, "group": len(b)}
    return way.run(lambda x: float(bullseye_objective(model, attack.bases, attack.targets, x, **how)[0]))


@contextmanager
def read_in_this_process() -> Iterator[None]:
    """`DataLoader` without worker processes."""
    usual = torch.utils.data.DataLoader

    def loader(*args: Any, num_workers: int = 0, **options: Any) -> Any:
        del num_workers
        return usual(*args, **options)

    with patch.object(torch.utils.data, "DataLoader", loader):
        yield


@contextmanager
def gradients_through_clip() -> Iterator[None]:
    """`torch.clip` as a straight-through estimator: a pixel on a bound of [0, 1] is not lost for good."""
    clip = torch.clip
    with patch.object(torch, "clip", lambda x, low, high: x + (clip(x, low, high) - x).detach()):
        yield


def art_matching(
    model: Classifier, attack: Attack, *, eps: float, factor: float, steps: int, through: bool = False
) -> Run:
    """One trial, as ours; every epoch's point is seen. ``through``: `gradients_through_clip`."""
    network, classifier = wrapped(model, attack.head)
    network.requires_grad_(True)
    b = attack.bases.pixels()
    claimed = np.searchsorted(attack.head.classes, attack.bases.labels)
    matching: Matching = matchings_of(model, attack.bases, attack.targets, group=len(b), heads=[attack.head])[0]
    falls = [round(share * steps) for share in (100 / 250, 150 / 250, 200 / 250, 220 / 250)]  # as by default
    schedule = [factor * rate for rate in (1e-1, 1e-2, 1e-3, 1e-4)], falls
    attacks = art("attacks.poisoning")
    quiet = patch.object(art("attacks.poisoning.gradient_matching_attack"), "trange", range)
    with read_in_this_process(), quiet, gradients_through_clip() if through else nullcontext():
        way = Way()

        def see(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            if len(inputs[0]) == len(b):  # the target comes alone
                way.see(inputs[0])

        hook = network.register_forward_pre_hook(see)
        attacks.GradientMatchingAttack(
            classifier,
            percent_poison=1.0,
            epsilon=eps,
            max_trials=1,
            max_epochs=steps,
            learning_rate_schedule=schedule,
            verbose=0,
        ).poison(attack.targets.pixels(slice(0, 1)).numpy(), claimed[:1], b.numpy(), claimed)
    hook.remove()
    network.requires_grad_(False)
    return way.run(lambda x: float(matching.mismatch(x)[0].detach()))


def our_bullseye(model: Classifier, attack: Attack, *, beta: float, starts: int = 1) -> Run:
    group, start, config = len(attack.bases), time.process_time(), PoisonConfig(beta=beta)
    poisons = craft_bullseye(model, attack.bases, attack.targets, config, group=group, starts=starts)
    seconds = time.process_time() - start
    how = {"beta": beta, "group": group}
    return Run(float(bullseye_objective(model, attack.bases, attack.targets, poisons.images, **how)[0]), seconds)


def our_matching(model: Classifier, attack: Attack, *, eps: float, steps: int) -> Run:
    group, start = len(attack.bases), time.process_time()
    config = MatchingConfig(eps=eps, steps=steps)
    how = {"group": group, "heads": [attack.head]}
    poisons = craft_gradient_matching(model, attack.bases, attack.targets, config, **how)
    seconds = time.process_time() - start
    return Run(float(matching_objective(model, attack.bases, attack.targets, poisons.images, **how)[0]), seconds)


def best(label: str, choices: tuple[float, ...], run: Callable[[float, Attack], Run], attacks: list[Attack]) -> float:
    """The choice with the lowest mean objective on these attacks."""
    reached = {choice: float(np.mean([run(choice, attack).lowest for attack in attacks])) for choice in choices}
    chosen = min(reached, key=lambda choice: reached[choice])
    print(f"{label}: {chosen:g} of " + ", ".join(f"{c:g} ({value:.4f})" for c, value in reached.items()), flush=True)
    return chosen


def row(label: str, runs: list[Run], ours: list[Run]) -> str:
    """Objectives, core-seconds, and both against ours."""
    lowest, first = (np.array([run.lowest for run in each]) for each in (runs, ours))
    seconds, of_ours = (np.array([run.seconds for run in each]) for each in (runs, ours))
    numbers = [f"{np.mean(lowest):.4f}", f"{np.median(lowest):.4f}", f"{np.mean(seconds):.2f}"]
    if runs is ours:
        return f"| {label} | {' | '.join(numbers)} | 1 | | |"
    level = np.array([run.seconds_to(1.01 * own) for run, own in zip(runs, first, strict=True)])
    there = np.isfinite(level)
    until = f"{level[there].sum() / of_ours[there].sum():.1f} ({there.sum()})" if there.any() else "never"
    until = until if all(run.curve for run in runs) else ""
    worse = int((first > 1.01 * lowest).sum())
    ratio = f"{seconds.sum() / of_ours.sum():.1f}"
    return f"| {label} | {' | '.join(numbers)} | {ratio} | {until} | {worse} of {len(runs)} |"


HEADER = (
    "| | objective, mean | median | core-seconds an attack | time, ours = 1 | time to within 1 % of ours (attacks) | "
    "ours is over 1 % higher |\n|---|---|---|---|---|---|---|"
)


def compare(name: str, args: argparse.Namespace) -> None:
    """Two tables of a network."""
    model = load_checkpoint(name)[0].requires_grad_(False)
    split = load_split("bundled")
    attacks = draw_attacks(model, split, args.attacks, args.poisons, args.seed)
    others = draw_attacks(model, split, _TUNED_ON, args.poisons, args.seed + 1)

    print(f"\n{name}: bullseye polytope, beta {args.beta:g}, ART's {args.iterations} iterations\n")
    of = {"beta": args.beta}
    our_bullseye(model, others[0], **of)  # first-call costs
    rate = best(
        "ART's learning rate",
        _RATES,
        lambda rate, attack: art_bullseye(model, attack, rate=rate, steps=_TUNING_STEPS, **of),
        others,
    )
    ours = [our_bullseye(model, attack, **of) for attack in attacks]
    print("\n" + HEADER)
    print(row("ours", ours, ours), flush=True)
    many = [our_bullseye(model, attack, starts=_STARTS, **of) for attack in attacks]
    print(row(f"ours, {_STARTS} starts", many, ours), flush=True)
    like_art = partial(art_bullseye, model, rate=rate, steps=args.iterations, **of)
    print(row("ART's descent on the objective", [like_art(attack) for attack in attacks], ours), flush=True)
    as_it_is = [like_art(attack, steps=_AS_IT_IS, as_it_is=True) for attack in attacks]
    print(row(f"ART as it is, {_AS_IT_IS} iterations", as_it_is, ours), flush=True)

    print(f"\n{name}: gradient matching, eps {args.eps:g}, {args.steps} steps of either\n")
    bound = {"eps": args.eps}
    factor = best(
        "factor of ART's learning rates",
        _FACTORS,
        lambda factor, attack: art_matching(model, attack, factor=factor, steps=_TUNING_STEPS, **bound),
        others,
    )
    ours = [our_matching(model, attack, steps=args.steps, **bound) for attack in attacks]
    print("\n" + HEADER)
    print(row("ours", ours, ours), flush=True)
    few = [our_matching(model, attack, steps=args.steps // 4, **bound) for attack in attacks]
    print(row(f"ours, {args.steps // 4} steps", few, ours), flush=True)
    for label, through in (("ART", False), ("ART, gradients pass its clip", True)):
        like_art = partial(art_matching, model, factor=factor, steps=args.steps, through=through, **bound)
        print(row(label, [like_art(attack) for attack in attacks], ours), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", default=["mnist-lgm", "mnist-softmax"], metavar="NETWORK")
    parser.add_argument("--attacks", type=int, default=5)
    parser.add_argument("--poisons", type=int, default=5, help="an attack")
    parser.add_argument("--beta", type=float, default=PAPER_BETA, help="of bullseye polytope")
    parser.add_argument("--iterations", type=int, default=500, help="of ART's bullseye polytope")
    parser.add_argument("--eps", type=float, default=0.2, help="of gradient matching, pixels in [0, 1]")
    parser.add_argument("--steps", type=int, default=100, help="of gradient matching, of either side")
    parser.add_argument("--seed", type=int, default=1, help="of the attacks; ART is tuned on those of the next one")
    args = parser.parse_args()
    torch.set_num_threads(1)
    np.random.seed(args.seed)  # ART draws from it
    torch.manual_seed(args.seed)
    versions = ", ".join(f"{each} {version(each)}" for each in ("torch", "adversarial-robustness-toolbox", "numpy"))
    print(f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC; {machine()}; one thread; load {os.getloadavg()[0]:.1f}; {versions}")
    print(f"seed {args.seed}, {args.attacks} attacks of {args.poisons} poisons, bundled digits")
    for name in args.networks:
        compare(name, args)


if __name__ == "__main__":
    main()
