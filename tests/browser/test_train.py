"""Training in Chromium: what the page shows before any run, what it refuses, and two runs at once."""

import csv
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from lgm.models.registry import read_card
from tests.browser.driver import Visit, assert_accessible, open_page, settled, visited

pytestmark = pytest.mark.browser
LATER = 240_000  # ms: an epoch takes a second on an idle machine, and minutes on one that is shared by many


def train(page: Page, url: str, name: str, epochs: int) -> list[str]:
    """Start a run of the tiny network; returns the console's errors so far and to come."""
    errors = open_page(page, f"{url}/train")
    ask_for(page, name, epochs)
    return errors


def ask_for(page: Page, name: str, epochs: int) -> None:
    fill(page, "Epochs", str(epochs))
    fill(page, "Save as", name)
    button(page, "Train").click()


def fill(page: Page, label: str, value: str) -> None:
    field = page.get_by_label(label, exact=True)
    field.fill(value)
    field.press("Enter")
    settled(page)


def button(page: Page, name: str) -> Locator:
    return page.get_by_role("button", name=name, exact=True)


def status(page: Page) -> Locator:
    return page.locator(".st-key-train_status")


def shown_epoch(page: Page) -> Locator:
    return page.locator(".training-replay output")


def scrubber(page: Page) -> Locator:
    return page.get_by_role("slider", name="Epoch shown")


def downloaded(page: Page, name: str) -> list[dict[str, str]]:
    with page.expect_download() as download:
        button(page, name).click()
    with download.value.path().open() as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def visit(profile: BrowserContext, app_url: str) -> Iterator[Visit]:
    """One visit of the page before anything is trained, which several tests go on with."""
    with visited(profile, f"{app_url}/train", color_scheme="dark", reduced_motion="reduce") as visit:
        yield visit


@pytest.fixture
def idle(visit: Visit) -> Page:
    return visit.page


def test_the_picture_saves_the_numbers_it_shows(idle: Page) -> None:
    history = read_card("mnist-lgm").history
    expect(shown_epoch(idle)).to_have_text(f"epoch {len(history)} of {len(history)}")
    curves = downloaded(idle, "Curves (CSV)")
    assert [float(row["loss"]) for row in curves] == [record["loss"] for record in history]
    features = downloaded(idle, "Features (CSV)")
    assert len(features) == 1000
    right = sum(row["label"] == row["predicted"] for row in features)
    expect(status(idle)).to_contain_text(f"held-out accuracy {right / 10:.1f} %")
    scrubber(idle).press("ArrowLeft")
    expect(shown_epoch(idle)).to_have_text(f"epoch {len(history) - 1} of {len(history)}")


def test_every_tab_is_accessible(visit: Visit) -> None:
    page, _, errors = visit
    for tab in page.get_by_role("tab").all():
        tab.click()
        settled(page)
        assert_accessible(page)
    assert errors == []


def test_a_name_that_exists_is_refused(idle: Page) -> None:
    ask_for(idle, "mnist-softmax", 1)
    expect(idle.get_by_test_id("stAlert")).to_contain_text("nothing is ever overwritten")
    expect(idle.get_by_test_id("stProgress")).to_have_count(0)


class Malicious:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_a_file_that_would_execute_something_is_refused(idle: Page, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    file = tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps(Malicious(marker)))
    idle.get_by_role("tab", name="Add a network").click()
    idle.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(file)
    button(idle, "Check and add").click()
    alert = idle.get_by_test_id("stAlert").filter(has_text="weights.pt: expected tensors and nothing else")
    expect(alert).to_be_visible(timeout=LATER)
    assert not marker.exists()


def test_two_visitors_train_at_once_and_one_stops_and_resumes(
    page: Page, profile: BrowserContext, app_url: str
) -> None:
    """Each sees but the own run. The one that came to its end is a network that all pages use; the one that was stopped
    goes on to its end, and all of it can be gone through.
    """
    hers, his = page, profile.new_page()  # another tab is another session
    errors = train(hers, app_url, "one-epoch", 1)
    train(his, app_url, "stop-and-go", 8)  # epochs enough that it is stopped before its end
    # Until his own has begun, he sees hers, as every page that has no run sees what the server does.
    expect(his.get_by_test_id("stProgress")).to_contain_text(re.compile("stop-and-go: .* left"), timeout=LATER)
    button(his, "Cancel").click()
    expect(status(his)).to_contain_text(re.compile(r"stop-and-go is stopped. Kept: \d of 8 epochs"), timeout=LATER)
    expect(status(hers)).to_contain_text("one-epoch is trained and saved: held-out accuracy", timeout=LATER)
    expect(shown_epoch(hers)).to_have_text("epoch 1 of 1")
    expect(scrubber(hers)).to_have_attribute("aria-valuetext", re.compile(r"held-out accuracy \d+\.\d %"))
    expect(his.get_by_role("tab", name="Stopped runs (1)")).to_be_visible()
    status(his).get_by_role("button", name="Resume").click()
    expect(status(his)).to_contain_text("stop-and-go is trained and saved", timeout=LATER)
    expect(shown_epoch(his)).to_have_text("epoch 8 of 8")
    scrubber(his).press("Home")
    expect(shown_epoch(his)).to_have_text("epoch 0 of 8")
    for visitor, other in ((hers, "stop-and-go"), (his, "one-epoch")):
        expect(status(visitor)).not_to_contain_text(other)
        expect(visitor).not_to_have_url(re.compile("lgm="))
    his.close()
    button(hers, "Use it on the other pages").click()
    expect(hers).to_have_url(re.compile("lgm=one-epoch"), timeout=LATER)
    expect(button(hers, "In use on all pages").first).to_be_disabled()
    settled(hers)
    hers.emulate_media(reduced_motion="reduce")
    assert_accessible(hers)
    assert errors == []
