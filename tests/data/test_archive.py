"""Archives from strangers: what is unpacked, and what is refused in a sentence with nothing left behind."""

import contextlib
import io
import stat
import struct
import tempfile
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lgm.data import archive
from lgm.data.archive import check_npz, unpack
from lgm.data.base import DataError
from lgm.data.store import read_registration, registered
from lgm.data.uploads import add_upload, is_upload, remove_upload, uploads_folder


def png(shade: int) -> bytes:
    out = io.BytesIO()
    Image.new("L", (4, 4), shade).save(out, "PNG")
    return out.getvalue()


def zipped(files: dict[str, bytes], **options: int) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **options) as made:  # type: ignore[arg-type]
        for name, content in files.items():
            made.writestr(zipfile.ZipInfo(name), content, made.compression)
    return io.BytesIO(out.getvalue())


def listing(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


@pytest.mark.parametrize("wrapper", ["", "photos/", "data/photos/"])
def test_the_folders_of_the_classes_are_found(wrapper: str, out: Path):
    names = ["ants/1.png", "ants/deep/2.png", "bees/3.png"]
    content = {f"{wrapper}{name}": png(i) for i, name in enumerate(names)}
    root = unpack(zipped({"README.txt": b"beside", f"{wrapper}": b"", **content} if wrapper else content), "a.zip", out)
    assert root == out / wrapper
    assert listing(root) == set(names)
    assert (root / "ants/deep/2.png").read_bytes() == png(1)


def test_litter_is_left_out(out: Path):
    litter = ["__MACOSX/ants/._1.png", "ants/._1.png", "ants/.DS_Store", ".git/config", "ants/Thumbs.db", "ants/sub/"]
    root = unpack(zipped({"ants/1.png": png(1), "bees/2.png": png(2), **dict.fromkeys(litter, b"")}), "a.zip", out)
    assert root == out
    assert listing(out) == {"ants/1.png", "bees/2.png"}


def test_names_of_any_encoding_and_of_windows(out: Path):
    made = zipped({"пчёлы/四.png": png(1), "a/Ünï.png": png(2), "x\\y.png": png(3)})
    unflagged = bytearray(made.getvalue())
    for mark, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):  # the flag that says UTF-8, as macOS leaves it out
        start = -1
        while (start := unflagged.find(mark, start + 1)) >= 0:
            unflagged[start + place + 1] &= ~0x08
    for content in (made, io.BytesIO(unflagged)):
        folder = out / str(content is made)
        folder.mkdir()
        unpack(content, "a.zip", folder)
        assert listing(folder) == {"пчёлы/四.png", "a/Ünï.png", "x/y.png"}
    latin = zipped({"a/x1.png": png(1), "b/y1.png": png(2)}).getvalue().replace(b"x1", b"\xe9\xff")
    (out / "latin").mkdir()
    unpack(io.BytesIO(latin), "a.zip", out / "latin")
    assert len(listing(out / "latin")) == 2


