"""Memory that the C library keeps, in the place of giving it back."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of malloc.h
_TENSOR, _KEPT = 32 << 20, 512 << 20  # bytes; glibc takes no more for the first


def keep_freed_memory() -> None:
    """Let this process keep up to half a gigabyte of what it frees; nothing is done but on Linux with glibc.

    A training step takes and frees the same megabytes again and again. By default glibc gives them back, so that the
    system has to clear each page anew: 3 to 6 % of a step of the MNIST CNN (docs/performance.md).

    Source: `man mallopt`; the numbers of a step are the same to the bit.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        mallopt(_MMAP_THRESHOLD, _TENSOR)
        mallopt(_TRIM_THRESHOLD, _KEPT)
