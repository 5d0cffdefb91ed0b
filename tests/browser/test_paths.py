"""The app below a path of its own, by itself and behind a proxy, and by whom it can be reached."""

import socket
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import BufferedIOBase
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser.driver import PATIENCE, open_page, serve, settled
from tests.browser.test_pages import TITLES

pytestmark = pytest.mark.browser
PREFIX = "/lgm"


@pytest.fixture(scope="module", params=["base path", "proxy that strips the path"])
def below(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, which has a path."""
    if request.param == "base path":
        with serve(tmp_path_factory.mktemp("below") / "log", base_path="tools/lgm") as url:  # with a newcomer's home
            yield url
    else:
        with stripped(urlsplit(request.getfixturevalue("app_url")).port or 0) as proxy:
            yield proxy


@contextmanager
def stripped(port: int) -> Iterator[str]:
    """A reverse proxy that takes `PREFIX` off the path of every request, as nginx does with ``proxy_pass …/;``.

    Also as nginx, it sends whoever leaves out the last slash to the address with it: the page's own are relative.
    """
    handler = type("Handler", (_Forward,), {"port": port})
    with _Proxy(("127.0.0.1", 0), handler) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}{PREFIX}"
        proxy.shutdown()


class _Proxy(socketserver.ThreadingTCPServer):
    daemon_threads, block_on_close = True, False  # WebSockets end with the app's server, after this one


class _Forward(socketserver.StreamRequestHandler):
    """One request a connection, so that only its first line has to be rewritten."""

    port: int

    def handle(self) -> None:
        method, path, version = self.rfile.readline().split(b" ")
        if path == PREFIX.encode():
            self.wfile.write(f"HTTP/1.1 301 Moved\r\nLocation: {PREFIX}/\r\nContent-Length: 0\r\n\r\n".encode())
            return
        if not path.startswith(f"{PREFIX}/".encode()):
            self.wfile.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        head = b" ".join([method, path.removeprefix(PREFIX.encode()), version])
        while (line := self.rfile.readline()).strip():
            head += line.replace(b"keep-alive", b"close")
        with socket.create_connection(("127.0.0.1", self.port)) as server, server.makefile("rb") as answer:
            server.sendall(head + b"\r\n")
            asking = threading.Thread(target=_pump, args=(self.rfile, server.sendall), daemon=True)
            asking.start()
            _pump(answer, self.wfile.write)
            with suppress(OSError):  # it has hung up
                self.request.shutdown(socket.SHUT_RDWR)
            asking.join()


def _pump(source: BufferedIOBase, write: Callable[[bytes], object]) -> None:
    with suppress(OSError):  # one side has hung up
        while chunk := source.read1(65536):
            write(chunk)


def test_pages_open_below_a_path_and_links_lead_on(page: Page, below: str) -> None:
    errors = open_page(page, f"{below}/craft?beta=0.1")
    expect(page.locator(".beta output")).to_have_text("0.1", timeout=PATIENCE)
    for path in ["train", ""] if "tools" in below else [""]:  # with what a component fetches
        page.get_by_role("link", name=path.capitalize() or "Overview", exact=True).click()
        arrived(page, below, path)
    page.get_by_role("link", name="Set the threshold").click()
    arrived(page, below, "detect")
    page.reload()
    arrived(page, below, "detect")
    open_page(page, below)  # without a page and without a slash
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES[""])
    assert errors == []


def arrived(page: Page, below: str, path: str) -> None:
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES[path], timeout=PATIENCE)
    settled(page)
    expect(page.get_by_test_id("stException")).to_have_count(0)
    expect(page).to_have_url(f"{below}/{path}?beta=0.1", timeout=PATIENCE)


def test_only_this_machine_is_served(app_url: str) -> None:
    """Whoever listens on all interfaces answers on every loopback address."""
    port = urlsplit(app_url).port
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_localhost_by_its_name(page: Page, app_url: str) -> None:
    assert open_page(page, app_url.replace("127.0.0.1", "localhost")) == []
