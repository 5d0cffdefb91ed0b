"""Configurations of runs: frozen, checked, hashable, and JSON."""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Literal, get_args

Loss = Literal["lgm", "softmax"]
Covariance = Literal["identity", "diagonal"]
Method = Literal["lm", "fbs"]
Task = Literal["two", "all"]
Density = Literal["own", "fitted"]
Layers = Literal["head", "all"]
# How a phase of training begins: with random weights; with all weights of the phase before; or with its layers, except
# for the last one, the projection to features, which is initialised anew (see `lgm.training.projection`).
Init = Literal["fresh", "continue", "project"]
Network = Literal["mnist-cnn", "tiny-cnn", "vgg19"]
NETWORKS: tuple[Network, ...] = get_args(Network)
DATASET_NAMES = ("mnist", "fashion-mnist", "cifar10")
METHODS: dict[str, str] = {"lm": "Levenberg–Marquardt", "fbs": "forward-backward splitting"}


_MOST = 1e6  # of a weight: in float32, with its 24 bits, what it is weighed against is lost beside more
_TRIALS = 10_000  # then an interval of 95 % is a percentage point to either side
_POISONS = 1_000_000  # in all trials: they are in memory together, with their ways 10 kB each


def _check(ok: bool, name: str, expected: str, got: object) -> None:
    if not ok:
        raise ValueError(f"{name}: expected {expected}, got {got!r}")


def _check_weight(name: str, value: float) -> None:
    _check(0 <= value <= _MOST, name, f"a number >= 0, at most {_MOST:,.0f}", value)  # NaN is neither


def _check_step(name: str, value: float) -> None:
    _check(0 < value <= _MOST, name, f"a number > 0, at most {_MOST:,.0f}", value)


def check_seed(seed: int) -> None:
    """Raise ValueError unless every random generator here takes it."""
    _check(0 <= seed < 2**31, "seed", "an integer in [0, 2**31)", seed)


def check_rate(name: str, rate: float) -> None:
    """Raise ValueError unless it is a share of all, 0 and 1 included."""
    _check(0 <= rate <= 1, name, "a rate in [0, 1]", rate)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is needed to build a `Classifier` before its weights are known."""

    network: Network = "mnist-cnn"
    loss: Loss = "lgm"
    n_classes: int = 10
    n_dim: int = 2  # the paper's plane
    margin: float = 1.0  # alpha in the LGM loss
    likelihood_weight: float = 0.1  # lambda in eq. (5)
    covariance: Covariance = "identity"  # the paper fixes it to identity
    learn_priors: bool = False  # class priors p(k) of eq. (2); uniform unless learnt
    center_radius: float = 3.0  # the class means start on a circle of this radius; a simplex, given enough dimensions
    center_order: tuple[int, ...] = ()  # classes in their order round the circle; (): by number
    label_smoothing: float = 0.0  # of the softmax loss: the share of each label that goes to all classes alike

    def __post_init__(self) -> None:
        _check(self.network in NETWORKS, "network", " or ".join(NETWORKS), self.network)
        _check(self.loss in ("lgm", "softmax"), "loss", "lgm or softmax", self.loss)
        _check(self.covariance in ("identity", "diagonal"), "covariance", "identity or diagonal", self.covariance)
        _check(isinstance(self.n_classes, int) and self.n_classes >= 2, "n_classes", "at least 2", self.n_classes)
        _check(isinstance(self.n_dim, int) and self.n_dim >= 1, "n_dim", "at least 1", self.n_dim)
        _check(isinstance(self.learn_priors, bool), "learn_priors", "True or False", self.learn_priors)
        for name in ("margin", "likelihood_weight", "center_radius"):
            _check_weight(name, getattr(self, name))
        _check(0 <= self.label_smoothing < 1, "label_smoothing", "a share in [0, 1)", self.label_smoothing)
        n = len(self.center_order)  # counted here and not up to n_classes, which a foreign card may put at a billion
        every_class = n in (0, self.n_classes) and sorted(self.center_order) == list(range(n))
        _check(every_class, "center_order", f"each of 0..{self.n_classes - 1} once, or ()", self.center_order)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A network and how it is trained for some epochs. Measured recipe: AdamW, ramped margin, centres on a circle."""

    init: Init = "fresh"
    model: ModelConfig = ModelConfig()
    layers: Layers = "all"  # what learns; "head": from features of the images as they are, after another phase
    epochs: int = 10
    batch_size: int = 256
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: with Nesterov's momentum of 0.9
    lr: float = 2e-3
    center_lr: float = 5e-3
    weight_decay: float = 0.01
    warmup: float = 0.05  # fraction of all steps over which the learning rate rises
    margin_ramp: float = 0.3  # fraction of all steps over which alpha rises from 0: alpha = 1 at step 0 collapses
    clip_norm: float = 5.0
    shift: int = 2  # each training image is moved by up to this many pixels
    flip: bool = False  # and mirrored, every other one
    small_epochs: int = 0  # so many epochs see the images at `small_size` pixels a side: cheaper, and early on as good
    small_size: int = 16
    seed: int = 1

    def __post_init__(self) -> None:
        _check(self.init in get_args(Init), "init", "fresh, continue or project", self.init)
        _check(self.epochs >= 1, "epochs", "at least 1", self.epochs)
        _check(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)
        for name in ("lr", "center_lr", "clip_norm"):
            _check_step(name, getattr(self, name))
        _check_weight("weight_decay", self.weight_decay)
        _check(0 <= self.warmup < 1, "warmup", "a fraction in [0, 1)", self.warmup)
        _check(0 <= self.margin_ramp <= 1, "margin_ramp", "a fraction in [0, 1]", self.margin_ramp)
        _check(self.optimizer in ("adamw", "sgd"), "optimizer", "adamw or sgd", self.optimizer)
        _check(self.shift >= 0, "shift", "a number of pixels >= 0", self.shift)
        _check(0 <= self.small_epochs <= self.epochs, "small_epochs", "a number up to epochs", self.small_epochs)
        _check(self.small_size >= 1, "small_size", "at least 1 pixel", self.small_size)
        check_seed(self.seed)
        _check(self.layers in ("head", "all"), "layers", "head or all", self.layers)
        if self.layers == "head":
            _check(self.init != "fresh", "layers", "all without a warm start", self.layers)
            changed = self.shift or self.flip or self.small_epochs
            _check(not changed, "layers", "all where images are moved, mirrored or made smaller", self.layers)
        if self.init == "project":
            # The projection is laid by the means, which span so many dimensions: further features would be 0 for ever.
            most = self.model.n_classes - 1
            fits = self.model.loss != "lgm" or self.model.n_dim <= most
            _check(fits, "n_dim", f"at most {most} after a warm start, for {most + 1} class means", self.model.n_dim)

    def check_follows(self, before: "Phase") -> None:
        """Raise ValueError unless this phase can start from the network of the one before."""
        _check(self.init != "fresh", "init", "continue or project after another phase", self.init)
        for name in _SAME[self.init]:
            expected, got = getattr(before.model, name), getattr(self.model, name)
            _check(expected == got, name, f"{expected!r} as in the phase before (init: {self.init})", got)


