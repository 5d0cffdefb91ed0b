"""The Train page in a browser: a run to its end, one that is cancelled, and two visitors at once."""

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.browser import open_page, settled

pytestmark = pytest.mark.browser
LONG = 120_000  # milliseconds that a short run may take on a busy machine


def start(page: Page, url: str, name: str, epochs: int) -> None:
    open_page(page, f"{url}/train")
    page.get_by_role("spinbutton", name="Epochs").fill(str(epochs))
    page.get_by_label("Save as").fill(name)
    page.get_by_label("Save as").press("Enter")
    settled(page)
    page.get_by_role("button", name="Train", exact=True).click()


def test_one_epoch_runs_to_its_end_and_the_network_can_be_used(page: Page, app_url: str) -> None:
    start(page, app_url, "one-epoch", 1)
    expect(page.get_by_text("one-epoch is trained and saved")).to_be_visible(timeout=LONG)
    page.get_by_role("button", name="Use it on the other pages").first.click()
    settled(page)
    assert "lgm=one-epoch" in page.url


def test_a_cancelled_run_stops_and_can_be_resumed(page: Page, app_url: str) -> None:
    start(page, app_url, "cancelled", 200)
    page.get_by_role("button", name="Cancel").click(timeout=LONG)
    expect(page.get_by_text("cancelled is stopped")).to_be_visible(timeout=LONG)
    expect(page.get_by_role("button", name="Resume").first).to_be_enabled()


def test_two_visitors_do_not_see_each_others_runs(browser: Browser, app_url: str) -> None:
    pages = [browser.new_context().new_page() for _ in range(2)]
    for page, name in zip(pages, ("first-visitor", "second-visitor"), strict=True):
        start(page, app_url, name, 1)
    for page, mine, other in zip(pages, ("first", "second"), ("second", "first"), strict=True):
        expect(page.get_by_text(f"{mine}-visitor is trained and saved")).to_be_visible(timeout=LONG)
        expect(page.get_by_text(f"{other}-visitor is trained and saved")).to_have_count(0)
        page.context.close()
