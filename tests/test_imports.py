import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lgm

ROOT = Path(__file__).parent.parent
LAYERS = [  # from the ground up: a module imports from lower layers only
    {"config", "mixture", "intervals", "placement", "progress", "winograd", "ending", "console"},
    {"files", "pixels", "schema", "rendering"},
    {"data", "heads", "augment", "evasion", "trials", "threads", "bootstrap"},
    {"mnist", "cifar"},
    {"datasets", "outputs"},
    {"networks", "cards"},
    {"poisons", "weights"},
    {"labelled", "checkpoints", "jacobian", "sharding", "warmstart", "acceleration"},
    {"states", "solvers", "detection", "fitted", "separation"},
    {"training"},
    {"poisoning", "baselines", "finetune"},
    {"craft_cache"},
    {"defense", "jobs", "bench"},
    {"tradeoff", "demonstration"},
    {"choice", "matched", "figures"},
    {"claims", "export"},
    {"study"},
    {"report", "results"},
    {"__main__"},
]
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}
MODULES = sorted(path.stem for path in (ROOT / "lgm").glob("*.py") if path.stem != "__init__")
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


def wrong_way(module: str, source: str) -> set[str]:
    """What a module of lgm imports from its own layer or from above; the package itself is above all."""
    ours = {name for name in imported(source) if name.split(".")[0] == "lgm"}
    return {name for name in ours if HEIGHT.get((name + ".").split(".")[1], len(LAYERS)) >= HEIGHT[module]}


def test_the_check_itself_sees_what_it_should():
    assert wrong_way("cards", "from lgm.config import TrainConfig\nfrom lgm.data.base import home\n") == set()
    assert wrong_way("data", "def f():\n    from lgm.training.loop import fit\n") == {"lgm.training.loop.fit"}
    assert wrong_way("cards", "import lgm.models.classifier\n") == {"lgm.models.classifier"}  # the same layer
    assert wrong_way("poisons", "from lgm import cards, checkpoints\n") == {"lgm.models.checkpoint"}
    assert wrong_way("data", "import lgm\n") == {"lgm"}
    assert wrong_way("data", "from lgm import load_split\n") == {"lgm.load_split"}
    assert packages("if True:\n    import torch.nn as nn\n") == {"torch"}
    assert packages("from torch import nn\n") == {"torch"}


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_one_way(module: str):
    assert module in HEIGHT, f"lgm/{module}.py has no place in LAYERS yet"
    assert wrong_way(module, (ROOT / "lgm" / f"{module}.py").read_text()) == set()


@pytest.mark.parametrize("path", sorted((ROOT / "lgm").glob("*.py")), ids=lambda path: path.stem)
def test_lgm_knows_no_screen(path: Path):
    assert not packages(path.read_text()) & {"streamlit", "ui", "pages", "app"}


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
    sources = [ROOT / "app.py", *(path for folder in ("lgm", "ui", "pages") for path in (ROOT / folder).glob("*.py"))]
    assert [path.name for path in sources if writes_json(path.read_text())] == ["intervals.py"]


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
