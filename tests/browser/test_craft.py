"""The sliders of the Craft page in Chromium: every step is drawn, and the server hears of beta's release alone.

Most tests share one tab, and put both sliders back where a fresh page has them.
"""

import re
from collections.abc import Iterator

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, Locator, Page, expect

from lgm.attacks.result import Poisons, read_shipped_poisons
from lgm.config import BETA_GRID
from tests.browser.driver import (
    DARK_TEXT,
    DRAWN,
    LATER,
    Visit,
    assert_accessible,
    open_page,
    settled,
    visited,
)
from ui.beta_paths import nearest
from ui.components.beta_explorer import shown_iterations

pytestmark = pytest.mark.browser
STEPS = 30  # of a drag: from the last stop to the first, and some way back
THUMB = 16  # px: how wide Chromium draws the thumb of a slider
START = nearest(8e-3)  # where beta stands on a page without a link

# Counts the frames in which what is drawn differs from the frame before.
WATCH = """lab => {
  const tiles = ["lgm", "softmax"].map((name) => lab.querySelector(`.tile.${name} canvas`).getContext("2d"));
  const output = lab.querySelector(`.${lab.dataset.watched} output`);
  const print = () => tiles.map((g) => g.getImageData(0, 0, 28, 28).data.join()).join() + output.textContent;
  let before = print();
  lab.dataset.changes = 0;
  const look = () => {
    const now = print();
    if (now !== before) lab.dataset.changes++;
    before = now;
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}"""
PIXELS = """lab => ["lgm", "softmax"].map((name) => {
  const g = lab.querySelector(`.tile.${name} canvas`).getContext("2d");
  return [...g.getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0);
})"""
# Plays the way, and gives back where the slider and what the button said in each frame until it was at the end again.
PLAYED = """lab => new Promise((done) => {
  const range = lab.querySelector(".scrub input"), button = lab.querySelector(".run"), seen = [];
  const look = () => {
    const frame = +range.value, ended = frame === +range.max;
    if (seen.length || !ended) seen.push([frame, button.textContent]);
    if (seen.length && ended) done(seen);
    else requestAnimationFrame(look);
  };
  button.click();
  requestAnimationFrame(look);
})"""


@pytest.fixture(scope="module")
def opened(profile: BrowserContext, app_url: str) -> Iterator[Visit]:
    with visited(profile, f"{app_url}/craft", reduced_motion="no-preference") as visit:
        yield visit


@pytest.fixture
def visit(opened: Visit) -> Visit:
    """Both sliders stand where a fresh page has them."""
    page = opened.page
    page.emulate_media(color_scheme="light", reduced_motion="no-preference")
    slider(page, "iteration").press("End")
    put(page, START)
    return opened


@pytest.fixture(scope="module")
def examples() -> dict[str, Poisons]:
    return {loss: read_shipped_poisons(f"mnist-{loss}", "example") for loss in ("lgm", "softmax")}


@pytest.fixture(scope="module")
def iterations(examples: dict[str, Poisons]) -> list[int]:
    return shown_iterations(list(examples.values())).tolist()


def slider(page: Page, name: str) -> Locator:
    """It can be moved once what it moves is drawn, and not before."""
    found = page.get_by_role("slider", name=re.compile(f"^{name}"))
    expect(found).to_be_enabled(timeout=LATER)
    return found


def put(page: Page, stop: int) -> None:
    """Beta to a stop, and wait until the server has it."""
    beta = slider(page, "beta")
    if beta.input_value() == str(stop):
        return
    before = page.url
    beta.fill(str(stop))
    expect(page).not_to_have_url(before)
    settled(page)


def zigzag(start: int, stops: int) -> Iterator[int]:
    """From ``start`` down to 0, up to the last stop, down again: each step ends at another stop."""
    at, way = start, -1
    for _ in range(STEPS):
        if not 0 <= at + way < stops:
            way = -way
        at += way
        yield at


