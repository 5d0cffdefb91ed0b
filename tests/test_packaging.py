"""pyproject's ranges and the pins of the requirements name the same packages."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]


def pinned(name: str) -> dict[str, Requirement]:
    """What a requirements file names itself, without those that it includes."""
    lines = (re.sub(r"\s+#.*|^#.*", "", line).strip() for line in (ROOT / name).read_text().splitlines())
    found = [Requirement(line) for line in lines if line and not line.startswith("-r ")]
    return {each.name: each for each in found}


def ranges(lines: list[str]) -> dict[str, Requirement]:
    return {each.name: each for each in map(Requirement, lines)}


@pytest.mark.parametrize(
    ("wanted", "file"),
    [
        (ranges(PROJECT["dependencies"] + EXTRAS["app"]), "requirements.txt"),
        (ranges(EXTRAS["dev"]), "requirements-dev.txt"),
    ],
    ids=["runtime and app", "dev"],
)
def test_each_pin_is_within_its_range(wanted: dict[str, Requirement], file: str) -> None:
    pins = pinned(file)
    assert wanted.keys() == pins.keys()
    for name, pin in pins.items():
        [exact] = pin.specifier
        assert exact.operator == "==", f"{name} is not pinned"
        assert wanted[name].specifier.contains(exact.version), name
        assert wanted[name].extras == pin.extras, name


@pytest.mark.parametrize("extra", ["bench", "photos"])
def test_what_an_extra_needs_is_tested_with(extra: str) -> None:
    assert ranges(EXTRAS[extra]).keys() <= ranges(EXTRAS["dev"]).keys()
