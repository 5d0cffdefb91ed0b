"""Screenshots of every page as the README shows them, into docs/: `make screenshots`.

To look at all of them, light and dark, wide and narrow, CIFAR-10 too: `python docs/screenshots.py FOLDER`.
"""

import os
import sys
from pathlib import Path

from playwright.sync_api import Browser, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from tests.browser.driver import LAUNCH, serve, settled  # noqa: E402 the tests know how to start and to wait for the app

PAGES = {"overview": ""} | {name: name for name in ("features", "craft", "detect", "defend", "train")}
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def shoot(browser: Browser, url: str, path: Path, theme: str, size: dict[str, int]) -> None:
    """One page in one theme at one width; the narrow ones are cut after three screens."""
    page = browser.new_page(viewport=size, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(url)
    settled(page)
    page.wait_for_timeout(2500)  # plots are drawn after the page has settled
    if size is NARROW:
        page.set_viewport_size({"width": 390, "height": 2532})
        page.wait_for_timeout(1500)
    width = "wide" if size is WIDE else "narrow"
    page.screenshot(path=path.with_name(f"{path.name}-{theme}-{width}.png"))
    page.close()


def shoot_all(
    playwright: Playwright,
    folder: Path,
    prefix: str = "",
    query: str = "",
    data: Path | None = None,
    *,
    few: bool = False,
) -> None:
    """Every page of one dataset, with names that begin with ``prefix``; ``few``: light and wide only."""
    with serve(ROOT / ".venv" / "screenshots.log", data) as url:
        browser = playwright.chromium.launch(
            executable_path=os.environ.get("CHROMIUM", LAUNCH["executable_path"]), args=LAUNCH["args"]
        )
        for name, path in PAGES.items():
            for theme in ("light",) if few else ("light", "dark"):
                for size in (WIDE,) if few else (WIDE, NARROW):
                    shoot(browser, f"{url}/{path}{query}", folder / f"{prefix}{name}", theme, size)
        browser.close()


def main() -> None:
    data = Path(os.environ.get("LGM_DATA", ""))
    with sync_playwright() as playwright:
        if len(sys.argv) == 1:
            shoot_all(playwright, ROOT / "docs", few=True)
            return
        folder = Path(sys.argv[1])
        folder.mkdir(parents=True, exist_ok=True)
        shoot_all(playwright, folder)
        shoot_all(playwright, folder, "cifar10-without-images-", "?dataset=cifar10")
        if (data / "cifar10.npz").is_file() or (data / "cifar-10-batches-py").is_dir():
            shoot_all(playwright, folder, "cifar10-", "?dataset=cifar10", data)
        else:
            print("$LGM_DATA has no CIFAR-10: its pages with images are left out", file=sys.stderr)


if __name__ == "__main__":
    main()
