"""One page of HTML with all figures of the paper and all that a study measured; it needs no other file."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from lgm.attacks.references import where_they_are
from lgm.attacks.result import Poisons
from lgm.config import DefenseConfig
from lgm.data.base import Dataset, Split
from lgm.data.registry import find_dataset
from lgm.defense.example import Attack, stage
from lgm.defense.report import ARMS, DefenseReport
from lgm.detection.metrics import DetectionReport, detection_report, roc
from lgm.experiments.adaptive_rows import frontier_meaning
from lgm.experiments.beta_selection import choose_beta
from lgm.experiments.board.record import stored_network
from lgm.experiments.claims import paper_claims
from lgm.experiments.findings import Findings
from lgm.experiments.matched_comparison import matched
from lgm.experiments.records import Study, provenance
from lgm.experiments.study import poisons_or_none
from lgm.models.checkpoint import embed_split, load_checkpoint
from lgm.models.features import FeatureMap, Features, read_features, read_gaussians
from lgm.models.registry import list_checkpoints, locate, read_card
from lgm.plots.curves import beta_curves, frontier_chart, success_curves, traded
from lgm.plots.detection import likelihood_histogram, roc_curves
from lgm.plots.features import feature_plane, projection
from lgm.plots.fine_tuning import decision_plane
from lgm.reports.templates import environment
from lgm.utils.codec import encode
from lgm.utils.images import data_url, picture
from lgm.utils.io import write_atomically

_SHOWN = 6  # sets of pictures in figures 3 and 6
_FEW = 20  # poisons in figure 4, as in the paper
_DRAWS = 10  # looked through for figure 7
_CIFAR = "cifar10-lgm"
_HEADINGS = dict(zip(ARMS, ("Before the attack", "Poisoned", "Poisoned, then filtered"), strict=True))


@dataclass(frozen=True)
class Figure:
    """One of the paper's figures: its number and title, a caption, and what is shown, as HTML; nothing, if missing."""

    number: int
    title: str
    caption: str
    body: str


@dataclass(frozen=True)
class ReportNetwork:
    """What the report knows of one: its features, clean images as it sees them, and the poisons beside it."""

    name: str
    features: FeatureMap
    clean: Features
    poisons: Poisons | None
    dataset: Dataset

    @staticmethod
    def read(name: str, split: Split) -> "ReportNetwork":
        """A checkpoint, and ``split`` through it."""
        model, card = load_checkpoint(name)
        features = read_features(name)
        clean = features.splits.get(split.name) or embed_split(model, split)
        return ReportNetwork(name, features, clean, poisons_or_none(name), find_dataset(card.config.dataset))

    @property
    def side(self) -> Findings:
        """For the claims."""
        return Findings(self.features.splits[self.dataset.held_out], self.poisons, self.clean)


def write_report(study: Study, names: dict[str, str], split: Split, path: Path) -> None:
    """Draw a study.

    Args:
        study: What `lgm.experiments.study.run_study` returned.
        names: The checkpoints that it is of, by loss.
        split: The images that it was measured on.
        path: The file to write, whole or not at all.

    Raises:
        CheckpointError: a network of the study does not read.
    """
    networks = {loss: ReportNetwork.read(name, split) for loss, name in names.items()}
    board = stored_network(split.dataset, study.about.weights_sha256.lgm)
    rows = {loss: sweep.rows() for loss, sweep in study.tradeoff.items()}
    usual = DefenseConfig()
    curves: dict[str, list[DefenseReport]] = {
        loss: [
            report
            for report in study.defense
            if (report.model, report.config.clean, report.config.task, report.config.layers)
            == (model, usual.clean, usual.task, usual.layers)
        ]
        for loss, model in study.about.models.items()
    }
    page = environment(html=True).get_template("report.html.jinja")
    html = page.render(
        about=study.about,
        extent=encode(study.about.extent),
        infinity=math.inf,
        provenance=provenance(study.about),
        claims=paper_claims(networks["lgm"].side, networks["softmax"].side, study, board),
        figures=_paper_figures(networks, split),
        detection={loss: _detection(network) for loss, network in networks.items()},
        beta=_row([_html(beta_curves(rows, of)) for of in traded(rows)]),
        sweeps=rows,
        choices={loss: choose_beta(sweep).reason for loss, sweep in study.tradeoff.items()},
        matched=matched(study.tradeoff.lgm, study.tradeoff.softmax),
        success=_html(success_curves(curves)),
        defense=study.defense,
        frontier=_html(frontier_chart(study.frontier)),
        attackers=study.frontier,
        meaning=frontier_meaning(study.frontier),
        baselines=study.baselines,
        script=go.Figure().to_html(full_html=False, include_plotlyjs=True).split("<div id=")[0],
    )
    write_atomically(path, lambda part: Path(part).write_text(html, encoding="utf-8"))


