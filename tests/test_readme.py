"""What the README promises exists and runs."""

import re
import shlex
from pathlib import Path

import pytest

from lgm.cli.main import build_parser

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
COMMANDS = [line for line in README.splitlines() if line.startswith("python -m lgm")]


def block(language: str) -> str:
    """The first code block of a language."""
    found = re.search(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert found, f"no {language} block"
    return found[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_parse(command: str) -> None:
    build_parser().parse_args(shlex.split(command)[3:])


def test_there_are_commands() -> None:
    assert len(COMMANDS) >= 4


def test_linked_files_exist() -> None:
    links = [link for link in re.findall(r"\]\(([^)]+)\)", README) if not link.startswith("http")]
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_file_tree_is_that_of_the_project() -> None:
    folder, missing = ROOT, []
    tree = README.split("## Files")[1].split("```")[1]
    for line in tree.strip().splitlines():
        name = line.split()[0]
        folder = ROOT if not line.startswith(" ") else folder
        if not (folder / name).exists():
            missing.append(name)
        if name.endswith("/"):
            folder = ROOT / name
    assert missing == []
    modules = {path.name for path in (ROOT / "lgm").glob("*.py")} - {"__init__.py"}
    assert {name for name in modules if name not in README} == set()


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block("python"), "README.md", "exec"), {})
    auc, threshold = (float(value) for value in capsys.readouterr().out.split())
    assert 0.9 < auc <= 1
    assert threshold < 0
