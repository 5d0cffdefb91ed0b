"""From the names of a dataset and a network to the kept list: read, embed, calibrate, judge."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lgm.data.base import DataError
from lgm.detection.embedded import ALONE, Embedded, batch_size, embed_table, given_features
from lgm.detection.image_table import ImageTable, read_table
from lgm.detection.kept_list import (
    FittedScore,
    KeptList,
    check_claims,
    class_names,
    fit_to_itself,
    fit_to_trusted,
)
from lgm.detection.parts import Parts
from lgm.detection.trusted import NONE, Trusted, as_features, held_out_or_none, trusted_table
from lgm.utils.distributed import Team
from lgm.utils.progress import OnStep

if TYPE_CHECKING:
    from lgm.models.card import Card
    from lgm.models.classifier import Classifier


@dataclass(frozen=True)
class Filtered:
    """What `filter_dataset` found.

    Attributes:
        kept: The list.
        trusted: What vouches for it.
        shape: (C, H, W) that the network takes; None for features without images.
        parts: Features on disk, for a run that is killed before the list is saved.
    """

    kept: KeptList
    trusted: Trusted
    shape: tuple[int, int, int] | None
    parts: tuple[Parts, ...]

    def done(self) -> None:
        """The list is saved: forget the features."""
        for each in self.parts:
            each.remove()


@dataclass(frozen=True)
class _Embedder:
    """How images become features in one run."""

    model: "Classifier | None"
    names: tuple[str, ...]
    workers: int
    team: Team
    weights_sha256: str  # "": nothing is kept on disk

    def parts(self, table: ImageTable) -> Parts | None:
        if not self.weights_sha256 or not table.is_images or self.model is None:
            return None
        return Parts.of(table, self.weights_sha256, batch_size(self.model))

    def embed(self, table: ImageTable, parts: Parts | None, on_batch: OnStep | None) -> Embedded | None:
        if not table.is_images:
            return given_features(self.model, self.names, table) if self.team.rank == 0 else None
        if self.model is None:
            raise ValueError(f"model: expected the network that {table.dataset} is to be seen by, got none")
        return embed_table(
            self.model, self.names, table, workers=self.workers, team=self.team, parts=parts, on_batch=on_batch
        )


def filter_dataset(
    data: str,
    source: str | None,
    *,
    trusted: str | None = None,
    scores: Sequence[str] = ("likelihood",),
    fpr: float = 0.02,
    workers: int = 0,
    team: Team = ALONE,
    resume: bool = True,
    on_batch: OnStep | None = None,
    on_trusted: OnStep | None = None,
) -> Filtered | None:
    """Which images of a registered dataset to keep.

    Args:
        data: Its name.
        source: Name of a checkpoint, or path to its weights; None for features of an unknown network.
        trusted: Name of a registered dataset whose labels are right, without what ``data`` holds too; "none": the
            filter is fitted to the data itself; None: what was held out of the network's training, where that is of
            all classes that the data claim, else "none"; without a network "none" too.
        scores: Keys of `lgm.detection.scores.SCORES`; the first one decides.
        fpr: Share of fresh clean images that may be removed on average; without trusted ones, of all images.
        workers: Processes that read images; 0: threads.
        team: Processes that share the work. Each must call this.
        resume: Whether features are kept on disk until `Filtered.done`, and those of a killed run used.
        on_batch: Progress of this process: images done, images in all.
        on_trusted: The same while trusted images are embedded.

    Returns:
        None in all but the first process.

    Raises:
        DataError, CheckpointError: the dataset, the network or its features do not read.
        ValueError: what is asked for cannot be answered; before any image is read, where that is known by then.
    """
    table = read_table(data)  # refused before the network is read
    vouching, shared = trusted_table(trusted, table) if trusted not in (None, NONE) else (None, 0)
    model, card, key = _network(source, table, team)
    names = class_names(card, table, *([vouching] if vouching else []))
    embedder = _Embedder(model, names, workers, team, key if resume else "")
    parts: list[Parts | None] = []
    found: Trusted | None
    if vouching:
        check_claims(model, names, table, scores, vouching.numbers(names))
        parts.append(embedder.parts(vouching))
        seen = embedder.embed(vouching, parts[-1], on_trusted)
        found = None if seen is None else Trusted("dataset", vouching.dataset, as_features(seen), shared)
    else:
        found = _held_out(source, card, names, table) if trusted is None else Trusted("none")
        check_claims(model, names, table, scores, None if found.features is None else found.features.labels)
    fitted = team.only_first(lambda: _fit(model, found, scores, fpr))
    parts.append(embedder.parts(table))
    images = embedder.embed(table, parts[-1], on_batch)
    if images is None or found is None:
        return None
    if found.features is not None and found.features.z.shape[1] != images.z.shape[1]:
        raise DataError(
            f"trusted: {found.name} has {found.features.z.shape[1]} features a row, and {data} {images.z.shape[1]}; "
            "name features of the same network"
        )
    fitted = fitted or fit_to_itself(model, images, scores, fpr)
    kept = KeptList(images, tuple(score.judge(images) for score in fitted))
    shape = model.image_shape if model and table.is_images else None
    return Filtered(kept, found, shape, tuple(each for each in parts if each))


def _network(source: str | None, table: ImageTable, team: Team) -> tuple["Classifier | None", "Card | None", str]:
    """The network, its card, and the hash of its weights."""
    if source is None:
        if table.is_images:
            raise ValueError("model: expected the network that is to see the images, got none")
        return None, None, ""
    from lgm.models.checkpoint import load_checkpoint

    model, card = load_checkpoint(source, team.device)
    return model, card, card.weights_sha256


def _held_out(source: str | None, card: "Card | None", names: tuple[str, ...], table: ImageTable) -> Trusted:
    if source is None or card is None:
        return Trusted("none", why="no network is named, of which something might be held out")
    return held_out_or_none(source, card, names, table)


def _fit(model: "Classifier | None", trusted: Trusted | None, scores: Sequence[str], fpr: float) -> list[FittedScore]:
    """Scores that go by trusted images; none, where there are none."""
    if trusted is None or trusted.features is None:
        return []
    return fit_to_trusted(model, trusted.features, scores, fpr)