def _html(figure: go.Figure) -> str:
    return figure.update_layout(template="plotly_white").to_html(
        full_html=False, include_plotlyjs=False, config={"responsive": True, "displaylogo": False}
    )


def _detection(network: ReportNetwork) -> DetectionReport | None:
    poisons = network.poisons
    if poisons is None or not np.isfinite(poisons.score).all():
        return None
    return detection_report(network.clean.score, poisons.score, poisons.collided, 0.01)


def _paper_figures(networks: dict[str, ReportNetwork], split: Split) -> list[Figure]:
    lgm = networks["lgm"]
    cifar = _cifar()
    both = list(networks.values())
    return [
        Figure(1, "Likelihood of clean images and of poisons", _made(lgm), _likelihoods(lgm)),
        Figure(2, "Features of the training set", "Left LGM, right softmax.", _side_by_side(both, _training_plane)),
        Figure(
            3,
            "Poisons for both networks",
            _said_of_pairs(networks["softmax"].poisons, "poison for softmax, poison for LGM, of the same pairs"),
            _pictures(networks["softmax"].poisons, lgm.poisons),
        ),
        Figure(
            4,
            "Features of clean images and of poisons",
            f"{_FEW} poisons, in the colour of their base's class. Left LGM, right softmax.",
            _side_by_side(both, _poisoned_plane),
        ),
        Figure(5, "ROC of the likelihood filter", "All poisons, and those that collide.", _roc([lgm, cifar])),
        Figure(
            6,
            "Poisons on CIFAR-10",
            _said_of_pairs(cifar.poisons if cifar else None, "poison for LGM"),
            _pictures(cifar.poisons) if cifar else "",
        ),
        Figure(
            7,
            "An attack on a fine-tuned head, and the filter",
            "Decision regions of three heads. The star is the target, in the colour of the class it is taken for; "
            "diamonds are poisons, crossed if the filter has removed them.",
            _regions(lgm, split),
        ),
        Figure(8, "Likelihood on CIFAR-10", _made(cifar) if cifar else "", _likelihoods(cifar) if cifar else ""),
    ]


def _cifar() -> ReportNetwork | None:
    """The CIFAR-10 network with its poisons, by the numbers stored with it; None if it is not there."""
    poisons = poisons_or_none(_CIFAR) if _CIFAR in list_checkpoints() else None
    if poisons is None:
        return None
    features = read_features(_CIFAR)
    clean = features.splits[str(poisons.manifest["split"])]
    return ReportNetwork(_CIFAR, features, clean, poisons, find_dataset(read_card(_CIFAR).config.dataset))


def _made(network: ReportNetwork) -> str:
    poisons = network.poisons
    if poisons is None:
        return ""
    beta = float(np.median(poisons.beta))
    return f"{len(network.clean.score):,} clean images, {len(poisons)} poisons at β = {beta:g}. Network {network.name}."


def _likelihoods(network: ReportNetwork) -> str:
    poisons, peak = network.poisons, network.features.peak
    if poisons is None:
        return ""
    clean = np.exp(network.clean.score - peak[network.clean.labels])
    return _html(likelihood_histogram(clean, np.exp(poisons.score - peak[poisons.labels])))


