"""Sweeps over beta made by hand, for tests of what follows from them."""

from typing import Any

import numpy as np

from lgm.experiments.beta_sweep import Tradeoff
from tests.records import detection_report


def sweep_of(collided: Any, l2: Any, ssim: Any = None, betas: Any = None) -> Tradeoff:
    """A sweep of B betas and P pairs with these (B, P) tables."""
    collided, l2 = np.asarray(collided, bool), np.asarray(l2, np.float64)
    b, p = l2.shape
    return Tradeoff(
        model="hand-made",
        loss="lgm",
        data="nothing",
        data_sha256="0",
        seed=1,
        density="own",
        betas=np.geomspace(1e-3, 1e-1, b) if betas is None else np.asarray(betas),
        bases=np.arange(p),
        targets=np.arange(p) + p,
        collided=collided,
        l2=l2,
        ssim=1 - l2 / 10 if ssim is None else np.asarray(ssim, np.float64),
        score=-l2,
        detection=[detection_report()] * b,
        attack=[],
    )
