"""Files that a run is going to write. What a full disk and a foreign account do is tried in processes of their own."""

import errno
import os
import resource
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lgm.attacks.craft import craft_random
from lgm.config import ModelConfig, PoisonConfig, TrainConfig
from lgm.data.base import Split
from lgm.data.mnist import save_npz
from lgm.data.registry import load_split
from lgm.experiments.records import read_study, save_study
from lgm.models.card import Card
from lgm.models.checkpoint import save_measured
from lgm.models.classifier import build_model
from lgm.training.state import Progress, write_state
from lgm.utils.io import SaveError, write_atomically
from lgm.utils.outputs import in_use, require_room, reserved, save_or_keep, together

ROOT = Path(__file__).parents[2]
HOLD = """
import sys, time
from pathlib import Path
from lgm.utils.outputs import reserved
with reserved(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holding(path: Path) -> subprocess.Popen[str]:
    """Another process that holds this file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


def full(path: Path) -> None:
    """What saving comes to on a full disk, after some of it was written."""

    def write(part: Path) -> None:
        part.write_text("half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    write_atomically(path, write)


def names(folder: Path) -> list[str]:
    return sorted(item.name for item in folder.iterdir())


# Held by one.


def test_a_held_file_is_refused_to_others_and_free_again_at_the_end(tmp_path: Path):
    path = tmp_path / "new" / "file"
    with reserved(path):
        assert in_use(path)
        with (
            pytest.raises(SaveError, match=rf"{path}: process {os.getpid()} on .* is writing it; wait"),
            reserved(path),
        ):
            pass
        with reserved(tmp_path / "new" / "another"):
            pass
        path.write_text("mine")
    assert not in_use(path)
    assert names(path.parent) == ["file"]


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path):
    with pytest.raises(ZeroDivisionError), reserved(tmp_path / "a" / "b" / "file"):
        assert (tmp_path / "a" / "b").is_dir()
        raise ZeroDivisionError
    assert names(tmp_path) == []


def test_another_process_is_named_and_holds_up_nobody_once_it_is_killed(tmp_path: Path):
    path = tmp_path / "file"
    other = holding(path)
    try:
        assert in_use(path)
        with pytest.raises(SaveError, match=rf"process {other.pid} on .*\(since \d\d:\d\d on "), reserved(path):
            pass
    finally:
        other.send_signal(signal.SIGKILL)
        other.communicate()
    assert names(tmp_path) == [".file.lock"]
    assert not in_use(path)
    with reserved(path):
        pass


def test_what_a_killed_writer_has_left_is_removed_and_nothing_else(tmp_path: Path):
    left = [".file.1-2.part", ".beside.7-8.part"]
    other = [".files.1-2.part", "file.part", ".other.1-2.part"]
    for name in left + other:
        (tmp_path / name).touch()
    (tmp_path / ".file.abc.part").mkdir()
    with reserved(tmp_path / "file", tmp_path / "beside"):
        pass
    assert names(tmp_path) == sorted(other)


def test_a_link_and_what_it_points_to_are_one_file(tmp_path: Path):
    (tmp_path / "link").symlink_to(tmp_path / "file")
    with reserved(tmp_path / "link"):
        assert in_use(tmp_path / "file")
        write_atomically(tmp_path / "link", lambda part: part.write_text("new"))
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_text() == "new"


# Refused before the work.


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("folder", "expected the name of a file to write, this is a folder"),
        ("file/below", "cannot be written (.*file is no folder)"),
        ("n" * 300, r"cannot be written \(File name too long\); choose another place"),
        ("/proc/file", r"/proc/file: cannot be written \(.*\); choose another place"),
        ("/proc/new/file", r"/proc/new/file: cannot be written \(.*\); choose another place"),
        ("/dev/null", "expected the name of a file to write, this is a device"),
    ],
)
def test_what_can_never_be_written_is_refused(place: str, message: str, tmp_path: Path):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(SaveError, match=message), reserved(tmp_path / place):
        pytest.fail("the work began")
    assert names(tmp_path) == ["file", "folder"]


def test_room_is_asked_for_before_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    require_room(tmp_path / "file", 1000)
    with pytest.raises(
        SaveError, match=r"file: expected room for 1,000,000,000,000\.00 MB or more, found .*; make room"
    ):
        require_room(tmp_path / "file", 10**18)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (20_480, 20_480))
    with pytest.raises(SaveError, match=r"found a limit of 0\.02 MB for a file; raise it \(ulimit -f\)"):
        require_room(tmp_path / "file", 100_000)


