"""Starting the app and driving it in Chromium: shared by the browser tests and the screenshots."""

import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import BrowserContext, ConsoleMessage, Page, WebSocket, expect

ROOT = Path(__file__).resolve().parents[2]
LAUNCH: dict[str, Any] = {
    "executable_path": os.environ.get("CHROMIUM", "/usr/bin/chromium"),
    # A container has no sandbox. No WebGL, as on a remote desktop or in a hardened browser: nothing here may need it.
    "args": ["--no-sandbox", "--disable-3d-apis", "--disable-webgl", "--disable-software-rasterizer"],
}
PATIENCE = 180_000  # milliseconds: machines are shared, and this one draws in software
DARK_TEXT = "rgb(230, 235, 242)"  # of .streamlit/config.toml, as a browser says it
DRAWN = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))"  # a frame later

# Whether the server has yet to answer what the page told it last.
ASK = """if (!window.asking) {
  window.asking = { unanswered: false };
  window.WebSocket = class extends WebSocket {
    constructor(...told) {
      super(...told);
      this.addEventListener("message", () => { window.asking.unanswered = false; });
    }
    send(data) {
      window.asking.unanswered = true;
      super.send(data);
    }
  };
}"""
# For a few frames in a row: what a message changes is drawn in the next one.
AT_REST = """() => {
  const app = document.querySelector("[data-testid=stApp]")?.dataset;
  const rests = app?.testConnectionState === "CONNECTED" && app.testScriptState === "notRunning"
    && !window.asking?.unanswered && !document.querySelector("[data-testid=stSkeleton]");
  window.restingFrames = rests ? (window.restingFrames ?? 0) + 1 : 0;
  return window.restingFrames > 4;
}"""
# Notes whether anything is out of date from now on.
PALING = """() => {
  const look = () => { window.paled ||= !!document.querySelector("[data-stale=true]"); };
  window.paled = false;
  look();
  window.paling?.disconnect();
  window.paling = new MutationObserver(look);
  window.paling.observe(document.body, { subtree: true, attributeFilter: ["data-stale"] });
}"""
STILL = """addEventListener("DOMContentLoaded", () => {
  const style = document.createElement("style");
  style.textContent = "*, *::before, *::after { animation: none !important; transition: none !important }";
  document.head.append(style);
})"""


@contextmanager
def serve(log: Path, data: Path | None = None, base_path: str = "", digits: Path | None = None) -> Iterator[str]:
    """The app on a free port, as a newcomer has it: an empty home, and no data but that of the folder ``data``.

    ``digits``, the parsed ones of another home, spare it the seconds of its first start. Yields its address, with
    ``server.baseUrlPath`` in it.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with tempfile.TemporaryDirectory() as home, log.open("w") as out:
        environment = {**os.environ, "LGM_HOME": home}
        if digits is not None:
            shutil.copy(digits, home)
        environment.pop("LGM_DATA", None)
        if data is not None:
            environment["LGM_DATA"] = str(data.resolve())
        command = [sys.executable, "-m", "streamlit", "run", "app.py"]
        options = [f"--server.port={port}", f"--server.baseUrlPath={base_path}"]
        server = subprocess.Popen(command + options, cwd=ROOT, env=environment, stdout=out, stderr=subprocess.STDOUT)
        try:
            url = f"http://127.0.0.1:{port}/{base_path}".rstrip("/")
            await_health(url, server)
            yield url
        finally:
            server.terminate()
            server.wait(timeout=30)


def await_health(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        if server.poll() is not None:
            raise RuntimeError(f"the app ended with code {server.returncode} before it served anything")
        try:
            with urllib.request.urlopen(f"{url}/_stcore/health", timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise RuntimeError("the app did not answer within two minutes")


def settled(page: Page) -> None:
    """Wait until the server has answered, the script has run and nothing is a placeholder any more."""
    page.evaluate("window.restingFrames = 0")
    page.wait_for_function(AT_REST, timeout=PATIENCE)


def console_errors(page: Page) -> list[str]:
    """A list that fills with every error the page logs or throws; register before `goto`."""
    errors: list[str] = []

    def on_console(message: ConsoleMessage) -> None:
        if message.type == "error":
            errors.append(message.text)

    page.on("console", on_console)
    page.on("pageerror", lambda error: errors.append(str(error)))
    return errors


def messages(page: Page) -> list[object]:
    """A list that fills with everything the page tells the server; register before `goto`."""
    sent: list[object] = []

    def on_frame(payload: object) -> None:  # Playwright takes no built-in as a listener
        sent.append(payload)

    def on_socket(socket: WebSocket) -> None:
        socket.on("framesent", on_frame)

    page.on("websocket", on_socket)
    return sent


def assert_accessible(page: Page) -> None:
    """No violation that axe can find."""
    for _ in range(5):
        expect(page.locator("[data-stale=true]")).to_have_count(0)  # what is out of date is pale
        page.evaluate(PALING)
        found = Axe().run(page).response["violations"]
        if not page.evaluate("window.paled"):  # the page follows a job, and may rerun while axe looks
            break
    assert [(rule["id"], [(node["target"], node["failureSummary"]) for node in rule["nodes"]]) for rule in found] == []


def open_page(page: Page, url: str) -> list[str]:
    """Go there, wait until it stands still, and see that no exception is on it. Returns the console's errors."""
    errors = console_errors(page)
    page.add_init_script(ASK)
    page.goto(url)
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    return errors


LATER = 60_000  # milliseconds: machines are shared


class Visit(NamedTuple):
    """A tab that several tests share: all that its page told the server, and the console's errors."""

    page: Page
    sent: list[object]
    errors: list[str]


@contextmanager
def visited(profile: BrowserContext, url: str, **media: Any) -> Iterator[Visit]:
    """A page in a tab of its own; ``media`` as `Page.emulate_media` has it."""
    page = profile.new_page()
    page.set_default_timeout(LATER)
    page.emulate_media(**media)
    sent = messages(page)
    yield Visit(page, sent, open_page(page, url))
    page.close()
