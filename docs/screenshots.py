"""Screenshots of every page as the README shows them, into docs/: `make screenshots`.

To look at all of them, light and dark, wide and narrow, CIFAR-10 too: `python docs/screenshots.py FOLDER`.
"""

import io
import os
import sys
import zipfile
from pathlib import Path

import numpy as np
from playwright.sync_api import Browser, Page, Playwright, sync_playwright

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from lgm.attacks.result import read_shipped_poisons  # noqa: E402
from lgm.data.registry import load_split  # noqa: E402
from lgm.utils.images import png  # noqa: E402
from tests.browser.driver import LAUNCH, serve, settled  # noqa: E402 the tests know how to start and to wait for the app

OWN = "your_data"
PAGES = {"overview": ""} | {name: name for name in ("features", "craft", "detect", "defend", "train", OWN)}
OPEN = {"defend": "attacker=collision"}  # what a visitor opens there: a cell of the board
WIDE, NARROW = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


def shoot(browser: Browser, url: str, path: Path, theme: str, size: dict[str, int]) -> None:
    """One page in one theme at one width; the narrow ones are cut after three screens."""
    page = browser.new_page(viewport=size, color_scheme=theme, reduced_motion="reduce")  # type: ignore[arg-type]
    page.goto(url)
    settled(page)
    if path.name.endswith(OWN):
        score_digits(page)
    page.wait_for_timeout(2500)  # plots are drawn after the page has settled
    if size is NARROW:
        page.set_viewport_size({"width": 390, "height": 2532})
        page.wait_for_timeout(1500)
    width = "wide" if size is WIDE else "narrow"
    page.screenshot(path=path.with_name(f"{path.name}-{theme}-{width}.png"))
    page.close()


def score_digits(page: Page) -> None:
    """Upload 500 digits and 50 poisons under the labels that they claim, unless that was done, and score them."""
    if page.get_by_text("No images of your own are registered yet").is_visible():
        digits, poisons, out = load_split("bundled"), read_shipped_poisons("mnist-lgm"), io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            for i in range(0, len(digits), 10):
                archive.writestr(f"{digits.labels[i]}/clean-{i:04}.png", png(digits.images[i]))
            for i in np.flatnonzero(poisons.collided)[:50]:
                archive.writestr(f"{poisons.labels[i]}/poison-{i:03}.png", png(poisons.images[i]))
        file = {"name": "digits.zip", "mimeType": "application/zip", "buffer": out.getvalue()}
        page.locator("input[type=file]").set_input_files(file)  # type: ignore[arg-type]
        page.get_by_role("button", name="Add", exact=True).click(timeout=60_000)
        page.get_by_role("button", name="Score 550 images").click(timeout=60_000)  # the server keeps the scores
    page.get_by_role("slider", name="Threshold T").wait_for(timeout=60_000)
    settled(page)


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
                    asked = "&".join(part for part in (query, OPEN.get(name, "")) if part)
                    shoot(browser, f"{url}/{path}?{asked}".rstrip("?"), folder / f"{prefix}{name}", theme, size)
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
        shoot_all(playwright, folder, "cifar10-without-images-", "dataset=cifar10")
        if (data / "cifar10.npz").is_file() or (data / "cifar-10-batches-py").is_dir():
            shoot_all(playwright, folder, "cifar10-", "dataset=cifar10", data)
        else:
            print("$LGM_DATA has no CIFAR-10: its pages with images are left out", file=sys.stderr)


if __name__ == "__main__":
    main()
