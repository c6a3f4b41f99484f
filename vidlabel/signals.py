"""Being asked to stop: once means finish what is in hand, twice means now."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill` and job schedulers, and a terminal that is closed."""


class Stop:
    """Whether a run has been asked to stop; call it to know."""

    def __init__(self) -> None:
        self.signal = 0
        """Number of the signal that asked; 0 for none."""

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def exit_code(self) -> int:
        """What shells expect of a program that a signal ended; 0 without one."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stop_asked() -> Iterator[Stop]:
    """Inside the block, a first signal is noted in the `Stop` given; a second one ends the
    process at once."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal:
            if sys.stderr.isatty():
                os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
            os._exit(128 + number)  # the decoder processes end with their parent
        stop.signal = number

    with _handling(handle):
        yield stop


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Inside the block, each of the signals raises KeyboardInterrupt, as Ctrl-C does."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        raise KeyboardInterrupt

    with _handling(handle):
        yield stop


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """A signal that is ignored (SIGHUP under nohup, SIGINT of a background job) stays ignored.
    Outside of the main thread, where Python handles no signals, nothing changes."""
    main = threading.current_thread() is threading.main_thread()
    heeded = [n for n in STOPPING if main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
