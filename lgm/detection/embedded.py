"""Features of a registered dataset: read, embedded and kept a batch at a time, by one process or several."""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np

from lgm.data.base import DataError
from lgm.data.loader import batch_readers, open_images
from lgm.data.store import read_feature_table
from lgm.detection.image_table import ImageTable
from lgm.detection.parts import EmbeddedBatch, Parts
from lgm.utils.distributed import Team
from lgm.utils.progress import OnStep

if TYPE_CHECKING:
    from lgm.models.classifier import Classifier

_MOST = 128  # images a batch; fewer of large ones. Never by the number of threads or processes: rounding depends on it
_BLOCK = 65_536  # features that the head sees at a time
ALONE = Team(0, 1, "cpu")


@dataclass(frozen=True)
class Embedded:
    """Images of a dataset as a network sees them: those that read.

    Attributes:
        table: What they are, and what they claim.
        names: Of all classes: the network's, then those of the dataset that it does not know.
        labels: (N,) int64 claimed classes, positions in ``names``.
        z: (N, D) float32 features.
        predicted: (N,) int64 classes by the network's own head; -1 without a network.
        unreadable: Files that were registered and do not read any more.
    """

    table: ImageTable
    names: tuple[str, ...]
    labels: np.ndarray
    z: np.ndarray
    predicted: np.ndarray
    unreadable: tuple[str, ...] = ()

    @property
    def paths(self) -> np.ndarray:
        """(N,) of the files."""
        return self.table.paths

    @property
    def claims(self) -> np.ndarray:
        """(N,) names of the claimed classes."""
        return self.table.claims


def embed_table(
    model: "Classifier",
    names: tuple[str, ...],
    table: ImageTable,
    *,
    workers: int = 0,
    team: Team = ALONE,
    parts: Parts | None = None,
    on_batch: OnStep | None = None,
) -> Embedded | None:
    """Features of all images of a table that read. They do not depend on threads, workers or processes, to the bit.

    Args:
        model: In eval mode. Images are scaled to its ``image_shape``, and are grey or in colour as it takes them.
        names: Of all classes that the table claims, beginning with the network's own.
        table: The images.
        workers: Processes that read images; 0: threads of this one.
        team: Processes that share the work, a batch each in turn.
        parts: Where this process keeps what it has done, and finds what an earlier run did.
        on_batch: Called after each batch of this process, with the images of its own that are done and all of them.

    Returns:
        None in all but the first process.

    Raises:
        DataError: none of the images reads any more.
    """
    size = batch_size(model)
    all_batches = [range(at, min(at + size, len(table))) for at in range(0, len(table), size)]
    own = dict(list(enumerate(all_batches))[team.rank :: team.size])
    total = sum(map(len, own.values()))
    z, seen, done = np.empty((0, 0), np.float32), np.zeros(len(table), bool), 0
    for batch in _embed(model, table, own, workers, parts):
        if not z.size:
            z = np.empty((len(table), batch.z.shape[1]), np.float32)
        z[batch.positions], seen[batch.positions] = batch.z, True
        done += len(own[batch.number])
        if on_batch:
            on_batch(done, total)
    if (gathered := _gather(team, z, seen)) is None:
        return None
    z, seen = gathered
    if not seen.any():
        raise DataError(
            f"{table.root}: none of {len(table):,} images of {table.dataset} reads any more; "
            f"`lgm data check {table.dataset}` says why"
        )
    unreadable = tuple(table.paths[~seen].tolist())
    if unreadable:
        z, table = z[seen], table[seen]
    return Embedded(table, names, table.numbers(names), z, _predicted(model, z), unreadable)


