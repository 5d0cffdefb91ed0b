"""Entry point: `streamlit run app.py`.

An explicit server around `ui/router.py`, for three things that a plain script cannot do: the slow imports start with
the server and not with the first visitor; a link to a page works on a server that nobody has visited yet (beside a
`pages` folder, Streamlit would run the page's file alone); and the browser console stays clean.
"""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

import streamlit as st
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from lgm.datasets import load_split
from lgm.ending import end_soon_after_signals
from lgm.threads import limit_threads
from ui.jobs import cancel_all, close_all


class QuietProbes:
    """Answer `<page>/_stcore/health` without an error in the browser console.

    On a link to a page the browser first looks for the server below the page's own path, and only then one level up
    (Streamlit issue 7074). A 404 makes it go on too, but is logged as an error; status 300 without a location is "not
    here" as well, and is not. Only what Streamlit has not found is answered so: what its own address is depends on
    `server.baseUrlPath`, and on the proxy before it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def quietly(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == 404:
                message = {**message, "status": 300}
            await send(message)

        probe = scope["type"] == "http" and scope["path"].endswith(("/_stcore/health", "/_stcore/host-config"))
        await self.app(scope, receive, quietly if probe else send)


def warm_up() -> None:
    """Import what takes seconds, and parse the bundled digits once."""
    limit_threads()
    for name in ("lgm.checkpoints", "lgm.poisoning", "sklearn.metrics", "plotly.graph_objects"):
        import_module(name)
    load_split("bundled")


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    threading.Thread(target=warm_up, daemon=True, name="lgm-warm-up").start()
    if threading.current_thread() is threading.main_thread():  # nowhere else is there a signal to hear
        end_soon_after_signals(signal.getsignal, stop=cancel_all)
    yield
    close_all()


app = st.App("ui/router.py", lifespan=lifespan, middleware=[Middleware(QuietProbes)])
