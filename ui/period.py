"""Time as a part of a cache's key: what is cached for a while."""

import time

SECONDS = 10


def period() -> int:
    """A number that changes every `SECONDS`.

    It takes the place of Streamlit's ttl, which in 1.67 raises KeyError where an entry expires between its look and its
    reading.
    """
    return int(time.monotonic() // SECONDS)
