"""What a board is measured for, read without torch."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from lgm.config import FPR_GRID, Beta, Count, Seed
from lgm.utils.fields import Bounds, check_fields, require

# Of how cells are measured: what was measured with another is old. It goes up with every change that moves a number.
BOARD_REVISION = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Attacker:
    """What an attacker wants, and what it knows beside clean images.

    Attributes:
        goal: What features its poisons are to have, in words.
        knows: In words.
        evades: Key of the filter in `FILTERS` whose score and T it knows; `DENSITY`: the network's own if it has one,
            else the one fitted afterwards; "": of none.
        rate: False-positive rate of that T; None: `BoardConfig.aim`.
        on_surrogate: Which attacker it is on the surrogate that it knows; "": it knows the network itself.
        together: Whether the poisons of an attack are crafted together, as many as the largest budget has, so that no
            smaller one is measured.
        layers: Whether all layers are fine-tuned on its poisons as well, which takes seconds a model, and half an hour
            or more a row: it attacks nearest targets only, and only if it is asked for.
    """

    goal: str
    knows: str = "the network"
    evades: str = ""
    rate: float | None = None
    on_surrogate: str = ""
    together: bool = False
    layers: bool = False

    @property
    def wants_features(self) -> bool:
        """Whether it wants certain features of the network itself, so that they can be had without crafting."""
        return not self.on_surrogate and not self.layers


DENSITY = "density"
_SURROGATE = "a surrogate: a network of the same kind, trained with another seed, maybe by another recipe"


def _edge(evades: str, score: str, **changes: Any) -> Attacker:
    """The attacker at the edge of T."""
    goal = f"the last point that the filter by {score} passes, on the way from its class's mean to the target"
    return Attacker(goal=goal, knows="the network, that score and its T", evades=evades, **changes)


# What they do stands in `attackers`.
ATTACKERS = {
    "collision": Attacker(goal="the target's features: eq. (1)"),
    "hinge": Attacker(
        goal="the same, with a hinge that keeps the poison above T: γ max(0, T − log-likelihood)",
        knows="the network, the density and its T",
        evades=DENSITY,
    ),
    "edge": _edge(DENSITY, "density"),
    "edge-10": _edge(DENSITY, "density, with T for 10 % false positives,", rate=0.1),
    "edge-gaussian": _edge("gaussian", "the Gaussians fitted afterwards"),
    "edge-log-odds": _edge("log-odds", "log-odds of the claimed label"),
    "edge-knn": _edge("knn", "the distance to the 10th neighbour"),
    "edge-vote": _edge("vote", "the vote of 10 neighbours"),
    "bullseye": Attacker(
        goal="K features whose mean is the target's: bullseye polytope (Aghakhani et al. 2021)", together=True
    ),
    "convex": Attacker(
        goal="K features of which a convex combination is the target's: convex polytope (Zhu et al. 2019); at the "
        "price of eq. (1), in the place of the source's bound on each pixel, one poison collides and the others stay "
        "as they were",
        together=True,
    ),
    "mean-shift": Attacker(
        goal="features so far beyond the target that the mean of the base's class, poisons among it, falls on it",
        knows="the network, and that the head is the nearest class mean",
    ),
    "transfer": Attacker(goal="the target's features on the surrogate", knows=_SURROGATE, on_surrogate="collision"),
    "transfer-bullseye": Attacker(
        goal="the bullseye polytope on the surrogate", knows=_SURROGATE, on_surrogate="bullseye", together=True
    ),
    "gradient-matching": Attacker(
        goal="none: at K images the gradient of the loss over all layers is to point where the target's does under the "
        "base's label (Geiping et al. 2021, Witches' Brew)",
        knows="the network, and that all layers are fine-tuned",
        together=True,
        layers=True,
    ),
}

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

# On frozen features: see `lgm.defense.heads`.
FROZEN = {
    "logistic": "logistic regression",
    "nearest-mean": "nearest class mean",
    "gaussians": "Gaussians with one covariance",
}
# The same heads for all classes of the data, each class with as many clean images as the two of the attack.
_ALL = "all-"
ALL_CLASSES = {f"{_ALL}{name}": f"{title}, all classes" for name, title in FROZEN.items()}
LAYERS = "layers"  # in the place of a head: all layers, from the first of these heads
HEAD_TITLES = FROZEN | ALL_CLASSES | {LAYERS: "all layers"}
# Measured in the heaviest budget only.
HEAVIEST_ONLY = {*ALL_CLASSES, LAYERS}


def frozen_head(name: str) -> str:
    """The key of `lgm.defense.heads.HEADS` that one of these heads on frozen features has."""
    return name.removeprefix(_ALL)


def heaviest(budgets: Iterable[tuple[int, int]]) -> tuple[int, int]:
    """Of budgets (poisons, clean images a class), the one with most poisons for a clean image."""
    return max(budgets, key=lambda budget: (budget[0] / budget[1], budget[0]))


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardConfig:
    """Attackers, defences and how much of each. A budget is (poisons, clean images a class)."""

    attackers: tuple[str, ...] = tuple(name for name, each in ATTACKERS.items() if not each.layers)
    choices: tuple[str, ...] = tuple(CHOICES)
    budgets: tuple[tuple[int, int], ...] = ((1, 10), (5, 10), (10, 10), (1, 50), (5, 50), (10, 50))
    fprs: tuple[float, ...] = FPR_GRID
    # Of target, bases, clean images and those that calibrate T.
    trials: Annotated[int, Bounds("{ge} to {le:,}, for an interval", ge=2, le=10_000), "attacks in each cell"] = 100
    beta: Beta = 1e-3
    aim: Annotated[
        float, Bounds("a rate in {}", gt=0, lt=1), "false-positive rate of the T that attackers know, but for edge-10"
    ] = 0.01
    gamma: Annotated[float, Bounds("a number > {gt}", gt=0), "weight of the hinge"] = 1.0
    candidates: Annotated[Count, "targets that an attacker chooses among by simulation"] = 20
    seed: Annotated[Seed, "of all draws"] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        for name, known in (("attackers", ATTACKERS), ("choices", CHOICES)):
            given = getattr(self, name)
            ok = len(given) > 0 and len(set(given)) == len(given) and set(given) <= set(known)
            require(ok, name, f"one or several of {', '.join(known)}, each once", given)
        some = any(map(self.choices_of, self.attackers))
        require(some, "choices", f"nearest for {', '.join(self.attackers)}", self.choices)
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

    def budgets_of(self, attacker: str) -> list[tuple[int, int]]:
        """Those that an attacker is measured with."""
        together = ATTACKERS[attacker].together
        return [each for each in self.budgets if not together or each[0] == self.poisons]

    def heaviest_of(self, attacker: str) -> tuple[int, int]:
        """The same of those that an attacker is measured with."""
        return heaviest(self.budgets_of(attacker))

    def choices_of(self, attacker: str) -> list[str]:
        """Those that an attacker is measured with."""
        return [each for each in self.choices if each == "nearest" or not ATTACKERS[attacker].layers]

    def aim_of(self, attacker: str) -> float:
        """False-positive rate of the T that an attacker knows; `aim` for one who knows of none."""
        rate = ATTACKERS[attacker].rate
        return self.aim if rate is None else rate


# To choose the best of twenty targets, an attacker fine-tunes twenty heads.
QUICK = BoardConfig(choices=("random", "nearest"), budgets=((10, 10),), trials=20)
