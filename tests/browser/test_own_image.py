"""An image of one's own on the Craft page, in Chromium: drawn with the mouse or a finger, or uploaded; and poisoned."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from lgm.data.drawing import SIDE, drawn
from lgm.data.mnist import MNIST
from lgm.data.own_image import as_image_of
from tests.browser.driver import LATER, Visit, assert_accessible, settled, visited

pytestmark = pytest.mark.browser
FOUR = [[(90.0, 40.0), (70.0, 140.0), (200.0, 140.0)], [(180.0, 50.0), (170.0, 240.0)]]
# Whether the base of the picture is nearly this one: until the server has answered, it is that of the pair before.
IS_BASE = """([canvas, expected]) => {
  const { data } = canvas.getContext("2d").getImageData(0, 0, 28, 28);
  const off = expected.map((value, i) => Math.abs(value - data[4 * i]));
  return off.reduce((sum, value) => sum + value) / off.length < 2;
}"""
INK = """canvas => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
  .filter((value, i) => i % 4 === 3 && value > 127).length"""


@pytest.fixture(scope="module")
def visit(profile: BrowserContext, app_url: str) -> Iterator[Visit]:
    with visited(profile, f"{app_url}/craft") as visit:
        yield visit


def choose(page: Page, role: str, origin: str) -> None:
    """Open the popover of a role, and choose where the image comes from."""
    page.get_by_role("button", name=re.compile(f"{role}: ")).click()
    page.get_by_role("radio", name=origin).click()
    settled(page)


def sheet(page: Page) -> Locator:
    return page.locator(".draw canvas")


def places(page: Page, strokes: list[list[tuple[float, float]]]) -> list[list[tuple[float, float]]]:
    """These points of the sheet, on the page."""
    box = sheet(page).bounding_box()
    assert box is not None
    scale = box["width"] / SIDE
    return [[(box["x"] + scale * x, box["y"] + scale * y) for x, y in stroke] for stroke in strokes]


def draw(page: Page, strokes: list[list[tuple[float, float]]]) -> None:
    for stroke in places(page, strokes):
        page.mouse.move(*stroke[0])
        page.mouse.down()
        for place in stroke[1:]:
            page.mouse.move(*place, steps=8)
        page.mouse.up()


def assert_crafted(page: Page) -> None:
    """The poison of the current pair is there, on the picture and in the strip at the foot."""
    expect(page.locator(".tile.lgm output")).to_contain_text("seen as", timeout=LATER)
    expect(page.locator(".tile.softmax output")).to_contain_text("seen as", timeout=LATER)
    expect(page.get_by_text("Your poison").first).to_be_visible()


def test_a_digit_is_drawn_and_poisoned(visit: Visit) -> None:
    page, sent = visit.page, visit.sent
    choose(page, "Base", "Draw")
    undo, clear = (page.get_by_role("button", name=name, exact=True) for name in ("Undo", "Clear"))
    expect(undo).to_be_disabled()
    before = len(sent)
    draw(page, FOUR[:1])
    settled(page)
    assert len(sent) == before + 1, "moves go nowhere, a stroke is one message"
    draw(page, FOUR[1:])
    undo_and_clear_by_keyboard(page, undo, clear)
    draw(page, FOUR)
    settled(page)
    expect(page.get_by_role("img", name="The base, drawn: 2 strokes")).to_be_visible()
    expect(page.get_by_role("img", name="The base as the networks see it")).to_be_visible()
    expect(page.get_by_text(re.compile("LGM network: 4, probability"))).to_be_visible()
    expect(page.get_by_text("not part of a link")).to_be_visible()
    assert_accessible(page)
    page.get_by_role("button", name="Use as base").click()
    expect(page.get_by_role("button", name="Base: 4, your own")).to_be_visible()
    expect(sheet(page)).to_be_hidden()
    canvas = page.locator(".beta-explorer .tile.base canvas").element_handle()
    page.wait_for_function(IS_BASE, arg=[canvas, as_image_of(MNIST, drawn(FOUR))[0].ravel().tolist()])
    assert_crafted(page)
    expect(page.get_by_text(re.compile("claims 4, the network sees 9"))).to_be_visible()
    assert visit.errors == []


def undo_and_clear_by_keyboard(page: Page, undo: Locator, clear: Locator) -> None:
    """Of two strokes, the last and then all; the sheet outlives its popover in between."""
    both = sheet(page).evaluate(INK)
    undo.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("img", name="The base, drawn: 1 stroke")).to_be_visible()
    assert 0 < sheet(page).evaluate(INK) < both
    settled(page)
    page.keyboard.press("Escape")
    expect(sheet(page)).to_be_hidden()
    page.get_by_role("button", name=re.compile("Base: ")).click()
    expect(page.get_by_role("img", name="The base, drawn: 1 stroke")).to_be_visible()
    clear.focus()
    page.keyboard.press("Space")
    expect(page.get_by_role("img", name="The base, drawn: 0 strokes")).to_be_visible()
    expect(clear).to_be_disabled()
    assert sheet(page).evaluate(INK) == 0
    settled(page)
    expect(page.get_by_role("button", name="Use as base")).to_have_count(0)


def test_on_a_phone_a_finger_draws_and_does_not_scroll(visit: Visit) -> None:
    page = visit.page
    page.set_viewport_size({"width": 390, "height": 844})
    page.emulate_media(color_scheme="dark")
    settled(page)
    choose(page, "Target", "Draw")
    top = sheet(page).evaluate("canvas => canvas.getBoundingClientRect().top")
    touch = page.context.new_cdp_session(page)

    def send(kind: str, *place: tuple[float, float]) -> None:
        points = [{"x": x, "y": y} for x, y in place]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    for stroke in places(page, [[(140.0, 40.0), (140.0, 140.0), (140.0, 240.0)]]):
        send("touchStart", stroke[0])
        for place in stroke[1:]:
            send("touchMove", place)
        send("touchEnd")
    settled(page)
    assert sheet(page).evaluate("canvas => canvas.getBoundingClientRect().top") == top
    expect(page.get_by_role("img", name="The target, drawn: 1 stroke")).to_be_visible()
    assert sheet(page).evaluate(INK) > 0
    use = page.get_by_role("button", name="Use as target")
    use.scroll_into_view_if_needed()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    use.click()
    expect(page.get_by_role("button", name="Target: 1, your own")).to_be_visible()
    assert_crafted(page)
    assert visit.errors == []
