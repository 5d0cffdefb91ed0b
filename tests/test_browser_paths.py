"""The app below a path of its own, by itself and behind a proxy, and by whom it can be reached."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Page, expect

from tests.browser import PATIENCE, open_page, serve, settled
from tests.test_browser import TITLES

pytestmark = pytest.mark.browser
PREFIX = "/lgm"


@pytest.fixture(scope="module", params=["base path", "proxy that strips the path"])
def below(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The app's address, which has a path."""
    log = tmp_path_factory.mktemp("below") / "log"
    if request.param == "base path":
        with serve(log, base_path="tools/lgm") as url:
            yield url
    else:
        with serve(log) as url, stripped(urlsplit(url).port or 0) as proxy:
            yield proxy


@contextmanager
def stripped(port: int) -> Iterator[str]:
    """A reverse proxy that takes `PREFIX` off the path of every request, as nginx does with ``proxy_pass …/;``."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    forward = partial(_forward, port=port)
    proxy = asyncio.run_coroutine_threadsafe(asyncio.start_server(forward, "127.0.0.1", 0), loop).result()
    try:
        yield f"http://127.0.0.1:{proxy.sockets[0].getsockname()[1]}{PREFIX}"
    finally:
        asyncio.run_coroutine_threadsafe(_end(proxy), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


async def _end(proxy: asyncio.Server) -> None:
    proxy.close()
    connections = asyncio.all_tasks() - {asyncio.current_task()}
    for connection in connections:
        connection.cancel()
    await asyncio.gather(*connections, return_exceptions=True)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int) -> None:
    """One request a connection, so that only its first line has to be rewritten."""
    upstream = None
    try:
        method, path, rest = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)
        assert (path + b"/").startswith(f"{PREFIX}/".encode()), f"{path!r} is not below {PREFIX}"
        if b"upgrade: websocket" not in rest.lower():
            rest = rest.replace(b"Connection: keep-alive", b"Connection: close")
        answer, upstream = await asyncio.open_connection("127.0.0.1", port)
        upstream.write(b" ".join([method, path.removeprefix(PREFIX.encode()) or b"/", rest]))
        await asyncio.gather(_pump(reader, upstream), _pump(answer, writer))
    except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
        pass  # one side has gone, or the test is over
    finally:
        for end in (writer, upstream):
            if end is not None:
                end.close()


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    sink.write_eof()


def test_every_page_opens_below_a_path_and_links_lead_on(page: Page, below: str) -> None:
    errors = open_page(page, f"{below}/craft?beta=0.1")
    expect(page.locator(".beta output")).to_have_text("0.1", timeout=PATIENCE)
    for path, title in TITLES.items():
        page.get_by_role("link", name=path.capitalize() or "Overview", exact=True).click()
        expect(page.get_by_role("heading", level=1)).to_contain_text(title, timeout=PATIENCE)
        settled(page)
        expect(page.get_by_test_id("stException")).to_have_count(0)
        expect(page).to_have_url(f"{below}/{path}?beta=0.1", timeout=PATIENCE)
    page.get_by_role("link", name="Overview", exact=True).click()
    page.get_by_role("link", name="Set the threshold").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES["detect"], timeout=PATIENCE)
    page.reload()
    settled(page)
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES["detect"], timeout=PATIENCE)
    expect(page).to_have_url(f"{below}/detect?beta=0.1")
    open_page(page, below)  # without a page and without a slash
    expect(page.get_by_role("heading", level=1)).to_contain_text(TITLES[""])
    assert errors == []


def test_only_this_machine_is_served(app_url: str) -> None:
    """Whoever listens on all interfaces answers on every loopback address."""
    port = urlsplit(app_url).port
    assert port is not None
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port), timeout=5)


def test_localhost_by_its_name(page: Page, app_url: str) -> None:
    assert open_page(page, app_url.replace("127.0.0.1", "localhost")) == []
