"""How often attacks succeed: what is stored of a network, and what is measured on this machine."""

import math
from dataclasses import dataclass
from typing import Any

import streamlit as st

from lgm.config import DefenseConfig
from lgm.datasets import DATASETS, load_split
from lgm.jobs import Job, QueueFull
from lgm.progress import part
from ui import load
from ui.attacks import POISONS
from ui.jobs import runner
from ui.verdict import Report

TRIALS = 30
_JOB = "defend_job"
_USUAL = {"layers": "head", "classes": None, "watermark": 0, "gamma": 0}  # of the attacks that the page is about
_SAME = ("data", "task", "clean", "trials", "seed", "fpr")  # what the points of one curve share


@dataclass(frozen=True)
class Record:
    """A report, and where it comes from.

    Attributes:
        report: `lgm.defense.DefenseReport.to_dict`.
        dataset: Of its images.
        stored: Whether it came with the networks; else it was measured in this session.
        made: Day, if it says so.
        revision: Of the attack, if it says so.
    """

    report: Report
    dataset: str
    stored: bool
    made: str | None
    revision: int | None

    @property
    def setting(self) -> str:
        """What was measured, on what, and how often."""
        report, dataset = self.report, DATASETS[self.dataset]
        data = dataset.brief(report["data"]) if report["data"] in dataset.splits else report["data"]
        task = "two classes" if report["task"] == "two" else "all classes"
        made = f", {self.made[:10]}" if self.made else ""
        revision = f", attack revision {self.revision}" if self.revision is not None else ""
        return (
            f"{report['trials']} draws of {task}, target, bases and clean images from {dataset.title}, {data}; "
            f"K = {report['poisons']}, {report['clean']} clean images a class, seed {report['seed']} "
            f"({'stored with the network' if self.stored else 'measured here'}{revision}{made})"
        )


def records(name: str) -> list[Record]:
    """All reports of attacks on a network that are about these very weights, whatever data are at hand.

    Raises:
        CheckpointError: see `ui.load.studies`.
    """
    weights = load.card(name).weights_sha256
    found = []
    for study in load.studies():
        about = study["about"]
        hashes = {model: about["weights_sha256"].get(loss) for loss, model in about["models"].items()}
        for report in study["defense"]:
            if report.get("weights_sha256", hashes.get(report["model"])) == weights:
                found.append(_record(report, name, about, stored=True))
    mine = (each for reports in _own().values() for each in reports.get(name, []))
    return [record for record in found + [_record(each, name, {}, stored=False) for each in mine] if _usual(record)]


def _record(report: Report, name: str, about: dict[str, Any], *, stored: bool) -> Record:
    said = {key: report.get(key, about.get(key)) for key in ("made", "attack_revision")}
    return Record(report, load.card(name).config.dataset, stored, said["made"], said["attack_revision"])


def _usual(record: Record) -> bool:
    return all(record.report.get(name, value) == value for name, value in _USUAL.items())


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


def _own() -> dict[str, dict[str, list[Report]]]:
    """What was measured in this session, by the key of the job: by network."""
    return st.session_state.setdefault("own_trials", {})


def _key(config: DefenseConfig) -> str:
    names = [load.model_name(loss) for loss in load.LOSSES]
    weights = " ".join(f"{name} {load.card(name).weights_sha256}" for name in names)
    return f"defend {weights} {load.clean_split()} {config.task} {config.clean}"


def measured(config: DefenseConfig) -> bool:
    """Whether this session has measured this setting on the chosen data."""
    return _key(config) in _own()


def current_job() -> Job | None:
    """The measurement that this session waits for; what it found is kept once it is done."""
    job = runner().jobs.get(st.session_state.get(_JOB, ""))
    if job is not None and not job.active and job.error is None:
        if job.state == "done":
            _own()[job.key] = job.result
        del st.session_state[_JOB]
        return None
    return job


def measure(config: DefenseConfig) -> None:
    """Submit the measurement of both networks, at every K of the page, on the chosen data."""
    split, settings = load.clean_split(), [(k, config.clean) for k in POISONS if k]
    wanted = DefenseConfig(task=config.task, clean=config.clean, trials=TRIALS)
    names = [load.model_name(loss) for loss in load.LOSSES]
    stored = {name: load.features(name).splits.get(split) for name in names}  # a job has no session

    def work(job: Job) -> dict[str, list[Report]]:
        from lgm.checkpoints import load_checkpoint
        from lgm.defense import sweep

        found: dict[str, list[Report]] = {}
        for number, name in enumerate(names):
            on_step = part(job.report, number, len(names))
            model, card = load_checkpoint(name)
            images, known = load_split(split, card.config.dataset), stored[name]
            z = None if known is None else known.z
            found[name] = [each.to_dict() for each in sweep(model, card, images, wanted, settings, z=z, on_step=on_step)]
        return found

    try:
        st.session_state[_JOB] = runner().submit(_key(config), work).key
    except QueueFull as error:
        st.toast(str(error), icon=":material/hourglass:")