def test_an_archive_within_is_a_file(out: Path):
    bomb = zipped({"big": b"0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED).getvalue()
    unpack(zipped({"a/1.png": png(1), "b/in.zip": bomb}), "a.zip", out)
    assert (out / "b/in.zip").read_bytes() == bomb


def entry(name: str, *, kind: int = 0, flags: int = 0) -> io.BytesIO:
    """One entry whose directory says something special."""
    info = zipfile.ZipInfo(name)
    info.external_attr = kind << 16
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made:
        made.writestr(info, png(1))
    content = bytearray(out.getvalue())
    for mark, place in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        content[content.find(mark) + place] |= flags
    return io.BytesIO(content)


def declaring(size: int) -> io.BytesIO:
    """A file of a few bytes that its directory declares to be of ``size``."""
    content = bytearray(zipped({"a/1.png": png(1)}).getvalue())
    struct.pack_into("<L", content, content.find(b"PK\1\2") + 24, size)
    return io.BytesIO(content)


def understated() -> io.BytesIO:
    """10 MB that the directory declares to be 10 bytes."""
    content = bytearray(zipped({"a/1.png": b"0" * 10_000_000}, compression=zipfile.ZIP_DEFLATED).getvalue())
    struct.pack_into("<L", content, content.find(b"PK\1\2") + 24, 10)
    return io.BytesIO(content)


HOSTILE: dict[str, tuple[Callable[[], io.BytesIO], str]] = {
    "upwards": (
        lambda: zipped({"a/1.png": png(1), "../../evil.png": png(2)}),
        "outside of its folder (../../evil.png)",
    ),
    "upwards within": (lambda: zipped({"a/../../evil.png": png(2)}), "outside of its folder"),
    "upwards, Windows": (lambda: zipped({"a\\..\\..\\evil.png": png(2)}), "outside of its folder"),
    "absolute": (lambda: zipped({"/etc/evil.png": png(2)}), "outside of its folder (/etc/evil.png)"),
    "a drive": (lambda: zipped({"C:\\evil.png": png(2)}), "outside of its folder"),
    "a server": (lambda: zipped({"\\\\server\\evil.png": png(2)}), "outside of its folder"),
    "a link": (lambda: entry("a/1.png", kind=stat.S_IFLNK | 0o777), "found a link or a device"),
    "a device": (lambda: entry("a/1.png", kind=stat.S_IFCHR), "found a link or a device"),
    "encrypted": (lambda: entry("a/1.png", flags=1), "is encrypted; make an archive without a password"),
    "LZMA": (lambda: zipped({"a/1.png": png(1)}, compression=zipfile.ZIP_LZMA), "compressed in a way that is not read"),
    "bzip2": (lambda: zipped({"a/1.png": png(1)}, compression=zipfile.ZIP_BZIP2), "compressed in a way"),
    "a bomb": (
        lambda: zipped({"a/1.png": b"0" * 50_000_000}, compression=zipfile.ZIP_DEFLATED),
        "times its size, as images do not; at most 100 times are unpacked",
    ),
    "declares 4 GB": (lambda: declaring(2**32 - 2), "unpacks to 4.0 GiB; at most 2 GiB are unpacked"),
    "declares too much": (lambda: declaring(1_000_000), "a/1.png has not the 1,000,000 bytes that it declares"),
    "declares too little": (understated, "found a damaged one or none (Bad CRC-32"),
    "twice": (lambda: twice("a/1.png", "a/1.png"), "holds two files of the name a/1.png; leave one out"),
    "a file as a folder": (lambda: zipped({"a": png(1), "a/1.png": png(2)}), "has the name of another file or folder"),
    "a long name": (lambda: zipped({f"a/{'é' * 200}.png": png(1)}), "holds a name that no file can have"),
    "deep": (lambda: zipped({"a/" * 40 + "1.png": png(1)}), "holds a name that no file can have"),
    "NUL": (lambda: io.BytesIO(zipped({"a/1.pngX": png(1)}).getvalue().replace(b"X", b"\0")), "a name that no file"),
    "empty": (lambda: zipped({}), "expected a zip archive of folders with images, found no file in it"),
    "only folders": (lambda: zipped({"a/": b""}), "found no file in it"),
    "no zip": (lambda: io.BytesIO(b"Rar!" * 100), "expected a zip archive, found a damaged one or none"),
    "nothing": (io.BytesIO, "expected a zip archive, found a damaged one or none"),
    "cut": (lambda: io.BytesIO(zipped({"a/1.png": png(1)}).getvalue()[:60]), "found a damaged one or none"),
}


def twice(*names: str) -> io.BytesIO:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as made, pytest.warns(UserWarning, match="Duplicate name"):
        for name in names:
            made.writestr(name, png(1))
    return io.BytesIO(out.getvalue())


@pytest.mark.parametrize("kind", HOSTILE)
def test_a_hostile_archive_is_refused_in_a_sentence(kind: str, fresh_home: Path, tmp_path: Path):
    make, said = HOSTILE[kind]
    before = listing(tmp_path)
    with pytest.raises(DataError) as refused:
        add_upload("mine", "a.zip", make())
    assert str(refused.value).startswith("a.zip: ")
    assert said in str(refused.value)
    assert "\n" not in str(refused.value)
    assert listing(tmp_path) == before, "something was left behind"
    assert not any(uploads_folder().iterdir())
    assert registered() == []


def many(count: int) -> io.BytesIO:
    """An archive of so many empty files, all of the same name, as its directory alone shows them."""
    head = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0) + b"a/1.png"
    directory = head * count
    declared = count if count < 2**16 else 2**16 - 1
    last = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, declared, declared, len(directory), 0, 0)
    return io.BytesIO(directory + last)


def test_a_million_files_are_refused_before_their_names_are_read(out: Path):
    made = many(1_000_000)
    tracemalloc.start()
    with pytest.raises(
        DataError, match=r"its list of files takes more than 16 MiB; at most 100,000 files are unpacked"
    ):
        unpack(made, "a.zip", out)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**24 + 2**20


def test_a_file_that_is_too_large_is_refused(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "_MOST_FOLD", 10**9)  # which is said first otherwise
    with pytest.raises(DataError, match=r"a/1\.png: unpacks to 512 MiB; files of at most 256 MiB are unpacked"):
        unpack(declaring(2**29), "a.zip", out)


