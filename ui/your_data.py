"""Features of the user's own datasets, computed once in the background, and what a filter makes of them."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import streamlit as st

from lgm.data.base import DataError
from lgm.data.registry import held_out_of
from lgm.data.store import read_registration, registered
from lgm.data.uploads import registration_folder
from lgm.detection.scores import BY_HEAD, SCORES
from ui import load
from ui.job_queue import Job
from ui.jobs import runner

if TYPE_CHECKING:
    from lgm.detection.embedded import Embedded
    from lgm.detection.kept_list import KeptList
    from lgm.detection.trusted import Trusted

# Who is trusted, beside the registered datasets, which are "=" and their name.
HELD_OUT, SHARE, NOBODY = "held-out", "share", "nobody"


@dataclass(frozen=True)
class Question:
    """What is asked of a dataset.

    Attributes:
        data: Name of a registered dataset.
        network: Name of a model.
        trusted: Whose labels are right: `HELD_OUT`, `SHARE`, `NOBODY`, or "=" and the name of a registered dataset.
        share: Of the dataset's own images, those trusted where ``trusted`` is `SHARE`.
        score: Key of `lgm.detection.scores.SCORES`.
        fpr: Share of clean images that may be removed.
    """

    data: str
    network: str
    trusted: str = HELD_OUT
    share: float = 0.5
    score: str = "likelihood"
    fpr: float = 0.02

    @property
    def trusted_data(self) -> str | None:
        """The registered dataset that is trusted."""
        return self.trusted[1:] if self.trusted.startswith("=") else None


@dataclass(frozen=True)
class Answer:
    """What a filter says of a dataset.

    Attributes:
        key: What tells it from others.
        question: What was asked.
        kept: The list, at the T that the rate asks for.
        calibration: (n,) scores of the trusted images that calibrate T, ascending; empty where nobody is trusted.
        promise: What T stands for.
        notes: Where it cannot promise what one might think, a sentence each.
        own_trusted: How many images of the dataset are taken to be right, and so are not judged.
    """

    key: str
    question: Question
    kept: "KeptList"
    calibration: np.ndarray
    promise: str
    notes: tuple[str, ...]
    own_trusted: int


def with_images() -> list[str]:
    """Names of the registered datasets whose images a network can see; the newest first."""
    names = [name for name in registered() if _has_images(name)]
    return sorted(names, key=lambda name: -version(name))


def _has_images(name: str) -> bool:
    try:
        return read_registration(name).kind != "features"
    except DataError:  # damaged: `lgm data list` says so
        return False


def unknown_classes(data: str, network: str) -> list[str]:
    """Classes that a dataset claims and a network does not know."""
    return sorted(set(read_registration(data).classes) - set(load.card(network).class_names))


def scores_for(data: str, network: str) -> list[str]:
    """Scores that may be asked of a dataset on a network, the best known first."""
    offered = [name for name in SCORES if name != "likelihood" or load.card(network).config.model.loss == "lgm"]
    return [name for name in offered if name not in BY_HEAD] if unknown_classes(data, network) else offered


def trusted_for(data: str, network: str) -> list[str]:
    """Who may be trusted. What was held out of the training counts if it has all the classes claimed."""
    own = held_out_of(load.card(network).config.dataset)
    held_out = own in load.features(network).splits and not unknown_classes(data, network)
    others = [f"={name}" for name in with_images() if name != data]
    return [*([HELD_OUT] if held_out else []), *others, SHARE, NOBODY]


# Features.


def version(data: str) -> int:
    """When a dataset was registered, in nanoseconds; 0 for none of this name."""
    try:
        return (registration_folder(data) / "about.json").stat().st_mtime_ns
    except OSError:
        return 0


def _key(data: str, network: str) -> str:
    return f"your-data {data} {version(data)} {network} {load.card(network).weights_sha256}"


def embedding(data: str, network: str) -> Job | None:
    """The job that computes, or has computed, the features of a dataset."""
    return runner().jobs.get(_key(data, network))


def start(data: str, network: str) -> Job:
    """Compute the features of a dataset in the background. Raises `QueueFull`."""
    weights = load.card(network).weights_sha256

    def work(job: Job) -> "Embedded | None":
        from lgm.detection.embedded import batch_size, embed_table
        from lgm.detection.image_table import read_table
        from lgm.detection.kept_list import class_names
        from lgm.detection.parts import Parts
        from lgm.models.checkpoint import load_checkpoint

        def on_batch(done: int, total: int) -> None:
            if not job.report(done, total):
                raise InterruptedError

        table = read_table(data)
        job.report(0, len(table))
        model, card = load_checkpoint(network)
        parts = Parts.of(table, weights, batch_size(model))  # whoever stops it, and the server's end, lose little
        try:
            found = embed_table(model, class_names(card, table), table, parts=parts, on_batch=on_batch)
        except InterruptedError:  # the job knows that it was cancelled
            parts.flush()
            return None
        parts.remove()
        return found

    return runner().submit(_key(data, network), work)


def needed(question: Question) -> list[str]:
    """Datasets whose features an answer takes."""
    return [question.data, *([question.trusted_data] if question.trusted_data else [])]


def missing(question: Question) -> list[str]:
    """Those of them whose features are not there yet."""
    jobs = {name: embedding(name, question.network) for name in needed(question)}
    return [name for name, job in jobs.items() if job is None or job.state != "done"]


# Answers.


def answer(question: Question) -> Answer:
    """Judge a dataset whose features are there.

    Raises:
        ValueError, DataError, CheckpointError: the question cannot be answered; the message says why.
    """
    return _answer(question, " ".join(_key(name, question.network) for name in needed(question)))


@st.cache_resource(show_spinner="Scoring", max_entries=8)
def _answer(question: Question, keys: str) -> Answer:
    from lgm.detection.filter_summary import notes, promise
    from lgm.detection.kept_list import KeptList, check_claims, fit_to_itself, fit_to_trusted

    model = load.model(question.network)
    images, trusted = _images_and_trusted(question)
    scores, features = [question.score], trusted.features
    check_claims(model, images.names, images.table, scores, None if features is None else features.labels)
    if features is None:
        (fitted,) = fit_to_itself(model, images, scores, question.fpr)
    else:
        (fitted,) = fit_to_trusted(model, features, scores, question.fpr)
    kept = KeptList(images, (fitted.judge(images),))
    calibration = fitted.score.calibration_scores_ if features is not None else []
    return Answer(
        key=f"{question} {keys}",
        question=question,
        kept=kept,
        calibration=np.sort(np.asarray(calibration, np.float64)),
        promise=promise(trusted, question.fpr, kept.calibrated_on),
        notes=(_as_seen(question), *notes(kept, trusted)),
        own_trusted=len(features.labels) if features is not None and question.trusted == SHARE else 0,
    )


def _as_seen(question: Question) -> str:
    """In what form the network takes the images."""
    shape, own = load.model(question.network).image_shape, read_registration(question.data).shape
    said = f"{question.network} sees each image as {_shape_text(shape)}"
    return f"{said}." if shape == own else f"{said}; they are registered as {_shape_text(own)}."


def _shape_text(shape: tuple[int, int, int]) -> str:
    channels, height, width = shape
    return f"{width} × {height} pixels in {'grey' if channels == 1 else 'colour'}"


def _images_and_trusted(question: Question) -> tuple["Embedded", "Trusted"]:
    """The images to judge, and those whose labels are taken to be right."""
    from lgm.detection.image_table import read_table
    from lgm.detection.kept_list import class_names
    from lgm.detection.trusted import NONE, Trusted, as_features, held_out_or_none, trusted_table

    card = load.card(question.network)
    tables = [read_table(name) for name in needed(question)]
    names = class_names(card, *tables)
    images = _features_of(question.data, question.network, names)
    if question.trusted == HELD_OUT:
        return images, held_out_or_none(question.network, card, names, images.table)
    if question.trusted == NOBODY:
        return images, Trusted(NONE)
    if (name := question.trusted_data) is not None:
        apart, shared = trusted_table(name, tables[0])
        found = _features_of(name, question.network, names)
        return images, Trusted("dataset", name, as_features(_at(found, np.isin(found.paths, apart.paths))), shared)
    mine = drawn_share(images.labels, question.share)
    name = f"{question.data}, {100 * question.share:g} % of each class"
    return _at(images, ~mine), Trusted("dataset", name, as_features(_at(images, mine)))


def _features_of(data: str, network: str, names: tuple[str, ...]) -> "Embedded":
    """What a job has computed, with the labels numbered as these names are."""
    job = embedding(data, network)
    if job is None or job.state != "done":
        raise DataError(f"{data}: its images have yet to be looked at")
    found: Embedded = job.result
    return replace(found, names=names, labels=found.table.numbers(names))


def drawn_share(labels: np.ndarray, share: float) -> np.ndarray:
    """(N,) bool: about this share of the images of each class, at random but the same each time.

    One at least is drawn, and one at least is left, where a class has two.
    """
    random = np.random.default_rng(0)
    chosen = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        mine = random.permutation(np.flatnonzero(labels == label))
        chosen[mine[: min(max(1, round(share * len(mine))), len(mine) - 1)]] = True
    return chosen


def _at(images: "Embedded", chosen: np.ndarray) -> "Embedded":
    arrays = {name: getattr(images, name)[chosen] for name in ("labels", "z", "predicted")}
    return replace(images, table=images.table[chosen], **arrays)
