"""What stands in a link, without a page: read within the bounds of its field, or refused with what was expected."""

import numpy as np
import pytest

from lgm.config import BETA_GRID, GAMMA_GRID, DefenseConfig, PoisonConfig
from lgm.experiments.board.config import BoardConfig
from ui.state import FIELDS, Link, read, written


def test_defaults_are_those_of_the_configurations():
    link, attack, defense = Link(), PoisonConfig(), DefenseConfig()
    assert (link.beta, link.method, link.gamma) == (attack.beta, attack.method, attack.gamma)
    assert (link.task, link.poisons, link.clean, link.draw) == (
        defense.task,
        defense.poisons,
        defense.clean,
        defense.seed,
    )
    assert link.fpr == BoardConfig().aim


@pytest.mark.parametrize("name", FIELDS)
def test_what_is_written_is_read_again(name: str):
    field = FIELDS[name]
    values = [*field.choices, field.default]
    if field.bounds is not None:
        values += [field.kind(field.bounds.ge), field.kind(field.bounds.le)]
    for value in values:
        if value is not None:
            assert read(field, written(value)) == value


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("base", "-1", "a whole number from 0 to 99,999"),
        ("base", "1.5", "a whole number from 0 to 99,999"),
        ("base_class", "100", "a whole number from 0 to 99"),
        ("threshold", "nan", "a number of nats from -1,000,000 to 1,000,000"),
        ("beta", "0", "a number from 1e-05 to 1"),
        ("beta", "cake", "a number from 1e-05 to 1"),
        ("gamma", "2", "0, 0.001, 0.003, 0.01, 0.03, 0.1 or 1"),
        ("method", "sgd", "lm or fbs"),
        ("clean", "3", "2, 5, 10, 20 or 50"),
    ],
)
def test_what_was_expected_is_said(name: str, text: str, expected: str):
    with pytest.raises(ValueError) as error:
        read(FIELDS[name], text)
    assert str(error.value) == expected


def test_a_beta_becomes_the_nearest_stop_by_ratio():
    for beta in np.geomspace(BETA_GRID[0], BETA_GRID[-1], 500)[1:-1].tolist():
        distances = np.abs(np.log10(BETA_GRID) - np.log10(beta))
        found = read(FIELDS["beta"], repr(beta))
        assert distances[BETA_GRID.index(found)] == pytest.approx(distances.min(), abs=1e-12)


def test_numbers_of_a_few_are_read_however_they_are_written():
    for gamma in GAMMA_GRID:
        assert read(FIELDS["gamma"], f"{gamma:e}") == gamma
