"""Benchmark of crafting against ART and the paper's procedure: same objective, pairs, machine and run.

Called "theirs": the attacks of `lgm.experiments.rivals`.
"""

import time
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch

from lgm.attacks.batches import one_thread_each
from lgm.attacks.craft import craft_poisons
from lgm.attacks.result import Poisons, check_count, pick_pairs
from lgm.config import PAPER_BETA, PoisonConfig
from lgm.data.base import Split
from lgm.experiments.rivals import TUNING_PAIRS, Progress, Run, art_attack, paper_attack, run_one_by_one, tuned_rate
from lgm.models.classifier import Classifier
from lgm.utils.codec import Inline

_EMULATED = 5.0  # GFLOP/s: a core that multiplies at all is faster
_NEAR = 1.01  # "as low" means within 1 % of the other's best


@dataclass(frozen=True)
class MethodSummary:
    """What a method does: mean seconds a poison, the objectives of all pairs, and the share of them that collides."""

    seconds_per_poison: float
    objective_median: float
    objective_mean: float
    objective_worst: float
    collided: float


@dataclass(frozen=True)
class ObjectiveRatio:
    """This engine's objective over the other's, pair by pair; below 1: this engine's is lower."""

    median: float
    worst: float


@dataclass(frozen=True)
class Ratios:
    """This engine beside another method; the other's name follows each field's.

    Attributes:
        speedup_vs: Their time over ours, of whole runs, whatever their objectives.
        time_to_objective_vs: The time that the other needs to come within 1 % of its own best over the time after which
            this engine is as low, summed over the pairs where it gets there; None if it never does.
        median_objective_vs: Our median objective over theirs.
        objective_ratio_vs: The ratios of all pairs.
        pairs_worse_than: Pairs where our objective is over 1 % higher.
    """

    speedup_vs: float
    time_to_objective_vs: float | None
    median_objective_vs: float
    objective_ratio_vs: ObjectiveRatio
    pairs_worse_than: int


@dataclass(frozen=True)
class BenchmarkResult:
    """Time and objective of this engine ("lgm"), of ART and of the paper's procedure ("reference").

    Attributes:
        pairs, beta, iterations, seed: See `bench_craft`.
        threads: Of torch.
        gflops_float32, gflops_bfloat16: See `matrix_gflops`.
        art_learning_rate: The step size chosen for ART.
        lgm, art, reference: By method.
        beside_art, beside_reference: This engine beside the others.
    """

    pairs: int
    beta: float
    iterations: int
    seed: int
    threads: int
    gflops_float32: float
    gflops_bfloat16: float
    art_learning_rate: float
    lgm: MethodSummary
    art: MethodSummary
    reference: MethodSummary
    beside_art: Annotated[Ratios, Inline("_art")]
    beside_reference: Annotated[Ratios, Inline("_reference")]


def bench_craft(
    model: Classifier,
    split: Split,
    *,
    pairs: int = 10,
    beta: float = PAPER_BETA,
    iterations: int = 1000,
    seed: int = 1,
    progress: Progress = lambda text: None,
) -> BenchmarkResult:
    """Time and objective of this engine, of ART and of the paper's procedure, for the same pairs.

    Args:
        model: Frozen network on the CPU.
        split: Where bases and targets come from.
        pairs: How many random pairs are compared.
        beta: Of eq. (1), [0, 1] pixels and rescaled features.
        iterations: Of ART and of the reference, for each pair.
        seed: Of the pairs. ART's step size is chosen on pairs of ``seed + 1``.
        progress: Told what goes on.

    Raises:
        ImportError: ART is not installed; the message names the package.
    """
    check_count(pairs, len(split), "pairs")
    bases, targets = (split[index] for index in pick_pairs(split.labels, pairs, seed))
    tune = tuple(split[index] for index in pick_pairs(split.labels, TUNING_PAIRS, seed + 1))
    rate = tuned_rate(model, tune, beta, progress)
    at = model, (bases, targets), beta
    art = run_one_by_one(art_attack(rate, iterations), *at, lambda text: progress(f"ART, {text}"))
    reference = run_one_by_one(paper_attack(iterations), *at, lambda text: progress(f"reference, {text}"))
    progress("this engine")
    ours = _ours(model, bases, targets, PoisonConfig(beta=beta))
    return BenchmarkResult(
        pairs=pairs,
        beta=beta,
        iterations=iterations,
        seed=seed,
        threads=torch.get_num_threads(),
        gflops_float32=matrix_gflops(torch.float32),
        gflops_bfloat16=matrix_gflops(torch.bfloat16),
        art_learning_rate=rate,
        lgm=_summary(ours),
        art=_summary(art),
        reference=_summary(reference),
        beside_art=_ratios(ours, art),
        beside_reference=_ratios(ours, reference),
    )


