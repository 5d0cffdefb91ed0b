from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from lgm.attacks.result import (
    AbsentImagesError,
    Poisons,
    largest_change,
    pick_pairs,
    read_poisons,
    read_shipped_poisons,
)
from lgm.data.registry import load_split
from lgm.models.card import Card, CheckpointError, write_card

N, F = 4, 3
ARRAYS = [item.name for item in fields(Poisons) if item.name != "manifest"]


@pytest.fixture
def poisons(rng: np.random.Generator) -> Poisons:
    """Numbers that nothing computed, so that a mix-up of two arrays shows."""

    def floats(*shape: int) -> np.ndarray:
        return rng.random(shape, dtype=np.float32)

    def bytes_(*shape: int) -> np.ndarray:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    score = floats(N)
    score[1] = np.nan  # softmax networks have no density
    images, bases = floats(N, 1, 28, 28), bytes_(N, 1, 28, 28)
    return Poisons(
        images=images,
        base_images=bases,
        target_images=bytes_(N, 1, 28, 28),
        base_index=np.arange(N),
        target_index=np.arange(N)[::-1],
        labels=np.array([0, 1, 2, 3], np.uint8),
        target_labels=np.array([1, 2, 3, 4], np.uint8),
        predicted=np.array([1, 1, 3, 3], np.uint8),
        z=floats(N, 2),
        target_z=floats(N, 2),
        score=score,
        collision=floats(N),
        perturbation=floats(N),
        linf=largest_change(images, bases),
        beta=floats(N),
        iterations=rng.integers(0, 99, N),
        path_iteration=np.arange(F),
        path=floats(N, F, 2),
        path_objective=floats(N, F, 2),
        path_score=floats(N, F),
        path_predicted=bytes_(N, F),
        path_images=bytes_(N, F, 1, 28, 28),
        manifest={"model": "tiny", "seed": 3, "config": {"beta": 8e-3}, "note": "Größe ‖x‖"},
    )


def test_file_gives_back_every_bit(poisons: Poisons, tmp_path: Path):
    path = tmp_path / "poisons.safetensors"
    poisons.save(path)
    back = read_poisons(path)
    for name in ARRAYS:
        mine, theirs = getattr(poisons, name), getattr(back, name)
        assert (mine.dtype, mine.shape, mine.tobytes()) == (theirs.dtype, theirs.shape, theirs.tobytes()), name
    assert back.manifest == poisons.manifest
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_the_same_poisons_are_the_same_file(poisons: Poisons, tmp_path: Path):
    for name in "abcdefgh":
        poisons.save(tmp_path / name)
    assert len({path.read_bytes() for path in tmp_path.iterdir()}) == 1


def test_file_without_images_on_the_way(poisons: Poisons, tmp_path: Path):
    replace(poisons, path_images=poisons.path_images[:, :0]).save(tmp_path / "many")
    back = read_poisons(tmp_path / "many")
    assert (back.path_images.shape, back.path_images.dtype) == ((N, 0, 1, 28, 28), np.uint8)
    assert back[np.array([2, 0])].path_images.shape == (2, 0, 1, 28, 28)


def of_format_1(poisons: Poisons, *, without: str = "") -> dict[str, np.ndarray]:
    arrays = {name: getattr(poisons, name) for name in ARRAYS if name not in ("linf", "base_images", "target_images")}
    arrays |= {"bases": poisons.bases, "targets": poisons.targets}
    return {name: np.ascontiguousarray(array) for name, array in arrays.items() if name != without}


def test_a_file_of_format_1_reads(poisons: Poisons, tmp_path: Path):
    path = tmp_path / "old.safetensors"
    save_file(of_format_1(poisons), path)
    back = read_poisons(path)
    for name in ARRAYS:
        np.testing.assert_array_equal(getattr(poisons, name), getattr(back, name))


def test_a_file_of_a_later_format_is_refused(poisons: Poisons, tmp_path: Path):
    path = tmp_path / "new.safetensors"
    save_file(of_format_1(poisons), path, {"manifest": '{"format": 3}'})
    with pytest.raises(CheckpointError, match="found format 3, where 2 is the newest that this version of lgm reads"):
        read_poisons(path)


# Images that a file may not hold are found by position and hash.