def test_more_files_than_are_unpacked(out: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(archive, "MOST_FILES", 20)
    with pytest.raises(DataError, match="holds 21 files; at most 20 are unpacked"):
        unpack(many(21), "a.zip", out)
    with pytest.raises(DataError, match=r"holds \d+ folders; at most 20 are made"):
        unpack(zipped({"a/b/c/d/e/f/1.png": b"", **{f"{i}/x/y/1.png": b"" for i in range(9)}}), "a.zip", out)


@pytest.mark.slow
@given(st.data())
def test_whatever_the_bytes_are_nothing_else_is_raised(data: st.DataObject):
    content = bytearray(zipped({"a/1.png": png(1), "b/2.png": png(2)}, compression=zipfile.ZIP_DEFLATED).getvalue())
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    with tempfile.TemporaryDirectory() as folder:
        inside = Path(folder) / "in"
        inside.mkdir()
        with contextlib.suppress(DataError):
            unpack(io.BytesIO(content), "a.zip", inside)
        assert [path.name for path in Path(folder).iterdir()] == ["in"]


def test_an_upload_is_registered_and_deleted(fresh_home: Path):
    made, found = add_upload(
        "mine", "My photos.ZIP", zipped({f"top/{c}/{i}.png": png(i) for i in range(3) for c in "ab"})
    )
    assert made.source == str(uploads_folder() / "mine" / "top")
    assert (made.images, made.classes, made.shape) == (6, ("a", "b"), (1, 4, 4))
    assert {len(group) for group in found.duplicates()} == {2}
    assert read_registration("mine") == made
    assert is_upload("mine")
    with pytest.raises(DataError, match="mine is registered already"):
        add_upload("mine", "a.zip", zipped({"a/1.png": png(1)}))
    assert len(listing(uploads_folder())) == 6
    remove_upload("mine")
    assert registered() == []
    assert not listing(uploads_folder())


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a/1.png": png(1)}, "^a.zip: expected images of at least 2 classes, found those of 'a'"),
        ({"1.png": png(1), "2.png": png(2)}, "no image in any class"),
        ({"a/1.txt": b"x", "b/2.txt": b"y"}, r"no image in any class; 2 files were skipped"),
    ],
)
def test_an_upload_that_is_no_dataset_leaves_nothing(files: dict[str, bytes], said: str, fresh_home: Path):
    with pytest.raises(DataError, match=said):
        add_upload("mine", "a.zip", zipped(files))
    assert not any(uploads_folder().iterdir())


@pytest.mark.parametrize("last", [3, 8])  # while it is unpacked, and while images are looked at
def test_whoever_stops_it_keeps_nothing(last: int, fresh_home: Path):
    calls: list[int] = []

    def on_image(done: int, total: int) -> bool:
        calls.append(done)
        return len(calls) < last

    with pytest.raises(InterruptedError):
        add_upload("mine", "a.zip", zipped({f"{c}/{i}.png": png(i) for i in range(3) for c in "ab"}), on_image)
    assert len(calls) == last
    assert not any(uploads_folder().iterdir())
    assert registered() == []


def saved(**arrays: object) -> io.BytesIO:
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)  # type: ignore[arg-type]
    return io.BytesIO(out.getvalue())


def test_arrays_that_are_right_are_taken():
    check_npz(saved(images=np.zeros((5, 8, 8), np.uint8), labels=np.array(list("abcde")), more=np.zeros(3)), "a.npz")


def lying(**changes: object) -> io.BytesIO:
    """An array whose header promises more than there is."""
    array = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (5, 8, 8), **changes}
    np.lib.format.write_array_header_1_0(array, header)  # type: ignore[arg-type]
    labels = io.BytesIO()
    np.save(labels, np.zeros(5, int))
    return zipped({"images.npy": array.getvalue() + bytes(320), "labels.npy": labels.getvalue()})


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda: saved(x=np.zeros(3)), "expected the arrays images and labels, found x"),
        (lambda: saved(images=np.zeros((5, 8, 8)), labels=np.zeros(4)), "expected one label an image, found 4 of 5"),
        (
            lambda: saved(images=np.zeros((5, 8, 8)), labels=np.array([{}] * 5)),
            "labels: expected an array of numbers, f",
        ),
        (
            lambda: saved(images=np.zeros(()), labels=np.zeros(4)),
            "images: expected an array of numbers, found a number",
        ),
        (lambda: zipped({"images.npy": b"x", "labels.npy": b"y"}), "images: expected an array in NumPy's format"),
        (lambda: lying(shape=(10**9, 28, 28)), "images: declares 730.2 GiB; at most 2 GiB are read"),
        (lambda: lying(shape=(50, 8, 8)), "images: expected 3,200 bytes for its shape (50, 8, 8), found 320"),
        (lambda: lying(shape=(1, 8, 8)), "images: expected 64 bytes for its shape (1, 8, 8), found 320"),
        (lambda: lying(shape=(-5, 8, 8)), "images: expected an array in NumPy's format"),
        (lambda: saved(images=np.zeros((50_000, 28, 28), np.uint8), labels=np.zeros(50_000)), "times its size"),
        (lambda: io.BytesIO(b"\x93NUMPY"), "expected a zip archive, found a damaged one or none"),
    ],
)
def test_arrays_that_lie_or_are_no_numbers_are_refused(made: Callable[[], io.BytesIO], said: str, fresh_home: Path):
    with pytest.raises(DataError) as refused:
        add_upload("mine", "a.npz", made())
    assert said in str(refused.value)
    assert not any(uploads_folder().iterdir())


def test_another_ending_is_refused(fresh_home: Path):
    with pytest.raises(DataError, match=r"a\.rar: expected a file whose name ends in \.zip or \.npz"):
        add_upload("mine", "a.rar", io.BytesIO(b"Rar!"))
