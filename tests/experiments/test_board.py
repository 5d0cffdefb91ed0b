"""The board: its cells against a slow loop and against `defend`, targets against their rules, and its record."""

import json
import math
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid

from lgm.attacks.export import rounded
from lgm.config import DefenseConfig, Loss, MatchingConfig, ModelConfig, Phase, TrainConfig
from lgm.data.base import Split
from lgm.defense.experiment import defend
from lgm.defense.finetune import Examples, fine_tune, fine_tune_layers
from lgm.defense.heads import HEADS, nearest_mean
from lgm.defense.report import attack_success
from lgm.defense.trials import Trial, draw_trials
from lgm.experiments.board.advice import advice
from lgm.experiments.board.attackers import MATCHING, class_centre, craft, goal_of
from lgm.experiments.board.config import (
    ALL_CLASSES,
    ATTACKERS,
    CHOICES,
    FILTERS,
    FROZEN,
    HEAD_TITLES,
    HEAVIEST_ONLY,
    LAYERS,
    BoardConfig,
    frozen_head,
)
from lgm.experiments.board.findings import accuracy_left, edge_finding, fewest
from lgm.experiments.board.measure import measure_board
from lgm.experiments.board.parts import Part
from lgm.experiments.board.record import Board, BoardAttack, Cell
from lgm.experiments.board.replay import replay
from lgm.experiments.board.setting import Setting, with_target
from lgm.experiments.board.stored import MeasuredBoard, attacks_path, read_attack, read_measured, write_attacks
from lgm.experiments.board.table import board_table
from lgm.experiments.board.targets import choose_targets
from lgm.models.card import Card, CheckpointError
from lgm.models.classifier import Classifier
from lgm.models.linear_head import LinearHead
from lgm.models.scoring import embed
from lgm.utils.codec import decode
from lgm.utils.json import to_json

pytestmark = pytest.mark.slow
CONFIG = BoardConfig(
    attackers=("collision", "edge", "edge-knn", "bullseye", "transfer", "transfer-bullseye"),
    choices=("random", "nearest"),
    trials=4,
    budgets=((3, 4), (6, 4)),
    candidates=3,
    fprs=(0.05, 0.2),
    aim=0.05,
    seed=3,
)


@pytest.fixture(scope="module")
def measured(gaussian: Classifier, blobs: Split) -> MeasuredBoard:
    """Of a network with Gaussians of its own."""
    rows: list[tuple[str, int, int]] = []
    networks = [(gaussian, _card("own", "lgm"))]
    how: dict[str, Any] = {"surrogates": [gaussian], "on_row": lambda row, done, of: rows.append((row, done, of))}
    found = measure_board(networks, blobs, CONFIG, **how)
    assert rows[0] == ("own: collision, random targets", 0, 12)
    assert rows[-1] == ("own: transfer-bullseye, nearest targets", 11, 12)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def board(measured: MeasuredBoard) -> Board:
    """Its record."""
    return measured.board


@pytest.fixture(scope="module")
def other(linear: Classifier, blobs: Split) -> Board:
    """Of a softmax network, for those who know T."""
    config = replace(
        CONFIG, attackers=("hinge", "edge", "edge-gaussian"), choices=("random",), budgets=((3, 4),), trials=2
    )
    found = measure_board([(linear, _card("other", "softmax"))], blobs, config)
    assert found is not None
    return found.board


def _card(name: str, loss: Loss) -> Card:
    recipe = TrainConfig(phases=(Phase(model=ModelConfig(network="tiny-cnn", loss=loss, n_classes=4)),))
    return Card(name=name, config=recipe, weights_sha256="")


def at(attack: BoardAttack, budget: tuple[int, int], name: str, fpr: float, head: str) -> Cell:
    found = attack.cell(budget, name, fpr, head)
    assert found is not None
    return found


def test_every_cell_is_there(board: Board, other: Board) -> None:
    own = board.networks[0]
    assert [(a.attacker, a.choice) for a in own.attacks] == [(a, c) for a in CONFIG.attackers for c in CONFIG.choices]
    for found, names, aim in ((board, set(FILTERS), "likelihood"), (other, set(FILTERS) - {"likelihood"}, "gaussian")):
        config, (network,) = found.config, found.networks
        expected = {
            (*budget, name, fpr, head)
            for budget in config.budgets
            for name in names
            for fpr in ((0.0,) if name == "none" else config.fprs)
            for head in HEADS
        }
        expected |= {(*config.heaviest, name, fpr, f"all-{head}") for _, _, name, fpr, head in expected}
        assert {a.aims_at for a in network.attacks if a.attacker == "edge"} == {aim}
        for attack in network.attacks:
            least = config.poisons if ATTACKERS[attack.attacker].together else 0
            mine = {cell for cell in expected if cell[0] >= least}
            assert {(c.poisons, c.clean, c.filter, c.fpr, c.head) for c in attack.cells} == mine
            assert len(attack.cells) == len(mine)
            assert all(0 <= c.hits <= c.n <= config.trials for c in attack.cells)