@pytest.mark.skipif(os.name != "posix", reason="accounts and their rights are those of Unix")
def test_a_folder_of_somebody_else_is_refused_and_a_closed_file_is_called_that(tmp_path: Path):
    for folder in (tmp_path, *tmp_path.parents):
        if folder == Path(tempfile.gettempdir()):
            break
        folder.chmod(0o755)
    closed, inside = tmp_path / "closed", tmp_path / "private" / "file"
    inside.parent.mkdir(0o700)
    for file in (closed, inside):
        file.touch(0o600)
    if os.geteuid():  # not root: one's own files, closed to oneself
        inside.parent.chmod(0o600)
        closed.chmod(0o200)
    code = f"""
import os, pwd
from pathlib import Path
from lgm.utils.io import SaveError
from lgm.utils.files import unreadable
from lgm.utils.outputs import reserved
with reserved(Path({str(tmp_path / "first")!r})):  # imports what it needs, while it can be read
    pass
if os.geteuid():
    os.chmod({str(tmp_path)!r}, 0o555)
else:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
for path in map(Path, {[str(closed), str(inside), str(tmp_path / "missing")]!r}):
    print(unreadable(path))
try:
    with reserved(Path({str(tmp_path / "new")!r})): pass
except SaveError as error:
    print(error)
"""
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    tmp_path.chmod(0o755)
    file, folder, missing, refused = run.stdout.splitlines()
    owner = closed.owner()
    mode = stat.filemode(closed.stat().st_mode)
    assert file == (
        f"{closed}: cannot be read (Permission denied): it belongs to {owner}, and its mode is "
        f"{mode}; ask for `chmod a+r {closed}`, or use a copy of your own"
    )
    assert (
        f"{inside}: cannot be read (Permission denied): {inside.parent} belongs to {owner}, and its mode is d" in folder
    )
    assert f"ask for `chmod a+rx {inside.parent}`" in folder
    assert missing == "None"
    assert refused == f"{tmp_path / 'new'}: cannot be written (Permission denied); choose another place"


# Not lost.


def test_what_cannot_be_written_is_kept_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    path = tmp_path / "full" / "work.txt"
    spare = [tmp_path / "full too", tmp_path / "room"]
    for folder in spare:
        folder.mkdir()
    monkeypatch.setattr("lgm.utils.outputs.tempfile.gettempdir", lambda: str(spare[0]))
    monkeypatch.setattr("lgm.utils.outputs.home", lambda: spare[1])

    def save(to: Path) -> None:
        if "full" in str(to):
            full(to)
        write_atomically(to, lambda part: part.write_text("work"))

    with pytest.raises(SaveError) as caught:
        save_or_keep(save, path)
    (kept,) = spare[1].rglob("work.txt")
    assert kept.read_text() == "work"
    assert str(caught.value) == (
        f"{path}: cannot be written (No space left on device); make room, or choose another place; it is kept as {kept}"
    )
    assert names(spare[0]) == names(path.parent) == [], "half-written files are left"
    monkeypatch.setattr("lgm.utils.outputs.home", lambda: spare[0])
    monkeypatch.setattr("lgm.utils.outputs.Path.home", lambda: spare[0])
    with pytest.raises(SaveError, match="and no other folder takes it"):
        save_or_keep(save, path)


def test_files_that_belong_together_come_together_or_not_at_all(tmp_path: Path):
    (tmp_path / "a").write_text("old")

    def save(third: Callable[[Path], None]) -> None:
        with together(tmp_path / "a") as place:
            for name in ("a", "b"):
                write_atomically(place / name, lambda part: part.write_text("new"))
            third(place / "c")

    with pytest.raises(SaveError, match=rf"^{tmp_path / 'a'}: cannot be written \(No space left"):
        save(full)
    assert names(tmp_path) == ["a"]
    assert (tmp_path / "a").read_text() == "old"
    save(lambda path: write_atomically(path, lambda part: part.write_text("new")))
    assert names(tmp_path) == ["a", "b", "c"]
    assert (tmp_path / "a").read_text() == "new"


# Read by others.


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_whatever_is_written_has_the_mode_that_the_umask_asks_for(
    umask: int, few: Split, blank_card: Card, tmp_path: Path
):
    model = build_model(ModelConfig(network="tiny-cnn")).eval()
    poisons = craft_random(model, blank_card, few, 2, PoisonConfig(iterations=1), seed=1)
    study = read_study("mnist")
    assert study is not None
    before = os.umask(umask)
    try:
        poisons.save(tmp_path / "new" / "poisons.safetensors")
        write_state(tmp_path / "some.resume.safetensors", dict(model.state_dict()), Progress(TrainConfig(), "", 0, []))
        save_study(study, tmp_path / "study.json")
        save_measured(model, blank_card, [load_split("bundled")], tmp_path / "new")
        write_atomically(tmp_path / "cache.npz", lambda part: save_npz(part, few))
    finally:
        os.umask(before)
    made = [path for path in tmp_path.rglob("*") if path != tmp_path]
    assert len(made) == 8, names(tmp_path)
    for path in made:
        assert stat.S_IMODE(path.stat().st_mode) == (0o777 if path.is_dir() else 0o666) & ~umask, path
