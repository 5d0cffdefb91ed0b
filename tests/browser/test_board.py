"""The map of the board in Chromium: a cell is chosen, its attack is seen, and its link shows the same elsewhere."""

import re
from contextlib import suppress
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import BrowserContext, Locator, Page, TimeoutError, expect

from lgm.experiments.board.record import read_board
from lgm.stats.intervals import percent_text
from tests.browser.driver import LATER, PATIENCE, settled, visited

pytestmark = pytest.mark.browser

POINT = """(plot, cell) => {
  const points = plot._fullData.find((trace) => trace.meta === "cells"), { xaxis, yaxis } = plot._fullLayout;
  const i = points.customdata.findIndex((row) => row.join() === cell.join());
  const box = plot.getBoundingClientRect();
  return [box.left + xaxis._offset + xaxis.d2p(points.x[i]), box.top + yaxis._offset + yaxis.d2p(points.y[i])];
}"""

HOVERED = "([plot, cell]) => plot._hoverdata?.[0]?.customdata?.join() === cell.join()"


def click_on(page: Page, cell: list[str]) -> None:
    """As people do: once plotly shows, with a delay, what lies under the pointer; and again where nothing comes of it.

    While the map is drawn anew, as it is for each change of its width, plotly takes no click.
    """
    plot = page.locator(".st-key-board_map .js-plotly-plot")
    for _ in range(3):
        x, y = plot.evaluate(POINT, cell)
        page.mouse.move(x - 10, y - 30)
        page.mouse.move(x, y, steps=5)
        page.wait_for_function(HOVERED, arg=[plot.element_handle(), cell], timeout=PATIENCE)
        page.mouse.down()
        page.mouse.up()
        with suppress(TimeoutError):
            return page.wait_for_url(re.compile(f"attacker={cell[0]}&"), timeout=LATER / 3)
    raise AssertionError(f"three clicks on {cell} opened nothing")


def opened_cell(page: Page) -> Locator:
    return page.locator(".st-key-board_cell")


def seen(page: Page) -> list[str]:
    """All words of the cell, and what its planes are called, which says how the target fares."""
    cell = opened_cell(page)
    expect(cell.locator(".js-plotly-plot:has(.scatterlayer .point)")).to_have_count(3, timeout=LATER)
    return [cell.inner_text(), *(plot.get_attribute("aria-label") or "" for plot in cell.get_by_role("figure").all())]


def test_a_cell_is_chosen_its_attack_is_seen_and_its_link_shows_the_same_elsewhere(
    profile: BrowserContext, app_url: str
) -> None:
    with visited(profile, f"{app_url}/defend?poisons=0&network=softmax&trial=3") as visit:
        page = visit.page
        settled(page)  # else the map may be drawn anew under the pointer, and the click is lost
        click_on(page, ["edge", "nearest", "knn"])
        settled(page)
        board = read_board("mnist")
        assert board is not None
        attack = board.networks[1].attack("edge", "nearest")
        assert attack is not None
        cell = attack.cell((10, 10), "knn", 0.01, "logistic")
        assert cell is not None
        expect(opened_cell(page)).to_contain_text(f"{cell.attack_success.percent(0)}: {cell.hits} of {cell.n}")
        expect(opened_cell(page)).to_contain_text(percent_text(cell.poisons_removed))
        found, link = seen(page), page.url
        assert len(found) == 4, "before, poisoned, filtered"
        wanted = {"attacker": ["edge"], "filter": ["knn"], "trial": ["3"], "network": ["softmax"], "poisons": ["0"]}
        assert parse_qs(urlsplit(link).query) == wanted
        assert visit.errors == []
    with visited(profile, link) as visit:  # of a tab the server knows no more than its link
        assert seen(visit.page) == found
        assert visit.errors == []
