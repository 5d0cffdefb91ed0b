"""Settings of the one-shot experiment, read without torch."""

from dataclasses import dataclass
from typing import Annotated

from lgm.config import Beta, Count, Positive, Seed
from lgm.utils.fields import Bounds, check_fields

Share = Annotated[float, Bounds("a share in {}", gt=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShotConfig:
    """One setting."""

    attacks: Annotated[Count, "random pairs of a base and a target"] = 30
    beta: Beta = 0.1
    iterations: Annotated[Count, "of forward-backward splitting, a poison"] = 150
    trusted: Annotated[Share, "share of the photos that the filters may trust; nothing is fine-tuned on them"] = 0.65
    calibration: Annotated[Share, "share of those that calibrate T, and do nothing else"] = 0.64
    strength: Annotated[Positive, "C of the logistic regression"] = 100.0
    seed: Annotated[Seed, "of all draws"] = 1

    def __post_init__(self) -> None:
        check_fields(self)
