"""Features of files: the bits do not depend on who computes them, and a run that was killed goes on."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from lgm.data import loader
from lgm.data.base import DataError, Split
from lgm.data.store import register
from lgm.detection import parts as parts_module
from lgm.detection.embedded import Embedded, embed_table
from lgm.detection.image_table import ImageTable, read_table
from lgm.detection.parts import Parts
from lgm.models.checkpoint import load_checkpoint
from lgm.models.classifier import Classifier
from lgm.models.scoring import embed
from lgm.utils.images import png

NAMES = tuple("0123456789")
COUNT = 300  # in batches of 128


@pytest.fixture
def model(tiny_lgm: Path) -> Classifier:
    return load_checkpoint(tiny_lgm)[0]


@pytest.fixture
def table(bundled: Split, fresh_home: Path, tmp_path: Path) -> ImageTable:
    """Digits under paths whose order is theirs."""
    for i in range(COUNT):
        path = tmp_path / "mine" / str(i % 2) / f"{i:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(png(bundled.images[16 * i]))
    register("mine", tmp_path / "mine")
    return read_table("mine")


def numbers(table: ImageTable) -> list[int]:
    return [16 * int(Path(path).stem) for path in table.paths]


def embedded(model: Classifier, table: ImageTable, **options: object) -> Embedded:
    found = embed_table(model, NAMES, table, **options)  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Positions of the images that are read, in the order in which that happens."""
    seen: list[int] = []
    read = loader.FileImages.__getitem__

    def counting(self: loader.FileImages, index: int) -> tuple[int, torch.Tensor]:
        seen.append(index)
        return read(self, index)

    monkeypatch.setattr(loader.FileImages, "__getitem__", counting)
    return seen


def test_features_are_those_of_the_images(model: Classifier, table: ImageTable, bundled: Split):
    found = embedded(model, table)
    expected = embed(model, bundled.images[numbers(table)])
    np.testing.assert_allclose(found.z, expected.numpy(), rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(found.predicted, model.head.logits(torch.from_numpy(found.z)).argmax(1))
    assert found.labels.tolist() == [int(path[0]) for path in table.paths]


@pytest.mark.slow
def test_the_bits_are_the_same_for_any_number_of_threads_and_readers(model: Classifier, table: ImageTable):
    alone = embedded(model, table)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        side_by_side = embedded(model, table)
        assert torch.get_num_threads() == 3
        read_by_others = embedded(model, table, workers=2)
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(side_by_side.z, alone.z)
    np.testing.assert_array_equal(read_by_others.z, alone.z)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_does_not_read_any_more_is_named_and_left_out(workers: int, model: Classifier, table: ImageTable):
    whole = embedded(model, table)
    gone = [3, 200, 299]
    for i in gone:
        (table.root / table.paths[i]).unlink()
    found = embedded(model, table, workers=workers)
    assert list(found.unreadable) == table.paths[gone].tolist()
    assert found.paths.tolist() == np.delete(table.paths, gone).tolist()
    np.testing.assert_allclose(found.z, np.delete(whole.z, gone, axis=0), rtol=1e-4, atol=1e-4)


def test_nothing_that_reads_is_an_error(model: Classifier, table: ImageTable):
    shutil.rmtree(table.root)
    with pytest.raises(DataError, match="none of 300 images of mine reads any more; `lgm data check mine`"):
        embed_table(model, NAMES, table)


class KilledError(Exception):
    pass


def kill_at(images: int) -> Callable[[int, int], None]:
    def on_batch(done: int, total: int) -> None:
        assert total == COUNT
        if done >= images:
            raise KilledError

    return on_batch


@pytest.fixture
def killed(model: Classifier, table: ImageTable, monkeypatch: pytest.MonkeyPatch) -> ImageTable:
    """A run that ended after its second batch. The clock of this file system is taken to be right."""
    monkeypatch.setattr(parts_module, "_CLOCKS", 0)
    with pytest.raises(KilledError):
        embed_table(model, NAMES, table, parts=Parts.of(table, "w", 128, every=0), on_batch=kill_at(256))
    return table


def test_a_killed_run_goes_on_where_it_stopped(killed: ImageTable, model: Classifier, reads: list[int]):
    parts = Parts.of(killed, "w", 128)
    done: list[int] = []
    found = embedded(model, killed, parts=parts, on_batch=lambda count, total: done.append(count))
    assert sorted(reads) == list(range(256, 300))
    assert done == [128, 256, 300]
    np.testing.assert_array_equal(found.z, embedded(model, killed).z)
    assert parts.folder.is_dir()
    parts.remove()
    assert not parts.folder.exists()


def test_of_a_file_that_has_changed_since_the_batch_is_computed_anew(
    killed: ImageTable, model: Classifier, reads: list[int]
):
    path = killed.root / killed.paths[5]
    path.write_bytes((killed.root / killed.paths[9]).read_bytes())
    found = embedded(model, killed, parts=Parts.of(killed, "w", 128))
    assert sorted(reads) == [*range(128), *range(256, 300)]
    np.testing.assert_array_equal(found.z, embedded(model, killed).z)


def test_damaged_parts_are_passed_over(killed: ImageTable, model: Classifier, reads: list[int]):
    parts = Parts.of(killed, "w", 128)
    first, second = sorted(parts.folder.iterdir())
    first.write_bytes(first.read_bytes()[:-100])
    second.write_bytes(b"nothing")
    found = embedded(model, killed, parts=parts)
    assert sorted(reads) == list(range(300))
    np.testing.assert_array_equal(found.z, embedded(model, killed).z)


def test_another_network_or_another_dataset_has_parts_of_its_own(killed: ImageTable):
    one = Parts.of(killed, "w", 128).folder
    assert Parts.of(killed, "w", 128).folder == one
    changed = killed[np.arange(300)]
    changed.sha256[7] = b"other"
    others = [Parts.of(killed, "v", 128), Parts.of(killed, "w", 64), Parts.of(changed, "w", 128)]
    others.append(Parts.of(killed[np.arange(299)], "w", 128))
    assert len({one, *(parts.folder for parts in others)}) == 5


def test_where_nothing_can_be_kept_the_run_goes_on(model: Classifier, table: ImageTable, tmp_path: Path):
    (tmp_path / "file").write_text("no folder")
    found = embedded(model, table, parts=Parts(tmp_path / "file" / "parts", every=0))
    assert len(found.z) == COUNT
