"""Foreign files in the folder for models: each costs itself alone, and is named with why and what to do."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from lgm.cli.main import main
from lgm.models.card import CheckpointError
from lgm.models.registry import list_checkpoints, locate, read_card, survey, user_folder

SHIPPED = ["cifar10-lgm", "mnist-lgm", "mnist-softmax"]  # some of them
ROUTER = Path(__file__).resolve().parents[2] / "ui" / "router.py"


def change_card(**values: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "bad.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


def truncate(folder: Path) -> None:
    path = folder / "bad.safetensors"
    path.write_bytes(path.read_bytes()[:2000])


def rename(folder: Path) -> None:
    for path in list(folder.glob("bad.*")):
        path.rename(path.with_name(path.name.replace("bad", "bad (1)", 1)))


def as_folder(folder: Path) -> None:
    (folder / "bad.safetensors").unlink()
    (folder / "bad.safetensors").mkdir()


def shadow(folder: Path) -> None:
    for path in list(folder.glob("bad.*")):
        path.rename(path.with_name(path.name.replace("bad", "mnist-lgm", 1)))


FAULTS: dict[str, tuple[Callable[[Path], Any], str]] = {
    "unknown field": (change_card(colour="red"), "bad.json: expected a model card in JSON, found the unknown field"),
    "newer": (
        change_card(format=5, colour="red"),
        "bad.json: a card of format 5, from a newer version of this program",
    ),
    "empty card": (lambda folder: (folder / "bad.json").write_text(""), "bad.json: expected a model card in JSON"),
    "no card": (lambda folder: (folder / "bad.json").unlink(), "bad.json: the card is missing"),
    "deep card": (lambda folder: (folder / "bad.json").write_text("[" * 100_000), "bad.json: expected a model card"),
    "wrong accuracy": (change_card(accuracy={"test": "high"}), "found accuracy:"),
    "wrong history": (change_card(history=[{"epoch": "first"}]), "found history:"),
    "macOS": (lambda folder: (folder / "._bad.json").write_bytes(b"\0\5"), "._bad.json: not a model, but what macOS"),
    "twin": (rename, "bad (1).json: not a name that a model can have; rename it and bad (1).safetensors alike"),
    "folder": (as_folder, "bad.safetensors: a folder, where a file belongs"),
    "folder as card": (lambda folder: (folder / "other.json").mkdir(), "other.json: its weights"),
    "no weights": (lambda folder: (folder / "bad.safetensors").unlink(), "bad.json: its weights, bad.safetensors, are"),
    "truncated": (truncate, "bad.safetensors: expected a safetensors file, found"),
    "dangling": (lambda folder: (folder / "far.safetensors").symlink_to("/nowhere"), "far.safetensors: no such file"),
    "taken": (shadow, "mnist-lgm.json: a shipped network has this name"),
    "other format": (lambda folder: (folder / "net.pth").touch(), "net.pth: weights without measurements; add them"),
}


@pytest.fixture
def folder(fresh_home: Path, tiny_lgm: Path) -> Path:
    """A folder with two models, good and bad; the second is still good."""
    folder = user_folder()
    folder.mkdir()
    for name in ("good", "bad"):
        for ending in ("json", "safetensors", "features.safetensors"):
            shutil.copy(tiny_lgm.with_name(f"tiny-lgm.{ending}"), folder / f"{name}.{ending}")
    assert survey()[1] == []
    return folder


@pytest.mark.parametrize("fault", FAULTS)
def test_a_foreign_file_costs_itself_alone(
    folder: Path, fault: str, tiny_lgm: Path, capsys: pytest.CaptureFixture[str]
):
    change, message = FAULTS[fault]
    change(folder)
    usable, unusable = survey()
    assert {*SHIPPED, "good"} <= usable.keys()
    assert usable.keys() == set(list_checkpoints())
    assert [problem for problem in unusable if message in problem], unusable
    assert not [problem for problem in unusable if str(folder) in problem]
    with pytest.raises(SystemExit):
        main(["--help"])
    out, err = capsys.readouterr()
    assert "good" in out
    assert err == ""
    if (bad := "bad" not in usable) and fault not in ("twin", "taken"):
        assert main(["evaluate", "bad", "--data", "bundled-val"]) == 1
        assert message in capsys.readouterr().err, "who asks for it is told why"
    assert bad == (fault not in ("macOS", "folder as card", "dangling", "other format"))


def test_what_the_program_itself_puts_there_is_no_foreign_file(folder: Path):
    records = ("mnist.study.json", "mnist.board.json")
    for name in ("good.poisons.safetensors", "warm-1.state.safetensors", "x.resume.safetensors", *records):
        (folder / name).touch()
    for name in (".upload-1", "old models"):
        (folder / name).mkdir()
    (folder / "notes.txt").touch()
    assert survey()[1] == []


def test_a_folder_that_may_not_be_read_is_named(fresh_home: Path, monkeypatch: pytest.MonkeyPatch):
    listdir = os.listdir

    def closed(path: Path) -> list[str]:
        if path == user_folder():
            raise PermissionError(13, "Permission denied")
        return listdir(path)

    monkeypatch.setattr(os, "listdir", closed)  # the tests may run as somebody who may read everything
    assert set(SHIPPED) <= set(list_checkpoints())
    assert survey()[1] == [f"{user_folder()}: cannot be read (Permission denied); ask for access, or set LGM_HOME"]
    with pytest.raises(CheckpointError, match=r"no checkpoint named 'mine' .*cannot be read \(Permission denied\)"):
        locate("mine")


def test_a_renamed_model_has_its_new_name(folder: Path):
    assert read_card("good").name == "good"


@pytest.mark.page
def test_every_page_works_and_train_names_each_file(folder: Path):
    for fault in ("macOS", "folder as card", "dangling", "other format", "unknown field"):
        FAULTS[fault][0](folder)
    (folder / "good.features.safetensors").write_bytes(b"torn")
    app = AppTest.from_file(str(ROUTER), default_timeout=120)
    app.run()
    for page in ("overview", "features", "craft", "detect", "defend", "your_data", "train"):
        if page != "overview":
            app.switch_page(f"../pages/{page}.py").run()
        assert not app.exception, page
        assert not app.error, page
    text = "\n".join(str(part.value) for part in app.markdown).replace("\\", "")
    for message in (
        *(FAULTS[fault][1] for fault in ("macOS", "folder as card", "dangling", "other format", "unknown field")),
        "good.features.safetensors: expected embedded features",
    ):
        assert message in text
    assert "6 files are" in text
    assert set(app.dataframe[0].value["name"]) >= set(SHIPPED)
