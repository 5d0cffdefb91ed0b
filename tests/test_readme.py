"""What the README promises exists and runs."""

import re
import shlex
from pathlib import Path

import pytest

import lgm
from lgm.cli.main import build_parser
from lgm.data.base import Split, per_class

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
COMMANDS = [line for path in DOCUMENTS for line in path.read_text().splitlines() if line.startswith("python -m lgm")]


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block"
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the datasets that they name were registered."""
    monkeypatch.setattr("lgm.cli.options.dataset_names", lambda: ["mine", "photos"])
    build_parser().parse_args(shlex.split(command)[3:])


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 4


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_linked_files_exist(document: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)\)", document.read_text()) if not link.startswith("http")]
    assert [link for link in links if not (document.parent / link).is_file()] == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(document: Path) -> None:
    named = re.findall(r"`((?:lgm|ui|pages|tests|docs)/[\w/.-]+)`", document.read_text())
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_room_is_explained() -> None:
    rooms = {path.name for path in (ROOT / "lgm").iterdir() if (path / "__init__.py").is_file()}
    explained = (ROOT / "docs" / "architecture.md").read_text()
    assert len(rooms) > 10
    assert {room for room in rooms if f"`lgm/{room}`" not in explained or f"`{room}`" not in README} == set()


def test_a_newcomer_has_little_to_read() -> None:
    assert len(README.encode()) < 8_000
    assert README.index("make app") < 1_000, "in the first screenful"


def test_the_python_example_runs(
    bundled: Split, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On 50 digits of each class instead of 500, whose scores take ten seconds."""
    digits = bundled[per_class(bundled.labels, 0, 50)]
    monkeypatch.setattr(lgm, "load_split", lambda name: {"bundled": digits}[name])
    exec(compile(block("python"), "README.md", "exec"), {})
    auc, threshold = (float(value) for value in capsys.readouterr().out.split())
    assert 0.9 < auc <= 1
    assert threshold < 0
