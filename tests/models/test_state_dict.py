"""Checkpoints as people have them: read, or named for what they are; nothing in them is executed."""

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from lgm.models.card import CheckpointError, card_path
from lgm.models.checkpoint import load_checkpoint
from lgm.models.state_dict import read_tensors

State = dict[str, Tensor]


def optimizer() -> dict[str, Any]:
    layer = nn.Linear(2, 2)
    adam = torch.optim.Adam(layer.parameters())
    layer(torch.ones(1, 2)).sum().backward()
    adam.step()
    return adam.state_dict()


def prefixed(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("ending", [".pt", ".PT", ".pth", ".pth.tar", ".bin", ".ckpt", ".safetensors"])
def test_every_ending_has_its_card_beside_it(tiny_lgm: Path, tmp_path: Path, ending: str):
    path, state = tmp_path / f"net{ending}", load_file(tiny_lgm)
    if ending == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path)
    shutil.copy(tiny_lgm.with_suffix(".json"), tmp_path / "net.json")
    assert card_path(path) == tmp_path / "net.json"
    model, card = load_checkpoint(path)
    assert card.name == "net"
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name]), name


@pytest.mark.parametrize(
    "wrap",
    [
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("model."),
        lambda state: {name.replace("backbone.", "backbone._orig_mod."): v for name, v in state.items()},
        lambda state: prefixed("module.")(state) | {"n_averaged": torch.tensor(3)},
        lambda state: {"state_dict": state, "optimizer": optimizer(), "epoch": 3},
        lambda state: {"model": prefixed("module.")(state), "ema": prefixed("module.")(state), "best": 0.9},
        lambda state: {"anything": state, "optimizer": optimizer()},
        lambda state: {name: value.double() for name, value in state.items()},
    ],
    ids=["DataParallel", "compiled", "both", "lightning", "part", "averaged", "nested", "two", "one", "double"],
)
def test_wrapped_weights_are_the_same_weights(tiny_lgm: Path, tmp_path: Path, wrap: Callable[[State], dict[str, Any]]):
    state = load_file(tiny_lgm)
    torch.save(wrap(state), tmp_path / "theirs.ckpt")
    found = read_tensors(tmp_path / "theirs.ckpt")
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert torch.equal(found[name].to(value.dtype), value), name


def test_safetensors_under_another_ending(tiny_lgm: Path, tmp_path: Path):
    shutil.copy(tiny_lgm, tmp_path / "pytorch_model.bin")
    assert read_tensors(tmp_path / "pytorch_model.bin").keys() == load_file(tiny_lgm).keys()


class Own(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(2, 2)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            nn.Sequential(nn.Linear(2, 2)),
            r"found a whole pickled module, .* Save the weights alone: torch\.save\(model\.",
        ),
        (Own(), "found a whole pickled module"),
        (optimizer, "expected a state_dict .*, found the state of an optimizer; save one"),
        ({"state_dict": {}, "args": argparse.Namespace()}, r"found an object of another kind, argparse\.Namespace"),
        ({"a": {"x": torch.zeros(1)}, "b": {"x": torch.zeros(1)}}, "found several of them: a, b"),
        ({"epoch": 3, "loss": 0.1}, "found a dictionary of epoch, loss"),
        ({}, "found an empty dictionary"),
        (torch.zeros(2), "found an object of type Tensor"),
        ({"module.a": torch.zeros(1), "a": torch.zeros(1)}, "expected one tensor a name, found several"),
    ],
    ids=["module", "own module", "optimizer", "namespace", "several", "none", "empty", "tensor", "twins"],
)
@pytest.mark.parametrize("as_zip", [True, False])
def test_what_is_no_state_dict_is_named(content: Any, message: str, as_zip: bool, tmp_path: Path):
    path = tmp_path / "theirs.pt"
    content = content() if content is optimizer else content  # not on import: the first step of one takes a second
    torch.save(content, path, _use_new_zipfile_serialization=as_zip)
    if not as_zip and isinstance(content, Own):
        message = "found an object of another kind"  # the older format lists no classes but the first
    with pytest.raises(CheckpointError, match=rf"{path}: .*{message}") as caught:
        read_tensors(path)
    assert "weights_only" not in str(caught.value), "torch's own advice is to execute it"


