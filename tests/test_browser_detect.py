"""The threshold in Chromium: dragged, moved by keys, typed, shared; its numbers are those of `lgm.detection`."""

import re
from typing import Any

import pytest
from playwright.sync_api import FloatRect, Locator, Page, WebSocket, expect

from lgm.cards import read_features
from lgm.detection import nominal_fpr, outcome, wilson_interval
from lgm.poisons import read_shipped_poisons
from tests.browser import assert_accessible, open_page, settled

pytestmark = pytest.mark.browser
LATER = 60_000  # ms: machines are shared


@pytest.fixture(autouse=True)
def patience(page: Page) -> None:
    page.set_default_timeout(LATER)


def threshold_slider(page: Page) -> Locator:
    """It can be moved once the picture is drawn, and not before."""
    slider = page.get_by_role("slider", name="Threshold T")
    expect(slider).to_be_enabled(timeout=LATER)
    return slider


def box_of(page: Page, canvas: str) -> FloatRect:
    threshold_slider(page)
    box = page.locator(canvas).bounding_box()
    assert box is not None
    return box


def shown(page: Page, name: str) -> str:
    return page.locator(f"[data-out={name}]").inner_text()


def threshold_in(url: str) -> float:
    found = re.search(r"threshold=(-?[\d.]+)", url)
    assert found, url
    return float(found[1])


def assert_counts(page: Page, threshold: float) -> None:
    """Every number beside the plots is the one that Python counts."""
    features, poisons = read_features("mnist-lgm"), read_shipped_poisons("mnist-lgm")
    clean = features.splits["bundled"]
    at = outcome(clean.score, poisons.score, threshold)
    low, high = wilson_interval(at.caught, len(poisons))
    expect(page.locator("[data-out=caught]")).to_contain_text(f"{at.caught:,} of {len(poisons):,}", timeout=LATER)
    digits = 2 if high - low < 0.02 else 0  # or it would say 100–100 %
    assert shown(page, "caught").endswith(f"({100 * low:.{digits}f}–{100 * high:.{digits}f} %)")
    assert shown(page, "wrong").startswith(f"{at.wrongly_removed:,} of {len(clean.score):,}")
    assert shown(page, "tpr") == f"{100 * at.tpr:.1f} %"
    assert shown(page, "fpr") == f"{100 * at.fpr:.2f} %"
    assert shown(page, "precision") == f"{100 * at.precision:.1f} %"
    nominal = 100 * nominal_fpr(threshold, features.peak, features.means.shape[1])
    assert shown(page, "nominal") == (f"{nominal:.2f} %" if nominal >= 0.01 else "< 0.01 %")


def listen(socket: WebSocket, sent: list[object]) -> None:
    socket.on("framesent", lambda frame: sent.append(frame))  # noqa: PLW0108 Playwright cannot call list.append


def test_dragging_the_line_moves_everything_and_tells_the_server_once(page: Page, app_url: str) -> None:
    sent: list[object] = []
    page.on("websocket", lambda socket: listen(socket, sent))
    errors = open_page(page, f"{app_url}/detect")
    box = box_of(page, ".histogram")
    y, start = box["y"] + 100, box["x"] + box["width"] * 0.75
    page.mouse.move(start, y)
    page.mouse.down()
    before, seen = len(sent), set()
    for step in range(60):
        page.mouse.move(start - step * box["width"] / 120, y)
        seen.add((shown(page, "tpr"), shown(page, "fpr")))
    assert len(seen) > 10, "the numbers did not follow the line"
    assert len(sent) == before, "a move went to the server before the release"
    page.mouse.up()
    expect(page).to_have_url(re.compile("threshold="), timeout=LATER)
    settled(page)
    threshold = threshold_in(page.url)
    assert_counts(page, threshold)
    poisons = read_shipped_poisons("mnist-lgm")
    caught = int((poisons.score <= threshold).sum())
    expect(page.get_by_text(f"Caught: {caught} of {len(poisons)} poisons")).to_be_visible(timeout=LATER)
    assert errors == []


def test_the_point_on_the_roc_curve_drags_too(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/detect?threshold=-12")
    before = shown(page, "tpr")
    box = box_of(page, ".roc")
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=10)
    page.mouse.up()
    expect(page).not_to_have_url(re.compile("threshold=-12$"), timeout=LATER)
    assert shown(page, "tpr") != before
    assert_counts(page, threshold_in(page.url))


def test_arrow_keys_move_the_threshold(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/detect?threshold=-8")
    slider = threshold_slider(page)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(re.compile("threshold=-8$"), timeout=LATER)
    threshold = threshold_in(page.url)
    assert -8 < threshold < -7
    assert_counts(page, threshold)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^T −7\.\d\d nats: \d+ of \d+ poisons caught"))


def test_a_typed_threshold_is_taken_as_it_is(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/detect")
    page.get_by_role("spinbutton", name=re.compile("Threshold T")).fill("-6.5")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"threshold=-6\.5$"), timeout=LATER)
    assert_counts(page, -6.5)


def test_a_button_puts_the_threshold_at_a_false_positive_rate(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/detect")
    button = page.get_by_role("button", name="Threshold for at most 5 % FPR")
    button.click()
    expect(page).to_have_url(re.compile("threshold="), timeout=LATER)
    expect(button).to_have_attribute("aria-pressed", "true")
    assert float(shown(page, "fpr").removesuffix(" %")) <= 5
    link = page.url
    open_page(page, link)
    assert_counts(page, threshold_in(link))


def test_the_chosen_axes_outlive_a_release_and_a_change_of_theme(page: Page, app_url: str) -> None:
    page.emulate_media(color_scheme="light")
    open_page(page, f"{app_url}/detect")
    page.locator(".detect").get_by_text("likelihood", exact=True).click()
    page.locator(".detect").get_by_text("linear", exact=True).click()
    box = box_of(page, ".histogram")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 100)
    expect(page).to_have_url(re.compile("threshold="), timeout=LATER)
    settled(page)
    assert page.get_by_role("radio", name="likelihood", exact=True).is_checked()
    assert page.get_by_role("radio", name="linear").is_checked()
    light = pixels(page)
    page.emulate_media(color_scheme="dark")
    for _ in range(60):
        if pixels(page) != light:
            return
        page.wait_for_timeout(500)
    pytest.fail("the plot kept the colours of the light theme")


def pixels(page: Page) -> str:
    return page.locator(".histogram").evaluate("canvas => canvas.toDataURL()")


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_open_page_is_accessible(page: Page, app_url: str, theme: Any) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    open_page(page, f"{app_url}/detect?threshold=-9")
    page.get_by_text("Craft new poisons").click()
    page.get_by_text("What am I looking at?").click()
    settled(page)
    assert_accessible(page)


def test_poisons_crafted_here_come_onto_the_page(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/detect")
    page.get_by_text("Craft new poisons").click()
    page.get_by_role("slider", name="How many").press("Home")
    settled(page)
    page.get_by_role("button", name="Craft", exact=True).click()
    expect(page.get_by_text("10 poisons, Levenberg–Marquardt, β = 0.008")).to_be_visible(timeout=2 * LATER)
    expect(page.locator("[data-out=caught]")).to_contain_text("of 10", timeout=LATER)
