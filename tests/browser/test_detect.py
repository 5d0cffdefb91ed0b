"""The threshold in Chromium: dragged, moved by keys, typed, shared; its numbers are those of Python.

Opening the page costs more than most of what is asked of it: all tests share one tab, and each sets its own T.
"""

import re
from collections.abc import Iterator
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from playwright.sync_api import BrowserContext, FloatRect, Locator, Page, expect

from lgm.attacks.result import read_shipped_poisons
from lgm.data.base import Split
from lgm.detection.metrics import outcome
from lgm.detection.thresholds import empirical_threshold, nominal_fpr
from lgm.models.features import read_features
from lgm.stats.intervals import outward, percent_text, wilson_interval
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

pytestmark = pytest.mark.browser


FAR = -9999.0  # below every score: T of the link that opens the page


@pytest.fixture(scope="module")
def visit(profile: BrowserContext, app_url: str) -> Iterator[Visit]:
    with visited(profile, f"{app_url}/detect?threshold={FAR}") as visit:
        threshold_slider(visit.page)
        yield visit


@pytest.fixture
def page(visit: Visit) -> Page:
    return visit.page


def threshold_slider(page: Page) -> Locator:
    """It can be moved once the picture is drawn, and not before."""
    slider = page.get_by_role("slider", name="Threshold T")
    expect(slider).to_be_enabled(timeout=LATER)
    return slider


def put(page: Page, threshold: float) -> None:
    """Type T, and wait until the server has it."""
    page.get_by_role("spinbutton", name=re.compile("Threshold T")).fill(f"{threshold:g}")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(rf"threshold={re.escape(f'{threshold:g}')}$"), timeout=LATER)
    settled(page)


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
    ends = outward(100 * low, 100 * high, digits)
    assert shown(page, "caught").endswith(f"({ends[0]}–{ends[1]} %)")
    assert shown(page, "wrong").startswith(f"{at.wrongly_removed:,} of {len(clean.score):,}")
    assert shown(page, "tpr") == percent_text(at.tpr)
    assert shown(page, "fpr") == percent_text(at.fpr, 2)
    assert shown(page, "precision") == percent_text(at.precision)
    nominal = nominal_fpr(threshold, features.peak, features.means.shape[1])
    assert shown(page, "nominal") == percent_text(nominal, 2)


class Group(NamedTuple):
    """Poisons or clean images, in no order."""

    score: np.ndarray
    labels: np.ndarray
    predicted: np.ndarray


class Column(NamedTuple):
    """What a column of the gallery says."""

    total: str
    note: str
    captions: list[str]


def column(group: Group, members: np.ndarray, threshold: float, total: str, notes: list[str]) -> tuple[Column, Any]:
    """What it has to say, and whose images it has to show."""
    found = np.flatnonzero(members)
    chosen = found[np.argsort(np.abs(group.score[found] - threshold), kind="stable")[:12]]
    captions = [f"claims {group.labels[i]}|seen as {group.predicted[i]}|{group.score[i]:.2f} nats" for i in chosen]
    if len(found) > 12:
        notes = [*notes, "here the 12 nearest to T"]
    return Column(total, " · ".join(notes), [text.replace("-", "−") for text in captions]), chosen


@cache
def groups() -> tuple[Group, Group, np.ndarray]:
    """Poisons, clean images, and which of the poisons collide."""
    clean, poisons = read_features("mnist-lgm").splits["bundled"], read_shipped_poisons("mnist-lgm")
    return (
        Group(poisons.score.astype(np.float64), poisons.labels, poisons.predicted),
        Group(clean.score.astype(np.float64), clean.labels, clean.predicted),
        poisons.collided,
    )


def gallery_at(threshold: float) -> list[tuple[Column, Any]]:
    """Caught, missed, wrongly thrown away."""
    poisons, clean, collided = groups()
    caught, wrong = poisons.score <= threshold, clean.score <= threshold
    columns = []
    for members in (caught, ~caught):
        total = f"{members.sum():,} of {len(members):,} poisons"
        notes = [f"{(members & collided).sum():,} of them collide"]
        columns.append(column(poisons, members, threshold, total, notes))
    notes = ["all of them, nearest to T first"] if 0 < wrong.sum() <= 12 else []
    return [*columns, column(clean, wrong, threshold, f"{wrong.sum():,} of {len(wrong):,} clean", notes)]