def test_a_torchscript_archive_is_named(tmp_path: Path):
    with pytest.warns(FutureWarning):
        torch.jit.save(torch.jit.script(nn.Linear(2, 2)), tmp_path / "script.pt")
    with pytest.raises(CheckpointError, match=r"found a TorchScript archive, as torch\.jit\.save writes it"):
        read_tensors(tmp_path / "script.pt")


def test_an_empty_file_and_an_archive_that_unpacks_to_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "empty.pt").touch()
    with pytest.raises(CheckpointError, match="found an empty file"):
        read_tensors(tmp_path / "empty.pt")
    torch.save({"a": torch.zeros(10_000)}, tmp_path / "large.pt")
    monkeypatch.setattr("lgm.utils.files.LARGEST", 5_000)
    with pytest.raises(CheckpointError, match="found an archive that unpacks to"):
        read_tensors(tmp_path / "large.pt")


@pytest.mark.filterwarnings("ignore::UserWarning")  # torch warns when it reads one
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda value: value.to_sparse(), r"found a tensor of layout torch\.sparse_coo; save value\.to_dense\(\)"),
        (lambda value: value.to("meta"), "found a tensor on the device meta, without numbers"),
        (lambda value: value.to(torch.complex64), r"found torch\.complex64"),
        (lambda value: value > 0, r"found torch\.bool"),
        (lambda value: value.long(), r"expected torch\.float32, found torch\.int64"),
        (lambda value: value.new_zeros(1).expand(10**12), r"expected shape \(64,\), found \(1000000000000,\)"),
        (lambda value: value.new_full(value.shape, float("nan")), "expected finite numbers, found NaN or infinity"),
        (lambda value: value.double() + 1e300, "expected finite numbers, found NaN or infinity"),
    ],
    ids=["sparse", "meta", "complex", "bool", "whole", "expanded", "no number", "too large"],
)
def test_every_tensor_is_a_plain_array_of_numbers(
    tiny_lgm: Path, tmp_path: Path, change: Callable[[Tensor], Tensor], message: str
):
    state, path = load_file(tiny_lgm), tmp_path / "theirs.pt"
    state["backbone.5.bias"] = change(state["backbone.5.bias"])
    torch.save(state, path)
    card = tiny_lgm.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(card)
    with pytest.raises(CheckpointError, match=rf"{path}: tensor backbone\.5\.bias: .*{message}"):
        load_checkpoint(path)


@pytest.mark.parametrize("card", [True, False])
def test_another_architecture_is_named_by_its_first_tensors(tiny_lgm: Path, tmp_path: Path, card: bool):
    path = tmp_path / "resnet.pth"
    torch.save({"conv1.weight": torch.zeros(8, 3, 7, 7), "fc.bias": torch.zeros(10)}, path)
    if card:
        shutil.copy(tiny_lgm.with_suffix(".json"), path.with_suffix(".json"))
    found = r"found another architecture: conv1\.weight \(8, 3, 7, 7\), fc\.bias \(10,\)"
    with pytest.raises(CheckpointError, match=rf"{path}: expected .*{found}"):
        load_checkpoint(path)


def test_a_card_that_asks_for_a_billion_classes_builds_nothing(tiny_lgm: Path, tmp_path: Path):
    path = Path(shutil.copy(tiny_lgm, tmp_path / "large.safetensors"))
    card = tiny_lgm.with_suffix(".json").read_text()
    path.with_suffix(".json").write_text(card.replace('"n_classes": 10', '"n_classes": 1000000000'))
    with pytest.raises(
        CheckpointError, match=r"head\.mixture\.means: expected shape \(1000000000, 2\), found \(10, 2\)"
    ):
        load_checkpoint(path)


def test_a_file_that_may_not_be_read_is_called_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(CheckpointError, match=r"folder\.pt: a folder, where a file belongs"):
        load_checkpoint(tmp_path / "folder.pt")

    def closed(path: Path, *_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "closed.safetensors").touch()
    monkeypatch.setattr(Path, "open", closed)  # the tests may run as somebody who may read everything
    with pytest.raises(
        CheckpointError,
        match=r"closed\.safetensors: cannot be read \(Permission denied\): it belongs to .*; ask for `chmod a\+r ",
    ):
        load_checkpoint(tmp_path / "closed.safetensors")