def _side_by_side(networks: list[ReportNetwork], draw: Callable[[ReportNetwork], go.Figure]) -> str:
    return _row([_html(draw(network)) for network in networks])


def _row(cells: list[str]) -> str:
    return '<div class="row">' + "".join(f"<div>{cell}</div>" for cell in cells) + "</div>"


def _plane(network: ReportNetwork, shown: list[str], poisons: Poisons | None) -> go.Figure:
    _, sigmas = read_gaussians(locate(network.name))
    figure = feature_plane(network.features, shown, network.dataset.classes, poisons=poisons, sigmas=sigmas)
    return figure.update_layout(height=460)


def _training_plane(network: ReportNetwork) -> go.Figure:
    stored = network.features.splits
    return _plane(network, ["train" if "train" in stored else network.dataset.held_out], None)


def _poisoned_plane(network: ReportNetwork) -> go.Figure:
    few = None if network.poisons is None else network.poisons[np.arange(min(_FEW, len(network.poisons)))]
    return _plane(network, [network.dataset.held_out], few)


def _pictures(*sets: Poisons | None) -> str:
    """Base, target and the poisons of all sets for the same pairs; without the first two where they are not at hand."""
    known = [poisons for poisons in sets if poisons is not None]
    if len(known) < len(sets):
        return ""
    first = known[0]
    same = [i for i in range(len(first)) if all(_pair(other, i) == _pair(first, i) for other in known)]
    groups = [
        "".join(_image(image) for image in (*_pair_images(first, i), *(poisons.images[i] for poisons in known)))
        for i in same[:_SHOWN]
    ]
    return '<div class="pictures">' + "".join(f"<div>{group}</div>" for group in groups) + "</div>"


def _said_of_pairs(poisons: Poisons | None, what: str) -> str:
    if poisons is None or poisons.has_pairs:
        return f"Base, target, {what}."
    return f"{what[0].upper()}{what[1:]}. {where_they_are(poisons.manifest)}"


def _pair_images(poisons: Poisons, i: int) -> list[np.ndarray]:
    return [poisons.bases[i], poisons.targets[i]] if poisons.has_pairs else []


def _pair(poisons: Poisons, i: int) -> tuple[int, int] | None:
    return (int(poisons.base_index[i]), int(poisons.target_index[i])) if i < len(poisons) else None


def _image(image: np.ndarray) -> str:
    return f'<img alt="" src="{data_url(picture(image))}">'


def _roc(networks: list[ReportNetwork | None]) -> str:
    curves = {}
    for network in networks:
        if network is not None and network.poisons is not None:
            poisons, title = network.poisons, network.dataset.title
            curves[f"{title}, all"] = roc(network.clean.score, poisons.score)
            if poisons.collided.any():
                curves[f"{title}, colliding"] = roc(network.clean.score, poisons.score[poisons.collided])
    return _html(roc_curves(curves)) if curves else ""


def _regions(network: ReportNetwork, split: Split) -> str:
    """Figure 7: the first of ten draws that the attack wins if nobody filters, or else the last one."""
    model, card = load_checkpoint(network.name)
    for seed in range(_DRAWS):
        attack = stage(model, card, split, DefenseConfig(seed=seed + 1), z=network.clean.z)
        if _wins(attack) or seed == _DRAWS - 1:
            return _planes(network, attack)
    raise AssertionError("unreachable: the last draw is shown whatever comes of it")


def _wins(attack: Attack) -> bool:
    arm = attack.demonstrate().arms["unfiltered"]
    return arm is not None and arm.predicted == attack.trial.base_class


def _planes(network: ReportNetwork, attack: Attack) -> str:
    shown = attack.demonstrate()
    seen, classes = projection(network.features), network.dataset.classes
    return _row(
        [
            f"<h4>{_HEADINGS[name]}</h4>" + _html(decision_plane(attack, shown, name, seen, classes))
            for name in _HEADINGS
        ]
    )
