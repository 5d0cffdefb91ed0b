"""Configurations of runs: frozen, checked, hashable, and JSON.

Bounds, choices and help of a field stand in its annotation, and nowhere else: see `lgm.utils.fields`.
"""

from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Annotated, Any, Literal

from lgm.utils.fields import Bounds, check_fields, require

Loss = Literal["lgm", "softmax"]
Covariance = Literal["identity", "diagonal"]
Method = Literal["lm", "fbs"]
Task = Literal["two", "all"]
Density = Literal["own", "fitted"]
Layers = Literal["head", "all"]
Trained = Literal["head", "projection", "all"]  # the second: the last layer, which makes the features, and the head
# How a phase of training begins: with random weights; with all weights of the phase before; or with its layers, except
# for the last one, the projection to features, which is initialised anew (see `lgm.training.projection`); or with those
# of a network that was trained on ImageNet, under a new projection.
Init = Literal["fresh", "continue", "project", "pretrained"]
METHODS: dict[str, str] = {"lm": "Levenberg–Marquardt", "fbs": "forward-backward splitting"}

_MOST = 1e6  # of a weight: in float32, with its 24 bits, what it is weighed against is lost beside more
_TRIALS = 10_000  # then an interval of 95 % is a percentage point to either side
_POISONS = 1_000_000  # in all trials: they are in memory together, with their ways 10 kB each

# Trained from random weights; `lgm.models.backbones` builds them.
NETWORKS = ("mnist-cnn", "tiny-cnn", "small", "resnet18", "vgg19")

