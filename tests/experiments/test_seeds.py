"""Claims over seeds, against SciPy and loops; the command's refusals."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from lgm.cli.main import main
from lgm.defense.report import attack_success
from lgm.experiments.claims import paper_claims
from lgm.experiments.effects import SUCCESS, Effect, Reading, Verdict
from lgm.experiments.records import ByLoss
from lgm.experiments.seed_runs import EXTENT
from lgm.experiments.seeds import SeedClaim, SeedNetwork, SeedRun, Seeds, claim_over_seeds, over_seeds
from lgm.experiments.study import stored_findings
from lgm.utils.codec import decode
from lgm.utils.json import to_json

FARTHER, SEPARATES, PREVENTS, NEEDS = (
    "Classes lie farther apart under LGM than under softmax",
    "Likelihood tells poisons from clean images",
    "Filtering by likelihood under LGM prevents the attack",
    "Nothing simpler filters as well as likelihood under LGM",
)


def claim(text: str, *effects: Effect, verdict: Verdict = "open") -> SeedClaim:
    return SeedClaim("4", text, verdict, tuple(Reading(f"no. {i}", effect) for i, effect in enumerate(effects)))


def test_a_reading_is_the_mean_over_seeds_with_students_interval(rng: np.random.Generator):
    values = rng.normal(3, 1, 5)
    found = over_seeds([Effect(v, v, v, bound=1.5, side="below") for v in values])
    interval = ttest_1samp(values, 0).confidence_interval()
    assert (found.value, found.low, found.high) == pytest.approx((sum(values) / 5, interval.low, interval.high))
    assert (found.bound, found.side) == (1.5, "below")


def test_what_shared_trials_leave_open_is_added_to_students_interval(rng: np.random.Generator):
    """Simulated: a mean over five seeds, each with an error of its own and all with the same one of their trials."""
    covered = 0
    for _ in range(400):
        values = rng.normal(0, 1, 5) + rng.normal(0, 1)
        found = over_seeds(
            [Effect(v, v - 1.96, v + 1.96) for v in values[:4]] + [Effect(values[4], math.nan, math.nan)]
        )
        covered += found.low <= 0 <= found.high
    assert 0.93 <= covered / 400 <= 0.995


def test_more_successes_never_make_a_verdict_stronger():
    def verdict(hits: tuple[int, ...]) -> str:
        cost = Effect(0.0, math.nan, math.nan, 0.005, "below")
        seeds = [(attack_success(18, 20), attack_success(each, 20)) for each in hits]
        claims = [claim(PREVENTS, *(Effect(*share, SUCCESS, "below") for share in pair), cost) for pair in seeds]
        return claim_over_seeds(claims).verdict

    assert verdict((0, 0, 0, 0, 0)) == verdict((0, 0, 0, 0, 1)) == verdict((0, 0, 0, 1, 1)) == "open"
    assert verdict((20, 20, 20, 20, 20)) == "does not hold"


def test_shares_stay_shares():
    shares = [Reading("caught", Effect(v, v, v), "percent") for v in (1.0, 1.0, 0.7)]
    (found,) = claim_over_seeds([SeedClaim("4", FARTHER, "open", (share,)) for share in shares]).readings
    assert found.effect.high == 1.0


def test_seeds_that_all_say_the_same_have_the_intervals_within_them():
    found = over_seeds([Effect(0.0, 0.0, 0.1), Effect(0.0, 0.0, 0.2), Effect(0.0, -0.1, 0.1)])
    assert (found.value, found.low, found.high) == (0, -0.1, 0.2)
    assert over_seeds([Effect(1.0, 0.5, 2.0)]) == Effect(1.0, 0.5, 2.0), "and so has a single seed"
    unknown = over_seeds([Effect(1.0, 0.5, 2.0), Effect(math.inf, 1.0, math.inf)])
    assert math.isnan(unknown.low)
    assert not unknown.sign


@pytest.mark.parametrize(
    ("values", "verdict"),
    [((1.0, 1.2, 0.9, 1.1), "holds"), ((-1.0, -1.2, -0.9, -1.1), "does not hold"), ((1.0, -1.2, 0.9, -0.5), "open")],
)
def test_the_verdict_is_that_of_the_claims_rule_on_the_intervals_over_seeds(values: tuple[float, ...], verdict: str):
    found = claim_over_seeds([claim(FARTHER, Effect(v, v - 0.1, v + 0.1), verdict="holds") for v in values])
    assert (found.verdict, found.verdicts) == (verdict, {"holds": 4})


def test_success_decides_over_seeds_as_within_one_and_others_filter_as_well_by_the_same_rule():
    def seed(before: float, after: float, cost: float) -> SeedClaim:
        shares = [Effect(share, share - 0.01, share + 0.01, SUCCESS, "below") for share in (before, after)]
        return claim(PREVENTS, *shares, Effect(cost, cost - 0.001, cost + 0.001, 0.005, "below"))

    seeds = [seed(0.9, 0.0, 0.001), seed(0.95, 0.01, 0.002), seed(0.92, 0.005, 0.001)]
    assert claim_over_seeds(seeds).verdict == "holds"
    assert claim_over_seeds([seed(0.9, 0.6, 0), seed(0.95, 0.7, 0.1), seed(0.9, 0.65, 0.1)]).verdict == "does not hold"
    # At both of the deciding rates in turn, what each other filter catches more.
    rivals = [
        [claim(NEEDS, *(Effect(v + d, v - 0.001, v + 0.002) for v in by_rate)) for d in (0, 0.001)]
        for by_rate in ((-0.5, -0.2, -0.4, -0.1), (-0.5, -0.2, 0.0, 0.0))
    ]
    assert [claim_over_seeds(each).verdict for each in rivals] == ["not refuted", "does not hold"]


def test_readings_that_a_seed_lacks_are_left_out():
    one, none = claim(SEPARATES, Effect(1.0, 0.9, 1.0, 0.9), verdict="holds"), claim(SEPARATES)
    assert claim_over_seeds([one, none]).readings == ()
    assert claim_over_seeds([one, none]).verdict == "open"
    assert claim_over_seeds([one, none]).measured == "not measured"
    with pytest.raises(ValueError, match="claims: expected one of all seeds"):
        claim_over_seeds([one, claim(FARTHER)])


def test_the_shipped_networks_claims_are_the_same_from_their_readings():
    claims = paper_claims(stored_findings("mnist-lgm"), stored_findings("mnist-softmax"))
    for each in claims:
        again = claim_over_seeds([SeedClaim.of(each)])  # of one seed the interval is its own
        assert again.verdict == each.verdict
        assert again.readings == each.readings


def test_a_record_survives_json_and_its_means_are_those_of_its_runs(rng: np.random.Generator):
    accuracy = rng.uniform(0.99, 1, (4, 2))
    networks = [
        ByLoss(*(SeedNetwork(f"n{i}", "0", {"test": float(v)}, None, 100.0 + i) for v in row))
        for i, row in enumerate(accuracy)
    ]
    claims = (claim(FARTHER, Effect(1.0, 0.5, math.nan)),)
    runs = tuple(SeedRun(i, network, claims) for i, network in enumerate(networks))
    seeds = Seeds("mnist", "bundled", "0", 3, "float32", 200, EXTENT, 1, "today", "here", {"torch": "2"}, runs)
    again = decode(Seeds, json.loads(to_json(seeds)))
    assert replace(again, runs=()) == replace(seeds, runs=())
    assert [run.networks for run in again.runs] == networks
    interval = ttest_1samp(accuracy[:, 1], 0).confidence_interval()
    assert again.accuracy("softmax", "test") == pytest.approx((accuracy[:, 1].mean(), interval.low, interval.high))
    assert again.core_seconds("lgm").value == 101.5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--seeds", "1", "1"], "--seeds: expected different ones, got 1, 1"),
        (["--seeds", "-1"], "seed: expected an integer in [0, 2**31), got -1"),
        (["--poisons", "0"], "--poisons: expected at least 1, got 0"),
    ],
)
def test_the_command_refuses_at_once(
    options: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    assert main(["seeds", "--folder", str(tmp_path / "none"), *options]) == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_command_needs_a_seed(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit):
        main(["seeds", "--seeds"])
    assert "expected at least one argument" in capsys.readouterr().err
