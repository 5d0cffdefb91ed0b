"""Entry point: `streamlit run app.py`.

An explicit server around `ui/router.py`, for three things that a plain script cannot do: the slow imports start with
the server and not with the first visitor; a link to a page works on a server that nobody has visited yet (beside a
`pages` folder, Streamlit would run the page's file alone); and the browser's console and history stay clean.
"""

import signal
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import import_module

import streamlit as st
from starlette.middleware import Middleware

from lgm.data.registry import load_split
from lgm.utils.shutdown import end_soon_after_signals
from lgm.utils.threads import limit_threads
from ui.jobs import cancel_all, close_all
from ui.middleware import OneEntryAPage, QuietProbes


def warm_up() -> None:
    """Import what takes seconds, and parse the bundled digits once."""
    limit_threads()
    for name in ("lgm.models.checkpoint", "lgm.attacks.craft", "sklearn.metrics", "plotly.graph_objects"):
        import_module(name)
    load_split("bundled")


@asynccontextmanager
async def lifespan(_: st.App) -> AsyncIterator[None]:
    threading.Thread(target=warm_up, daemon=True, name="lgm-warm-up").start()
    if threading.current_thread() is threading.main_thread():  # nowhere else is there a signal to hear
        end_soon_after_signals(signal.getsignal, stop=cancel_all)
    yield
    close_all()


app = st.App("ui/router.py", lifespan=lifespan, middleware=[Middleware(QuietProbes), Middleware(OneEntryAPage)])