def _summary(run: Run) -> MethodSummary:
    return MethodSummary(
        seconds_per_poison=float(run.seconds.mean()),
        objective_median=float(np.median(run.objective)),
        objective_mean=float(run.objective.mean()),
        objective_worst=float(run.objective.max()),
        collided=float(run.collided.mean()),
    )


def _ratios(ours: Run, theirs: Run) -> Ratios:
    ratio = ours.objective / theirs.objective
    return Ratios(
        speedup_vs=float(theirs.seconds.sum() / ours.seconds.sum()),
        time_to_objective_vs=_time_ratio(ours, theirs),
        median_objective_vs=float(np.median(ours.objective) / np.median(theirs.objective)),
        objective_ratio_vs=ObjectiveRatio(float(np.median(ratio)), float(ratio.max())),
        pairs_worse_than=int((ratio > _NEAR).sum()),
    )


def _time_ratio(ours: Run, theirs: Run) -> float | None:
    """Their time to within 1 % of their best over our time to get as low, summed over the pairs where we do.

    None where we never do. The pairs left out are those that `bench_craft` counts as worse.
    """
    theirs_seconds = our_seconds = 0.0
    for mine, other in zip(ours.curves, theirs.curves, strict=True):
        level = _NEAR * other[-1, 1]
        if mine[-1, 1] > level:
            continue  # counted in pairs_worse_than
        theirs_seconds += other[np.argmax(other[:, 1] <= level), 0]
        our_seconds += mine[np.argmax(mine[:, 1] <= level), 0]
    return theirs_seconds / our_seconds if our_seconds else None


def _ours(model: Classifier, bases: Split, targets: Split, config: PoisonConfig) -> Run:
    """Even batches, a core each. The pairs share the time evenly: a batch's clock is divided by the number of all."""
    n = len(bases)
    craft_poisons(model, bases[np.arange(1)], targets[np.arange(1)], PoisonConfig(iterations=2))  # first-call costs
    cores = torch.get_num_threads()
    batches = min(n, -(-n // (config.batch_size * cores)) * cores)
    start = time.perf_counter()

    def craft(index: np.ndarray) -> tuple[Poisons, list[float]]:
        clock = [time.perf_counter() - start]

        def tick(done: int, total: int) -> None:
            clock.append(time.perf_counter() - start)

        return craft_poisons(model, bases[index], targets[index], config, batch=len(index), on_step=tick), clock

    with one_thread_each() as each:
        parts = list(each(craft, np.array_split(np.arange(n), batches)))
    seconds = time.perf_counter() - start
    curves = [curve for poisons, clock in parts for curve in _curves(poisons, np.array(clock) / n)]
    objective = np.concatenate([poisons.objective for poisons, _ in parts]).astype(np.float64)
    collided = np.concatenate([poisons.collided for poisons, _ in parts])
    return Run(np.full(n, seconds / n), objective, curves, collided)


def _curves(poisons: Poisons, clock: np.ndarray) -> list[np.ndarray]:
    """Lowest objective over time for each poison of a batch; ``clock`` is the time after each iteration."""
    terms = poisons.path_objective.astype(np.float64)
    objective = terms[..., 0] + poisons.beta[:, None] * terms[..., 1]
    at = clock[np.minimum(poisons.path_iteration, len(clock) - 1)]
    at[-1] = clock[-1]
    objective[:, -1] = np.minimum(objective[:, -1], poisons.objective)
    return [np.column_stack([at, np.minimum.accumulate(row)]) for row in objective]


def matrix_gflops(dtype: torch.dtype, size: int = 2048, repeats: int = 5) -> float:
    """Billions of operations a second in a large matrix product: what the machine can give at most."""
    small = _gflops(dtype, 256, 1)
    # A processor that has to emulate a type would take minutes for the large one, and is no faster there.
    return small if small < _EMULATED else _gflops(dtype, size, repeats)


def _gflops(dtype: torch.dtype, size: int, repeats: int) -> float:
    a = torch.ones(size, size, dtype=dtype)
    torch.mm(a, a)
    start = time.perf_counter()
    for _ in range(repeats):
        torch.mm(a, a)
    return repeats * 2 * size**3 / (time.perf_counter() - start) / 1e9