READ_GALLERY = """root => ["caught", "missed", "wrong"].map((name) => {
  const column = root.querySelector(`.gallery .${name}`);
  const captions = [...column.querySelectorAll("figure:not(.absent) figcaption")].map(
    (caption) => [...caption.children].map((line) => line.textContent).join("|"));
  return [column.querySelector(".count").textContent, column.querySelector("small").textContent, captions];
})"""
# The images of a column, once they are the expected ones; else those that are there in the end.
AWAIT_PIXELS = """(root, [name, expected, patience]) => new Promise((done) => {
  const read = () => [...root.querySelectorAll(`.gallery .${name} figure:not(.absent) canvas`)].map((canvas) =>
    [...canvas.getContext("2d").getImageData(0, 0, 28, 28).data].filter((_, i) => i % 4 === 0));
  const wanted = JSON.stringify(expected), end = performance.now() + patience;
  const look = () => {
    const drawn = read();
    if (JSON.stringify(drawn) === wanted || performance.now() > end) done(drawn);
    else requestAnimationFrame(look);
  };
  look();
})"""


def columns_shown(page: Page) -> list[Column]:
    return [Column(*shown) for shown in page.locator(".threshold").evaluate(READ_GALLERY)]


def assert_pixels(page: Page, name: str, expected: np.ndarray) -> None:
    """The images of a column, which come a moment after the plots, are these: (N, 28, 28) uint8."""
    given = [name, expected.astype(int).reshape(-1, 28 * 28).tolist(), LATER]
    drawn = page.locator(".threshold").evaluate(AWAIT_PIXELS, given)
    np.testing.assert_array_equal(np.array(drawn).reshape(-1, 28, 28), expected)


@pytest.mark.parametrize("threshold", [FAR, -4.0, -7.25, -12.0])
def test_thumbnails_are_those_nearest_to_the_threshold(page: Page, bundled: Split, threshold: float) -> None:
    if threshold != FAR:  # which the link has set; what is typed is kept within the scores
        put(page, threshold)
    expected = gallery_at(threshold)
    assert columns_shown(page) == [column for column, _ in expected]
    images = (read_shipped_poisons("mnist-lgm").images[:, 0] * 255).round()
    (_, caught), (_, missed), (wrong, removed) = expected
    assert_pixels(page, "caught", images[caught])
    assert_pixels(page, "missed", images[missed])
    assert_pixels(page, "wrong", bundled.images[removed, 0])
    empty = [len(positions) for _, positions in expected].count(0)
    assert page.get_by_text("None at this T.").filter(visible=True).count() == empty
    figures = page.locator(".gallery .wrong").get_by_role("img")
    expect(figures).to_have_count(len(removed))
    for place, caption in enumerate(wrong.captions):
        expect(figures.nth(place)).to_have_accessible_name(", ".join(["clean", *caption.split("|")]))


def test_a_gallery_that_is_cut_short_says_so(page: Page) -> None:
    put(page, -1.86)
    _, clean, _ = groups()
    assert (clean.score <= -1.86).sum() > 1000
    shown = columns_shown(page)[2]
    assert shown.note == "here the 12 nearest to T among the 1,000 least likely"
    last = np.sort(clean.score)[999:987:-1]
    assert [caption.split("|")[2] for caption in shown.captions] == [f"{s:.2f} nats".replace("-", "−") for s in last]


WATCH = f"""root => {{
  const read = {READ_GALLERY};
  const rate = (name) => root.querySelector(`[data-out=${{name}}]`).textContent;
  const look = () => JSON.stringify([root.querySelector(".exact").value, read(root), rate("tpr"), rate("fpr")]);
  let before = look();
  window.seen = [];
  const watch = () => {{
    const now = look();
    if (now !== before) window.seen.push(JSON.parse(now));
    before = now;
    requestAnimationFrame(watch);
  }};
  requestAnimationFrame(watch);
}}"""


def test_every_frame_of_a_drag_shows_who_is_nearest_and_the_server_hears_of_the_release_alone(visit: Visit) -> None:
    page, sent, errors = visit
    box = box_of(page, ".histogram")
    y, start = box["y"] + 100, box["x"] + box["width"] * 0.9
    page.mouse.move(start, y)
    page.mouse.down()
    page.evaluate(DRAWN)
    page.locator(".threshold").evaluate(WATCH)
    before = len(sent)
    for step in range(1, 31):
        page.mouse.move(start - step * box["width"] / 40, y)
        page.evaluate(DRAWN)
    frames = page.evaluate("window.seen")
    assert len(sent) == before, "a move went to the server before the release"
    assert len(frames) >= 27, "the picture did not follow the line"
    for threshold, columns, *_ in frames:
        assert [Column(*column) for column in columns] == [column for column, _ in gallery_at(float(threshold))]
    assert len({str(columns) for _, columns, *_ in frames}) > 20, "the gallery hardly changed"
    assert len({tuple(rates) for _, _, *rates in frames}) > 10, "the numbers did not follow the line"
    (_, caught), *_ = gallery_at(float(frames[-1][0]))
    assert_pixels(page, "caught", (read_shipped_poisons("mnist-lgm").images[caught, 0] * 255).round())
    assert len(sent) == before
    at = page.url
    page.mouse.up()
    expect(page).not_to_have_url(at, timeout=LATER)
    settled(page)
    assert len(sent) == before + 1, "the release is one message"
    threshold = threshold_in(page.url)
    assert_counts(page, threshold)
    assert columns_shown(page) == [column for column, _ in gallery_at(threshold)]
    assert errors == []


