"""What this machine offers: processor cores, memory, how the C library hands memory out, and the
standard streams."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

MAX_WORKERS = 16
"""Most decoder processes that are started without being asked for."""

SHARED_MEMORY = Path("/dev/shm")
"""Where Linux keeps memory that processes share."""

CGROUP_LIMITS = (  # versions 2 and 1
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
"""Files that hold the memory limit of a container, in bytes; psutil does not read them."""

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_MMAP_MAX = -1, -3, -4  # malloc.h


def usable_cores() -> int:
    """Number of cores this process may use: containers and schedulers can bind it to a few."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1  # macOS cannot bind a process to cores


def worker_count(requested: int | None) -> int:
    """Number of decoder processes: as requested, or one per usable core, at most MAX_WORKERS."""
    return min(MAX_WORKERS, usable_cores()) if requested is None else max(1, requested)


def free_memory(limits: Sequence[Path] = CGROUP_LIMITS) -> int:
    """Bytes of memory that can be used without swapping, at most the limit of the container.

    Of the `limits`, files that are missing or say "max" set none.
    """
    import psutil  # slow to import

    found = [psutil.virtual_memory().available]
    for file in limits:
        with suppress(OSError, ValueError):
            found.append(int(file.read_text(encoding="ascii")))
    return min(found)


def open_missing_streams() -> None:
    """Open /dev/null as each standard stream that is closed, as it is in daemons and under cron.

    Otherwise the next file that is opened gets its number, 0 to 2: messages would be written into
    that file, and processes that are started would have it as one of their streams.
    """
    for number in range(3):  # open(2) gives the lowest number that is free
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def keep_freed_memory() -> None:
    """Let the process keep freed memory for reuse instead of returning it to the system.

    Each training step needs the same large blocks. glibc maps blocks of that size one by one and
    unmaps them at once, so every page is cleared and mapped again in each step; with small
    networks this takes as long as the arithmetic (mallopt(3), M_MMAP_THRESHOLD). With other C
    libraries this function does nothing.
    """
    if sys.platform != "linux":
        return
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        if not mallopt(_M_MMAP_THRESHOLD, 1 << 30):  # before glibc 2.35 the maximum is 32 MiB
            mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, (1 << 31) - 1)
