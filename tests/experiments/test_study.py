"""The record of a study, the sentences that follow from it, and the page that shows it."""

import json
import re
from dataclasses import replace
from datetime import date
from html.parser import HTMLParser
from pathlib import Path

import pytest
from scipy.stats import binomtest

from lgm.config import ATTACK_REVISION, GAMMA_GRID, DefenseConfig
from lgm.data.base import Split
from lgm.defense.experiment import defend, frontier
from lgm.detection.compare import REFERENCE, WORSE
from lgm.experiments.adaptive_rows import adaptive_row as adaptive_row_of
from lgm.experiments.adaptive_rows import frontier_meaning
from lgm.experiments.beta_sweep import BETAS
from lgm.experiments.records import Baselines, ByLoss, Study, StudySize, outdated, read_study, save_study
from lgm.experiments.study import FULL, QUICK, run_study
from lgm.models.card import Card
from lgm.models.classifier import Classifier
from lgm.models.features import read_features
from lgm.models.registry import read_card
from lgm.reports.html import write_report
from lgm.stats.intervals import Estimate
from lgm.utils.codec import decode, encode
from tests.defense.test_experiment import QUICK as SETTING
from tests.records import NONE, adaptive_row, comparison

pytestmark = pytest.mark.slow

SMALL = StudySize(
    pairs=5,
    attacks=2,
    trials=2,
    poisons=(1, 10),
    clean=(10,),
    adaptive_trials=2,
    all_classes=0,
    resamples=10,
    gammas=(0.0, 1.0),
)


def test_a_frontier_says_what_its_worst_attacker_does():
    unaware = adaptive_row(0.0, (0.0, 0.0, 0.03), detected=Estimate(1.0, 0.9, 1.0))
    held = frontier_meaning([unaware, adaptive_row(1.0, (0.01, 0.0, 0.04))])
    assert held.startswith("Not refuted by these 2 attackers, which is no proof")
    never = Estimate(0.0, 0.0, 0.1)
    broken = frontier_meaning(
        [unaware, adaptive_row(0.1, (0.3, 0.2, 0.4)), adaptive_row(1.0, (0.0, 0.0, 0.03), detected=never)]
    )
    assert broken.startswith("The filter fails")
    assert "in the worst case 30% (20% to 40%)" in broken
    assert "γ = 0.1, against 80%" in broken
    assert "(γ = 1) are caught in 0%" in broken
    assert frontier_meaning([unaware, adaptive_row(1.0, (0.0, 0.0, 0.3))]).startswith("Not enough attacks")
    assert frontier_meaning([replace(unaware, n=0, attack_success=NONE)]).startswith("Nothing can be said")


def test_attackers_differ_by_gamma_only(gaussian: Classifier, blank_card: Card, blobs: Split):
    config = replace(SETTING, trials=4)
    unaware, evasive = frontier(gaussian, blank_card, blobs, config, (0.0, 1e4))
    alone = defend(gaussian, blank_card, blobs, config)
    assert encode(unaware) == encode(replace(alone, by_fpr={config.fpr: alone.filtered}))
    assert evasive.config == replace(config, gamma=1e4)
    assert list(evasive.by_fpr) == [config.fpr], "it aims at one T, and there is no other"
    assert evasive.filtered.threshold == unaware.filtered.threshold
    assert unaware.filtered.poisons_removed == unaware.poisons_total == 48
    assert evasive.filtered.poisons_removed == 0, "nothing costs more than to be caught"
    assert evasive.collided == 0, "ten sigmas apart"
    found = adaptive_row_of(evasive)
    interval = binomtest(0, 4).proportion_ci(method="wilson")  # four trials, whose poisons stand or fall together
    assert found.detected == pytest.approx((0, interval.low, interval.high))
    assert (found.gamma, found.attack_success, found.poisons) == (1e4, evasive.attack_success.filtered, 48)
    with pytest.raises(ValueError, match="gammas: expected at least one"):
        frontier(gaussian, blank_card, blobs, config, ())


def test_no_density_no_attacker_who_knows_of_it(linear: Classifier, blank_card: Card, blobs: Split):
    with pytest.raises(ValueError, match="softmax"):
        defend(linear, blank_card, blobs, replace(SETTING, gamma=1.0))


@pytest.fixture(scope="module")
def names(tiny_lgm: Path, tiny_softmax: Path) -> dict[str, str]:
    return {"lgm": str(tiny_lgm), "softmax": str(tiny_softmax)}


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crafted")


@pytest.fixture(scope="module")
def study(names: dict[str, str], bundled: Split, cache: Path) -> Study:
    return run_study(names, bundled, SMALL, seed=3, cache=cache)


