"""Output that lacks letters, that nobody reads, or that has no room."""

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import lgm
from lgm.cli.main import main
from lgm.config import DefenseConfig
from lgm.defense.report import DefenseReport
from lgm.utils.console import HUNG_UP, visible

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
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


def run_lgm(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "lgm", *map(str, arguments)]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    return subprocess.Popen(command, cwd=ROOT, env=buffered, text=True, **options)  # type: ignore[call-overload]


def with_nobody_reading(which: str, *arguments: object) -> tuple[int, str]:
    """Exit code of a command one of whose streams is a closed pipe, and what the other received."""
    ours, theirs = os.pipe()
    os.close(ours)
    other = "stderr" if which == "stdout" else "stdout"
    process = run_lgm(*arguments, **{which: theirs, other: subprocess.PIPE})
    os.close(theirs)
    said = process.communicate(timeout=300)[which == "stdout"]
    return process.returncode, said


@pytest.mark.parametrize("command", [["--help"], ["craft", "--help"], ["evaluate", "MODEL"], ["evaluate", "m", "-x"]])
def test_a_closed_pipe_ends_a_command_without_a_word(command: list[str], tiny_lgm: Path):
    named = [str(tiny_lgm) if word == "MODEL" else word for word in command]
    which = "stderr" if "-x" in command else "stdout"
    assert with_nobody_reading(which, *named) == (HUNG_UP, "")


def test_training_ends_where_nobody_hears_of_it(fresh_home: Path, tmp_path: Path):
    assert with_nobody_reading("stderr", "train", "tiny-lgm", "--out", tmp_path) == (HUNG_UP, "")
    assert not (tmp_path / "tiny-lgm.safetensors").exists()


def test_output_closed_by_the_shell_is_no_error(tiny_lgm: Path):
    command = f'"{sys.executable}" -m lgm evaluate "{tiny_lgm}" >&-'
    done = subprocess.run(command, shell=True, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a Linux device")
def test_a_full_disk_is_called_that():
    with Path("/dev/full").open("w") as full:
        process = run_lgm("--help", stdout=full, stderr=subprocess.PIPE)
        said = process.communicate(timeout=300)[1]
    assert (process.returncode, said) == (1, "error: the output cannot be written (No space left on device)\n")


def test_json_is_ascii_and_json_for_any_number(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch):
    import json

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
