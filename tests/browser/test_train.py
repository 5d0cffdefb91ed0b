"""Training in Chromium: one run to its end, one stopped and resumed, two at once, and files from outside."""

import csv
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from lgm.models.registry import read_card
from tests.browser.driver import assert_accessible, open_page, settled

pytestmark = pytest.mark.browser
LATER = 240_000  # ms: an epoch takes a second on an idle machine, and minutes on one that is shared by many


def train(page: Page, url: str, name: str, epochs: int) -> list[str]:
    """Start a run of the tiny network; returns the console's errors so far and to come."""
    errors = open_page(page, f"{url}/train")
    fill(page, "Epochs", str(epochs))
    fill(page, "Save as", name)
    button(page, "Train").click()
    return errors


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


def test_a_run_ends_as_a_network_that_all_pages_use(page: Page, app_url: str) -> None:
    errors = train(page, app_url, "one-epoch", 1)
    expect(status(page)).to_contain_text("one-epoch is trained and saved: held-out accuracy", timeout=LATER)
    expect(shown_epoch(page)).to_have_text("epoch 1 of 1")
    expect(scrubber(page)).to_have_attribute("aria-valuetext", re.compile(r"held-out accuracy \d+\.\d %"))
    button(page, "Use it on the other pages").click()
    expect(page).to_have_url(re.compile("lgm=one-epoch"), timeout=LATER)
    expect(button(page, "In use on all pages").first).to_be_disabled()
    settled(page)
    page.emulate_media(reduced_motion="reduce")
    assert_accessible(page)
    assert errors == []


def test_a_stopped_run_is_resumed_to_its_end(page: Page, app_url: str) -> None:
    train(page, app_url, "stop-and-go", 4)
    expect(page.get_by_test_id("stProgress")).to_contain_text("left", timeout=LATER)
    button(page, "Cancel").click()
    expect(status(page)).to_contain_text(re.compile(r"stop-and-go is stopped. Kept: \d of 4 epochs"), timeout=LATER)
    expect(page.get_by_role("tab", name="Stopped runs (1)")).to_be_visible()
    status(page).get_by_role("button", name="Resume").click()
    expect(status(page)).to_contain_text("stop-and-go is trained and saved", timeout=LATER)
    expect(shown_epoch(page)).to_have_text("epoch 4 of 4")
    scrubber(page).press("Home")
    expect(shown_epoch(page)).to_have_text("epoch 0 of 4")


@pytest.fixture
def visitor(browser: Browser) -> Iterator[Callable[[], Page]]:
    contexts = []

    def enter() -> Page:
        contexts.append(browser.new_context())
        return contexts[-1].new_page()

    yield enter
    for context in contexts:
        context.close()


def test_two_visitors_train_at_once_and_see_only_their_own_run(visitor: Callable[[], Page], app_url: str) -> None:
    pages = {"hers": visitor(), "his": visitor()}
    for name, page in pages.items():
        train(page, app_url, name, 1)
    for name, page in pages.items():
        expect(status(page)).to_contain_text(f"{name} is trained and saved", timeout=LATER)
        (other,) = pages.keys() - {name}
        expect(status(page)).not_to_contain_text(other)
        expect(page).not_to_have_url(re.compile("lgm="))


def test_a_name_that_exists_is_refused(page: Page, app_url: str) -> None:
    train(page, app_url, "mnist-softmax", 1)
    expect(page.get_by_test_id("stAlert")).to_contain_text("nothing is ever overwritten")
    expect(page.get_by_test_id("stProgress")).to_have_count(0)


class Malicious:
    """A pickle of this creates a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


def test_a_file_that_would_execute_something_is_refused(page: Page, app_url: str, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    file = tmp_path / "weights.pt"
    file.write_bytes(pickle.dumps(Malicious(marker)))
    open_page(page, f"{app_url}/train")
    page.get_by_role("tab", name="Add a network").click()
    page.get_by_test_id("stFileUploaderDropzoneInput").first.set_input_files(file)
    button(page, "Check and add").click()
    expect(page.get_by_test_id("stAlert")).to_contain_text(
        "weights.pt: expected tensors and nothing else", timeout=LATER
    )
    assert not marker.exists()


def test_the_picture_saves_the_numbers_it_shows(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/train")
    history = read_card("mnist-lgm").history
    expect(shown_epoch(page)).to_have_text(f"epoch {len(history)} of {len(history)}")
    curves = downloaded(page, "Curves (CSV)")
    assert [float(row["loss"]) for row in curves] == [record["loss"] for record in history]
    features = downloaded(page, "Features (CSV)")
    assert len(features) == 1000
    right = sum(row["label"] == row["predicted"] for row in features)
    expect(status(page)).to_contain_text(f"held-out accuracy {right / 10:.1f} %")
    scrubber(page).press("ArrowLeft")
    expect(shown_epoch(page)).to_have_text(f"epoch {len(history) - 1} of {len(history)}")


def test_every_tab_is_accessible(page: Page, app_url: str) -> None:
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    errors = open_page(page, f"{app_url}/train")
    for tab in page.get_by_role("tab").all():
        tab.click()
        settled(page)
        assert_accessible(page)
    assert errors == []