def test_a_study_is_what_its_parts_give(study: Study, names: dict[str, str], bundled: Split, tmp_path: Path):
    from lgm.experiments.beta_sweep import beta_sweep
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(names["softmax"])
    again = beta_sweep(model, card, bundled, pairs=5, trials=2, seed=3)
    assert encode(study.tradeoff.softmax) == encode(again)
    config = DefenseConfig(trials=2, poisons=10, clean=10, seed=3)
    stored = read_features(names["softmax"]).splits.get(bundled.name)
    alone = defend(model, card, bundled, config, z=None if stored is None else stored.z)
    assert encode(alone) in encode(study.defense)
    assert [(r.model, r.config.poisons) for r in study.defense] == [
        (model, k) for model in ("tiny-lgm", "tiny-softmax") for k in (1, 10)
    ]
    assert [row.gamma for row in study.frontier] == list(SMALL.gammas)
    assert QUICK.gammas == FULL.gammas == GAMMA_GRID
    assert study.baselines == [], "no poisons are shipped with these"
    about = study.about
    assert about.weights_sha256.lgm == read_card(names["lgm"]).weights_sha256
    assert (about.attack_revision, about.made) == (ATTACK_REVISION, date.today().isoformat())
    assert outdated(about.attack_revision) is None
    save_study(study, tmp_path / "study.json")
    assert encode(decode(Study, json.loads((tmp_path / "study.json").read_text()))) == encode(study)


def test_further_networks_have_their_usual_defence_measured(
    names: dict[str, str], bundled: Split, study: Study, cache: Path
):
    tiny = replace(SMALL, adaptive_trials=0)
    found = run_study(names, bundled, tiny, seed=3, others=[names["lgm"]], cache=cache)
    assert encode(found.defense[-1]) in encode(study.defense)
    assert found.about.others == {names["lgm"]: read_card(names["lgm"]).weights_sha256}
    assert found.frontier == [], "no attackers were asked for"


def test_claims_are_given_the_usual_setting_and_the_others(study: Study):
    usual = study.usual_defense
    assert usual.lgm is not None
    assert usual.softmax is not None
    assert (usual.lgm.model, usual.softmax.model) == ("tiny-lgm", "tiny-softmax")
    assert usual.lgm.config.poisons == usual.softmax.config.poisons == 10
    rows = [comparison("LGM likelihood", REFERENCE), comparison("Deep k-NN", WORSE)]
    baselines = [Baselines("lgm", "lgm", rows), Baselines("softmax", "lgm", rows)]
    assert replace(study, baselines=baselines).other_detectors == rows[1:]
    other = ByLoss("another", "network")
    assert replace(study, about=replace(study.about, models=other)).usual_defense == ByLoss(None, None)


class Page(HTMLParser):
    """What a page loads from elsewhere, and the text of its table of verdicts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.verdicts: list[str] = []
        self._in_verdicts = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.links += [str(value) for name, value in attrs if name in ("src", "href") and tag != "a"]
        self._in_verdicts = dict(attrs).get("id") == "verdicts" if tag == "table" else self._in_verdicts

    def handle_data(self, data: str) -> None:
        if self._in_verdicts:
            self.verdicts.append(data)


def test_the_report_needs_no_other_file_and_says_what_the_study_says(
    study: Study, names: dict[str, str], bundled: Split, tmp_path: Path
):
    path = tmp_path / "report.html"
    write_report(study, names, bundled, path)
    html = path.read_text()
    page = Page(html)
    assert all(link.startswith("data:") for link in page.links)
    assert [int(number) for number in re.findall(r'id="figure-(\d)"', html)] == list(range(1, 9))
    text = " ".join(page.verdicts)
    for words in ("farther apart", "more visible", "tells poisons", "simpler", "prevents", "withstands"):
        assert words in text
    for report in study.defense:
        assert f"{report.poisons_removed} of {report.poisons_total}" in html
    assert frontier_meaning(study.frontier).replace("'", "&#39;") in html
    assert len(re.findall(r"Plotly\.newPlot", html)) >= 8, "figures 2, 4 and 7, and four curves"


def test_the_shipped_study_is_of_the_shipped_networks():
    shipped = read_study("mnist")
    assert shipped is not None
    about = shipped.about
    for loss, name in about.models.items():
        assert about.weights_sha256.of(loss) == read_card(name).weights_sha256
    assert shipped.tradeoff.lgm.betas.tolist() == list(BETAS)
    assert [row.gamma for row in shipped.frontier] == list(GAMMA_GRID)
    assert all(row.poisons >= 100 for row in shipped.frontier)
    assert about.extent.pairs >= QUICK.pairs