# What must be as in the phase before. Where class means start has no effect once they are learnt.
_SAME = {
    "project": ("network",),
    "continue": ("network", "loss", "n_classes", "n_dim", "center_radius", "center_order"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A recipe: phases of training, one after another on the same images. The last one's network is the result."""

    phases: tuple[Phase, ...] = (Phase(),)
    dataset: str = "mnist"
    split: str = "train"  # which part of it: see `lgm.data.registry.DATASETS`
    limit: int | None = None  # images per class, for quick tries

    def __post_init__(self) -> None:
        _check(self.dataset in DATASET_NAMES, "dataset", " or ".join(DATASET_NAMES), self.dataset)
        _check(self.limit is None or self.limit >= 1, "limit", "at least 1 image per class", self.limit)
        _check(len(self.phases) > 0, "phases", "at least 1", self.phases)
        _check(self.phases[0].init == "fresh", "init", "fresh in the first phase", self.phases[0].init)
        for before, phase in pairwise(self.phases):
            phase.check_follows(before)

    @property
    def model(self) -> ModelConfig:
        """Of the network that comes out."""
        return self.phases[-1].model

    @property
    def epochs(self) -> int:
        """Of all phases; records of a run are counted alike."""
        return sum(phase.epochs for phase in self.phases)

    def up_to(self, number: int) -> "TrainConfig":
        """The recipe that ends with the phase of this number, the first being 0."""
        return replace(self, phases=self.phases[: number + 1])

    def with_last(self, **changes: Any) -> "TrainConfig":
        """The same with changes to the last phase; ``changes`` are fields of `Phase`."""
        return replace(self, phases=(*self.phases[:-1], replace(self.phases[-1], **changes)))

    def then(self, **changes: Any) -> "TrainConfig":
        """The same with one more phase, which continues with the network of the last; ``changes`` are to that one."""
        return replace(self, phases=(*self.phases, replace(self.phases[-1], **({"init": "continue"} | changes))))

    def seeded(self, seed: int) -> "TrainConfig":
        """The same with another seed, in all phases."""
        return replace(self, phases=tuple(replace(phase, seed=seed) for phase in self.phases))


PAPER_BETA = 8e-3  # weight of looking like the base in eq. (1)
# The stops of the beta slider: five a decade, and the paper's.
BETA_GRID = tuple(sorted([float(f"{10 ** (k / 5):.2g}") for k in range(-25, 1)] + [PAPER_BETA]))

# Of the attack: raised whenever the same pairs give other poisons, so that records say what they were made with.
# `tests/models/test_shipped.py` notices; then `make records` makes them anew.
ATTACK_REVISION = 1

# False-positive rates at which a filter is judged: what clean images one would pay.
FPR_GRID = (0.01, 0.02, 0.05, 0.1)

# The stops of the gamma slider: from an attacker who does not know of the filter to one who passes it at any price.
GAMMA_GRID = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonConfig:
    """How poisons are crafted; β defaults to the paper's (section 4.3), the method does not."""

    beta: float = PAPER_BETA  # eq. (1), for pixels in [0, 1] and features rescaled to [-1, 1]
    method: Method = "lm"  # Levenberg-Marquardt; "fbs": forward-backward splitting, as in Poison Frogs
    iterations: int = 1000  # at most; lm: 100 at most
    tolerance: float = 2e-3  # stop when the objective improves by less than this share; 0: never, so no second start.
    # fbs: in `patience` iterations, lm: in one, on the average over four
    gamma: float = 0.0  # weight of staying above `threshold`, for an attacker who knows of the filter; 0: the paper's
    threshold: float | None = None  # T of that filter, in nats
    growth: float = 1.2  # fbs: a poison's own step after a success ...
    shrink: float = 0.5  # fbs: ... and after a failure
    patience: int = 50
    batch_size: int = 128  # poisons crafted together at most: beyond this only memory grows

    def __post_init__(self) -> None:
        _check_weight("beta", self.beta)
        _check(self.iterations >= 1, "iterations", "at least 1", self.iterations)
        _check(self.method in METHODS, "method", " or ".join(METHODS), self.method)
        _check_weight("gamma", self.gamma)
        finite = self.threshold is None or abs(self.threshold) <= _MOST
        _check(finite, "threshold", "T in nats, a finite number", self.threshold)
        # A gradient says nothing at the kink, where forward-backward splitting would come to a standstill.
        _check(not self.gamma or self.method == "lm", "gamma", "0 for forward-backward splitting", self.gamma)
        _check(not self.gamma or self.threshold is not None, "threshold", "T in nats, for gamma > 0", self.threshold)
        _check(1 <= self.growth <= _MOST, "growth", "a factor >= 1", self.growth)
        _check(0 < self.shrink < 1, "shrink", "a factor in (0, 1)", self.shrink)
        _check(0 <= self.tolerance <= 1, "tolerance", "a share in [0, 1]", self.tolerance)
        _check(self.patience >= 1, "patience", "at least 1", self.patience)
        _check(self.batch_size >= 1, "batch_size", "at least 1", self.batch_size)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenseConfig:
    """One setting of attack and defence. The defaults are one in which the attack works where nobody filters."""

    task: Task = "two"  # classes that the new head tells apart: base and target, or "all"
    classes: tuple[int, int] | None = None  # of base and target; None: drawn anew for each trial
    clean: int = 10  # clean images a class to fine-tune on: D_f
    poisons: int = 10  # K, all for one target: D_p
    trials: int = 100  # independent draws of target, bases and clean images
    beta: float = 1e-3  # eq. (1); the paper's 8e-3 lets most poisons for softmax fall short of the target
    gamma: float = 0.0  # weight of passing the filter, for an attacker who knows its T; 0: one who does not
    watermark: float = 0.0  # opacity of the target laid over each base before crafting, as in Poison Frogs
    layers: Layers = "head"  # what is trained: a new head on frozen features, or "all" layers with it
    strength: float = 100.0  # C of the new head's logistic regression; small: it cannot follow even clean images
    density: Density | None = None  # what scores images; None: the network's own Gaussians if it has any
    fpr: float = 0.01  # share of clean images that the filter may remove
    calibration: float = 0.5  # share of the clean images that calibrates T, and does nothing else
    seed: int = 1

    def __post_init__(self) -> None:
        _check(self.task in ("two", "all"), "task", "two or all", self.task)
        pair = self.classes is None or (len(self.classes) == 2 and self.classes[0] != self.classes[1])
        _check(pair, "classes", "two different classes, of base and target", self.classes)
        _check(self.clean >= 1, "clean", "at least 1 image per class", self.clean)
        _check(self.poisons >= 0, "poisons", "a number >= 0", self.poisons)
        _check(2 <= self.trials <= _TRIALS, "trials", f"2 to {_TRIALS:,}, for an interval", self.trials)
        poisons = self.trials * self.poisons
        _check(poisons <= _POISONS, "poisons, trials", f"a product of at most {_POISONS:,}", poisons)
        _check_weight("beta", self.beta)
        _check_weight("gamma", self.gamma)
        _check(0 <= self.watermark < 1, "watermark", "an opacity in [0, 1)", self.watermark)
        _check(self.layers in ("head", "all"), "layers", "head or all", self.layers)
        _check_step("strength", self.strength)
        _check(self.density in (None, "own", "fitted"), "density", "own or fitted", self.density)
        _check(0 < self.fpr < 1, "fpr", "a rate in (0, 1)", self.fpr)
        _check(0 < self.calibration < 1, "calibration", "a share in (0, 1)", self.calibration)
        check_seed(self.seed)
