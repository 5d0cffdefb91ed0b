import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import lgm

ROOT = Path(__file__).parent.parent
SCREEN = [ROOT / "app.py", *sorted((ROOT / "pages").glob("*.py"))]


def imported(source: str) -> set[str]:
    """Full names of all that a source imports, wherever in it; ``from a.b import c`` gives a.b.c."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports are not used here"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(source: str) -> set[str]:
    return {name.split(".")[0] for name in imported(source)}


def writes_json(source: str) -> bool:
    """Whether a source turns values to JSON by itself."""
    return any(
        isinstance(node, ast.Attribute) and node.attr in ("dump", "dumps") and ast.unparse(node.value) == "json"
        for node in ast.walk(ast.parse(source))
    ) or bool(imported(source) & {"json.dump", "json.dumps"})


def test_all_json_is_written_in_one_place():
    """There, what is not a finite number becomes null: `Infinity` is no JSON."""
    assert writes_json("import json\nx = json.dumps(1)")
    assert writes_json("from json import dump")
    assert not writes_json("import json\nx = json.loads('1')")
    sources = [ROOT / "app.py", *(path for folder in ("lgm", "ui", "pages") for path in (ROOT / folder).rglob("*.py"))]
    assert [path.name for path in sources if writes_json(path.read_text())] == ["json.py"]


def test_screen_has_its_pages():
    assert SCREEN[0].is_file()
    assert len(SCREEN) > 1


@pytest.mark.parametrize("path", SCREEN, ids=lambda path: path.stem)
def test_pages_never_import_torch(path: Path):
    assert not packages(path.read_text()) & {"torch", "torchvision"}


def test_what_the_first_paint_needs_does_not_load_torch():
    code = """
import sys
import lgm, lgm.models.registry, lgm.attacks.result, lgm.data.registry, lgm.detection.metrics, lgm.experiments.claims
heavy = {"torch", "torchvision", "sklearn", "skimage", "mlxtend", "streamlit"} & set(sys.modules)
assert not heavy, heavy
lgm.PRESETS, lgm.load_split, lgm.read_poisons, lgm.outcome, lgm.list_checkpoints()
from lgm.cli.main import build_parser
build_parser()  # what --help and a refused option wait for
assert "torch" not in sys.modules
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_public_names_are_the_same_for_people_and_type_checkers():
    tree = ast.parse((ROOT / "lgm" / "__init__.py").read_text())
    checked = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lgm."):
            for alias in node.names:
                assert alias.asname == alias.name, "re-exported names are written `X as X`"
                checked[alias.name] = str(node.module).removeprefix("lgm.")
    assert checked == lgm._HOME
    assert dir(lgm) == sorted(checked)


def test_imports_go_one_way():
    """The contracts in pyproject.toml."""
    done = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
