"""The app as a visitor has it: every page by its link, the bench, links that carry state, accessibility."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Locator, Page, expect

from lgm.plots.features import DRAWN
from tests.browser.driver import PATIENCE, assert_accessible, open_page, serve, settled

pytestmark = pytest.mark.browser
_DATA = Path(os.environ.get("LGM_DATA", "/nowhere"))  # before conftest hides it

OWN = {  # of images of the user's own, of which a newcomer has none: a line says how to add some
    "your_data": "Which of your images would the filter remove",
    "one_shot": "Can one photo change what is said of another",
}
TITLES = {
    "": "What is a clean-label poison",
    "features": "What did each loss do to feature space",
    "craft": "Can an image look like this and mean that",
    "detect": "Where do I put the threshold",
    "defend": "Does filtering save the model",
    "train": "How does a feature space form",
}
OPEN = {"defend": "?attacker=edge"}  # what a visitor opens: a cell of the board


# One visit answers all questions to a page, in one theme: tests/plots/test_contrast.py computes the contrast of both.
# What folds away is seen open in test_detect.py and test_train.py.
@pytest.mark.parametrize(("path", "theme"), list(zip(TITLES | OWN, ["light", "dark"] * 4, strict=True)))
def test_a_page_opens_by_its_link(page: Page, app_url: str, path: str, theme: Any) -> None:
    page.emulate_media(color_scheme=theme, reduced_motion="reduce")
    errors = open_page(page, f"{app_url}/{path}{OPEN.get(path, '')}")
    expect(page.get_by_role("heading", level=1)).to_contain_text((TITLES | OWN)[path])
    expect(page.get_by_test_id("stAlert")).to_have_count(1 if path in OWN else 0)
    if path == "features":
        assert_points_without_webgl(page)
        assert_a_click_shows_a_point(page)
    assert_accessible(page)
    page.set_viewport_size({"width": 390, "height": 844})
    # Nothing sticks out on a phone.
    page.wait_for_function("document.querySelector('[data-testid=stMain]').scrollWidth <= 390", timeout=30_000)
    if path == "defend":  # the slider of T has a line of its own
        box = page.get_by_test_id("stSlider").filter(has_text="T: remove").bounding_box()
        assert box is not None
        assert 0.7 * 390 < box["width"] < 390
    assert errors == []


def assert_points_without_webgl(page: Page) -> None:
    assert not page.evaluate("!!document.createElement('canvas').getContext('webgl')"), "the browser has WebGL"
    for plane in page.locator(".js-plotly-plot").all():
        expect(plane.locator(".scatterlayer .point")).to_have_count(2 * DRAWN + 20, timeout=PATIENCE)
        expect(plane).not_to_contain_text("WebGL")
        expect(plane.locator(".legend")).to_contain_text(f"{DRAWN:,} of 55,000 drawn")


def assert_a_click_shows_a_point(page: Page) -> None:
    settled(page)  # else the plane may be drawn anew under the pointer, and the click is lost
    plot = page.locator(".js-plotly-plot").first
    x, y = plot.evaluate(
        """plot => {
          const trace = plot._fullData.find(t => t.meta === 'bundled'), {xaxis, yaxis} = plot._fullLayout;
          const box = plot.getBoundingClientRect();
          let best = 0;  // the lowest point of the cloud: nothing lies over it
          for (let i = 0; i < trace.y.length; i++) if (trace.y[i] < trace.y[best]) best = i;
          const [x, y] = [xaxis.d2p(trace.x[best]), yaxis.d2p(trace.y[best])];
          return [box.left + xaxis._offset + x, box.top + yaxis._offset + y];
        }"""
    )
    page.mouse.move(x - 30, y)
    page.mouse.move(x, y, steps=5)
    # A click selects what the pointer hovers over, which plotly finds out with a delay.
    page.wait_for_function("plot => plot._hoverdata?.length", arg=plot.element_handle(), timeout=PATIENCE)
    page.mouse.down()
    page.mouse.up()
    expect(page.get_by_text("posterior:").first).to_be_visible(timeout=60_000)
    expect(page.get_by_text("log p(f(x)|").first).to_be_visible()


def test_data_and_networks_are_chosen_at_the_top_and_cifar_10_needs_no_files_of_its_own(
    page: Page, app_url: str
) -> None:
    errors = open_page(page, f"{app_url}/detect")
    choices = page.get_by_role("button", name="MNIST, the bundled digits · mnist-lgm, mnist-softmax")
    in_sight(choices, 1440)
    choices.press("Enter")
    page.get_by_role("combobox", name="Dataset").click()
    page.get_by_role("option", name="CIFAR-10").click()
    expect(page.get_by_role("button", name=re.compile("CIFAR-10, .* cifar10-lgm"))).to_be_visible(timeout=PATIENCE)
    expect(page).to_have_url(re.compile("dataset=cifar10"), timeout=PATIENCE)
    expect(page.get_by_test_id("stSidebar")).to_have_count(0)
    settled(page)
    (alert,) = page.get_by_test_id("stAlert").all()
    expect(alert).to_contain_text("is missing")
    for path in ("", "craft", "train", "features"):
        follow(page, path)
        expect(page.get_by_test_id("stAlert")).to_have_count(0)
    page.set_viewport_size({"width": 390, "height": 844})
    in_sight(page.get_by_role("button", name=re.compile("CIFAR-10, .* cifar10-lgm")), 390)
    assert errors == []


@pytest.fixture(scope="module")
def cifar_url(digits_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app on a machine that has the images of CIFAR-10."""
    if not (_DATA / "cifar10.npz").is_file():
        pytest.skip("$LGM_DATA has no cifar10.npz")
    with serve(tmp_path_factory.mktemp("cifar") / "log", _DATA, digits=digits_file) as url:
        yield url


