"""How the C library hands out memory to a training on the CPU."""

from __future__ import annotations

import ctypes
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h


def keep_freed_memory() -> None:
    """Let the process keep memory that is freed, for its next use, instead of giving it back.

    Every step of a training needs the same large blocks. glibc fetches blocks of that size from
    the system one by one and returns them at once, so that each page of each is cleared and mapped
    anew in every step: with small networks, as much time as all arithmetic
    (mallopt(3), M_MMAP_THRESHOLD). Where the C library is another one, nothing is done.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):  # before glibc 2.35, 32 MiB is the most
            mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
