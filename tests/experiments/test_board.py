"""The board: its cells against a slow loop and against `defend`, targets against their rules, and its record."""

import json
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lgm.attacks.export import rounded
from lgm.config import DefenseConfig, Loss, ModelConfig, Phase, TrainConfig
from lgm.data.base import Split
from lgm.defense.experiment import defend
from lgm.defense.heads import HEADS
from lgm.defense.report import attack_success
from lgm.defense.trials import Trial
from lgm.experiments.board.attackers import class_centre, craft, goal_of
from lgm.experiments.board.config import ATTACKERS, CHOICES, FILTERS, HEAD_TITLES, BoardConfig
from lgm.experiments.board.findings import edge_finding
from lgm.experiments.board.measure import measure_board
from lgm.experiments.board.record import Board, BoardAttack, Cell, board_table
from lgm.experiments.board.setting import Setting
from lgm.experiments.board.targets import choose_targets
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.utils.codec import decode
from lgm.utils.json import to_json

CONFIG = BoardConfig(
    choices=("random", "nearest"), trials=4, budgets=((3, 4), (6, 4)), candidates=3, fprs=(0.05, 0.2), aim=0.05, seed=3
)


@pytest.fixture(scope="module")
def board(gaussian: Classifier, blobs: Split) -> Board:
    """Of a network with Gaussians of its own."""
    rows: list[tuple[str, int, int]] = []
    networks = [(gaussian, _card("own", "lgm"))]
    found = measure_board(networks, blobs, CONFIG, on_row=lambda row, done, of: rows.append((row, done, of)))
    assert rows[0] == ("own: collision, random targets", 0, 6)
    assert rows[-1] == ("own: edge, nearest targets", 5, 6)
    return found


@pytest.fixture(scope="module")
def other(linear: Classifier, blobs: Split) -> Board:
    """Of a softmax network, for those who know T."""
    config = replace(CONFIG, attackers=("hinge", "edge"), choices=("random",), budgets=((3, 4),), trials=2)
    return measure_board([(linear, _card("other", "softmax"))], blobs, config)


def _card(name: str, loss: Loss) -> Card:
    recipe = TrainConfig(phases=(Phase(model=ModelConfig(network="tiny-cnn", loss=loss, n_classes=4)),))
    return Card(name=name, config=recipe, weights_sha256="")


def at(attack: BoardAttack, budget: tuple[int, int], name: str, fpr: float, head: str) -> Cell:
    found = attack.cell(budget, name, fpr, head)
    assert found is not None
    return found


def test_every_cell_is_there(board: Board, other: Board) -> None:
    own = board.networks[0]
    assert [(a.attacker, a.choice) for a in own.attacks] == [(a, c) for a in ATTACKERS for c in CONFIG.choices]
    for found, names, aim in ((board, set(FILTERS), "likelihood"), (other, set(FILTERS) - {"likelihood"}, "gaussian")):
        config, (network,) = found.config, found.networks
        expected = {
            (*budget, name, fpr, head)
            for budget in config.budgets
            for name in names
            for fpr in ((0.0,) if name == "none" else config.fprs)
            for head in HEADS
        }
        assert {a.aims_at for a in network.attacks if a.attacker == "edge"} == {aim}
        for attack in network.attacks:
            assert {(c.poisons, c.clean, c.filter, c.fpr, c.head) for c in attack.cells} == expected
            assert len(attack.cells) == len(expected)
            assert all(0 <= c.hits <= c.n <= config.trials for c in attack.cells)


def test_heads_are_those_of_the_defence() -> None:
    assert HEADS.keys() == HEAD_TITLES.keys()


def test_what_is_empty_is_named(other: Board) -> None:
    (network,) = other.networks
    assert [attack.attacker for attack in network.attacks] == ["edge"]
    assert [row.attacker for row in network.absent] == ["hinge"]
    assert "hinge: the hinge is differentiated through" in board_table(other)


