"""The tiny networks in tests/fixtures, and the command that trains them anew: `python -m tests.make_fixtures`.

A second each, from seed 1 (`TrainConfig.seed`) on the bundled digits. Tests start from the committed files, so that all
machines test with the same networks; tests/models/test_fixtures.py trains them once more.
"""

import os
import tempfile
from dataclasses import replace
from pathlib import Path

from lgm.config import TrainConfig
from lgm.training.presets import PRESETS

FIXTURES = Path(__file__).parent / "fixtures"
ENDINGS = ("safetensors", "json", "features.safetensors")

_LGM = PRESETS["tiny-lgm"]
TINY: dict[str, TrainConfig] = {
    "tiny-lgm": _LGM,
    "tiny-softmax": PRESETS["tiny-softmax"],
    "tiny-wide": _LGM.with_last(model=replace(_LGM.phases[-1].model, n_dim=5)),
}


def train(name: str, folder: Path) -> Path:
    """Train one of them here; the path of its weights."""
    from lgm.training.train import train_checkpoint

    assert train_checkpoint(TINY[name], name, folder, force=True) is not None
    return folder / f"{name}.safetensors"


if __name__ == "__main__":
    os.environ["LGM_PRECISION"] = "float32"
    os.environ.pop("LGM_DATA", None)  # the cards are those of a machine without data
    with tempfile.TemporaryDirectory() as home:
        os.environ["LGM_HOME"] = home
        for each in TINY:
            print(train(each, FIXTURES))
