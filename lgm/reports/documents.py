"""Documents rendered from the records, so that README, docs and app show the same numbers.

A document is written by hand but for blocks between two comments, the first of which names a macro of
`results.md.jinja` and a dataset. The records are the cards, the poisons beside the networks, and the studies.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lgm.attacks.result import read_shipped_poisons
from lgm.config import Loss
from lgm.data.registry import DATASETS
from lgm.defense.report import DefenseReport
from lgm.experiments.adaptive_rows import frontier_meaning
from lgm.experiments.beta_selection import choose_beta
from lgm.experiments.beta_sweep import BetaRow
from lgm.experiments.board.advice import advice
from lgm.experiments.board.config import ATTACKERS, LAYERS, Attacker
from lgm.experiments.board.findings import edge_finding, finding
from lgm.experiments.board.record import Board, Cell, read_board
from lgm.experiments.claims import Claim, paper_claims
from lgm.experiments.records import Study, StudyOrigin, StudySize, outdated, provenance, read_study
from lgm.experiments.seeds import Seeds, read_seeds
from lgm.experiments.study import stored_findings
from lgm.experiments.visibility import Visibility, read_visibility
from lgm.models.card import Card, CheckpointError, card_of
from lgm.models.features import read_features
from lgm.models.registry import SHIPPED, list_checkpoints, read_card
from lgm.reports.templates import environment
from lgm.stats.intervals import Estimate, wilson_interval
from lgm.training.presets import PRESETS
from lgm.utils.io import write_atomically

ROOT = SHIPPED.parent
DOCUMENTS = ("README.md", "docs/results.md", "docs/board.md")
_BLOCK = re.compile(r"(<!-- results: (\w+) ([\w-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)


@dataclass(frozen=True)
class NetworkRow:
    """What a shipped network's card says of it. Accuracies on the official test set, with Wilson's interval."""

    card: Card
    accuracy: Estimate
    tested_on: int

    @staticmethod
    def of(name: str) -> "NetworkRow":
        """From the card and the embedded features of a checkpoint."""
        tested = read_features(name).splits["test"]
        hits = int((tested.predicted == tested.labels).sum())
        n = len(tested.labels)
        return NetworkRow(read_card(name), Estimate(hits / n, *wilson_interval(hits, n)), n)


@dataclass(frozen=True)
class DatasetRecord:
    """All that is known of one dataset's shipped networks, as the templates read it."""

    study: Study
    networks: list[NetworkRow]
    claims: list[Claim]
    board: Board | None
    seeds: Seeds | None
    visibility: Visibility | None

    @staticmethod
    def read(dataset: str) -> "DatasetRecord":
        """From the checkpoints and their study. Raises CheckpointError if one of them does not read."""
        study = read_study(dataset)
        if study is None:
            raise CheckpointError(
                f"{dataset}: expected a study beside the networks; make one: python -m lgm report --help"
            )
        models = study.about.models
        names = [models.lgm, models.softmax, *study.about.others]
        board = read_board(dataset)
        judge = None if board is None else board.current_network(read_card(models.lgm).weights_sha256)
        claims = paper_claims(stored_findings(models.lgm), stored_findings(models.softmax), study, judge)
        networks = [NetworkRow.of(name) for name in names]
        return DatasetRecord(study, networks, claims, board, read_seeds(dataset), read_visibility(dataset))

    @property
    def attackers(self) -> dict[str, Attacker]:
        """Those of the board, by name."""
        assert self.board is not None
        return {name: ATTACKERS[name] for name in self.board.config.attackers}

    @property
    def board_advice(self) -> dict[str, list[str]]:
        """Five sentences on each network of the board, by its name."""
        assert self.board is not None
        return {network.model: advice(self.board, network) for network in self.board.networks}

    @property
    def chosen_targets(self) -> dict[str, list[Cell | None]]:
        """By network, with the nearest target: collision without a filter, past the density, and the edge past it.

        In the heaviest budget, on logistic regression.
        """
        assert self.board is not None
        found, config = {}, self.board.config
        for network in self.board.networks:
            wanted = (("collision", "none"), ("collision", network.density), ("edge", network.density))
            rows = [(network.attack(name, "nearest"), by) for name, by in wanted]
            found[network.model] = [
                row.cell(config.heaviest, by, config.aim, "logistic") if row else None for row, by in rows
            ]
        return found

    @property
    def board_findings(self) -> list[str]:
        """What the attacker at the edge of T achieves, by network and head."""
        assert self.board is not None
        budget, aim = self.board.config.heaviest, self.board.config.aim
        return [
            f"`{network.model}`. {edge_finding(self.board, network, budget, aim, head)}"
            for network in self.board.networks
            for head in self.board.heads
        ]

    @property
    def layers_findings(self) -> list[str]:
        """What gradient matching achieves where all layers are fine-tuned, with the filter by density, by network."""
        assert self.board is not None
        aim = self.board.config.aim
        return [
            f"`{network.model}`. {finding(self.board, attack, cell)}"
            for network in self.board.networks
            if (attack := network.attack("gradient-matching", "nearest"))
            if (cell := attack.cell(self.board.config.heaviest_of(attack.attacker), network.density, aim, LAYERS))
        ]

    @property
    def provenance(self) -> str:
        """Where the numbers come from."""
        return provenance(self.study.about)

    @property
    def usual(self) -> list[DefenseReport]:
        """The defence of each network in its usual setting."""
        return self.study.in_usual_setting

    def at(self, model: str, clean: int, poisons: int) -> DefenseReport:
        """The defence of a network by a new head for two classes, in one setting."""
        wanted = (model, "two", "head", clean, poisons)
        return next(report for report in self.study.defense if _setting(report) == wanted)

    @property
    def all_classes(self) -> list[DefenseReport]:
        """The defence where the new head tells all classes apart."""
        return [report for report in self.study.defense if report.config.task == "all"]

    @property
    def extent(self) -> StudySize:
        """How much was measured."""
        return self.study.about.extent

    @property
    def frontier_meaning(self) -> str:
        """What adaptive attackers achieve, in a sentence."""
        return frontier_meaning(self.study.frontier)

    @property
    def betas(self) -> dict[Loss, tuple[list[BetaRow], str]]:
        """By loss: a row a beta, and which beta cross-validation chooses."""
        return {loss: (sweep.rows(), choose_beta(sweep).reason) for loss, sweep in self.study.tradeoff.items()}