def test_a_cell_is_what_a_slow_loop_counts(board: Board, gaussian: Classifier, blobs: Split) -> None:
    setting = Setting(gaussian, blobs, CONFIG)
    trials = choose_targets("nearest", "collision", setting)
    poisons = rounded(gaussian, craft("collision", setting, trials))
    for name, fpr, head in (("none", 0.0, "logistic"), ("knn", 0.2, "nearest-mean"), ("likelihood", 0.05, "gaussians")):
        hits = n = caught = lost = untouched = 0
        for i, (own, trial) in enumerate(zip(setting.trial_filters, trials, strict=True)):
            crafted = poisons.z[6 * i : 6 * i + 3]
            z = np.concatenate([setting.z[trial.clean], crafted])
            labels = np.concatenate([blobs.labels[trial.clean], np.full(3, trial.base_class)])
            keep, keep_bases, bases = np.ones(len(z), bool), np.ones(len(z), bool), z.copy()
            bases[-3:] = setting.z[trial.bases[:3]]
            if name != "none":
                score = own.filters[name]
                keep = score.score_samples(z, labels) > score.threshold(fpr)
                keep_bases = score.score_samples(bases, labels) > score.threshold(fpr)
            model = HEADS[head](setting.examples(z[keep], labels[keep], poisoned=False))
            alike = HEADS[head](setting.examples(bases[keep_bases], labels[keep_bases], poisoned=False))
            control = HEADS[head](setting.images(trial.clean))
            target = setting.z[[trial.target]] * setting.scale
            if control(target)[0] == trial.target_class:
                n += 1
                hits += int(model(target)[0] == trial.base_class)
                untouched += int(alike(target)[0] == trial.base_class)
            caught += int((~keep[-3:]).sum())
            lost += int((~keep[:-3]).sum())
        cell = at(board.networks[0].attacks[1], (3, 4), name, fpr, head)
        assert (cell.hits, cell.n) == (hits, n)
        assert cell.untouched_bases == attack_success(untouched, n)
        assert cell.poisons_removed == pytest.approx(caught / 12)
        assert cell.clean_removed == pytest.approx(lost / 32)


def test_random_collisions_are_those_of_defend(board: Board, gaussian: Classifier, blobs: Split) -> None:
    setting = DefenseConfig(trials=4, poisons=6, clean=4, beta=CONFIG.beta, fpr=0.05, seed=3)
    expected = defend(gaussian, _card("own", "lgm"), blobs, setting)
    attack = board.networks[0].attacks[0]
    unfiltered, filtered = (
        at(attack, (6, 4), *defence, "logistic") for defence in (("none", 0.0), ("likelihood", 0.05))
    )
    assert unfiltered.n == expected.n
    assert unfiltered.attack_success == expected.attack_success.unfiltered
    assert filtered.attack_success == expected.attack_success.filtered
    assert filtered.poisons_removed == pytest.approx(expected.poisons_removed / expected.poisons_total)
    assert filtered.clean_removed == pytest.approx(expected.clean_removed / expected.clean_total)
    assert filtered.accuracy == pytest.approx(expected.accuracy.filtered)
    (accuracy,) = (control.accuracy for control in attack.controls if control.head == "logistic")
    assert accuracy == pytest.approx(expected.accuracy.clean)
    assert unfiltered.untouched_bases == expected.untouched_bases.attack_success


def test_targets_are_picked_by_their_rules(gaussian: Classifier, blobs: Split) -> None:
    setting = Setting(gaussian, blobs, CONFIG)
    for choice in CHOICES:
        for trial, drawn in zip(choose_targets(choice, "edge", setting), setting.trials, strict=True):
            _assert_same_images(trial, drawn)
            assert blobs.labels[trial.target] == trial.target_class
    for own, trial in zip(setting.trial_filters, choose_targets("nearest", "edge", setting), strict=True):
        centre = class_centre(setting, own.trial)
        free = np.append(own.trial.evaluation, own.trial.target)
        mine = [i for i in free if blobs.labels[i] == trial.target_class and setting.predicted[i] == trial.target_class]
        distances = [np.linalg.norm((setting.z[i] - centre) * setting.scale) for i in mine]
        assert trial.target == mine[int(np.argmin(distances))]
    again = choose_targets("best", "edge", Setting(gaussian, blobs, CONFIG))
    assert [t.target for t in again] == [t.target for t in choose_targets("best", "edge", setting)]


def _assert_same_images(trial: Trial, drawn: Trial) -> None:
    """A chosen target changes places with an image that is held out, and nothing else moves."""
    for name in ("bases", "clean", "calibration", "fresh"):
        np.testing.assert_array_equal(getattr(trial, name), getattr(drawn, name))
    parts = [sorted([each.target, *each.evaluation]) for each in (trial, drawn)]
    assert parts[0] == parts[1]
    assert trial.target not in trial.evaluation