def drag(page: Page, which: str, start: int, stops: int) -> Iterator[int]:
    """Press on the slider's thumb, then step by step; yields each stop once it is drawn. The button stays down."""
    box = slider(page, which).bounding_box()
    assert box is not None
    y = box["y"] + box["height"] / 2

    def x(stop: int) -> float:
        return box["x"] + THUMB / 2 + (box["width"] - THUMB) * stop / (stops - 1)

    page.mouse.move(x(start), y)
    page.mouse.down()
    page.evaluate(DRAWN)
    for stop in zigzag(start, stops):
        page.mouse.move(x(stop), y)
        page.evaluate(DRAWN)
        yield stop


def watch(page: Page, output: str) -> None:
    """Count frames from now on, by both poisons and this output."""
    lab = page.locator(".beta-explorer")
    lab.evaluate("(lab, output) => { lab.dataset.watched = output; }", output)
    lab.evaluate(WATCH)


def changes(page: Page) -> int:
    page.evaluate(DRAWN)
    return int(page.locator(".beta-explorer").evaluate("lab => lab.dataset.changes"))


def assert_shown(page: Page, images: dict[str, np.ndarray]) -> None:
    """Both tiles show exactly these pixels."""
    lgm, softmax = page.locator(".beta-explorer").evaluate(PIXELS)
    np.testing.assert_array_equal(lgm, images["lgm"].flatten())
    np.testing.assert_array_equal(softmax, images["softmax"].flatten())


def test_the_way_plays_once_from_start_to_end(opened: Visit, iterations: list[int]) -> None:
    page, sent, _ = opened
    scrub, last = slider(page, "iteration"), len(iterations) - 1
    expect(scrub).to_have_js_property("value", str(last))  # nothing plays by itself on a fresh page
    before = len(sent)
    seen = page.locator(".beta-explorer").evaluate(PLAYED)
    assert [frame for frame, _ in seen] == sorted(frame for frame, _ in seen)
    assert {seen[0][0], seen[-1][0]} == {0, last}
    assert {text for frame, text in seen if frame < last} == {"❚❚ pause"}
    expect(page.get_by_role("button", name="play")).to_be_enabled()
    assert len(sent) == before


def test_without_motion_the_way_goes_step_by_step(visit: Visit, iterations: list[int]) -> None:
    page = visit.page
    page.emulate_media(reduced_motion="reduce")
    scrub = slider(page, "iteration")
    scrub.press("Home")  # the button is named anew when something is drawn
    scrub.press("End")
    for iteration in iterations[:3]:
        page.get_by_role("button", name="step").click()
        expect(page.locator(".scrub output")).to_have_text(f"{iteration} of {iterations[-1]}")


def test_beta_is_drawn_at_every_step_and_told_once(visit: Visit, examples: dict[str, Poisons]) -> None:
    page, sent, errors = visit
    last = len(BETA_GRID) - 1
    put(page, last)
    watch(page, "beta")
    before, stop = len(sent), last
    for stop in drag(page, "beta", last, len(BETA_GRID)):
        assert_shown(page, {loss: (255 * path.images[stop]).round() for loss, path in examples.items()})
    assert changes(page) >= STEPS - 5, "frames were left out"
    assert len(sent) == before, "a move went to the server before the release"
    page.mouse.up()
    expect(page).to_have_url(re.compile(rf"beta={BETA_GRID[stop]:g}(&|$)"))
    settled(page)
    assert len(sent) == before + 1, "the release is one message"
    expect(page.locator(".tile.lgm output")).to_contain_text("seen as")
    assert errors == []


