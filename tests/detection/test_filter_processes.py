"""Several processes, threads or readers write what one writes."""

import json
from pathlib import Path

import pytest

from lgm.cli.main import main
from lgm.data.base import Split
from lgm.utils.images import png
from tests.attacks.test_distributed import run_team

pytestmark = pytest.mark.multiprocess


@pytest.fixture
def folder(bundled: Split, fresh_home: Path, tmp_path: Path) -> Path:
    """350 digits, of which two do not read any more; 90 that are trusted."""
    for name, chosen in (("mine", range(0, 4900, 14)), ("vouching", range(3, 4900, 55))):
        for i in chosen:
            path = tmp_path / name / str(bundled.labels[i]) / f"{i:04}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(bundled.images[i]))
        assert main(["data", "add", name, str(tmp_path / name)]) == 0
    for path in sorted((tmp_path / "mine" / "3").iterdir())[:2]:
        path.write_bytes(b"no image")
    return tmp_path


def options(folder: Path, out: str) -> list[str]:
    given = ["filter", "mine", "--model", "mnist-lgm", "--trusted", "vouching", "--fpr", "0.05", "--json"]
    return [*given, "--score", "likelihood,gaussian,knn", "--no-resume", "--out", str(folder / out)]


def test_two_processes_write_the_same_bytes(folder: Path, capsys: pytest.CaptureFixture[str]):
    capsys.readouterr()
    assert main(options(folder, "one.csv")) == 0
    alone = json.loads(capsys.readouterr().out)
    done = run_team(2, "lgm.cli.main:run", *options(folder, "two.csv"), library="sklearn.mixture")
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)  # one object: only the first process speaks
    assert len(together["unreadable"]) == 2
    assert {**together, "out": None} == {**alone, "out": None}
    assert (folder / "two.csv").read_bytes() == (folder / "one.csv").read_bytes()
