"""What this machine offers: processor cores, memory, how the C library hands memory out, the
standard streams, and processes."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
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

_NO_MEMORY = re.compile(
    "(?i)(can't|cannot) allocate memory|not enough memory|failed to map segment|bad_alloc"
    "|can't start new thread"
)
"""What libraries say where they do not raise MemoryError."""

_PACKAGES = str(Path(__file__).parents[1])
"""The folder in which a new Python finds this package."""

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


def start_module(
    module: str, *descriptors: int, env: Mapping[str, str] | None = None
) -> tuple[subprocess.Popen[bytes], Connection]:
    """Start a module of this package as a program of its own, and a connection to it.

    Its arguments are the descriptor of its end of the connection, those of `descriptors`, which it
    inherits, and the number of this process. `env` is set beside the variables of this process.
    """
    open_missing_streams()
    ours, theirs = socket.socketpair()
    path = os.pathsep.join(filter(None, [_PACKAGES, os.environ.get("PYTHONPATH")]))
    inherited = [theirs.fileno(), *descriptors]
    with theirs:
        # -P: a file called av.py in the user's folder must not be imported. A new session: only
        # the parent handles Ctrl-C.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *map(str, inherited), str(os.getpid())],
            pass_fds=inherited,
            env=os.environ | {"PYTHONPATH": path} | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            # Without a stderr of this program, number 2 may be any file that it has opened.
            stderr=None if sys.__stderr__ else subprocess.DEVNULL,
            start_new_session=True,
        )
    return process, Connection(ours.detach())


def allow_open_files(count: int) -> None:
    """Let this process have `count` files open beside the usual ones, as far as it may."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 256 + count if hard == resource.RLIM_INFINITY else min(hard, 256 + count)
    if soft not in (resource.RLIM_INFINITY, wanted) and soft < wanted:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


@contextmanager
def silent_stderr() -> Iterator[None]:
    """Let nothing inside the block reach stderr, not even from programs that it starts."""
    open_missing_streams()
    sys.stderr and sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
    try:
        yield
    finally:
        sys.stderr and sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def memory_ran_out(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that the machine or a limit (as
    `ulimit -v` sets it) has no more memory."""
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        if _NO_MEMORY.search(str(error)):
            return True
        error = error.__cause__ or error.__context__
    return False


def is_nearly_full() -> bool:
    """Whether most of the address space that this process may have (`ulimit -v`) is in use. Then
    libraries fail in any way they like."""
    import resource

    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except OSError:  # not Linux
        return False
    return limit != resource.RLIM_INFINITY and pages * resource.getpagesize() > 0.8 * limit


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