def test_the_iteration_is_drawn_at_every_step_and_never_told(
    visit: Visit, examples: dict[str, Poisons], iterations: list[int]
) -> None:
    page, sent, errors = visit
    last = len(iterations) - 1
    watch(page, "scrub")
    before = len(sent)
    for frame in drag(page, "iteration", last, len(iterations)):
        assert_shown(page, {loss: path.path_images[START, frame] for loss, path in examples.items()})
        ours = examples["lgm"]
        expect(page.locator(".scrub output")).to_have_text(f"{iterations[frame]} of {iterations[last]}")
        if frame != last:  # the numbers of the finished poison are not those of the record
            score = f"{ours.path_score[START, frame]:.2f}".replace("-", "−")
            assert f"= {score} nats" in page.locator(".gauge output").inner_text()
            assert f"seen as {ours.path_predicted[START, frame]}" in page.locator(".tile.lgm output").inner_text()
            l2 = np.sqrt(ours.path_objective[START, frame, 1])
            assert f"L2 {l2:.2f} " in page.locator(".tile.lgm-d output").inner_text()
    assert changes(page) >= STEPS - 5, "frames were left out"
    page.mouse.up()
    slider(page, "beta").focus()
    page.keyboard.press("ArrowLeft")  # messages keep their order: had the iteration been told, it would be before beta
    expect(page).to_have_url(re.compile(rf"/craft\?beta={BETA_GRID[START - 1]:g}$"))
    settled(page)
    assert len(sent) == before + 1, "the iteration went to the server"
    assert errors == []


def test_keys_move_the_iteration_and_it_outlives_beta_the_server_and_the_theme(
    visit: Visit, examples: dict[str, Poisons], iterations: list[int]
) -> None:
    page, _, errors = visit
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    scrub, end = slider(page, "iteration"), iterations[-1]
    expect(scrub).to_have_attribute("aria-valuetext", f"iteration {end} of {end}")
    scrub.focus()
    page.keyboard.press("Home")
    expect(scrub).to_have_attribute("aria-valuetext", f"iteration 0 of {end}")
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    slider(page, "beta").focus()
    page.keyboard.press("ArrowLeft")
    expect(page).to_have_url(re.compile(r"beta=0\.0063"))
    settled(page)
    expect(page.locator(".beta output")).to_have_text("0.0063")
    expect(page.locator(".scrub output")).to_have_text(f"{iterations[3]} of {end}")
    expect(scrub).to_be_enabled()
    third = {loss: path.path_images[START - 1, 3] for loss, path in examples.items()}
    assert_shown(page, third)
    page.emulate_media(color_scheme="dark", reduced_motion="reduce")
    expect(page.locator(".beta-explorer")).to_have_css("color", DARK_TEXT)
    page.evaluate(DRAWN)
    expect(page.locator(".scrub output")).to_have_text(f"{iterations[3]} of {end}")
    assert_shown(page, third)
    assert_accessible(page)
    scrub.focus()
    page.keyboard.press("End")
    slider(page, "beta").focus()
    page.keyboard.press("ArrowRight")
    expect(page.locator(".scrub output")).to_have_text(f"{end} of {end}")
    page.evaluate(DRAWN)
    assert_shown(page, {loss: (255 * path.images[START]).round() for loss, path in examples.items()})
    assert errors == []


def test_the_iteration_waits_for_its_images_and_the_story_has_none(
    page: Page, app_url: str, examples: dict[str, Poisons]
) -> None:
    page.set_default_timeout(LATER)
    page.add_init_script(  # nothing comes out before the test lets it
        """const Real = DecompressionStream;
        window.DecompressionStream = class {
          constructor(format) {
            const real = new Real(format), gate = new TransformStream({
              start: () => new Promise((open) => { (window.gates ??= []).push(open); }),
            });
            this.writable = real.writable;
            this.readable = real.readable.pipeThrough(gate);
          }
        };"""
    )
    open_page(page, f"{app_url}/craft")
    scrub = page.get_by_role("slider", name=re.compile("^iteration"))
    play = page.get_by_role("button", name="play")
    slider(page, "beta").focus()
    expect(scrub).to_be_disabled()
    expect(play).to_be_disabled()
    page.keyboard.press("ArrowRight")
    page.evaluate(DRAWN)
    finished = {loss: (255 * path.images[START + 1]).round() for loss, path in examples.items()}
    assert_shown(page, finished)
    page.evaluate("window.gates.forEach((open) => open())")
    expect(scrub).to_be_enabled()
    expect(play).to_be_enabled()
    assert_shown(page, finished)
    open_page(page, app_url)  # the story has no iterations
    expect(page.locator(".beta-explorer .beta")).to_be_visible(timeout=LATER)
    expect(page.locator(".beta-explorer .scrub")).to_be_hidden()
