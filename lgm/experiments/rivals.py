"""Other ways to craft, for the benchmark: ART's `FeatureCollisionAttack`, and a plain loop after the paper.

Both are measured at their best: the lowest objective anywhere on their way counts, whatever they return, and reading it
is not on their clock. ART's step size is chosen on pairs that are not compared.
"""

import importlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lgm.data.base import Split
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed

ART = "adversarial-robustness-toolbox==1.20.1"
TUNING_PAIRS = 3
_TUNING_ITERATIONS = 200
_LEARNING_RATES = (1.0, 3.0, 10.0, 30.0)  # for ART; around the best in trials

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Run:
    """What a method does for each of N pairs.

    Attributes:
        seconds: (N,) in all.
        objective: (N,) lowest.
        curves: For each pair (steps, 2): seconds so far, lowest objective so far.
        collided: (N,) the network takes the best poison for the target's class.
    """

    seconds: np.ndarray
    objective: np.ndarray
    curves: list[np.ndarray]
    collided: np.ndarray


class Watch:
    """Lowest objective over time for one pair; the time spent in here is not counted."""

    def __init__(self, model: Classifier, b: Tensor, target_z: Tensor, beta: float) -> None:
        self.model, self.b, self.target_z, self.beta = model, b, target_z, beta
        self.pause, self.lowest = 0.0, np.inf
        self.best = b
        self.curve: list[tuple[float, float]] = []
        self.start = time.perf_counter()
        self.see(b)

    @torch.inference_mode()
    def see(self, x: Tensor) -> None:
        """Note the point x (1, C, H, W)."""
        now = time.perf_counter()
        r = self.model.feature_scale * (embed(self.model, x) - self.target_z)
        objective = float(r.square().sum() + self.beta * (x - self.b).square().sum())
        if objective < self.lowest:
            self.lowest, self.best = objective, x.clone()
        self.curve.append((now - self.start - self.pause, self.lowest))
        self.pause += time.perf_counter() - now

    @property
    def seconds(self) -> float:
        """On the clock so far."""
        return time.perf_counter() - self.start - self.pause


RivalAttack = Callable[[Classifier, Tensor, Tensor, Watch], None]


def run_one_by_one(
    attack: RivalAttack, model: Classifier, pairs: tuple[Split, ...], beta: float, progress: Progress
) -> Run:
    """An attack on each pair of bases and targets, one after the other."""
    bases, targets = pairs
    watches: list[Watch] = []
    seconds: list[float] = []
    for i in range(len(bases)):
        progress(f"pair {i + 1} of {len(bases)}")
        b, t = (images.pixels(np.array([i])) for images in (bases, targets))
        watch = Watch(model, b, embed(model, t), beta)
        attack(model, b, t, watch)
        seconds.append(watch.seconds)
        watches.append(watch)
    best = embed(model, torch.cat([watch.best for watch in watches]))
    collided = model.head.logits(best).argmax(-1).numpy() == targets.labels
    lowest = np.array([watch.lowest for watch in watches])
    return Run(np.array(seconds), lowest, [np.array(watch.curve) for watch in watches], collided)


def paper_attack(iterations: int) -> RivalAttack:
    """The paper's procedure: one image at a time, float32, a step size that is halved when the objective rises."""

    def attack(model: Classifier, b: Tensor, t: Tensor, watch: Watch) -> None:
        target_z = embed(model, t)
        scale, beta, step, x = model.feature_scale, watch.beta, None, b.clone()

        def evaluate(point: Tensor) -> tuple[float, Tensor]:
            point = point.detach().requires_grad_()
            with torch.enable_grad():
                collision = (scale * (model.embed(point) - target_z)).square().sum()
                (gradient,) = torch.autograd.grad(collision, point)
            return float(collision.detach() + beta * (point.detach() - b).square().sum()), gradient

        objective, gradient = evaluate(x)
        for _ in range(iterations):
            step = step or 100 / float(gradient.norm().clamp(min=1e-12))  # far too long: halving finds the right one
            pull = 2 * step * beta
            proposal = ((x - step * gradient + pull * b) / (1 + pull)).clamp(0, 1)
            tried, tried_gradient = evaluate(proposal)
            if tried <= objective:
                x, objective, gradient = proposal, tried, tried_gradient
                watch.see(x)
            else:
                step /= 2

    return attack


class _Collision(nn.Module):
    """Features u with |u(x) - u(t)| = |s (f(x) - f(t))|^2, because ART descends on the norm, not on its square."""

    def __init__(self, model: Classifier, target_z: Tensor) -> None:
        super().__init__()
        self.model, self.target_z = model, target_z

    def forward(self, x: Tensor) -> Tensor:
        r = self.model.feature_scale * (self.model.embed(x) - self.target_z)
        return r * r.norm(dim=1, keepdim=True)


def art_attack(rate: float, iterations: int) -> RivalAttack:
    """ART's attack on the objective of eq. (1). A new object for each pair: it never resets its step size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            attacks = importlib.import_module("art.attacks.poisoning")
            estimators = importlib.import_module("art.estimators.classification")
    except ImportError as error:
        raise ImportError(f"the benchmark needs {ART}: python -m pip install {ART}") from error

    def attack(model: Classifier, b: Tensor, t: Tensor, watch: Watch) -> None:
        class Watched(attacks.FeatureCollisionAttack):
            def objective(self, *args: Any) -> float:
                watch.see(torch.from_numpy(np.asarray(args[3], np.float32)).clamp(0, 1))
                return super().objective(*args)

        wrapped = nn.Sequential()
        wrapped.add_module("features", _Collision(model, embed(model, t)))
        wrapped.add_module("head", nn.Linear(model.feature_scale.numel(), 2))  # it wants class scores; none is used
        classifier = estimators.PyTorchClassifier(
            model=wrapped.eval(),
            loss=nn.CrossEntropyLoss(),
            input_shape=tuple(b.shape[1:]),
            nb_classes=2,
            clip_values=(0.0, 1.0),
            device_type="cpu",
        )
        # Its backward step minimises (B / 2) |x - b|^2 with B = similarity_coeff * (features / pixels)^2.
        coefficient = 2 * watch.beta * (b.numel() / model.feature_scale.numel()) ** 2
        Watched(
            classifier,
            t.numpy(),
            "features",
            learning_rate=rate,
            similarity_coeff=coefficient,
            max_iter=iterations,
            verbose=False,
        ).poison(b.numpy())

    return attack


def tuned_rate(model: Classifier, pairs: tuple[Split, ...], beta: float, progress: Progress) -> float:
    """ART's step size with the lowest mean objective on these pairs."""

    def reached(rate: float) -> float:
        progress(f"choosing ART's step size: {rate:g}")
        return float(
            run_one_by_one(art_attack(rate, _TUNING_ITERATIONS), model, pairs, beta, lambda _: None).objective.mean()
        )

    return min(_LEARNING_RATES, key=reached)
