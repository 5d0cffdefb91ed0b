"""State dicts from other people's files: tensors are read, nothing is executed."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from lgm.models.card import CheckpointError, open_checked
from lgm.utils.files import members, reason
from lgm.utils.words import listed

State = dict[str, Tensor]
_NESTED = (
    "state_dict",
    "model_state_dict",
    "model",
    "net",
    "network",
    "weights",
)  # keys of the weights, likeliest first
_WRAPPERS = {"module", "_orig_mod"}  # what DataParallel and torch.compile put into names, wherever they wrap
_OWNERS = ("model.", "net.", "network.")  # attributes of a trainer's module that holds the network
_SAVE = "torch.save(model.state_dict(), 'weights.pt')"


def read_tensors(path: Path) -> State:
    """All tensors of a checkpoint by name, on the CPU, without the names of wrappers and of what held the network.

    Reads safetensors, and what `torch.save` wrote: a state_dict, or one inside a dictionary beside other things.

    Raises:
        CheckpointError: damaged, another kind of file, or with a tensor that is no plain array of numbers.
    """
    head = open_checked(path)
    if path.suffix.lower() == ".safetensors" or head[8:9] == b"{":  # its header follows the header's length
        try:
            state = load_file(path)
        except (OSError, SafetensorError, ValueError) as error:
            raise CheckpointError(
                f"{path}: expected a safetensors file, found {reason(error)}; restore the file or retrain"
            ) from error
    else:
        state = _state_in(path, _unpickled(path))
    state = _own_names(path, state)
    for name, value in state.items():
        problem = _oddity(value)
        if problem:
            raise CheckpointError(f"{path}: tensor {name}: expected a plain array of numbers, found {problem}")
    return state


def _unpickled(path: Path) -> Any:
    entries: list[str] = []
    try:
        entries = members(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # an unpickler that reads foreign bytes may raise anything
        raise CheckpointError(
            f"{path}: expected tensors and nothing else, found {_what_it_is(path, entries, error)}; nothing in it was "
            f"executed. Save the weights alone: {_SAVE}"
        ) from error


def _what_it_is(path: Path, entries: list[str], error: Exception) -> str:
    """Why torch would not read a file, in words: its own advice is to execute what is in it."""
    if any("/code/" in entry or entry.endswith("/constants.pkl") for entry in entries):
        return "a TorchScript archive, as torch.jit.save writes it"
    if any("exported_program" in entry or "/models/" in entry for entry in entries):
        return "an exported program, as torch.export.save writes it"
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named is None:
        empty = not path.stat().st_size
        return "an empty file" if empty else str(error) if isinstance(error, ValueError) else "another kind of file"
    try:
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(path)
    except Exception:  # noqa: BLE001 not in the format that it lists; the error has named one
        classes = []
    if any(each.startswith("torch.nn.modules.") for each in [named[1], *classes]):
        return "a whole pickled module, as torch.save(model) writes it"
    return f"an object of another kind, {named[1]}"


def _is_state(value: Any) -> TypeGuard[Mapping[str, Tensor]]:
    names_to_tensors = isinstance(value, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in value.items()
    )
    return names_to_tensors and len(value) > 0


def _state_in(path: Path, content: Any) -> State:
    """The state_dict that a file is or holds."""
    if _is_state(content):
        return dict(content)
    found = f"an object of type {type(content).__name__}"
    if isinstance(content, Mapping):
        inside = {key: value for key, value in content.items() if _is_state(value)}
        chosen = next((key for key in _NESTED if key in inside), None)
        if chosen is None and len(inside) == 1:
            chosen = next(iter(inside))
        if chosen is not None:
            return dict(inside[chosen])
        found = f"a dictionary of {listed(map(str, content), 3)}" if content else "an empty dictionary"
        if inside:
            found = f"several of them: {listed(map(str, inside), 3)}"
        elif {"state", "param_groups"} <= content.keys():
            found = "the state of an optimizer"
    raise CheckpointError(f"{path}: expected a state_dict (names to tensors), found {found}; save one: {_SAVE}")


def _own_names(path: Path, state: State) -> State:
    """The tensors by the names that the network itself gives them."""
    state = {name: value for name, value in state.items() if name != "n_averaged"}  # AveragedModel's own counter
    plain = [".".join(part for part in name.split(".") if part not in _WRAPPERS) for name in state]
    for owner in _OWNERS:
        if all(name.startswith(owner) for name in plain):
            plain = [name.removeprefix(owner) for name in plain]
    if len(set(plain)) != len(state):
        raise CheckpointError(f"{path}: expected one tensor a name, found several where wrappers' names are left out")
    return dict(zip(plain, state.values(), strict=True))


def _oddity(value: Tensor) -> str | None:
    """What makes a tensor something else than numbers in memory; None for the usual kind."""
    if value.layout != torch.strided or value.is_nested:
        return f"a tensor of layout {value.layout}; save value.to_dense()"
    if value.device.type != "cpu":
        return f"a tensor on the device {value.device}, without numbers"
    if value.is_quantized:
        return f"quantised numbers ({value.dtype}); save value.dequantize()"
    if value.is_complex() or value.dtype == torch.bool:
        return f"{value.dtype}"
    return None


def described(state: Mapping[str, Tensor], most: int = 3) -> str:
    """The first tensors by name and shape, for a message."""
    return listed((f"{name} {tuple(value.shape)}" for name, value in state.items()), most)
