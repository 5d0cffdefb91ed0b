import io
import json
import os
import pickle
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from lgm.config import ModelConfig, Phase, TrainConfig
from lgm.data.base import Split, per_class
from lgm.data.registry import load_split
from lgm.models.card import Card, CheckpointError
from lgm.models.checkpoint import embed_split, load_checkpoint, measure, save_checkpoint, save_measured, weights_sha256
from lgm.models.classifier import Classifier, build_model, to_device
from lgm.models.features import read_features, write_features
from lgm.models.registry import list_checkpoints, locate, read_card, user_folder
from lgm.models.scoring import embed


@pytest.fixture
def saved(blank_card: Card, tmp_path: Path) -> Path:
    """An untrained tiny network on disk, in a folder of its own."""
    return save_checkpoint(build_model(blank_card.config.model, seed=7), blank_card, tmp_path / "models")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def refused(path: Path, message: str) -> None:
    """Loading says what is wrong and touches nothing."""
    before = contents(path.parent)
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(path)
    assert contents(path.parent) == before


def test_round_trip_keeps_every_bit(saved: Path, blank_card: Card):
    original = build_model(blank_card.config.model, seed=7)
    model, card = load_checkpoint(saved)
    ours, theirs = original.state_dict(), model.state_dict()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype
        assert torch.equal(value, theirs[name]), name
    assert asdict(card) == asdict(blank_card)
    assert sorted(contents(saved.parent)) == ["blank.json", "blank.safetensors"]
    assert load_file(saved).keys() == ours.keys()


def test_loaded_model_is_frozen_and_in_eval_mode(saved: Path):
    model, _ = load_checkpoint(saved)
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_feature_scale_comes_from_the_card(saved: Path):
    model, card = load_checkpoint(saved)
    assert (card.feature_min, card.feature_max) == ([-1.0, -4.0], [1.0, 4.0])
    assert model.feature_scale.tolist() == [1.0, 0.25]  # either feature then spans a length of 2


def test_loading_leaves_the_global_random_state_alone(saved: Path):
    before = torch.get_rng_state()
    load_checkpoint(saved)
    assert torch.equal(torch.get_rng_state(), before)


def test_unusable_device_is_named(saved: Path):
    with pytest.raises(ValueError, match="device: expected one that torch can use here"):
        load_checkpoint(saved, "abacus")


def test_hash_sees_names_shapes_and_bytes_but_not_the_order():
    a, b = torch.arange(6.0), torch.tensor(3.0)
    reference = weights_sha256({"a": a, "b": b})
    assert weights_sha256({"b": b, "a": a.clone()}) == reference
    others = [{"a": b, "b": a}, {"a": a.reshape(2, 3), "b": b}, {"a": a, "c": b}, {"a": a + 1e-6, "b": b}]
    others += [{"a": a, "b": b.double()}, {"a": a}]
    assert len({reference, *map(weights_sha256, others)}) == 1 + len(others)
    plane = torch.rand(4, 4, 3, 3)
    by_channel = plane.to(memory_format=torch.channels_last)
    assert weights_sha256({"a": by_channel}) == weights_sha256({"a": plane})


@pytest.mark.parametrize("kept", [0, 7, 200, -1])
def test_truncated_weights(saved: Path, kept: int):
    saved.write_bytes(saved.read_bytes()[:kept])
    refused(saved, rf"{saved}: expected a safetensors file, found .*; restore the file or retrain")


def test_one_flipped_bit(saved: Path):
    content = bytearray(saved.read_bytes())
    content[-1] ^= 1
    saved.write_bytes(content)
    refused(saved, rf"{saved}: expected weights with SHA-256 \w{{12}} \(its card\), found \w{{12}}; restore")


def rewrite(path: Path, change: Callable[[dict[str, Tensor]], Any], *, trusted: bool = True) -> None:
    """Change the weights; ``trusted`` makes the card agree, so that the hash does not give them away first."""
    state = load_file(path)
    change(state)
    save_file(state, path)
    if trusted:
        card = path.with_suffix(".json")
        card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_sha256": weights_sha256(state)}))


def rename(state: dict[str, Tensor]) -> None:
    state["backbone.0.kernel"] = state.pop("backbone.0.weight")


def reshape(state: dict[str, Tensor]) -> None:
    state["backbone.0.weight"] = state["backbone.0.weight"].reshape(8, 25)