def _setting(report: DefenseReport) -> tuple[str, str, str, int, int]:
    config = report.config
    return report.model, config.task, config.layers, config.clean, config.poisons


def render(document: str, records: dict[str, DatasetRecord]) -> str:
    """The document with each of its blocks made anew.

    Raises:
        CheckpointError: a block of a name or a dataset that there is not.
    """
    template = environment(html=False).get_template("results.md.jinja").module

    def block(match: re.Match[str]) -> str:
        start, macro, dataset, end = match.groups()
        if dataset not in records or not hasattr(template, macro):
            raise CheckpointError(f"results: {macro} {dataset}: expected a macro of results.md.jinja and a dataset")
        return f"{start}{getattr(template, macro)(records[dataset])}{end}"

    return _BLOCK.sub(block, document)


def write_documents(root: Path) -> list[str]:
    """Render all documents in place; returns the names of those that changed."""
    changed = []
    for name, now, text in _rendered(root):
        if now != text:
            write_atomically(root / name, lambda part, text=text: Path(part).write_text(text, encoding="utf-8"))
            changed.append(name)
    return changed


def problems(root: Path) -> list[str]:
    """What is wrong with documents and records, a sentence each: differences, and records older than the attack."""
    differing = [
        f"{name}: differs from the records in line {_first_difference(now, text)}; render it: python -m lgm results"
        for name, now, text in _rendered(root)
        if now != text
    ]
    return [*_old_records(), *differing]


def _rendered(root: Path) -> Iterator[tuple[str, str, str]]:
    """Name of each document, its text as it is, and as it should be."""
    records = {name: DatasetRecord.read(name) for name in DATASETS if read_study(name) is not None}
    for name in DOCUMENTS:
        now = (root / name).read_text(encoding="utf-8")
        yield name, now, render(now, records)


def _first_difference(one: str, other: str) -> int:
    pairs = zip(one.splitlines(), other.splitlines(), strict=False)
    return next((i for i, (a, b) in enumerate(pairs, start=1) if a != b), 1)


def _old_records() -> Iterator[str]:
    for dataset in DATASETS:
        study = read_study(dataset)
        if study is not None and (why := _outdated_study(study.about)):
            yield f"{dataset}.study.json: {why}; make it anew: make records"
        board = read_board(dataset)
        if board is not None and (why := _outdated_board(board)):
            yield f"{dataset}.board.json: {why}; make it anew: make records"
        seen = read_visibility(dataset)
        if study is not None and seen is not None and (why := _differs(seen, study.about)):
            yield f"{dataset}.visibility.json: of {why} than the study; make it anew: make records"
        seeds = read_seeds(dataset)
        if seeds is not None and (why := outdated(seeds.attack_revision) or _other_recipe(seeds)):
            yield f"{dataset}.seeds.json: {why}; make it anew: make seeds"
    for name in list_checkpoints():
        for kind in ("poisons", "example"):
            if (SHIPPED / f"{name}.{kind}.safetensors").is_file():
                manifest = read_shipped_poisons(name, kind).manifest
                if why := outdated(manifest.get("attack_revision")):
                    yield f"{name}.{kind}.safetensors: {why}; make it anew: make records"


def _outdated_study(about: StudyOrigin) -> str | None:
    measured = {name: about.weights_sha256.of(loss) for loss, name in about.models.items()} | about.others
    return outdated(about.attack_revision) or _other_weights(measured)


def _differs(seen: Visibility, about: StudyOrigin) -> str | None:
    pairs = {
        "other networks": (seen.weights_sha256, about.weights_sha256),
        "other images": (seen.split_sha256, about.data_sha256),
        "another attack": (seen.attack_revision, about.attack_revision),
    }
    return next((what for what, (one, other) in pairs.items() if one != other), None)


def _other_recipe(seeds: Seeds) -> str | None:
    """Whether the presets have changed since these networks were trained; their cards tell."""
    for run in seeds.runs:
        for loss, network in run.networks.items():
            card = card_of(SHIPPED / "seeds" / f"{network.name}.safetensors")
            if card.config != PRESETS[f"{seeds.dataset}-{loss}"].seeded(run.seed):
                return f"{network.name} was trained by another recipe than that of its preset"
    return None


def _outdated_board(board: Board) -> str | None:
    measured = {network.model: network.weights_sha256 for network in board.networks}
    return board.outdated or _other_weights(measured)


def _other_weights(measured: dict[str, str]) -> str | None:
    changed = [name for name, weights in measured.items() if read_card(name).weights_sha256 != weights]
    return f"{changed[0]} has other weights now" if changed else None