def test_the_point_on_the_roc_curve_drags_too(page: Page) -> None:
    put(page, -12)
    before = shown(page, "tpr")
    box = box_of(page, ".roc")
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + 80)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 60, steps=10)
    page.mouse.up()
    expect(page).not_to_have_url(re.compile("threshold=-12$"), timeout=LATER)
    assert shown(page, "tpr") != before
    assert_counts(page, threshold_in(page.url))


def test_arrow_keys_move_a_typed_threshold(page: Page) -> None:
    put(page, -8)
    assert_counts(page, -8)
    slider = threshold_slider(page)
    slider.focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    expect(page).not_to_have_url(re.compile("threshold=-8$"), timeout=LATER)
    threshold = threshold_in(page.url)
    assert -8 < threshold < -7
    assert_counts(page, threshold)
    expect(slider).to_have_attribute("aria-valuetext", re.compile(r"^T −7\.\d\d nats: \d+ of \d+ poisons caught"))


def test_one_percent_is_one_threshold(page: Page, app_url: str) -> None:
    """As the page opens it, as its button sets it, and as it comes back from a link: what `detect` prints."""
    score = read_features("mnist-lgm").splits["bundled"].score
    expected = empirical_threshold(score, 0.01)
    open_page(page, f"{app_url}/detect")
    threshold_slider(page)
    typed = page.get_by_role("spinbutton", name=re.compile("Threshold T"))
    one, five = (page.get_by_role("button", name=f"Threshold for at most {rate} % FPR") for rate in (1, 5))
    assert float(typed.input_value()) == expected
    expect(one).to_have_attribute("aria-pressed", "true")
    assert shown(page, "wrong").startswith(f"{(score <= expected).sum()} of 5,000")
    five.click()
    expect(page).to_have_url(re.compile("threshold="), timeout=LATER)
    expect(five).to_have_attribute("aria-pressed", "true")
    assert 4 < float(shown(page, "fpr").removesuffix(" %")) <= 5
    assert_counts(page, threshold_in(page.url))
    one.click()
    expect(page).to_have_url(re.compile(rf"threshold={expected}$"), timeout=LATER)
    assert float(typed.input_value()) == expected
    assert_counts(page, expected)
    settled(page)
    assert open_page(page, page.url) == []
    threshold_slider(page)
    assert float(typed.input_value()) == expected
    assert_counts(page, expected)


def test_the_chosen_axes_outlive_a_release_and_a_change_of_theme(page: Page) -> None:
    page.emulate_media(color_scheme="light")
    put(page, -9)
    page.locator(".threshold").get_by_text("likelihood", exact=True).click()
    page.locator(".threshold").get_by_text("linear", exact=True).click()
    box = box_of(page, ".histogram")
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 100)
    expect(page).not_to_have_url(re.compile("threshold=-9$"), timeout=LATER)
    settled(page)
    assert page.get_by_role("radio", name="likelihood", exact=True).is_checked()
    assert page.get_by_role("radio", name="linear").is_checked()
    light = pixels(page)
    page.emulate_media(color_scheme="dark")
    expect(page.locator(".threshold")).to_have_css("color", DARK_TEXT)
    page.evaluate(DRAWN)
    assert pixels(page) != light, "the plot kept the colours of the light theme"


def pixels(page: Page) -> str:
    return page.locator(".histogram").evaluate("canvas => canvas.toDataURL()")


def test_the_open_page_is_accessible_and_what_is_crafted_there_comes_onto_it(visit: Visit) -> None:
    page, _, errors = visit
    page.emulate_media(color_scheme="light", reduced_motion="reduce")
    put(page, -9)
    page.get_by_text("Craft new poisons").click()
    page.get_by_text("What am I looking at?").click()
    settled(page)
    assert_accessible(page)
    page.get_by_role("slider", name="How many").press("Home")
    settled(page)
    page.get_by_role("button", name="Craft", exact=True).click()
    expect(page.get_by_text("10 poisons, Levenberg–Marquardt, β = 0.008")).to_be_visible(timeout=2 * LATER)
    expect(page.locator("[data-out=caught]")).to_contain_text("of 10", timeout=LATER)
    caught, missed, _ = columns_shown(page)
    assert caught.total.endswith("of 10 poisons")
    assert len(caught.captions) + len(missed.captions) == 10
    assert errors == []
