"""The committed tiny networks are those that the code of today trains."""

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from lgm.models.card import card_of
from lgm.models.features import read_features
from tests.make_fixtures import ENDINGS, FIXTURES, TINY

pytestmark = pytest.mark.slow

# To the bit on the machine that made them. Other instruction sets sum in other orders, and a step of AdamW has the sign
# of a gradient that may round to either side of 0. Measured with SSE 4.1 instead of AVX-512: 5e-6 of a loss, 1e-3 of a
# tensor's norm, 3 of 5,000 predictions.
LOSS, NORM, IMAGES = 1e-4, 1e-2, 0.002


@pytest.mark.parametrize("name", TINY)
def test_a_committed_network_is_trained_again(name: str, trained: Callable[[str], Path]) -> None:
    kept, fresh = FIXTURES / f"{name}.safetensors", trained(name)
    card, again = card_of(kept), card_of(fresh)
    assert card.config == again.config == TINY[name]
    assert card.data_sha256 == again.data_sha256
    assert [r["loss"] for r in again.history] == pytest.approx([r["loss"] for r in card.history], rel=LOSS)
    assert again.accuracy == pytest.approx(card.accuracy, abs=IMAGES)
    weights, others = load_file(kept), load_file(fresh)
    assert weights.keys() == others.keys()
    for key, value in weights.items():
        assert (others[key] - value).norm() <= NORM * value.norm(), key
    stored, found = (read_features(str(path)).splits["bundled"] for path in (kept, fresh))
    assert (stored.predicted != found.predicted).mean() <= IMAGES
    span = stored.z.max(0) - stored.z.min(0)
    assert (abs(found.z - stored.z).max(0) <= NORM * span).all()


def test_no_other_file_lies_beside_them() -> None:
    assert {path.name for path in FIXTURES.iterdir() if path.is_file()} == {
        f"{name}.{ending}" for name in TINY for ending in ENDINGS
    }