def test_the_edge_is_aimed_at_and_passes(board: Board, gaussian: Classifier, blobs: Split) -> None:
    setting = Setting(gaussian, blobs, CONFIG)
    own = setting.trial_filters[0]
    goal = goal_of("edge", setting, own, own.trial.target)
    score = own.density.score_samples(goal[None].astype(np.float32), np.array([own.trial.base_class]))[0]
    assert score > own.density.threshold(CONFIG.aim)
    np.testing.assert_array_equal(goal_of("collision", setting, own, own.trial.target), setting.z[own.trial.target])
    edge = [attack for attack in board.networks[0].attacks if attack.attacker == "edge"]
    collision = [attack for attack in board.networks[0].attacks if attack.attacker == "collision"]
    assert min(attack.passing for attack in edge) > 0.9
    assert max(attack.passing for attack in collision) == 0.0


def test_rates_that_calibration_cannot_promise_are_refused(gaussian: Classifier, blobs: Split) -> None:
    """T would be -inf there: a filter that removes nothing, which the edge would be no edge of."""
    setting = Setting(gaussian, blobs, replace(CONFIG, fprs=(0.002, 0.05)))
    with pytest.raises(ValueError, match=r"to calibrate a filter for 0\.2 % on, at least 499, got \d+,"):
        _ = setting.trial_filters


def test_a_defence_that_costs_accuracy_is_marked(board: Board) -> None:
    row = board.networks[0].attacks[0]
    cell, unfiltered = at(row, (3, 4), "knn", 0.05, "logistic"), at(row, (3, 4), "none", 0.0, "logistic")
    (accuracy,) = (control.accuracy for control in row.controls if control.head == "logistic")
    assert row.costly(replace(cell, accuracy=accuracy - 0.06))
    assert not row.costly(replace(cell, accuracy=accuracy - 0.04))
    assert not row.costly(replace(unfiltered, accuracy=accuracy - 0.06)), "that is the attack's doing"


def test_the_record_reads_back(board: Board) -> None:
    assert decode(Board, json.loads(to_json(board))) == board


def test_the_table_has_a_line_a_row(board: Board) -> None:
    table = board_table(board)
    assert table.count("edge, nearest") == len(CONFIG.budgets) * len(HEADS)
    attack = board.networks[0].attacks[0]
    share = at(attack, (3, 4), "none", 0.0, "logistic").attack_success.value
    line = next(line for line in table.splitlines() if line.startswith("collision, random"))
    assert line.removeprefix("collision, random").split()[1:3] == [f"{100 * share:.0f}", "%"]


@pytest.mark.parametrize(
    ("hits", "untouched", "verdict"),
    [
        (40, 3, "This filter does not stop this attacker."),
        (0, 0, "This attacker does not refute the filter."),
        (20, 15, "Whether the poisons do it, or the filter and any further images of the base's class, is open."),
        (4, 0, "Whether the filter stops this attacker is open."),
    ],
)
def test_findings_go_by_whole_intervals(board: Board, hits: int, untouched: int, verdict: str) -> None:
    network = board.networks[0]
    row = network.attack("edge", "nearest")
    assert row is not None
    shares = {"attack_success": attack_success(hits, 100), "untouched_bases": attack_success(untouched, 100)}
    cells = tuple(replace(cell, **shares, hits=hits, n=100) for cell in row.cells)
    changed = replace(network, attacks=(replace(row, cells=cells),))
    said = edge_finding(board, changed, (6, 4), 0.2, "nearest-mean")
    assert said.endswith(verdict)
    assert f"K = 6 poisons at the edge of T, beside 4 clean images a class, {hits} of 100 attacks" in said
    assert "nearest class mean" in said
    assert "20 % FPR, where the attacker aims at the T for 5 %" in said
    assert edge_finding(board, replace(network, attacks=()), (6, 4), 0.2, "nearest-mean") == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"attackers": ("collision", "magic")}, "attackers: expected one or several of collision, hinge, edge"),
        ({"choices": ("random", "random")}, "choices: expected one or several of random, nearest, best, each once"),
        ({"budgets": ((0, 10),)}, "budgets: expected pairs of at least 1 poison and 2 clean images"),
        ({"fprs": (0.0,)}, "fprs: expected rates in"),
        ({"trials": 1}, "trials: expected 2 to 10,000"),
        ({"aim": 1.0}, "aim: expected a rate in"),
        ({"aim": 0.03}, "aim: expected one of the rates 0.05, 0.2, got 0.03"),
        ({"budgets": ((3, 4), (3, 4))}, "budgets: expected pairs"),
    ],
)
def test_settings_that_make_no_sense_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        replace(CONFIG, **change)