def spoil(state: dict[str, Tensor]) -> None:
    state["backbone.0.weight"][3, 0, 1, 1] = torch.nan


def overflow(state: dict[str, Tensor]) -> None:
    state["backbone.7.bias"][0] = torch.inf


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename, r"tensor backbone\.0\.kernel: expected shape none: no such tensor, found \(8, 1, 5, 5\)"),
        (reshape, r"tensor backbone\.0\.weight: expected shape \(8, 1, 5, 5\), found \(8, 25\)"),
        (lambda state: state.pop("head.mixture.means"), r"head\.mixture\.means: .*found none: it is missing"),
        (spoil, r"tensor backbone\.0\.weight: expected finite numbers, found NaN or infinity"),
        (overflow, r"tensor backbone\.7\.bias: expected finite numbers, found NaN or infinity"),
    ],
    ids=["renamed", "wrong shape", "missing", "NaN", "infinity"],
)
def test_tensors_that_do_not_fit(saved: Path, change: Callable[[dict[str, Tensor]], Any], message: str):
    rewrite(saved, change)
    refused(saved, rf"{saved}: .*{message}")


def test_other_weights_than_the_cards(saved: Path):
    rewrite(saved, lambda state: state["head.mixture.means"].add_(0.5), trusted=False)
    refused(saved, rf"{saved}: expected weights with SHA-256")


def test_missing_card(saved: Path):
    saved.with_suffix(".json").unlink()
    refused(saved, r"blank\.json: the card is missing; it belongs beside the weights")


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"text"', "{}", '{"name": "blank"}', "\xff\xfe"])
def test_card_that_is_no_card(saved: Path, text: str):
    saved.with_suffix(".json").write_bytes(text.encode("latin-1"))
    refused(saved, r"blank\.json: expected a model card in JSON, found .*; restore or retrain it")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("feature_min", []),
        ("feature_min", ["low", "lower"]),
        ("feature_max", None),
        ("feature_max", [1.0, float("nan")]),
        ("feature_max", [1.0, 2.0, 3.0]),
        ("config", {}),
        ("config", None),
        ("unknown", 1),
    ],
)
def test_card_with_a_field_that_cannot_be(saved: Path, field: str, value: Any):
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {field: value}))
    refused(saved, r"blank\.json: expected a model card in JSON, found .*; restore or retrain it")


def test_a_feature_without_a_span_is_refused(saved: Path, blank_card: Card):
    """It has no scale in eq. (1), and would count as a degree of freedom of the density."""
    card = saved.with_suffix(".json")
    values = json.loads(card.read_text())
    card.write_text(json.dumps(values | {"feature_min": [-1.0, 0.0], "feature_max": [1.0, 0.0]}))
    refused(saved, "feature 2 of 2: expected features that differ between images, found the same number for all")
    replace(blank_card, feature_min=[-1.0, -1e-5]).check_span()  # narrow, but there


@pytest.mark.parametrize(("field", "value"), [("network", "resnet"), ("n_dim", 0), ("n_dim", "2"), ("learn_priors", 3)])
def test_card_with_a_model_that_cannot_be(saved: Path, field: str, value: Any):
    card = saved.with_suffix(".json")
    values = json.loads(card.read_text())
    values["config"]["phases"][-1]["model"][field] = value
    card.write_text(json.dumps(values))
    refused(saved, r"blank\.json: expected a model card in JSON, found .*; restore or retrain it")


@pytest.mark.parametrize("value", ["", "0" * 64])
def test_card_with_a_hash_that_cannot_be(saved: Path, value: Any):
    card = saved.with_suffix(".json")
    card.write_text(json.dumps(json.loads(card.read_text()) | {"weights_sha256": value}))
    refused(saved, rf"{saved}: expected weights with SHA-256")