def test_heads_are_those_of_the_defence() -> None:
    assert HEADS.keys() == FROZEN.keys() == HEAD_TITLES.keys() - HEAVIEST_ONLY
    assert [frozen_head(name) for name in ALL_CLASSES] == [frozen_head(name) for name in FROZEN] == [*HEADS]


def test_what_is_empty_is_named(other: Board) -> None:
    (network,) = other.networks
    assert [attack.attacker for attack in network.attacks] == ["edge"]
    assert [row.attacker for row in network.absent] == ["hinge", "edge-gaussian"]
    assert "hinge: the hinge is differentiated through" in board_table(other)


def test_a_cell_is_what_a_slow_loop_counts(board: Board, gaussian: Classifier, blobs: Split) -> None:
    setting = Setting.of_split(gaussian, blobs, CONFIG)
    trials = choose_targets("nearest", "collision", setting)
    poisons = rounded(gaussian, craft("collision", setting, blobs, trials))
    for name, fpr, head in (("none", 0.0, "logistic"), ("knn", 0.2, "nearest-mean"), ("likelihood", 0.05, "gaussians")):
        hits = n = caught = lost = untouched = both = 0
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
                turned, anyhow = (each(target)[0] == trial.base_class for each in (model, alike))
                hits, untouched, both = hits + int(turned), untouched + int(anyhow), both + int(turned and anyhow)
            caught += int((~keep[-3:]).sum())
            lost += int((~keep[:-3]).sum())
        cell = at(board.networks[0].attacks[1], (3, 4), name, fpr, head)
        assert (cell.n, cell.hits, cell.untouched, cell.both) == (n, hits, untouched, both)
        assert cell.poisons_removed == pytest.approx(caught / 12)
        assert cell.clean_removed == pytest.approx(lost / 32)


def test_a_cell_is_its_attacks_replayed_from_stored_features(
    measured: MeasuredBoard, gaussian: Classifier, blobs: Split
) -> None:
    setting = Setting(gaussian, blobs.labels, Setting.of_split(gaussian, blobs, CONFIG).z, CONFIG)
    row = measured.board.networks[0].attack("edge-knn", "nearest")
    assert row is not None
    stored = measured.attacks["own", "edge-knn", "nearest"]
    assert stored.images.shape == (6, 1, 28, 28)
    assert np.median(stored.l2) == pytest.approx(row.l2)
    assert 0 < row.ssim < 1
    for budget, name, fpr, head in (
        ((3, 4), "none", 0.0, "logistic"),
        ((3, 4), "knn", 0.2, "nearest-mean"),
        ((3, 4), "spectral", 0.05, "gaussians"),
        ((6, 4), "likelihood", 0.05, "all-logistic"),
    ):
        cell = at(row, budget, name, fpr, head)
        hits = n = 0
        for trial in range(CONFIG.trials):
            again = replay(setting, stored, budget=budget, filter=name, fpr=fpr, head=head, trial=trial)
            counts = again.predicted.clean == again.trial.target_class
            n, hits = n + counts, hits + (counts and again.predicted.filtered == again.trial.base_class)
        assert (cell.n, cell.hits) == (n, hits)
    with pytest.raises(ValueError, match="trial: expected 0 to 3, got 4"):
        replay(setting, stored, budget=(3, 4), filter="none", fpr=0.0, head="logistic", trial=4)


