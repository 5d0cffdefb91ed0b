"""bench oneshot: from a registered folder to a record."""

import json
from pathlib import Path

import numpy as np
import pytest

from lgm.cli.main import main
from lgm.experiments.one_shot_report import OneShotReport
from lgm.utils.codec import decode
from lgm.utils.images import png


@pytest.fixture
def squares(fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """Twelve pictures of each of two classes, that a network for photos tells apart."""
    rng = np.random.default_rng(1)
    for label, colour in (("red", (200, 40, 40)), ("blue", (40, 60, 200))):
        folder = tmp_path / "squares" / label
        folder.mkdir(parents=True)
        for i in range(12):
            noise = rng.integers(-30, 30, (3, 32, 32))
            (folder / f"{i:02}.png").write_bytes(png((np.array(colour)[:, None, None] + noise).astype(np.uint8)))
    assert main(["data", "add", "squares", str(tmp_path / "squares")]) == 0
    capsys.readouterr()
    return "squares"


@pytest.mark.slow
def test_the_record_is_written_and_a_second_run_reads_the_poisons(
    squares: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    out, cache = tmp_path / "record.json", tmp_path / "cache"
    options = ["--data", squares, "--attacks", "1", "--iterations", "2", "--trusted", "0.5", "--cache", str(cache)]
    command = ["bench", "oneshot", *options, "--out", str(out)]
    assert main([*command, "--json"]) == 0, capsys.readouterr().err
    said = json.loads(capsys.readouterr().out)
    written = json.loads(out.read_text())
    assert said == written
    record = decode(OneShotReport, written)
    assert (record.photos, record.trusted, record.fine_tuned_on, record.attacks) == (24, 12, 10, 1)
    assert record.each[0].base.startswith(record.each[0].base_class)
    assert record.filters[0].caught[0.01] is None  # 8 calibrate
    (kept,) = cache.iterdir()
    made = kept.stat().st_mtime_ns
    assert main([*command, "--force"]) == 0
    assert "too few calibrate" in capsys.readouterr().out
    assert kept.stat().st_mtime_ns == made


def test_features_alone_are_refused(fresh_home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    np.savez(tmp_path / "z.npz", features=np.eye(20, dtype=np.float32), labels=np.arange(20) % 2)
    assert main(["data", "add", "z", str(tmp_path / "z.npz")]) == 0, capsys.readouterr().err
    assert main(["bench", "oneshot", "--data", "z"]) == 1
    assert "z: holds features, not images" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "none-such"], "data: no dataset 'none-such' is registered"),
        (["--data", "squares", "--out", "x.txt"], "--out: expected a name that ends in .json"),
        (
            ["--data", "squares", "--network", "resnet19"],
            "--network: expected efficientnet-lite0 or one of torchvision's",
        ),
        (["--data", "squares", "--network", "resnet18"], "resnet18: expected a file of its weights"),
        (["--data", "squares", "--weights", "/nowhere.pt"], "/nowhere.pt: no such file"),
        (["--data", "squares", "--attacks", "0"], "--attacks: expected at least 1, got 0"),
        (["--data", "squares", "--trusted", "1"], "--trusted: expected a share in (0, 1), got 1.0"),
        (["--data", "squares", "--attacks", "13", "--trusted", "0.5"], "--attacks: expected 1..12"),
    ],
)
def test_what_cannot_be_done_is_said(options: list[str], said: str, squares: str, capsys: pytest.CaptureFixture[str]):
    assert main(["bench", "oneshot", *options]) == 1
    assert said in capsys.readouterr().err
