"""What a board is measured for, read without torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from lgm.config import FPR_GRID, Beta, Count, Seed
from lgm.utils.fields import Bounds, check_fields, require

# Of how cells are measured: what was measured with another is old. It goes up with every change that moves a number.
BOARD_REVISION = 2

# Who attacks, and with what knowledge; all but the last two know the network. What they do stands in `attackers`.
ATTACKERS = {
    "collision": "features of the target: eq. (1)",
    "hinge": "features of the target, with a hinge that keeps the poison above T",
    "edge": "the last point that the density filter passes on the way from the base's class to the target",
    "edge-log-odds": "the last point that the filter by log-odds passes on that way",
    "edge-knn": "the last point that the filter by the distance to the 10th neighbour passes on that way",
    "bullseye": "features whose mean is the target's: bullseye polytope",
    "convex": "features of which a convex combination is the target's: convex polytope; at the price of eq. (1) one "
    "poison collides, and the others stay as they were",
    "mean-shift": "features beyond the target, so that the mean of the base's class, poisons among it, falls on it: "
    "for a head by the nearest class mean",
    "transfer": "features of the target, on a surrogate: a network of the same kind, trained with another seed",
    "transfer-bullseye": "the bullseye polytope on that surrogate",
}
# Who knows neither network nor T: the attacker that each is on its surrogate.
ON_SURROGATE = {"transfer": "collision", "transfer-bullseye": "bullseye"}
# Whose poisons of one attack are crafted together, as many as the largest budget has: no smaller one is measured.
TOGETHER = ("bullseye", "convex", "transfer-bullseye")
# Whose T is known, by attacker. The density is the network's own if it has one, else the one fitted afterwards.
EVADES = {"hinge": "density", "edge": "density", "edge-log-odds": "log-odds", "edge-knn": "knn"}

# Which target of the target's class is attacked.
CHOICES = {
    "random": "any",
    "nearest": "the one nearest to the mean of the base's class",
    "best": "of some at random, the one that the attacker's simulation turns most easily",
}

FILTERS = {
    "none": "no filter",
    "likelihood": "LGM likelihood",
    "gaussian": "Gaussian fitted afterwards",
    "log-odds": "log-odds of the claimed label",
    "confidence": "confidence in the claimed label",
    "knn": "distance to the 10th neighbour",
    "vote": "vote of 10 neighbours",
    "spectral": "spectral signatures",
}

# See `lgm.defense.heads`.
HEAD_TITLES = {
    "logistic": "logistic regression",
    "nearest-mean": "nearest class mean",
    "gaussians": "Gaussians with one covariance",
}


def heaviest(budgets: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Of budgets (poisons, clean images a class), the one with most poisons for a clean image."""
    return max(budgets, key=lambda budget: (budget[0] / budget[1], budget[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardConfig:
    """Attackers, defences and how much of each. A budget is (poisons, clean images a class)."""

    attackers: tuple[str, ...] = tuple(ATTACKERS)
    choices: tuple[str, ...] = tuple(CHOICES)
    budgets: tuple[tuple[int, int], ...] = ((1, 10), (5, 10), (10, 10), (10, 50))
    fprs: tuple[float, ...] = FPR_GRID
    # Of target, bases, clean images and those that calibrate T.
    trials: Annotated[int, Bounds("{ge} to {le:,}, for an interval", ge=2, le=10_000), "attacks in each cell"] = 100
    beta: Beta = 1e-3
    aim: Annotated[float, Bounds("a rate in {}", gt=0, lt=1), "false-positive rate of the T that attackers know"] = 0.01
    gamma: Annotated[float, Bounds("a number > {gt}", gt=0), "weight of the hinge"] = 1.0
    candidates: Annotated[Count, "targets that an attacker chooses among by simulation"] = 20
    seed: Annotated[Seed, "of all draws"] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        for name, known in (("attackers", ATTACKERS), ("choices", CHOICES)):
            given = getattr(self, name)
            ok = len(given) > 0 and len(set(given)) == len(given) and set(given) <= set(known)
            require(ok, name, f"one or several of {', '.join(known)}, each once", given)
        enough = all(poisons >= 1 and clean >= 2 for poisons, clean in self.budgets)
        sizes = enough and len(set(self.budgets)) == len(self.budgets) > 0
        require(sizes, "budgets", "pairs of at least 1 poison and 2 clean images a class, each once", self.budgets)
        rates = len(self.fprs) > 0 and all(0 < fpr < 1 for fpr in self.fprs)
        require(rates, "fprs", "rates in (0, 1)", self.fprs)
        require(
            self.aim in self.fprs, "aim", f"one of the rates {', '.join(f'{fpr:g}' for fpr in self.fprs)}", self.aim
        )

    @property
    def heaviest(self) -> tuple[int, int]:
        """The budget with most poisons for a clean image, which is where a verdict is asked for."""
        return heaviest(self.budgets)

    @property
    def poisons(self) -> int:
        """Crafted for each attack; smaller budgets take the first of them."""
        return max(poisons for poisons, _ in self.budgets)

    @property
    def clean(self) -> int:
        """Clean images a class that are drawn; smaller budgets take the first of them."""
        return max(clean for _, clean in self.budgets)


def budgets_of(attacker: str, config: BoardConfig) -> list[tuple[int, int]]:
    """Those that an attacker is measured with."""
    return [each for each in config.budgets if attacker not in TOGETHER or each[0] == config.poisons]


QUICK = BoardConfig(budgets=((10, 10),), trials=20)
