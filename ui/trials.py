"""How often attacks succeed: what is stored of a network, and what is measured on this machine."""

import math
from dataclasses import dataclass

import streamlit as st

from lgm.config import DefenseConfig
from lgm.data.registry import load_split
from lgm.defense.report import DefenseReport
from lgm.experiments.records import outdated
from lgm.utils.progress import subprogress
from ui import load
from ui.defend_model import POISONS
from ui.job_queue import Job, QueueFull
from ui.jobs import jobs_of, runner

TRIALS = 30
_KIND = "defend"  # of jobs


@dataclass(frozen=True)
class KnownReport:
    """A report, and where it comes from.

    Attributes:
        report: What was measured.
        data: The images, in words.
        made: When; None: since the server began.
        outdated: Why it is older than the attack, if it is.
    """

    report: DefenseReport
    data: str
    made: str | None = None
    outdated: str | None = None

    @property
    def setting(self) -> str:
        """What was measured, on what, and how often."""
        config = self.report.config
        task = "two classes" if config.task == "two" else "all classes"
        return (
            f"{config.trials} draws of {task}, target, bases and clean images from: {self.data}. "
            f"K = {config.poisons}, {config.clean} clean images a class, seed {config.seed}; "
            f"{self.made or 'measured here'}."
        )


def records(name: str) -> list[KnownReport]:
    """All reports of attacks on a network that are about these very weights, whatever data are at hand.

    Raises:
        CheckpointError: see `ui.load.study`.
    """
    weights, data, study = load.card(name).weights_sha256, load.dataset(), load.study()
    found = []
    if study is not None:
        made = f"stored with the network, measured {study.about.made}"
        found = [
            KnownReport(report, data.brief(report.data), made, outdated(report.attack_revision))
            for report in study.defense
            if report.weights_sha256 == weights
        ]
    mine = [report for by_name in _measured().values() for report in by_name.get(name, [])]
    found += [KnownReport(report, data.brief(report.data)) for report in mine]
    return [each for each in found if _is_shown(each.report.config)]


def _is_shown(config: DefenseConfig) -> bool:
    """Whether attacks are of the kind that the page is about."""
    return (config.layers, config.classes, config.watermark, config.gamma) == ("head", None, 0, 0)


def is_same(record: KnownReport, config: DefenseConfig) -> bool:
    """Whether a record is of the setting of the page."""
    found = record.report.config
    return (found.task, found.clean, found.poisons) == (config.task, config.clean, config.poisons)


def nearest(found: list[KnownReport], config: DefenseConfig, split: str) -> tuple[KnownReport, bool] | None:
    """The record whose setting is closest to this one, and whether it is the same but for the data; None without any.

    Of several one on ``split`` comes first, then the one of most attacks.
    """

    def distance(record: KnownReport) -> tuple[bool, float, float, bool, int]:
        found = record.report.config
        return (
            found.task != config.task,
            abs(math.log(max(1, config.clean) / max(1, found.clean))),
            abs(math.log(max(1, config.poisons) / max(1, found.poisons))),
            record.report.data != split,
            -found.trials,
        )

    if not found:
        return None
    best = min(found, key=distance)
    return best, is_same(best, config)


def curves(like: KnownReport, of: dict[str, list[KnownReport]]) -> dict[str, list[DefenseReport]]:
    """By loss the reports for different K that share all else with this one."""
    found = {
        loss: [each.report for each in theirs if _shared(each.report) == _shared(like.report)]
        for loss, theirs in of.items()
    }
    return {loss: reports for loss, reports in found.items() if reports}


def _shared(report: DefenseReport) -> tuple[object, ...]:
    """What the points of one curve share."""
    config = report.config
    return report.data, config.task, config.clean, config.trials, config.seed, config.fpr


@st.cache_resource(show_spinner=False)
def _measured() -> dict[str, dict[str, list[DefenseReport]]]:
    """What was measured since the server began, by the key of the job: by network."""
    return {}


def _key(config: DefenseConfig) -> str:
    names = [load.model_name(loss) for loss in load.LOSSES]
    weights = " ".join(f"{name} {load.card(name).weights_sha256}" for name in names)
    return f"{_KIND} {weights} {load.clean_split()} {config.task} {config.clean}"


def measured(config: DefenseConfig) -> bool:
    """Whether this setting was measured on the chosen data since the server began."""
    return _key(config) in _measured()


def current_job(config: DefenseConfig) -> Job | None:
    """The measurement that goes on, whoever began it, else the one of this setting if it has failed."""
    mine = _key(config)
    jobs = [job for job in jobs_of(_KIND) if job.active or (job.key == mine and job.error is not None)]
    return jobs[-1] if jobs else None


def measure(config: DefenseConfig) -> None:
    """Submit the measurement of both networks, at every K of the page, on the chosen data."""
    split, settings = load.clean_split(), [(k, config.clean) for k in POISONS if k]
    wanted = DefenseConfig(task=config.task, clean=config.clean, trials=TRIALS)
    names = [load.model_name(loss) for loss in load.LOSSES]
    known = {name: load.features(name).splits.get(split) for name in names}  # a job has no session
    kept = _measured()

    def work(job: Job) -> None:
        from lgm.defense.experiment import sweep
        from lgm.models.checkpoint import load_checkpoint

        found: dict[str, list[DefenseReport]] = {}
        for number, name in enumerate(names):
            on_step = subprogress(job.report, number, len(names))
            model, card = load_checkpoint(name)
            images, stored = load_split(split, card.config.dataset), known[name]
            z = None if stored is None else stored.z
            found[name] = sweep(model, card, images, wanted, settings, z=z, on_step=on_step)
        if not job.cancelling:
            kept[job.key] = found

    try:
        runner().submit(_key(config), work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