@pytest.mark.parametrize("defence", [("none", 0.0), ("likelihood", 0.05), ("knn", 0.2)])
@pytest.mark.parametrize(
    "model_of",
    [("all-logistic", LogisticRegression(C=100, max_iter=5000)), ("all-nearest-mean", NearestCentroid())],
)
def test_all_classes_are_what_a_slow_loop_counts(
    measured: MeasuredBoard, gaussian: Classifier, blobs: Split, defence: tuple[str, float], model_of: tuple[str, Any]
) -> None:
    """The trials of two classes, with clean images of the others beside those."""
    (name, fpr), (head, oracle) = defence, model_of
    row = measured.board.networks[0].attack("collision", "nearest")
    assert row is not None
    stored, setting = measured.attacks["own", "collision", "nearest"], Setting.of_split(gaussian, blobs, CONFIG)
    z, labels = setting.z * setting.scale, blobs.labels
    n = hits = caught = lost = 0
    accuracy, control = [], []
    drawn = draw_trials(labels, DefenseConfig(poisons=6, clean=4, trials=4, seed=3, task="all"))
    for trial, two, own, target, its in zip(
        drawn, setting.trials, setting.trial_filters, stored.targets, stored.z, strict=True
    ):
        assert np.bincount(labels[trial.clean]).tolist() == [4, 4, 4, 4]
        assert (set(two.clean), set(two.bases)) <= (set(trial.clean), set(trial.bases))
        claimed = np.append(labels[trial.clean], np.full(6, trial.base_class))
        mixed = np.concatenate([setting.z[trial.clean], its])
        keep = np.ones(len(mixed), bool)
        if name != "none":
            keep = own.filters[name].score_samples(mixed, claimed) > own.filters[name].threshold(fpr)
        clean = clone(oracle).fit(z[trial.clean], labels[trial.clean])
        model = clone(oracle).fit(mixed[keep] * setting.scale, claimed[keep])
        if clean.predict(z[[target]])[0] == trial.target_class:
            n, hits = n + 1, hits + (model.predict(z[[target]])[0] == trial.base_class)
        caught, lost = caught + (~keep[-6:]).sum(), lost + (~keep[:-6]).sum()
        rest = with_target(trial, target).evaluation
        accuracy.append(model.score(z[rest], labels[rest]))
        control.append(clean.score(z[rest], labels[rest]))
    cell = at(row, (6, 4), name, fpr, head)
    assert (cell.n, cell.hits) == (n, hits)
    assert (cell.poisons_removed, cell.clean_removed) == pytest.approx((caught / 24, lost / 64))
    assert (cell.accuracy, row.control(4, head)) == pytest.approx((np.mean(accuracy), np.mean(control)))


def test_rows_are_kept_and_a_stopped_run_goes_on(
    measured: MeasuredBoard, gaussian: Classifier, blobs: Split, tmp_path: Path
) -> None:
    networks = [(gaussian, _card("own", "lgm"))]
    config = replace(CONFIG, attackers=("collision",))
    assert measure_board(networks, blobs, config, cache=tmp_path, on_row=lambda row, done, of: done < 1) is None
    (kept,) = tmp_path.glob("row-*.safetensors")
    poisons = [path for path in tmp_path.iterdir() if path != kept]
    for path in poisons:
        path.unlink()
    found = measure_board(networks, blobs, config, cache=tmp_path)
    assert found is not None
    assert len(list(tmp_path.glob("row-*.safetensors"))) == 2
    assert not any(path.exists() for path in poisons), "the first row was read, not measured again"
    assert found.board.networks[0].attacks == measured.board.networks[0].attacks[:2]
    write_attacks(found.attacks, found.board, tmp_path / f"{found.board.dataset}.board.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lgm.experiments.board.stored.SHIPPED", tmp_path)
        again = read_attack(found.board, "own", "collision", "nearest")
        assert read_attack(found.board, "own", "hinge", "nearest") is None
        assert read_attack(replace(found.board, seconds=0.0), "own", "collision", "nearest") is None, "another board's"
    assert again is not None
    for name, array in vars(measured.attacks["own", "collision", "nearest"]).items():
        np.testing.assert_array_equal(getattr(again, name), array)


def test_a_record_grows_by_what_is_not_on_it(
    measured: MeasuredBoard, gaussian: Classifier, linear: Classifier, blobs: Split, tmp_path: Path
) -> None:
    path = tmp_path / "earlier.json"
    path.write_text(to_json(measured.board))
    write_attacks(measured.attacks, measured.board, attacks_path(path))
    config = replace(CONFIG, attackers=(*CONFIG.attackers, "convex"))

    def crafts(attacker: str, *_: object, **__: object) -> None:
        raise LookupError(attacker)

    def grown(**changes: Any) -> MeasuredBoard | None:
        how: dict[str, Any] = {"surrogates": [gaussian], "config": config, "cache": tmp_path} | changes
        return measure_board([(gaussian, _card("own", "lgm"))], blobs, earlier=read_measured(path), **how)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("lgm.experiments.board.rows.craft", crafts)
        with pytest.raises(LookupError, match="convex"):  # nothing else is crafted
            grown()
    found = grown()
    assert found is not None
    assert found.board.networks[0].attacks[:-2] == measured.board.networks[0].attacks
    assert [attack.attacker for attack in found.board.networks[0].attacks[-2:]] == ["convex", "convex"]
    np.testing.assert_array_equal(
        found.attacks["own", "edge", "nearest"].z, measured.attacks["own", "edge", "nearest"].z
    )
    for changes, said in (
        ({"config": replace(config, trials=5)}, "add-to: expected a record of the same setting"),
        ({"config": replace(config, choices=("random",))}, "choices: expected those of the record to add to among"),
        ({"config": replace(config, budgets=((6, 4),))}, "budgets: expected those of the record to add to among"),
        ({"config": replace(config, budgets=((3, 4), (6, 4), (7, 4)))}, "budgets: expected none above 6 poisons or 4"),
        ({"config": replace(config, budgets=((3, 4), (6, 4), (6, 3)))}, "budgets: expected none heavier than (6, 4)"),
        ({"surrogates": [linear]}, "add-to: expected a record of the same surrogate of own"),
    ):
        with pytest.raises(ValueError, match=re.escape(said)):
            grown(**changes)
    attacks_path(path).unlink()
    with pytest.raises(CheckpointError, match="expected the attacks of a board"):
        grown()


