"""Screenshots of every page, light and dark, wide and narrow, into docs/: `make screenshots`."""

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser import LAUNCH, serve, settled  # noqa: E402 the tests know how to start and to wait for the app

PAGES = {"overview": ""} | {name: name for name in ("features", "craft", "detect", "defend", "train")}
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def shoot(browser: Browser, url: str, name: str, theme: str, size: dict[str, int]) -> None:
    """One page in one theme at one width; the narrow ones are cut after three screens."""
    page = browser.new_page(viewport=size, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(url)
    settled(page)
    page.wait_for_timeout(2500)  # WebGL draws after the page has settled
    if size is NARROW:
        page.set_viewport_size({"width": 390, "height": 2532})
        page.wait_for_timeout(1500)
    width = "wide" if size is WIDE else "narrow"
    page.screenshot(path=ROOT / "docs" / f"{name}-{theme}-{width}.png")
    page.close()


def main() -> None:
    with serve(ROOT / ".venv" / "screenshots.log") as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", LAUNCH["executable_path"]), args=LAUNCH["args"]
        )
        for name, path in PAGES.items():
            for theme in ("light", "dark"):
                for size in (WIDE, NARROW):
                    shoot(browser, f"{url}/{path}", name, theme, size)
        browser.close()


if __name__ == "__main__":
    main()