# What several fields take.
Weight = Annotated[float, Bounds("a number >= {ge}, at most {le:,.0f}", ge=0, le=_MOST)]
Positive = Annotated[float, Bounds("a number > {gt}, at most {le:,.0f}", gt=0, le=_MOST)]
Rate = Annotated[float, Bounds("a rate in {}", ge=0, le=1)]
Nats = Annotated[float, Bounds("a number of nats from {ge:,.0f} to {le:,.0f}", ge=-_MOST, le=_MOST)]
Count = Annotated[int, Bounds("at least {ge}", ge=1)]
PerClass = Annotated[int, Bounds("at least {ge} image per class", ge=1)]
Seed = Annotated[int, Bounds("an integer in [0, 2**31)", ge=0, lt=2**31)]  # that every random generator here takes


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """What is needed to build a `Classifier` before its weights are known."""

    network: str = "mnist-cnn"  # one of `NETWORKS`, or of `lgm.models.architectures`
    # (C, H, W) in pixels; (): those of MNIST or CIFAR-10, or what a pre-trained network takes.
    image_shape: tuple[int, ...] = ()
    loss: Loss = "lgm"
    n_classes: Annotated[int, Bounds("at least {ge}", ge=2)] = 10
    n_dim: Count = 2  # the paper's plane
    margin: Annotated[Weight, "alpha of the LGM loss"] = 1.0
    likelihood_weight: Annotated[Weight, "lambda of the LGM loss"] = 0.1  # eq. (5)
    covariance: Annotated[Covariance, "learnt if diagonal"] = "identity"  # the paper fixes it to identity
    learn_priors: Annotated[bool, "learn the class priors of eq. (2)"] = False  # p(k); uniform unless learnt
    # On a circle of this radius; a simplex, given enough dimensions.
    center_radius: Annotated[Weight, "where the class means start"] = 3.0
    center_order: tuple[int, ...] = ()  # classes in their order round the circle; (): by number
    # Of the softmax loss: the share of each label that goes to all classes alike.
    label_smoothing: Annotated[float, Bounds("a share in {}", ge=0, lt=1)] = 0.0

    def __post_init__(self) -> None:
        check_fields(self)
        n = len(self.center_order)  # counted here and not up to n_classes, which a foreign card may put at a billion
        every_class = n in (0, self.n_classes) and sorted(self.center_order) == list(range(n))
        require(every_class, "center_order", f"each of 0..{self.n_classes - 1} once, or ()", self.center_order)
        shape = self.image_shape
        require(len(shape) in (0, 3) and all(size > 0 for size in shape), "image_shape", "(C, H, W), or ()", shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A network and how it is trained for some epochs. Measured recipe: AdamW, ramped margin, centres on a circle."""

    init: Init = "fresh"
    model: ModelConfig = ModelConfig()
    layers: Trained = "all"  # what learns; all but "all": from images as they are, which the other layers see once
    weights_sha256: str = ""  # of the file that a network trained elsewhere is read from; "": it comes with a package
    epochs: Annotated[Count, "passes over the data, after a warm start"] = 10
    batch_size: Count = 256
    optimizer: Literal["adamw", "sgd"] = "adamw"  # sgd: with Nesterov's momentum of 0.9
    lr: Positive = 2e-3
    center_lr: Positive = 5e-3
    weight_decay: Weight = 0.01
    # Fractions of all steps over which the learning rate rises, and alpha does from 0: alpha = 1 at step 0 collapses.
    warmup: Annotated[float, Bounds("a fraction in {}", ge=0, lt=1)] = 0.05
    margin_ramp: Annotated[float, Bounds("a fraction in {}", ge=0, le=1)] = 0.3
    clip_norm: Positive = 5.0
    # Each training image is moved by up to so many pixels, and mirrored, every other one.
    shift: Annotated[int, Bounds("a number of pixels >= {ge}", ge=0)] = 2
    flip: bool = False
    # So many epochs see images of `small_size` pixels a side, scaled or cut out of the centre: cheaper, and early on as
    # good. The layers must make as many features of them as of whole images.
    small_epochs: Annotated[int, Bounds("a number up to epochs", ge=0)] = 0
    small_size: Annotated[int, Bounds("at least {ge} pixel", ge=1)] = 16
    small_by: Literal["scale", "crop"] = "scale"
    seed: Annotated[Seed, "of weights, order and shifts"] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        require(self.small_epochs <= self.epochs, "small_epochs", "a number up to epochs", self.small_epochs)
        if self.layers != "all":
            require(self.init != "fresh", "layers", "all without a warm start", self.layers)
            changed = self.shift or self.flip or self.small_epochs
            require(not changed, "layers", "all where images are moved, mirrored or made smaller", self.layers)
        if self.init in ("project", "pretrained"):
            # The projection is laid by the means, which span so many dimensions: further features would be 0 for ever.
            most = self.model.n_classes - 1
            fits = self.model.loss != "lgm" or self.model.n_dim <= most
            require(fits, "n_dim", f"at most {most} after a warm start, for {most + 1} class means", self.model.n_dim)

    def check_follows(self, before: "Phase") -> None:
        """Raise ValueError unless this phase can start from the network of the one before."""
        require(self.init in _SAME, "init", "continue or project after another phase", self.init)
        for name in _SAME[self.init]:
            expected, got = getattr(before.model, name), getattr(self.model, name)
            require(expected == got, name, f"{expected!r} as in the phase before (init: {self.init})", got)


# What must be as in the phase before. Where class means start has no effect once they are learnt.
_SAME = {
    "project": ("network", "image_shape"),
    "continue": ("network", "image_shape", "loss", "n_classes", "n_dim", "center_radius", "center_order"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """A recipe: phases of training, one after another on the same images. The last one's network is the result."""

    phases: tuple[Phase, ...] = (Phase(),)
    dataset: str = "mnist"  # see `lgm.data.registry`
    split: str = "train"  # which part of it
    limit: Annotated[PerClass | None, "images per class"] = None  # for quick tries

    def __post_init__(self) -> None:
        check_fields(self)
        require(len(self.phases) > 0, "phases", "at least 1", self.phases)
        first = self.phases[0].init
        require(first in ("fresh", "pretrained"), "init", "fresh or pretrained in the first phase", first)
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
        changes.setdefault("init", "continue")
        return replace(self, phases=(*self.phases, replace(self.phases[-1], **changes)))

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

# The stops of the gamma slider: from a non-adaptive attacker to one who passes the filter at any price.
GAMMA_GRID = (0.0, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 1.0)

Beta = Annotated[Weight, "weight of looking like the base"]  # eq. (1), for pixels in [0, 1], features in [-1, 1]
Gamma = Annotated[Weight, "weight of passing the filter, for an attacker who knows it"]  # 0: one who does not


@dataclass(frozen=True, slots=True, kw_only=True)
class PoisonConfig:
    """How poisons are crafted; β defaults to the paper's (section 4.3), the method does not."""

    beta: Beta = PAPER_BETA
    method: Annotated[
        Method, "lm: Levenberg-Marquardt, finds lower objectives; fbs: forward-backward splitting, as in the paper"
    ] = "lm"
    iterations: Annotated[Count, "at most, a poison"] = 1000  # lm: 100 at most
    # Stop when the objective improves by less than this share: fbs, in `patience` iterations; lm, in one, on the
    # average over four. With 0 there is no second start either.
    tolerance: Annotated[float, Bounds("a share in {}", ge=0, le=1), "0: never stop before the limit"] = 2e-3
    gamma: Gamma = 0.0
    threshold: Annotated[Nats | None, "T of that filter, in nats"] = None
    # Of forward-backward splitting: a poison's own step after a success and after a failure.
    growth: Annotated[float, Bounds("a factor >= {ge}", ge=1, le=_MOST)] = 1.2
    shrink: Annotated[float, Bounds("a factor in {}", gt=0, lt=1)] = 0.5
    patience: Count = 50
    batch_size: Count = 128  # poisons crafted together at most: beyond this only memory grows

    def __post_init__(self) -> None:
        check_fields(self)
        # A gradient says nothing at the kink, where forward-backward splitting would come to a standstill.
        require(not self.gamma or self.method == "lm", "gamma", "0 for forward-backward splitting", self.gamma)
        require(not self.gamma or self.threshold is not None, "threshold", "T in nats, for gamma > 0", self.threshold)


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchingConfig:
    """How gradients are matched; bound and number of steps default to those of Witches' Brew for CIFAR-10."""

    eps: Annotated[float, Bounds("a change of pixels in {}", gt=0, le=1), "largest change of a pixel, in [0, 1]"] = (
        16 / 255
    )  # MNIST's strokes are black or white: there, 0.1 to 0.3 is as visible
    steps: Annotated[Count, "of signed Adam, a start"] = 250
    lr: Annotated[float, Bounds("a multiple of eps in {}", gt=0, le=2), "first step, as a multiple of eps"] = 2.0
    restarts: Annotated[Count, "starts; the lowest end counts"] = 1  # the source: 8
    seed: Annotated[Seed, "of all starts but the first, which is the bases"] = 1

    def __post_init__(self) -> None:
        check_fields(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class DefenseConfig:
    """One setting of attack and defence. The defaults are one in which the attack works where nobody filters."""

    task: Annotated[Task, "classes the new head tells apart"] = "two"  # those of base and target, or all
    classes: Annotated[tuple[int, int] | None, "of base and target"] = None  # None: drawn anew for each trial
    # D_f and D_p, which has K poisons.
    clean: Annotated[PerClass, "clean images a class to fine-tune on"] = 10
    poisons: Annotated[int, Bounds("a number >= {ge}", ge=0), "for one target"] = 10
    # Of target, bases and clean images.
    trials: Annotated[int, Bounds("{ge} to {le:,}, for an interval", ge=2, le=_TRIALS), "independent draws"] = 100
    beta: Beta = 1e-3  # the paper's lets most poisons for softmax fall short of the target
    gamma: Gamma = 0.0
    # Laid over each base before crafting, as in Poison Frogs.
    watermark: Annotated[float, Bounds("an opacity in {}", ge=0, lt=1), "opacity of the target on the bases"] = 0.0
    layers: Annotated[Layers, "what is fine-tuned"] = "head"  # a new head on frozen features, or all layers with it
    strength: Annotated[Positive, "C of the logistic regression"] = 100.0  # small: it cannot follow even clean images
    # None: the network's own Gaussians if it has any.
    density: Annotated[Density | None, "what scores images: the network's own Gaussians, or some fitted afterwards"] = (
        None
    )
    fpr: Annotated[float, Bounds("a rate in {}", gt=0, lt=1), "share of clean images that may be removed"] = 0.01
    # Of the clean images: these calibrate T, and do nothing else.
    calibration: Annotated[float, Bounds("a share in {}", gt=0, lt=1)] = 0.5
    seed: Annotated[Seed, "of all draws"] = 1

    def __post_init__(self) -> None:
        check_fields(self)
        pair = self.classes is None or (len(self.classes) == 2 and self.classes[0] != self.classes[1])
        require(pair, "classes", "two different classes, of base and target", self.classes)
        poisons = self.trials * self.poisons
        require(poisons <= _POISONS, "poisons, trials", f"a product of at most {_POISONS:,}", poisons)