def test_further_budgets_are_what_one_run_of_all_finds(
    gaussian: Classifier, blobs: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the poisons that are there: nothing is crafted, and rows on a surrogate need none."""
    networks = [(gaussian, _card("own", "lgm"))]
    few = replace(CONFIG, attackers=("edge", "bullseye", "transfer"), choices=("nearest",))
    more = replace(few, budgets=((3, 3), *few.budgets))
    earlier = measure_board(networks, blobs, few, surrogates=[gaussian])
    expected = measure_board(networks, blobs, more, surrogates=[gaussian])
    monkeypatch.setattr("lgm.experiments.board.rows.craft", None)
    found = measure_board(networks, blobs, more, earlier=earlier)
    assert earlier is not None
    assert expected is not None
    assert found is not None
    assert found.board.networks == expected.board.networks
    assert found.board.networks != earlier.board.networks


def test_a_budget_that_moves_the_heaviest_of_a_polytope_is_refused(gaussian: Classifier, blobs: Split) -> None:
    """Bullseye has the largest K only: 2 beside 2 is the heaviest of all, and 6 beside 6 the heaviest of its own."""
    networks, config = [(gaussian, _card("own", "lgm"))], replace(CONFIG, attackers=("bullseye",), choices=("random",))
    earlier = measure_board(networks, blobs, replace(config, trials=2, budgets=((2, 2), (6, 6))))
    with pytest.raises(ValueError, match=re.escape("budgets: expected none heavier than (6, 6), where the record has")):
        measure_board(networks, blobs, replace(config, trials=2, budgets=((2, 2), (6, 6), (6, 5))), earlier=earlier)


def test_kept_rows_get_the_parts_that_they_lack(
    gaussian: Classifier, blobs: Split, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    networks = [(gaussian, _card("own", "lgm"))]
    few: dict[str, Any] = {"choices": ("nearest",), "trials": 2, "fprs": (0.05,)}
    config = replace(CONFIG, attackers=("collision", "gradient-matching"), **few)
    monkeypatch.setitem(MATCHING, "grey", MatchingConfig(steps=2))
    expected = measure_board(networks, blobs, config)
    assert expected is not None
    with monkeypatch.context() as patch:
        patch.setattr("lgm.experiments.board.parts._parts_of", lambda *_: [Part(6, 4, all_classes=False)])
        fewer = measure_board(networks, blobs, config, cache=tmp_path)
    assert fewer is not None
    for row in fewer.board.networks[0].attacks:
        layers = {(6, LAYERS)} if row.attacker == "gradient-matching" else set()
        assert {(cell.poisons, cell.head) for cell in row.cells} == {(6, head) for head in FROZEN} | layers
    monkeypatch.setattr("lgm.experiments.board.rows.craft", None)
    found = measure_board(networks, blobs, config, cache=tmp_path)
    assert found is not None
    assert found.board.networks == expected.board.networks, "in the same order"
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("row-*.safetensors")}
    assert measure_board(networks, blobs, config, cache=tmp_path) is not None
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("row-*.safetensors")} == kept, "complete now"


def test_all_layers_are_what_a_slow_loop_counts(
    gaussian: Classifier, blobs: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(CONFIG, attackers=("gradient-matching",), budgets=((3, 2), (6, 4)), trials=3)
    monkeypatch.setitem(MATCHING, "grey", MatchingConfig(eps=0.4, steps=50))
    found = measure_board([(gaussian, _card("own", "lgm"))], blobs, config)
    assert found is not None
    (network,) = found.board.networks
    (row,) = network.attacks
    assert (row.attacker, row.choice) == ("gradient-matching", "nearest")
    assert network.heads == HEAD_TITLES
    mine = [cell for cell in row.cells if cell.head == LAYERS]
    rates = [("none", 0.0), *(("likelihood", fpr) for fpr in config.fprs)]
    assert [(c.poisons, c.clean, c.filter, c.fpr) for c in mine] == [(6, 4, *rate) for rate in rates]
    assert row.linf <= 0.4 + 1 / 255
    setting = Setting.of_split(gaussian, blobs, config)
    trials = choose_targets("nearest", "gradient-matching", setting)
    poisons = rounded(gaussian, craft("gradient-matching", setting, blobs, trials))
    for name, fpr in rates:
        counted, removed, accuracy, control = [], [], [], []
        for i, (own, trial) in enumerate(zip(setting.trial_filters, trials, strict=True)):
            labels = np.concatenate([blobs.labels[trial.clean], np.full(6, trial.base_class)])
            asked = np.append(trial.target, trial.evaluation)
            said = []
            for more in (poisons.images[6 * i : 6 * i + 6], blobs.pixels(trial.bases).numpy(), None):
                pixels = blobs.pixels(trial.clean).numpy()
                pixels = pixels if more is None else np.concatenate([pixels, more])
                z = embed(gaussian, torch.from_numpy(pixels)).numpy()
                claimed, keep = labels[: len(z)], np.ones(len(z), bool)
                if name != "none" and more is not None:
                    score = own.filters[name]
                    keep = score.score_samples(z, claimed) > score.threshold(fpr)
                nothing = np.zeros(keep.sum())
                left = Examples(z[keep] * setting.scale, claimed[keep], nothing, nothing > 0, pixels[keep])
                said.append(fine_tune_layers(gaussian, left, fine_tune(left))(blobs.pixels(asked).numpy()))
                removed += [~keep] if len(said) == 1 else []
            right = [(each[1:] == blobs.labels[trial.evaluation]).mean() for each in said]
            accuracy, control = [*accuracy, right[0]], [*control, right[2]]
            turned = [each[0] == trial.base_class for each in said[:2]]
            counted += [turned] if said[2][0] == trial.target_class else []
        (hits, untouched), cell = np.sum(counted, axis=0), at(row, (6, 4), name, fpr, LAYERS)
        assert (cell.n, cell.hits, cell.untouched) == (len(counted), hits, untouched)
        shares = np.mean([[gone[-6:].mean(), gone[:-6].mean()] for gone in removed], axis=0)
        assert (cell.poisons_removed, cell.clean_removed) == pytest.approx(tuple(shares))
        assert (cell.accuracy, row.control(4, LAYERS)) == pytest.approx((np.mean(accuracy), np.mean(control)))
    assert mine[0].hits > 0
    assert f"K = 6, 4 clean images a class, head: {HEAD_TITLES[LAYERS]}" in board_table(found.board)
    assert f"K = 3, 2 clean images a class, head: {HEAD_TITLES[LAYERS]}" not in board_table(found.board)


def test_what_holds_no_poisons_is_fitted_once_for_all_attackers(
    gaussian: Classifier, blobs: Split, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[Examples] = []

    def noted(examples: Examples) -> LinearHead:
        fitted.append(examples)
        return nearest_mean(examples)

    monkeypatch.setitem(HEADS, "nearest-mean", noted)
    config = replace(CONFIG, attackers=("collision",), choices=("random",), seed=11)
    rows, counts = [], []
    for _ in range(2):
        found = measure_board([(gaussian, _card("own", "lgm"))], blobs, config)
        assert found is not None
        rows.append(found.board.networks)
        counts.append(len(fitted))
        fitted.clear()
    assert rows[0] == rows[1]
    assert counts[0] > counts[1] > 0


def test_a_row_that_was_stopped_is_not_kept(
    gaussian: Classifier, blobs: Split, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = replace(CONFIG, attackers=("gradient-matching",))
    fitted: list[int] = []
    asked: list[bool] = []

    def fit(*given: Any, **how: Any) -> Any:
        fitted.append(1)
        return fine_tune_layers(*given, **how)

    def once(*_: Any) -> bool:
        """No, as soon as a model is there, and then yes again."""
        asked.append(bool(fitted))
        return asked.count(True) != 1 or not fitted

    monkeypatch.setattr("lgm.experiments.board.cells.fine_tune_layers", fit)
    monkeypatch.setitem(MATCHING, "grey", MatchingConfig(steps=2))
    how: dict[str, Any] = {"on_row": once, "cache": tmp_path}
    assert measure_board([(gaussian, _card("own", "lgm"))], blobs, config, **how) is None
    assert asked.count(True) == 1
    assert not list(tmp_path.iterdir())


def test_simulated_poisons_are_exactly_where_their_attacker_wants_them(gaussian: Classifier, blobs: Split) -> None:
    config = replace(CONFIG, attackers=("collision", "edge", "convex"), budgets=((6, 4),))
    found = measure_board([(gaussian, _card("own", "lgm"))], blobs, config, simulate=True)
    assert found is not None
    setting = Setting.of_split(gaussian, blobs, config)
    for attacker in ("collision", "edge"):
        row, stored = found.board.networks[0].attack(attacker, "nearest"), found.attacks["own", attacker, "nearest"]
        assert row is not None
        assert math.isnan(row.l2)
        for own, target, z in zip(setting.trial_filters, stored.targets, stored.z, strict=True):
            goal = goal_of(attacker, setting, own, int(target)).astype(np.float32)
            np.testing.assert_array_equal(z, np.tile(goal, (config.poisons, 1)))
        assert (row.collided == 1) == (attacker == "collision")
        assert (row.passing == 1) == (attacker == "edge")
        defence: dict[str, Any] = {"filter": "knn", "fpr": 0.05, "head": "logistic"}
        again = [replay(setting, stored, budget=(6, 4), **defence, trial=i) for i in range(config.trials)]
        counted = [each for each in again if each.predicted.clean == each.trial.target_class]
        cell = at(row, (6, 4), "knn", 0.05, "logistic")
        hits = sum(each.predicted.filtered == each.trial.base_class for each in counted)
        assert (cell.n, cell.hits) == (len(counted), hits)
    convex, bases = found.attacks["own", "convex", "random"].z[0], setting.trials[0].bases
    np.testing.assert_array_equal(convex[1:], setting.z[bases[1 : config.poisons]])


def test_asking_to_stop_is_answered_while_poisons_are_crafted(
    gaussian: Classifier, blobs: Split, tmp_path: Path
) -> None:
    asked: list[int] = []

    def on_row(row: str, done: int, of: int) -> bool:
        asked.append(done)
        return len(asked) < 3

    assert measure_board([(gaussian, _card("own", "lgm"))], blobs, CONFIG, cache=tmp_path, on_row=on_row) is None
    assert asked == [0, 0, 0]
    assert not list(tmp_path.iterdir()), "what is not finished is not kept"


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
    setting = Setting.of_split(gaussian, blobs, CONFIG)
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
    again = choose_targets("best", "edge", Setting.of_split(gaussian, blobs, CONFIG))
    assert [t.target for t in again] == [t.target for t in choose_targets("best", "edge", setting)]


def _assert_same_images(trial: Trial, drawn: Trial) -> None:
    """A chosen target changes places with an image that is held out, and nothing else moves."""
    for name in ("bases", "clean", "calibration", "fresh"):
        np.testing.assert_array_equal(getattr(trial, name), getattr(drawn, name))
    parts = [sorted([each.target, *each.evaluation]) for each in (trial, drawn)]
    assert parts[0] == parts[1]
    assert trial.target not in trial.evaluation


def test_the_edge_is_aimed_at_and_passes(board: Board, gaussian: Classifier, blobs: Split) -> None:
    setting = Setting.of_split(gaussian, blobs, CONFIG)
    own = setting.trial_filters[0]
    goal = goal_of("edge", setting, own, own.trial.target)
    density = own.filters["likelihood"]
    score = density.score_samples(goal[None].astype(np.float32), np.array([own.trial.base_class]))[0]
    assert score > density.threshold(CONFIG.aim)
    np.testing.assert_array_equal(goal_of("collision", setting, own, own.trial.target), setting.z[own.trial.target])
    edge = [attack for attack in board.networks[0].attacks if attack.attacker == "edge"]
    collision = [attack for attack in board.networks[0].attacks if attack.attacker == "collision"]
    assert min(attack.passing for attack in edge) > 0.9
    assert max(attack.passing for attack in collision) == 0.0


@pytest.mark.parametrize(
    ("attacker", "name", "rate"),
    [("edge-10", "likelihood", 0.1), ("edge-gaussian", "gaussian", 0.05), ("edge-vote", "vote", 0.05)],
)
def test_every_edge_is_its_own_filters(
    attacker: str, name: str, rate: float, gaussian: Classifier, blobs: Split
) -> None:
    """Beside it the filter passes what lies inside, and nothing farther on the way to the target."""
    setting = Setting.of_split(gaussian, blobs, CONFIG)
    own = setting.trial_filters[1]
    start, end = class_centre(setting, own.trial), setting.z[own.trial.target]
    edge = goal_of(attacker, setting, own, own.trial.target)
    score, label = own.filters[name], own.trial.base_class
    beyond = edge + np.linspace(0.025, 1, 20)[:, None] * (end - start)  # aims stay inside by 0.02 of the way
    passed = score.score_samples(np.vstack([edge, beyond]).astype(np.float32), np.full(21, label))
    assert passed[0] > score.threshold(rate) >= passed[1:].max()
    assert CONFIG.aim_of(attacker) == rate


def test_rates_that_calibration_cannot_promise_are_refused(gaussian: Classifier, blobs: Split) -> None:
    """T would be -inf there: a filter that removes nothing, which the edge would be no edge of."""
    setting = Setting.of_split(gaussian, blobs, replace(CONFIG, fprs=(0.002, 0.05)))
    with pytest.raises(ValueError, match=r"to calibrate a filter for 0\.2 % on, at least 499, got \d+,"):
        _ = setting.trial_filters


def test_a_cell_whose_accuracy_drops_is_marked(board: Board) -> None:
    row = board.networks[0].attacks[0]
    cell, unfiltered = at(row, (3, 4), "knn", 0.05, "logistic"), at(row, (3, 4), "none", 0.0, "logistic")
    (accuracy,) = (control.accuracy for control in row.controls if control.head == "logistic")
    for each in (cell, unfiltered):  # poisons cost accuracy as well
        assert row.drops(replace(each, accuracy=accuracy - 0.06))
        assert not row.drops(replace(each, accuracy=accuracy - 0.04))


def test_accuracy_above_the_controls_is_said_so(board: Board) -> None:
    row = board.networks[0].attacks[0]
    cell, bare = at(row, (3, 4), "knn", 0.05, "logistic"), at(row, (3, 4), "none", 0.0, "logistic")
    control = row.control(4, "logistic")
    cell, bare = replace(cell, accuracy=control - 0.06), replace(bare, accuracy=control + 0.0042)
    said = "accuracy is 6.0 points below the clean control's"
    assert accuracy_left(row, cell, bare) == f"{said} (0.4 points above without a filter)"
    assert accuracy_left(row, cell, None) == accuracy_left(row, cell, cell) == said
    same = replace(cell, accuracy=control), replace(bare, accuracy=control - 0.0001)
    assert accuracy_left(row, *same) == "accuracy is the same as the clean control's (the same without a filter)"


def test_the_record_reads_back(board: Board) -> None:
    assert decode(Board, json.loads(to_json(board))) == board


def test_the_table_has_a_line_a_row(board: Board) -> None:
    table = board_table(board)
    assert table.count("edge, nearest") == len(CONFIG.budgets) * len(FROZEN) + len(ALL_CLASSES)
    attack = board.networks[0].attacks[0]
    share = at(attack, (3, 4), "none", 0.0, "logistic").attack_success.value
    line = next(line for line in table.splitlines() if line.startswith("collision, random"))
    assert line.removeprefix("collision, random").split()[1:3] == [f"{100 * share:.0f}", "%"]


@pytest.mark.parametrize(
    ("hits", "untouched", "verdict"),
    [
        (40, 3, "This defence does not stop this attacker."),
        (0, 0, "This defence is not refuted by this attacker."),
        (20, 15, "Whether the poisons do it, or the filter and any further images of the base's class, is open."),
        (4, 0, "Whether it stops this attacker is open."),
    ],
)
def test_findings_go_by_whole_intervals(board: Board, hits: int, untouched: int, verdict: str) -> None:
    network = board.networks[0]
    row = network.attack("edge", "nearest")
    assert row is not None
    cells = tuple(replace(cell, n=100, hits=hits, untouched=untouched, both=0) for cell in row.cells)
    changed = replace(network, attacks=(replace(row, cells=cells),))
    said = edge_finding(board, changed, (6, 4), 0.2, "nearest-mean")
    assert said.endswith(verdict)
    assert f"nearest to the base's class, K = 6 beside 4 clean images a class: {hits} of 100 attacks on nearest" in said
    assert "20 % FPR, where it aims at the T for 5 %" in said
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


def test_on_the_network_itself_as_surrogate_the_attack_is_the_same(board: Board) -> None:
    network = board.networks[0]
    for name in ("transfer", "transfer-bullseye"):
        attacker = ATTACKERS[name].on_surrogate
        mine, its = network.attack(name, "nearest"), network.attack(attacker, "nearest")
        assert mine is not None
        assert its is not None
        assert mine == replace(its, attacker=name)


def test_a_surrogate_is_what_is_attacked(gaussian: Classifier, linear: Classifier, blobs: Split) -> None:
    setting = Setting.of_split(gaussian, blobs, CONFIG, linear)
    attacker, known = setting.known_to("transfer")
    assert (attacker, known.model) == ("collision", linear)
    assert [trial.target for trial in known.trials] == [trial.target for trial in setting.trials]
    assert setting.known_to("edge") == ("edge", setting)
    with pytest.raises(ValueError, match="transfer needs a surrogate"):
        Setting.of_split(gaussian, blobs, CONFIG).known_to("transfer")


def test_advice_follows_from_the_cells(board: Board) -> None:
    """Of 100 attacks that count; hits by attacker, filter and head."""

    def hits(attacker: str, cell: Cell) -> int:
        if cell.head == "nearest-mean":
            return 30 if attacker == "collision" else 0
        if cell.filter == "none":
            return {"collision": 90, "bullseye": 80, "edge": 40, "edge-knn": 20}.get(attacker, 2)
        if cell.filter in ("likelihood", "knn"):
            return {"edge": 40, "edge-knn": 3}.get(attacker, 0) if cell.fpr == 0.05 else 1
        return {"gaussian": 8}.get(cell.filter, 10) if attacker == "bullseye" else 0

    def attack(row: BoardAttack) -> BoardAttack:
        cells = (replace(c, n=100, hits=hits(row.attacker, c), untouched=1, both=0, accuracy=0.9) for c in row.cells)
        controls = tuple(replace(control, accuracy=0.94) for control in row.controls)
        return replace(row, cells=tuple(cells), controls=controls, passing=0.25)

    network = replace(board.networks[0], attacks=tuple(map(attack, board.networks[0].attacks)), accuracy=0.93)
    worst, stops, least, heads, rates = advice(board, network)
    assert worst == (
        "Without a filter, before logistic regression: the worst of 12 attacks is collision, random: "
        "90 % (82 to 95) of 100."
    )
    assert stops == (
        "Of 8 attacks that succeed without a filter, LGM likelihood with T for 5 % FPR does not stop 2 (edge, random: "
        "40 % (30 to 50) of 100; edge, nearest: 40 % (30 to 50) of 100); 4 do not refute it (success below 5 % by the "
        "whole interval); 2 are open. 4 more are not shown to succeed without it."
    )
    assert least.startswith(
        "At 5 % FPR least gets past Gaussian fitted afterwards, whose T no attacker here knows: the worst of 12 "
        "attacks is bullseye, random: 8 % ("
    )
    assert "accuracy is 4.0 points below the clean control's (4.0 points below without a filter). Not told" in least
    assert "LGM likelihood" not in least and "10th neighbour" not in least, "these are worse by whole intervals"
    assert least.endswith("vote of 10 neighbours, spectral signatures either.")
    assert (
        "nearest class mean (94.0 % accuracy on clean data): the worst of 12 attacks is collision, random: 30 %"
        in heads
    )
    assert heads.endswith("No attacker here knows the head.")
    assert "by its FPR: 5 %: 40 % (30 to 50); 20 %: 1 % (0 to 6); who knows a T knows that for 5 %, and" in rates
    assert rates.endswith(
        "misclassifies 7.0 % of the clean images, more than T for 5 % removes. Of the collisions with random targets "
        "25 % pass."
    )
    weak = replace(
        network,
        attacks=tuple(replace(each, cells=tuple(replace(c, hits=50) for c in each.cells)) for each in network.attacks),
    )
    named = advice(board, weak)[1]
    assert named.count(" of 100") == 5
    assert "does not stop 12 (collision, random: 50 %" in named and "; and 7 more)." in named
    one = replace(network, attacks=tuple(each for each in network.attacks if each.attacker == "bullseye"))
    assert len(advice(board, one, "nearest-mean")) == 5


def test_fewer_attacks_leave_all_open() -> None:
    assert attack_success(0, fewest()).high < 0.05 < attack_success(0, fewest() - 1).high


def test_a_row_on_a_surrogate_is_crafted_there_and_counted_on_the_network(
    gaussian: Classifier, linear: Classifier, blobs: Split
) -> None:
    config = replace(CONFIG, attackers=("transfer",), choices=("nearest",), budgets=((3, 4),), trials=3)
    found = measure_board([(gaussian, _card("own", "lgm"))], blobs, config, surrogates=[linear])
    assert found is not None
    its = Setting.of_split(linear, blobs, config)
    trials = choose_targets("nearest", "collision", its)
    poisons = rounded(linear, craft("collision", its, blobs, trials))
    stored = found.attacks["own", "transfer", "nearest"]
    assert stored.targets.tolist() == [trial.target for trial in trials]
    np.testing.assert_array_equal(stored.images, np.rint(255 * poisons.images[:3]))
    z = embed(gaussian, torch.from_numpy(poisons.images)).numpy()
    np.testing.assert_allclose(stored.z.reshape(-1, 2), z, atol=1e-5)
    assert found.board.networks[0].surrogate_sha256 not in ("", found.board.networks[0].weights_sha256)