CIFAR = {"dataset": "cifar10", "split": "test"}


@pytest.fixture
def of_cifar(poisons: Poisons) -> Poisons:
    """Poisons whose bases and targets are among the images that come with the packages."""
    twenty = load_split("bundled", "cifar10").images
    base, target = np.array([3, 0, 19, 3]), np.array([1, 1, 2, 17])
    return replace(
        poisons,
        images=(twenty[base] // 2 + 9).astype(np.float32) / 255,
        base_images=twenty[base],
        target_images=twenty[target],
        base_index=base,
        target_index=target,
        manifest=CIFAR,
    )


def test_a_file_of_cifar_10_holds_none_of_its_images_and_gives_them_back(of_cifar: Poisons, tmp_path: Path):
    of_cifar.save(tmp_path / "poisons")
    content = (tmp_path / "poisons").read_bytes()
    for image in (*of_cifar.bases, *of_cifar.targets):
        assert image.tobytes()[:64] not in content
    back = read_poisons(tmp_path / "poisons")
    np.testing.assert_array_equal(back.bases, of_cifar.bases)
    np.testing.assert_array_equal(back.targets, of_cifar.targets)
    np.testing.assert_array_equal(back.images, of_cifar.images)
    np.testing.assert_array_equal(back.linf, of_cifar.linf)


def absent(of_cifar: Poisons, path: Path, monkeypatch: pytest.MonkeyPatch) -> Poisons:
    of_cifar.save(path)
    monkeypatch.setattr("lgm.data.cifar10._bundled_files", list)
    return read_poisons(path)


def test_without_the_images_all_numbers_stay(of_cifar: Poisons, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    back = absent(of_cifar, tmp_path / "poisons", monkeypatch)
    assert not back.has_pairs and not back[np.array([0])].has_pairs
    assert not Poisons.concatenate([back, back]).has_pairs
    np.testing.assert_array_equal(back.linf, of_cifar.linf)
    np.testing.assert_array_equal(back.objective, of_cifar.objective)
    for images in ("bases", "targets"):
        with pytest.raises(AbsentImagesError, match=r"images of CIFAR-10, the official test set, which this machine"):
            getattr(back, images)
    with pytest.raises(AbsentImagesError):
        back.save(tmp_path / "again")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("field", ["base_index", "target_index"])
@pytest.mark.parametrize("position", [4, 20, -1, 10**9])
def test_an_image_that_is_another_is_none(of_cifar: Poisons, tmp_path: Path, field: str, position: int):
    index = getattr(of_cifar, field).copy()
    index[2] = position
    replace(of_cifar, **{field: index}).save(tmp_path / "poisons")
    assert not read_poisons(tmp_path / "poisons").has_pairs


@pytest.mark.parametrize("manifest", [{}, {"dataset": "mnist"}, {"dataset": ["cifar10"], "split": "test"}])
def test_images_of_other_data_stay_in_the_file(of_cifar: Poisons, manifest: dict[str, object], tmp_path: Path):
    replace(of_cifar, manifest=manifest).save(tmp_path / "poisons")
    np.testing.assert_array_equal(read_poisons(tmp_path / "poisons").bases, of_cifar.bases)


@pytest.mark.parametrize("missing", ["path_score", "path_predicted", "path_images"])
def test_file_of_an_older_version(poisons: Poisons, tmp_path: Path, missing: str):
    path = tmp_path / "old.safetensors"
    save_file(of_format_1(poisons, without=missing), path)
    with pytest.raises(CheckpointError, match=rf"{path}: expected poisons .*{missing}.*; craft them anew"):
        read_poisons(path)


def test_rows_keep_their_ways(poisons: Poisons):
    some = poisons[np.array([3, 1])]
    for row, old in enumerate((3, 1)):
        for name in ("path", "path_objective", "path_score", "path_predicted", "path_images"):
            np.testing.assert_array_equal(getattr(some, name)[row], getattr(poisons, name)[old])


def test_derived_numbers(poisons: Poisons):
    assert len(poisons) == N
    assert poisons.collided.tolist() == [True, False, True, False]
    for i in range(N):
        assert poisons.objective[i] == pytest.approx(poisons.collision[i] + poisons.beta[i] * poisons.perturbation[i])
        assert poisons.l2[i] == pytest.approx(float(poisons.perturbation[i]) ** 0.5)
        changes = [abs(x - b / 255) for x, b in zip(poisons.images[i].flat, poisons.bases[i].flat, strict=True)]
        assert poisons.linf[i] == pytest.approx(max(changes), rel=1e-5)


@pytest.mark.parametrize("kept", [0, 4, 100, 0.5, -1])
def test_truncated_file(poisons: Poisons, tmp_path: Path, kept: float):
    path = tmp_path / "poisons.safetensors"
    poisons.save(path)
    content = path.read_bytes()
    path.write_bytes(content[: int(kept * len(content)) if isinstance(kept, float) else int(kept)])
    with pytest.raises(CheckpointError, match=rf"{path}: expected poisons made by `python -m lgm craft`.*craft them"):
        read_poisons(path)


def test_foreign_files(poisons: Poisons, tmp_path: Path):
    text, weights = tmp_path / "text.safetensors", tmp_path / "weights.safetensors"
    text.write_text("these are no poisons")
    save_file({"backbone.0.weight": np.zeros(3, np.float32)}, weights)
    for path in (text, weights, tmp_path / "missing.safetensors"):
        with pytest.raises(CheckpointError, match=rf"{path}: expected poisons made by"):
            read_poisons(path)


def test_arrays_of_different_lengths(poisons: Poisons, tmp_path: Path):
    path = tmp_path / "poisons.safetensors"
    replace(poisons, labels=poisons.labels[:-1]).save(path)
    with pytest.raises(CheckpointError, match=r"found arrays of several lengths, .*'labels': 3"):
        read_poisons(path)


def test_shipped_poisons_lie_beside_the_weights(
    poisons: Poisons, blank_card: Card, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lgm.models.registry.SHIPPED", tmp_path)
    (tmp_path / "some-model.safetensors").touch()
    write_card(replace(blank_card, name="some-model", weights_sha256="abc"), tmp_path)
    poisons = replace(poisons, manifest={"weights_sha256": "abc"})
    poisons.save(tmp_path / "some-model.poisons.safetensors")
    np.testing.assert_array_equal(read_shipped_poisons("some-model").images, poisons.images)
    with pytest.raises(CheckpointError, match="No poisons have been crafted on some-model yet"):
        read_shipped_poisons("some-model", "example")
    replace(poisons, images=1 - poisons.images).save(tmp_path / "some-model.example.safetensors")
    np.testing.assert_array_equal(read_shipped_poisons("some-model", "example").images, 1 - poisons.images)
    with pytest.raises(CheckpointError, match="no checkpoint named 'other-model'"):
        read_shipped_poisons("other-model")
    replace(poisons, manifest={"weights_sha256": "xyz"}).save(tmp_path / "some-model.example.safetensors")
    with pytest.raises(CheckpointError, match="expected poisons crafted on the weights abc, found xyz"):
        read_shipped_poisons("some-model", "example")


def test_pairs_are_of_different_classes_and_repeatable(rng: np.random.Generator):
    labels = np.r_[np.zeros(90, int), rng.integers(0, 10, 30)]  # many clashes to avoid
    bases, targets = pick_pairs(labels, 120, seed=4)
    assert (labels[bases] != labels[targets]).all()
    assert sorted(bases.tolist()) == list(range(120))  # each image is a base once
    again = pick_pairs(labels, 120, seed=4)
    np.testing.assert_array_equal(bases, again[0])
    np.testing.assert_array_equal(targets, again[1])
    assert not np.array_equal(bases, pick_pairs(labels, 120, seed=5)[0])


def test_pairs_do_not_touch_the_global_random_state():
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    pick_pairs(np.arange(10), 5, seed=1)
    np.testing.assert_array_equal(before, np.random.get_state()[1])  # type: ignore[index]


def test_impossible_pairs():
    with pytest.raises(ValueError, match=r"poisons: expected 1\.\.5 .*got 6"):
        pick_pairs(np.arange(5), 6, seed=0)
    with pytest.raises(ValueError, match=r"poisons: expected 1\.\.5 .*got 0"):
        pick_pairs(np.arange(5), 0, seed=0)
    with pytest.raises(ValueError, match="labels: expected at least two classes, got one"):
        pick_pairs(np.zeros(5), 2, seed=0)