class Malicious:
    """A pickle that runs a command when it is loaded."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f'echo executed > "{self.marker}"',)


def plain(payload: object) -> bytes:
    return pickle.dumps({"base.0.weight": payload})


def as_torch_file(payload: object) -> bytes:
    buffer = io.BytesIO()
    torch.save({"base.0.weight": payload}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("layout", [plain, as_torch_file])
@pytest.mark.parametrize("suffix", [".pt", ".pth", ".safetensors"])
def test_malicious_pickle_is_not_executed(saved: Path, layout: Callable[[object], bytes], suffix: str):
    marker = saved.parent / "marker"
    payload = Malicious(marker)
    path = saved.with_suffix(suffix)
    path.write_bytes(layout(payload))
    refused(path, "nothing in it was executed" if suffix != ".safetensors" else "expected a safetensors file")
    assert not marker.exists()
    # The payload is a live one: a plain unpickler does run it.
    pickle.loads(plain(payload))
    assert marker.exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no zip", b"\x80\x02", b"]q\x00.", b"hello", bytes(range(256))])
def test_foreign_pt_file(saved: Path, content: bytes):
    path = saved.with_suffix(".pt")
    path.write_bytes(content)
    refused(path, rf"{path}: expected (tensors and nothing else|a state_dict)")


@pytest.mark.parametrize("content", [[1, 2], {"a": {"b": 1}}, {1: torch.zeros(2)}, torch.zeros(2)])
def test_pt_file_that_is_no_state_dict(saved: Path, content: object):
    path = saved.with_suffix(".pt")
    torch.save(content, path)
    refused(path, rf"{path}: expected a state_dict \(names to tensors\), found")


def to_papers_layout(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same weights as the paper's own code names them."""
    renamed = {}
    for name, value in state.items():
        if name.startswith("backbone."):
            renamed[name.replace("backbone.", "base.")] = value
        elif name == "head.mixture.means":
            renamed["lgm.centers"] = value
        elif name.startswith("head.classifier."):
            renamed[name.removeprefix("head.")] = value
    return renamed


@pytest.mark.parametrize("loss", ["lgm", "softmax"])
@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_papers_layout(loss: str, suffix: str, few: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # The feature range is measured on the bundled digits; fifty of them do here.
    monkeypatch.setattr("lgm.models.checkpoint.load_split", lambda name: Split(name, few.images, few.labels))
    original = to_device(build_model(ModelConfig(loss=loss), seed=9), "cpu")  # type: ignore[arg-type]
    state = {name: value.contiguous() for name, value in to_papers_layout(original.state_dict()).items()}
    path = tmp_path / f"theirs{suffix}"
    if suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)
    model, card = load_checkpoint(path)
    z = embed(original, few.pixels())
    assert torch.equal(embed(model, few.pixels()), z)
    assert torch.equal(model(few.pixels()), original(few.pixels()))
    assert (card.name, card.config.model) == ("theirs", ModelConfig(loss=loss))  # type: ignore[arg-type]
    np.testing.assert_allclose(model.feature_scale, 2 / (z.amax(0) - z.amin(0)), rtol=1e-6)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert "paper" in card.note
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_papers_layout_with_a_tensor_missing(tmp_path: Path):
    state = to_papers_layout(build_model(ModelConfig()).state_dict())
    del state["base.0.weight"]
    path = tmp_path / "theirs.pt"
    torch.save(state, path)
    refused(path, r"tensor backbone\.0\.weight: expected shape \(32, 1, 5, 5\), found none: it is missing")