def given_features(model: "Classifier | None", names: tuple[str, ...], table: ImageTable) -> Embedded:
    """The features of a dataset that has no images, as they were registered.

    Args:
        model: The network that they are of, if that is known.
        names: Of all classes, the network's first.
        table: The dataset.

    Raises:
        DataError: its file has changed since, or holds another number of features than the network has.
    """
    found = read_feature_table(table.dataset)
    if not np.array_equal(found.paths, table.paths):
        raise DataError(f"{table.dataset}: its file has changed since it was registered; `lgm data add` it anew")
    if model is None:
        return Embedded(table, names, table.numbers(names), found.z, np.full(len(found.z), -1))
    wanted = len(model.feature_scale)
    if found.z.shape[1] != wanted:
        raise DataError(
            f"data: {table.dataset} has {found.z.shape[1]} features a row, and the network {wanted}; leave --model "
            "out, or name the network that they are of"
        )
    return Embedded(table, names, table.numbers(names), found.z, _predicted(model, found.z))


def batch_size(model: "Classifier") -> int:
    """Images that go through the network together."""
    from lgm.models.scoring import batch_of

    return min(_MOST, batch_of(model.image_shape))


def _embed(
    model: "Classifier", table: ImageTable, batches: dict[int, range], workers: int, parts: Parts | None
) -> Iterator[EmbeddedBatch]:
    """Batches by number: those that are at hand, then the others in their order."""
    todo = dict(batches)
    if parts:
        for batch in parts.read(table, lambda position: table.root / table.paths[position]):
            if todo.pop(batch.number, None):
                yield batch
    last = max(todo, default=None)
    computed = _computed(model, table, list(todo.values()), workers)
    for number, (positions, z) in zip(list(todo), computed, strict=True):
        batch = EmbeddedBatch(number, positions, z)
        if parts and len(positions) == len(todo[number]):  # what does not read today may read tomorrow
            parts.add(batch, last=number == last)
        yield batch


def _computed(
    model: "Classifier", table: ImageTable, batches: list[range], workers: int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Positions and features of each batch.

    A thread reads a batch and takes it through the network on its own: while one decodes, others compute, and as each
    computes alone, the bits do not depend on how many there are. Measured on two cores (`benchmarks/
    filter_throughput.py`): faster than two threads a batch, with or without a process that reads ahead.
    """
    import torch

    from lgm.models.scoring import embed
    from lgm.utils.threads import usual_threads

    images = open_images(table.root, table.paths.tolist(), model.image_shape)

    def compute(read: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> tuple[np.ndarray, np.ndarray]:
        positions, pixels = read()
        return positions.numpy(), embed(model, pixels.float().div_(255)).numpy()

    with (
        usual_threads() as threads,
        ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool,
    ):
        tasks = (pool.submit(compute, read) for read in batch_readers(images, batches, workers))
        waiting: deque[Future[tuple[np.ndarray, np.ndarray]]] = deque()
        try:
            waiting.extend(islice(tasks, 2 * threads))
            while waiting:
                yield waiting.popleft().result()
                waiting.extend(islice(tasks, 1))
        finally:
            for task in waiting:
                task.cancel()


def _gather(team: Team, z: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray] | None:
    """The same of all processes together; None for all but the first."""
    if team.size == 1:
        return z, seen
    positions = np.flatnonzero(seen)
    each = team.gather((positions, z[positions]) if len(positions) else None)
    if each is None:
        return None
    for positions, theirs in filter(None, each[1:]):
        if not z.size:
            z = np.empty((len(seen), theirs.shape[1]), np.float32)
        z[positions], seen[positions] = theirs, True
    return z, seen


def _predicted(model: "Classifier", z: np.ndarray) -> np.ndarray:
    import torch

    from lgm.models.classifier import device_of
    from lgm.utils.threads import one_thread_if

    with torch.inference_mode(), one_thread_if(True):
        parts = [
            model.head.logits(torch.from_numpy(z[at : at + _BLOCK]).to(device_of(model))).argmax(-1).cpu().numpy()
            for at in range(0, len(z), _BLOCK)
        ]
    return np.concatenate(parts)
