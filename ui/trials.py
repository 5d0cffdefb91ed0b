"""How often attacks succeed: what is stored of a network, and what is measured on this machine."""

import math
from dataclasses import dataclass

import streamlit as st

from lgm.config import DefenseConfig
from lgm.data.registry import load_split
from lgm.experiments.records import outdated
from lgm.utils.progress import part
from ui import load
from ui.defend_model import POISONS
from ui.job_queue import Job, QueueFull
from ui.jobs import jobs_of, runner
from ui.verdict import Report

TRIALS = 30
_KIND = "defend"  # of jobs
_USUAL = {"layers": "head", "classes": None, "watermark": 0, "gamma": 0}  # of the attacks that the page is about
_SAME = ("data", "task", "clean", "trials", "seed", "fpr")  # what the points of one curve share


@dataclass(frozen=True)
class Record:
    """A report, and where it comes from.

    Attributes:
        report: `lgm.defense.report.DefenseReport.to_dict`.
        data: The images, in words.
        made: When; None: since the server began.
        outdated: Why it is older than the attack, if it is.
    """

    report: Report
    data: str
    made: str | None = None
    outdated: str | None = None

    @property
    def setting(self) -> str:
        """What was measured, on what, and how often."""
        report = self.report
        task = "two classes" if report["task"] == "two" else "all classes"
        return (
            f"{report['trials']} draws of {task}, target, bases and clean images from: {self.data}. "
            f"K = {report['poisons']}, {report['clean']} clean images a class, seed {report['seed']}; "
            f"{self.made or 'measured here'}."
        )


def records(name: str) -> list[Record]:
    """All reports of attacks on a network that are about these very weights, whatever data are at hand.

    Raises:
        CheckpointError: see `ui.load.study`.
    """
    weights, data = load.card(name).weights_sha256, load.dataset()
    study = load.study() or {"about": {}, "defense": []}
    about = study["about"]
    hashes = {model: about["weights_sha256"][loss] for loss, model in about.get("models", {}).items()}
    hashes |= about.get("others", {})
    made = f"stored with the network, measured {about.get('made', 'at an unknown date')}"
    found = [
        Record(report, data.brief(report["data"]), made, outdated(about | report))
        for report in study["defense"]
        if report.get("weights_sha256", hashes.get(report["model"])) == weights
    ]
    mine = [report for by_name in _measured().values() for report in by_name.get(name, [])]
    found += [Record(report, data.brief(report["data"])) for report in mine]
    return [each for each in found if all(each.report.get(key, value) == value for key, value in _USUAL.items())]


def nearest(found: list[Record], config: DefenseConfig, split: str) -> tuple[Record, bool] | None:
    """The record whose setting is closest to this one, and whether it is the same but for the data; None without any.

    Of several one on ``split`` comes first, then the one of most attacks.
    """

    def distance(record: Record) -> tuple[bool, float, float, bool, int]:
        report = record.report
        return (
            report["task"] != config.task,
            abs(math.log(max(1, config.clean) / max(1, report["clean"]))),
            abs(math.log(max(1, config.poisons) / max(1, report["poisons"]))),
            report["data"] != split,
            -report["trials"],
        )

    if not found:
        return None
    best = min(found, key=distance)
    wanted = {"task": config.task, "clean": config.clean, "poisons": config.poisons}
    return best, all(best.report[name] == value for name, value in wanted.items())


def curves(like: Record, of: dict[str, list[Record]]) -> dict[str, list[Report]]:
    """By loss the reports for different K that share all else with this one."""
    wanted = {name: like.report[name] for name in _SAME}
    found = {
        loss: [r.report for r in theirs if all(r.report[name] == value for name, value in wanted.items())]
        for loss, theirs in of.items()
    }
    return {loss: reports for loss, reports in found.items() if reports}


@st.cache_resource(show_spinner=False)
def _measured() -> dict[str, dict[str, list[Report]]]:
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

        found: dict[str, list[Report]] = {}
        for number, name in enumerate(names):
            on_step = part(job.report, number, len(names))
            model, card = load_checkpoint(name)
            images, stored = load_split(split, card.config.dataset), known[name]
            z = None if stored is None else stored.z
            reports = sweep(model, card, images, wanted, settings, z=z, on_step=on_step)
            found[name] = [report.to_dict() for report in reports]
        if not job.cancelling:
            kept[job.key] = found

    try:
        runner().submit(_key(config), work)
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
