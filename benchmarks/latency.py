"""How long it takes from the click on a pair to its whole β-path on the screen: `make latency`.

Random pairs of digits on the Craft page, both networks, in Chromium on the same machine. Nothing else should run.
"""

import statistics
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))  # for tests.browser

from playwright.sync_api import sync_playwright

from tests.browser.driver import LAUNCH, open_page, serve

PAIRS = 11
WARM_UP = 3  # first-call costs: torch is imported, networks are loaded
# From the click until the sliders, which wait for the new path, can be moved again; milliseconds.
PICKED = """(lab, button) => new Promise((done) => {
  const started = performance.now();
  let waited = false;
  new MutationObserver((_, observer) => {  // looking at every frame would have all frames drawn
    const pending = lab.classList.contains("pending");
    if (waited && !pending) {
      observer.disconnect();
      requestAnimationFrame(() => requestAnimationFrame(() => done(performance.now() - started)));
    }
    waited ||= pending;
  }).observe(lab, { attributes: true, attributeFilter: ["class"] });
  button.click();
})"""


def main() -> None:
    """Print the median, the fastest and the slowest."""
    with (
        tempfile.TemporaryDirectory() as folder,
        serve(Path(folder) / "log") as url,
        sync_playwright() as playwright,
    ):
        browser = playwright.chromium.launch(**LAUNCH)
        page = browser.new_page(viewport={"width": 1440, "height": 900})
        page.set_default_timeout(120_000)
        open_page(page, f"{url}/craft")
        seconds = []
        for _ in range(WARM_UP + PAIRS):
            button = page.get_by_role("button", name="Random pair").element_handle()
            seconds.append(page.locator(".beta-explorer").evaluate(PICKED, button) / 1000)
            page.wait_for_timeout(1500)  # the foot of the page is drawn after the bench
        browser.close()
    seconds = sorted(seconds[WARM_UP:])
    print(f"{PAIRS} pairs: median {statistics.median(seconds):.2f} s, {seconds[0]:.2f} to {seconds[-1]:.2f} s")


if __name__ == "__main__":
    main()
