"""The page "Your data" in Chromium: a zip is uploaded, T dragged, the list downloaded; hostile archives are refused."""

import io
import re
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import FilePayload, Locator, Page, expect

from lgm.attacks.result import read_shipped_poisons
from lgm.data.base import Split
from lgm.data.uploads import add_upload
from lgm.detection.filter_run import filter_dataset
from lgm.detection.kept_list import KeptList
from lgm.utils.images import png
from tests.browser.driver import LATER, assert_accessible, messages, open_page, settled
from tests.data.test_archive import many

pytestmark = pytest.mark.browser


@pytest.fixture(autouse=True)
def patience(page: Page) -> None:
    page.set_default_timeout(LATER)


@pytest.fixture
def archive(bundled: Split) -> bytes:
    """60 digits in a folder around the classes, and 10 shipped poisons under the labels that they claim."""
    out, poisons = io.BytesIO(), read_shipped_poisons("mnist-lgm")
    with zipfile.ZipFile(out, "w") as made:
        for i in range(0, 5000, 84):
            made.writestr(f"digits/{bundled.labels[i]}/clean-{i:04}.png", png(bundled.images[i]))
        for i in np.flatnonzero(poisons.collided)[:10]:
            made.writestr(f"digits/{poisons.labels[i]}/poison-{i:03}.png", png(poisons.images[i]))
        made.writestr("digits/readme.txt", "beside")
    return out.getvalue()


@pytest.fixture
def kept(archive: bytes, fresh_home: Path) -> KeptList:
    """What the package makes of it."""
    add_upload("digits", "digits.zip", io.BytesIO(archive))
    found = filter_dataset("digits", "mnist-lgm")
    assert found is not None
    return found.kept


def at(kept: KeptList, threshold: float) -> KeptList:
    return replace(kept, verdicts=(replace(kept.verdicts[0], threshold=threshold),))


def zipped(name: str, content: bytes) -> FilePayload:
    return FilePayload(name=name, mimeType="application/zip", buffer=content)


def upload(page: Page, file: FilePayload | Path) -> None:
    if not page.get_by_text("A zip or an npz of labelled images").is_visible():
        page.get_by_text("Add images", exact=True).click()
    page.locator("input[type=file]").set_input_files(file)
    add = page.get_by_role("button", name="Add", exact=True)
    expect(add).to_be_enabled(timeout=LATER)
    settled(page)
    add.click()


def slider(page: Page) -> Locator:
    """It can be moved once the picture is drawn, and not before."""
    found = page.get_by_role("slider", name="Threshold T")
    expect(found).to_be_enabled(timeout=LATER)
    return found


def assert_shown(page: Page, kept: KeptList) -> None:
    """Every number beside the picture is the one that Python counts."""
    removed = ~kept.kept
    n = len(removed)
    expect(page.locator("[data-out=removed]")).to_have_text(f"{removed.sum()}", timeout=LATER)
    assert page.locator("[data-out=kept]").inner_text() == f"{n - removed.sum()}"
    rows = page.locator(".kept tbody tr").all_inner_texts()
    gone, every = kept.images.table.count(removed), kept.images.table.count()
    expected = [
        f"{name}|{count}|{gone.get(name, 0)}|{100 * gone.get(name, 0) / count:.1f} %" for name, count in every.items()
    ]
    assert ["|".join(row.split("\t")) for row in rows] == expected
    order = np.argsort(kept.score, kind="stable")
    captions = page.locator(".kept .least figure:not(.absent) figcaption").all_inner_texts()
    names = [f"claims {kept.images.claims[i]}\nseen as {kept.images.predicted[i]}" for i in order[:12]]
    assert [caption.rpartition("\n")[0] for caption in captions] == names
    last = page.locator(".kept .last figure:not(.absent)")
    expect(last).to_have_count(min(12, int(removed.sum())))


def test_a_zip_is_uploaded_t_dragged_and_the_list_downloaded(
    page: Page, app_url: str, archive: bytes, kept: KeptList, tmp_path: Path
) -> None:
    sent = messages(page)
    errors = open_page(page, f"{app_url}/your_data")
    expect(page.get_by_role("heading", level=1)).to_contain_text("Which of your images would the filter remove")
    expect(page.get_by_text("No images of your own are registered yet")).to_be_visible()
    upload(page, zipped("digits.zip", archive))
    page.get_by_role("button", name="Score 70 images").click()
    slider(page)
    settled(page)
    assert_shown(page, kept)
    box = page.locator(".histogram").bounding_box()
    assert box is not None
    start, y, before, seen = box["x"] + box["width"] * 0.9, box["y"] + 150, len(sent), set()
    page.mouse.move(start, y)
    page.mouse.down()
    for step in range(30):
        page.mouse.move(start - step * box["width"] / 50, y)
        seen.add(page.locator("[data-out=removed]").inner_text())
    assert len(seen) > 5, "the numbers did not follow the line"
    assert len(sent) == before, "a move went to the server before the release"
    page.mouse.up()
    settled(page)
    threshold = float(page.get_by_role("spinbutton", name=re.compile("Threshold T")).input_value())
    assert threshold != kept.threshold
    assert_shown(page, at(kept, threshold))
    with page.expect_download() as download:
        page.get_by_role("button", name="Kept list (CSV)").click()
    at(kept, threshold).write(tmp_path / "expected.csv")
    assert download.value.suggested_filename == "digits-kept.csv"
    assert Path(download.value.path()).read_bytes() == (tmp_path / "expected.csv").read_bytes()
    slider(page).focus()
    page.keyboard.press("ArrowLeft")
    expect(slider(page)).to_have_attribute(
        "aria-valuetext", re.compile(r"^T −\d+\.\d\d nats: \d+ of 70 images would go")
    )
    settled(page)
    page.get_by_role("button", name="T for 2 % of clean images").click()
    settled(page)
    assert_shown(page, kept)
    assert_accessible(page)
    page.set_viewport_size({"width": 390, "height": 844})
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390", timeout=30_000)
    page.get_by_role("button", name="Delete").click()
    page.get_by_role("button", name="Delete it").click()
    expect(page.get_by_text("No images of your own are registered yet")).to_be_visible(timeout=LATER)
    assert errors == []


def test_hostile_zips_are_refused_in_a_sentence(page: Page, app_url: str, tmp_path: Path) -> None:
    page.emulate_media(color_scheme="dark")
    errors = open_page(page, f"{app_url}/your_data")
    for files, said in (
        ({"ants/1.png": b"x", "../../evil.png": b"x"}, "would be written outside of its folder (../../evil.png)"),
        ({"ants/1.png": b"0" * 60_000_000}, "times its size, as images do not"),
    ):
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as made:
            for name, content in files.items():
                made.writestr(name, content)
        upload(page, zipped("hostile.zip", out.getvalue()))
        expect(page.get_by_test_id("stAlert").filter(has_text=said)).to_be_visible(timeout=LATER)
    (tmp_path / "many.zip").write_bytes(many(1_000_000).getvalue())
    upload(page, tmp_path / "many.zip")
    alert = page.get_by_test_id("stAlert").filter(has_text="at most 100,000 files are unpacked")
    expect(alert).to_be_visible(timeout=LATER)
    expect(page.get_by_text("No images of your own are registered yet")).to_be_visible()
    assert_accessible(page)
    assert errors == []