def test_pages_of_cifar_10_open_with_its_images(page: Page, cifar_url: str) -> None:
    # One poison on Defend: VGG19 takes long for the usual ten beside a browser that draws in software.
    errors = open_page(page, f"{cifar_url}/?dataset=cifar10&poisons=1")
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES[""])
    expect(page.get_by_test_id("stAlert")).to_have_count(0)
    for path in list(TITLES)[1:]:
        follow(page, path)
        expect(page.get_by_test_id("stAlert")).to_have_count(0)
    assert errors == []


def follow(page: Page, path: str) -> None:
    """To a page by its link at the top, which keeps the dataset."""
    page.get_by_role("link", name=path.capitalize() or "Overview", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES[path], timeout=PATIENCE)
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page).to_have_url(re.compile(rf"/{path}\?dataset=cifar10"))


def in_sight(button: Locator, width: int) -> None:
    """On one line near the top, and nothing of it beyond the edge of a screen of this width."""
    box = button.bounding_box()
    assert box is not None
    assert box["height"] < 48
    assert box["y"] < 250
    assert box["x"] + box["width"] <= width


def slider(page: Page) -> Locator:
    """It can be moved once the poisons are there, and not before."""
    found = page.get_by_role("slider", name=re.compile("^beta"))
    expect(found).to_be_enabled(timeout=60_000)
    return found


def test_a_senseless_link_opens_the_defaults_and_back_leaves_the_page_whatever_was_changed_on_it(
    page: Page, app_url: str
) -> None:
    page.goto("about:blank")
    senseless = "beta=cake&base=-3&target=99999999&threshold=nan&lgm=../../etc/passwd&data=x"
    errors = open_page(page, f"{app_url}/craft?{senseless}")  # the address is mended: no step back either
    beta, change = page.locator(".beta output"), page.locator(".tile.lgm-d output")
    expect(beta).to_have_text("0.008")
    expect(page.locator(".tile.lgm output")).to_contain_text("seen as", timeout=60_000)
    default = change.inner_text()
    for _ in range(2):
        slider(page).focus()
        page.keyboard.press("ArrowLeft")
        settled(page)
    expect(page).to_have_url(f"{app_url}/craft?beta=0.004", timeout=PATIENCE)
    expect(beta).to_have_text("0.004")  # the answer of the server must not take it back
    chosen = change.inner_text()
    assert chosen != default
    page.get_by_role("link", name="Detect", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES["detect"], timeout=PATIENCE)
    settled(page)
    page.go_back()
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES["craft"], timeout=PATIENCE)
    expect(beta).to_have_text("0.004", timeout=PATIENCE)
    expect(page).to_have_url(f"{app_url}/craft?beta=0.004", timeout=PATIENCE)
    page.go_back()
    assert page.url == "about:blank"
    page.go_forward()
    settled(page)
    expect(beta).to_have_text("0.004", timeout=PATIENCE)
    assert page.evaluate("performance.getEntriesByType('navigation')[0].type") == "back_forward"  # loaded anew
    assert change.inner_text() == chosen, "the link opens another picture"
    assert errors == []


def test_picking_a_pair_crafts_for_both_networks(page: Page, app_url: str) -> None:
    open_page(page, f"{app_url}/craft")
    page.get_by_role("button", name="Base: ").click()
    page.get_by_role("radio", name="7", exact=True).or_(page.get_by_role("button", name="7", exact=True)).first.click()
    settled(page)
    page.keyboard.press("Escape")
    expect(page.locator(".tile.base output")).to_contain_text("7: what the poison claims", timeout=60_000)
    for network in ("lgm", "softmax"):
        expect(page.locator(f".tile.{network} output")).to_contain_text("seen as", timeout=120_000)
    expect(page).to_have_url(re.compile("base="))
    expect(page.get_by_text("Your poison")).to_be_visible()
