"""board: from networks to a record and a table."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from lgm.cli.main import main
from lgm.experiments.board.record import Board
from lgm.utils.codec import decode


def read_attacks(board: Path) -> set[tuple[str, ...]]:
    with safe_open(board.with_suffix(".safetensors"), framework="numpy") as file:
        return {tuple(name.split("/")[:3]) for name in file.keys()}  # noqa: SIM118


@pytest.mark.slow
def test_the_record_is_written_and_a_second_run_reads_the_poisons(
    tiny_lgm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, cache = tmp_path / "board.json", tmp_path / "cache"
    few = ["--trials", "2", "--budgets", "2:3", "--attackers", "collision", "--choices", "random", "nearest"]
    command = [
        "board",
        "--models",
        str(tiny_lgm),
        "--data",
        "bundled",
        *few,
        "--processes",
        "2",
        "--cache",
        str(cache),
        "--out",
        str(out),
    ]
    assert main([*command, "--json"]) == 0, capsys.readouterr().err
    said = json.loads(capsys.readouterr().out)
    assert said == json.loads(out.read_text())
    board = decode(Board, said)
    assert [attack.choice for attack in board.networks[0].attacks] == ["random", "nearest"]
    assert board.config.budgets == ((2, 3),)
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 4, "poisons and a row, twice"
    assert read_attacks(out) == {("tiny-lgm", "collision", choice) for choice in ("random", "nearest")}
    assert main(command) == 1
    assert "--force" in capsys.readouterr().err
    assert main([*command, "--force"]) == 0
    assert "tiny-lgm: K = 2, 3 clean images a class, head: nearest class mean" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    assert main([*command[: command.index("--processes")], "--processes", "1", "--json"]) == 0
    alone = decode(Board, json.loads(capsys.readouterr().out))
    assert alone.networks == board.networks, "one process finds what two have found"


def test_another_file_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    mine = tmp_path / "poisons.safetensors"
    mine.write_bytes(b"of an afternoon")
    assert main(["board", "--out", str(mine.with_suffix(".json"))]) == 1
    assert "poisons.safetensors exists already" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir() if not path.name.startswith(".")] == [mine.name]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--attackers", "magic"], "--attackers: expected one or several of collision, hinge, edge, edge-10"),
        (["--processes", "0"], "--processes: expected at least 1, got 0"),
        (["--simulate", "--out", "board.json"], "--out: expected none with --simulate"),
        (["--simulate", "--surrogates", "a", "b"], "--surrogates: expected none with --simulate"),
        (["--add-to", "nothing.json", "--cache", "c"], "nothing.json: expected a board, found no such file"),
        (["--surrogates", "mnist-lgm"], "--surrogates: expected one for each of 2 models, got 1"),
        (["--simulate", "--attackers", "gradient-matching"], "--attackers: expected of collision, hinge, edge"),
        (["--attackers", "gradient-matching", "--choices", "random"], "--choices: expected nearest for gradient-match"),
        (["--budgets", "0:3"], "--budgets: expected pairs of at least 1 poison"),
        (["--trials", "1"], "--trials: expected 2 to 10,000, for an interval, got 1"),
        (["--models", "mnist-lgm", "cifar10-lgm"], "--models: expected networks of one dataset, got cifar10, mnist"),
        (["--data", "bundled", "--budgets", "300:300", "--trials", "2"], "clean, poisons: expected at most"),
    ],
)
def test_what_cannot_be_done_is_said(options: list[str], said: str, capsys: pytest.CaptureFixture[str]):
    assert main(["board", *options]) == 1
    assert said in capsys.readouterr().err


def test_a_budget_that_is_none_is_bad_usage(capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit, match="2"):
        main(["board", "--budgets", "ten"])
    assert "expected poisons and clean images a class, as 10:10, got 'ten'" in capsys.readouterr().err