@pytest.mark.parametrize("name", ["../x", "a/b", "..", "", ".hidden", "a b", "x" * 65, "x\n", "a.b"])
def test_names_that_could_lead_elsewhere(name: str, blank_card: Card, tmp_path: Path, fresh_home: Path):
    with pytest.raises(CheckpointError, match="expected 1 to 64 letters, digits, - or _"):
        load_checkpoint(name)
    model = build_model(blank_card.config.model)
    with pytest.raises(CheckpointError, match="expected 1 to 64 letters, digits, - or _"):
        save_checkpoint(model, replace(blank_card, name=name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_checkpoints_are_found_by_name(
    blank_card: Card, fresh_home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    shipped = tmp_path / "shipped"
    monkeypatch.setattr("lgm.models.registry.SHIPPED", shipped)
    assert list_checkpoints() == []
    with pytest.raises(CheckpointError, match=r"no checkpoint named 'mine' \(there are: none\); train one: python -m"):
        locate("mine")
    models = {"both": shipped, "zebra": shipped, "mine": user_folder()}
    for name, folder in models.items():
        save_checkpoint(build_model(blank_card.config.model, seed=1), replace(blank_card, name=name), folder)
    save_checkpoint(build_model(blank_card.config.model, seed=2), replace(blank_card, name="both"), user_folder())
    (user_folder() / "half.json").write_text("{}")  # a card without weights cannot be used
    assert list_checkpoints() == ["both", "zebra", "mine"]
    assert locate("both") == shipped / "both.safetensors"  # the shipped one has precedence
    assert locate("mine") == fresh_home / "checkpoints" / "mine.safetensors"
    assert read_card("mine").name == "mine"
    assert load_checkpoint("both")[1].weights_sha256 == read_card(shipped / "both.safetensors").weights_sha256
    with pytest.raises(CheckpointError, match=r"no checkpoint named 'other' \(there are: both, zebra, mine\)"):
        locate("other")


def test_path_to_nothing(tmp_path: Path):
    for suffix in (".safetensors", ".pt"):
        with pytest.raises(CheckpointError, match=f"{tmp_path / 'gone'}{suffix}: no such file"):
            load_checkpoint(tmp_path / f"gone{suffix}")


@pytest.mark.parametrize("preset", ["tiny-lgm", "tiny-softmax"])
def test_card_of_a_trained_model_tells_the_truth(preset: str, bundled: Split, trained: Callable[[str], Path]):
    model, card = load_checkpoint(trained(preset))
    with torch.no_grad():
        z = torch.cat([model.embed(part) for part in bundled.pixels().split(500)])
        predicted = model.head.logits(z).argmax(1).numpy()
    assert card.accuracy == {"bundled": (predicted == bundled.labels).mean()}
    assert card.accuracy["bundled"] > 0.25  # it learnt something
    np.testing.assert_allclose(card.feature_min, z.amin(0), rtol=1e-4)
    np.testing.assert_allclose(card.feature_max, z.amax(0), rtol=1e-4)
    train = load_split(card.config.split)
    trained_on = train[per_class(train.labels, 0, card.config.limit)]
    assert card.data_sha256 == {"trained on": trained_on.sha256, "bundled": bundled.sha256}
    assert [record["epoch"] for record in card.history] == list(range(1, card.config.epochs + 1))
    assert card.versions["torch"] == torch.__version__.split("+")[0]
    if preset == "tiny-softmax":
        assert card.closest_centers is None
    else:
        means = model.state_dict()["head.mixture.means"]
        assert card.closest_centers == pytest.approx(float(torch.pdist(means).min()), rel=1e-6)


@pytest.mark.parametrize("preset", ["tiny-lgm", "tiny-softmax"])
def test_features_of_a_trained_model(preset: str, bundled: Split, trained: Callable[[str], Path]):
    path = trained(preset)
    model, _ = load_checkpoint(path)
    features = read_features(path)
    assert list(features.splits) == ["bundled"]
    stored, fresh = features.splits["bundled"], embed_split(model, bundled)
    np.testing.assert_allclose(stored.z, fresh.z, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(stored.labels, bundled.labels)
    np.testing.assert_allclose(stored.score, fresh.score, rtol=1e-4, atol=1e-4)
    left, right, bottom, top = features.extent
    assert left < stored.z[:, 0].min() < stored.z[:, 0].max() < right
    assert bottom < stored.z[:, 1].min() < stored.z[:, 1].max() < top
    rows, columns = features.regions.shape
    for row, column in ((0, 0), (rows - 1, 0), (0, columns - 1), (100, 30), (17, 200)):
        x = left + (right - left) * column / (columns - 1)
        y = bottom + (top - bottom) * row / (rows - 1)
        assert features.regions[row, column] == int(model.head.logits(torch.tensor([[x, y]])).argmax())
    if preset == "tiny-softmax":
        for k in range(10):
            np.testing.assert_allclose(features.means[k], stored.z[stored.labels == k].mean(0), rtol=1e-4)
        assert np.isnan(features.peak).all()
        assert np.isnan(stored.score).all()
    else:
        np.testing.assert_array_equal(features.means, model.state_dict()["head.mixture.means"])
        np.testing.assert_allclose(features.peak, -np.log(2 * np.pi), rtol=1e-6)


def test_features_survive_the_disk(blank_card: Card, few: Split, tmp_path: Path):
    model = build_model(blank_card.config.model)
    splits = [Split("bundled", few.images, few.labels), Split("test", few.images[:20], few.labels[:20])]
    features = measure(model, blank_card, splits)
    save_checkpoint(model, blank_card, tmp_path)
    write_features("blank", features, tmp_path)
    back = read_features(tmp_path / "blank.safetensors")
    assert set(back.splits) == {"bundled", "test"}
    for name, split in features.splits.items():
        for key, value in vars(split).items():
            np.testing.assert_array_equal(getattr(back.splits[name], key), value)
    for key in ("means", "peak", "regions", "extent"):
        np.testing.assert_array_equal(getattr(back, key), getattr(features, key))


def test_features_of_more_dimensions_have_no_regions(blank_card: Card, few: Split, tmp_path: Path):
    config = blank_card.config.with_last(model=replace(blank_card.config.model, n_dim=5))
    card = replace(blank_card, config=config)
    path = save_measured(build_model(config.model), card, [Split("bundled", few.images, few.labels)], tmp_path)
    assert read_features(path).regions.size == 0
    assert load_checkpoint(path)[0].feature_scale.shape == (5,)


@pytest.fixture
def colours(rng: np.random.Generator) -> Split:
    """Twenty images of noise, two of each class, as CIFAR-10's held-out split."""
    images = rng.integers(0, 256, (20, 3, 32, 32), dtype=np.uint8)
    return Split("held-out", images, np.arange(20) % 10, "cifar10")


@pytest.mark.slow
def test_large_networks_are_stored_in_half_precision_and_measured_so(colours: Split, tmp_path: Path):
    config = TrainConfig(phases=(Phase(model=ModelConfig(network="vgg19", n_dim=10)),), dataset="cifar10")
    model = build_model(config.model, seed=3).eval()
    model.state_dict()["backbone.1.running_var"].fill_(1e-9)  # below what half precision can tell from 0
    path = save_measured(model, Card(name="big", config=config, weights_sha256=""), [colours], tmp_path)
    assert path.stat().st_size < 45e6
    stored = load_file(path)
    for name, value in stored.items():
        large = name.startswith("backbone.") and name.endswith(".weight") and value.ndim > 1
        assert (value.dtype == torch.float16) == large, name
    assert stored["backbone.1.running_var"].min() == np.float32(1e-9)

    loaded, card = load_checkpoint(path)
    assert card.weights_sha256 == weights_sha256(stored)
    for name, value in loaded.state_dict().items():
        assert value.dtype in (torch.float32, torch.int64), name
        assert torch.equal(value, stored[name].to(value.dtype)), name
        assert torch.equal(value, model.state_dict()[name]), "what was measured is not what loads"
    features, z = read_features(path).splits["held-out"], embed(loaded, colours.pixels())
    np.testing.assert_allclose(features.z, z, rtol=1e-3, atol=1e-4 * float(z.abs().max()))
    assert card.accuracy == {"held-out": float((features.predicted == colours.labels).mean())}

    again = save_measured(loaded, replace(card, name="again"), [colours], tmp_path)
    assert read_card(again).weights_sha256 == card.weights_sha256


def test_the_feature_range_is_that_of_the_datasets_held_out_split(few: Split):
    clothes = TrainConfig(phases=(Phase(model=ModelConfig(network="tiny-cnn")),), dataset="fashion-mnist")
    model, card = build_model(clothes.model, seed=3), Card(name="clothes", config=clothes, weights_sha256="")
    held_out, test = replace(few[np.arange(9)], name="held-out"), replace(few, name="test")
    measure(model, card, [test, held_out])
    z = embed(model, held_out.pixels())
    np.testing.assert_allclose(card.feature_min, z.amin(0), rtol=1e-5)
    np.testing.assert_allclose(card.feature_max, z.amax(0), rtol=1e-5)
    assert set(card.data_sha256) == {"test", "held-out"}


def test_damaged_features(saved: Path):
    path = saved.with_name("blank.features.safetensors")
    with pytest.raises(CheckpointError, match=rf"{path}: expected embedded features, found"):
        read_features(saved)
    path.write_bytes(b"not these")
    with pytest.raises(CheckpointError, match=rf"{path}: expected embedded features, found"):
        read_features(saved)
    save_file({"bundled.z": torch.zeros(3, 2)}, path)
    with pytest.raises(CheckpointError, match=rf"{path}: expected embedded features, found"):
        read_features(saved)


def test_classifier_state_holds_weights_alone(saved: Path):
    model, _ = load_checkpoint(saved)
    assert isinstance(model, Classifier)
    assert "feature_scale" not in model.state_dict()  # it belongs to the card
