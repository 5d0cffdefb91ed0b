"""Output that lacks letters, that nobody reads, or that has no room."""

import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import lgm
from lgm.cli.main import main
from lgm.config import DefenseConfig
from lgm.data.base import Split
from lgm.defense.report import DefenseReport
from lgm.utils.console import HUNG_UP, visible

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
FULL = Path("/dev/full")
COMMANDS = ["", "train", "evaluate", "craft", "detect", "defend", "report", "bench"]


@dataclass
class Streams:
    """The bytes that standard output and error have received in some encoding, and their text."""

    encoding: str
    out: io.BytesIO
    err: io.BytesIO
    said: str = ""
    complained: str = ""


every_encoding = pytest.mark.parametrize("encoding", ["ascii", "cp1252", "latin-1", "utf-8"])


@contextmanager
def streams(encoding: str) -> Iterator[Streams]:
    """Let standard output and error have this encoding; not as a fixture, for pytest puts its own in their place."""
    found = Streams(encoding, io.BytesIO(), io.BytesIO())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(found.out, encoding=encoding))
        patch.setattr(sys, "stderr", io.TextIOWrapper(found.err, encoding=encoding))
        yield found
        sys.stdout.flush()
        sys.stderr.flush()
        found.said, found.complained = (part.getvalue().decode(encoding) for part in (found.out, found.err))


@every_encoding
@pytest.mark.parametrize("command", COMMANDS)
def test_help_can_be_said_in_every_encoding(command: str, encoding: str):
    with streams(encoding) as heard, pytest.raises(SystemExit) as end:
        main([*command.split(), "--help"])
    assert end.value.code == 0
    assert "usage: python -m lgm" in heard.said


@pytest.fixture(scope="module")
def measured(tiny_lgm: Path) -> DefenseReport:
    model, card = lgm.load_checkpoint(tiny_lgm)
    return lgm.defend(model, card, lgm.load_split("bundled", "mnist"), DefenseConfig(trials=2, poisons=1, gamma=0.03))


@every_encoding
def test_a_frontier_is_printed_in_every_encoding(
    tiny_lgm: Path, measured: DefenseReport, encoding: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("lgm.defense.experiment.frontier", lambda *_, **__: [measured])  # one attacker: seven take 15 s
    with streams(encoding) as heard:
        assert main(["defend", str(tiny_lgm), "--data", "bundled", "--frontier"]) == 0
    assert ("γ = " in heard.said) == (encoding == "utf-8")
    assert ("gamma = " in heard.said) == (encoding != "utf-8")


@every_encoding
def test_an_error_is_said_in_every_encoding(encoding: str):
    with streams(encoding) as heard:
        assert main(["evaluate", "/β–数/m.safetensors"]) == 1
    spelt = {"utf-8": "/β–数/", "cp1252": "/beta–\\u6570/"}.get(encoding, "/beta-\\u6570/")
    assert spelt in heard.complained


# Copies of one process that has imported torch, which takes seconds, run these commands one after the other; each ends
# as a process of its own. One of its two streams is a pipe that nobody reads, or a file; what the other receives is
# kept.
COPIES = """
import json, os, sys
from lgm.cli.main import run

found = {}
for name, (number, file, command) in json.loads(sys.argv[1]).items():
    ours, theirs = os.pipe()
    heard, said = os.pipe()
    os.close(ours)
    if not (process := os.fork()):
        os.dup2(os.open(file, os.O_WRONLY) if file else theirs, number)
        os.dup2(said, 3 - number)
        for each in (theirs, heard, said):
            os.close(each)
        sys.argv[1:] = command
        run()
    os.close(theirs)
    os.close(said)
    with open(heard) as other:
        text = other.read()
    found[name] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), text
print(json.dumps(found))
"""
OUT, ERR = 1, 2


@pytest.fixture(scope="module")
def copies(bundled: Split, tiny_lgm: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Exit codes of commands, and what was said on the stream that was open; where training was to save."""
    folder, nobody = tmp_path_factory.mktemp("out"), ""
    commands = {
        "help": (OUT, nobody, ["--help"]),
        "help with craft": (OUT, nobody, ["craft", "--help"]),
        "evaluate": (OUT, nobody, ["evaluate", str(tiny_lgm)]),
        "bad usage": (ERR, nobody, ["evaluate", "m", "-x"]),
        "train": (ERR, nobody, ["train", "tiny-lgm", "--out", str(folder)]),
    }
    if FULL.exists():
        commands["full"] = (OUT, str(FULL), ["--help"])
    # Streams have their buffers, as usual.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    command = [sys.executable, "-c", COPIES, json.dumps(commands)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {**json.loads(done.stdout), "folder": folder}


@pytest.mark.parametrize("command", ["help", "help with craft", "evaluate", "bad usage"])
def test_a_closed_pipe_ends_a_command_without_a_word(command: str, copies: dict[str, Any]):
    assert copies[command] == [HUNG_UP, ""]


def test_training_ends_where_nobody_hears_of_it(copies: dict[str, Any]):
    assert copies["train"] == [HUNG_UP, ""]
    assert not (copies["folder"] / "tiny-lgm.safetensors").exists()


def test_output_closed_by_the_shell_is_no_error(bundled: Split, tiny_lgm: Path):
    command = f'"{sys.executable}" -m lgm evaluate "{tiny_lgm}" >&-'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not FULL.exists(), reason="a Linux device")
def test_a_full_disk_is_called_that(copies: dict[str, Any]):
    assert copies["full"] == [1, "error: the output cannot be written (No space left on device)\n"]


def test_json_is_ascii_and_json_for_any_number(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    import numpy as np

    from lgm.cli.tables import Answer

    found = {"γ": float("nan"), "a": [np.float32("inf"), (1, np.int64(2))], "b": np.array([1.5, -np.inf])}
    monkeypatch.setattr("lgm.cli.evaluate._evaluate", lambda args: Answer(found))
    assert main(["evaluate", "m", "--json"]) == 0
    out = capsys.readouterr().out
    assert out.isascii()
    refuse = lambda word: pytest.fail(f"{word} is no JSON")  # noqa: E731
    expected = {"γ": None, "a": [None, [1, 2]], "b": [1.5, None]}
    assert json.loads(out, parse_constant=refuse) == expected


def test_names_of_folders_move_no_terminal():
    assert visible("a\x1b[31mred\n\u202egnp\tß日😀") == "a\\x1b[31mred\n\\u202egnp\\tß日😀"
