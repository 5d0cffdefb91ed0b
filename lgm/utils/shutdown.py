"""Shutdown on a signal, soon, even while a thread is deep in a computation."""

import os
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from types import FrameType
from typing import Any

Handler = Callable[[int, FrameType | None], Any]


def end_soon_after_signals(
    handler: Callable[[int], Any], stop: Callable[[], object] = lambda: None, grace: float = 4.0
) -> None:
    """From now on SIGINT and SIGTERM end this process within seconds. To be called in the main thread.

    Python waits for its threads before it ends, and those of a pool may be in a step that takes minutes. Whatever is to
    outlive the process is on disk by then: files are moved into place whole.

    Args:
        handler: Of each signal, by number: what to do besides.
        stop: Called in a thread of its own as soon as a signal comes.
        grace: Seconds from then until the process ends, whatever its threads do.
    """
    told: SimpleQueue[int] = SimpleQueue()  # its `put` may be interrupted by itself, as in a signal handler

    def wait_and_end() -> None:
        number = told.get()
        stop()
        time.sleep(grace)
        os._exit(128 + number)

    threading.Thread(target=wait_and_end, daemon=True, name="lgm-ending").start()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _both(told.put, handler(number)))


def _both(tell: Callable[[int], object], handler: Any) -> Handler:
    def handle(number: int, frame: FrameType | None) -> None:
        tell(number)
        if callable(handler):  # not so SIG_DFL and SIG_IGN
            handler(number, frame)

    return handle
