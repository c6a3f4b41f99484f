"""Stopping on a signal: the first one finishes the current work, the second one ends at once."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Ctrl-C, `kill` and job schedulers, and a terminal that is closed."""

StopAsked = Callable[[], bool]
"""Asked several times a second; when it returns True, the run ends as soon as it can."""


def never() -> bool:
    """The run is not to be stopped."""
    return False


class Stop:
    """Whether a signal has asked the run to stop: call the object to find out."""

    def __init__(self) -> None:
        self.signal = 0
        """Number of that signal; 0 for none."""

    def __call__(self) -> bool:
        return bool(self.signal)

    @property
    def exit_code(self) -> int:
        """128 + the signal number, as shells expect; 0 without a signal."""
        return 128 + self.signal if self.signal else 0


@contextmanager
def stop_asked(then: str = "") -> Iterator[Stop]:
    """Record a first signal in the `Stop` that the block gets; a second one ends the process at
    once, with a line that ends in `then`."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.signal:
            with suppress(OSError):  # stderr is closed
                if os.isatty(2):
                    os.write(2, b"\x1b[?25h\n")  # a progress bar hides the cursor
                os.write(2, f"stopped at once by a second signal{then}\n".encode())
            os._exit(128 + number)  # decoder processes end with their parent
        stop.signal = number

    with _handling(handle):
        yield stop


@contextmanager
def interruptible() -> Iterator[Stop]:
    """Inside the block, each of the signals raises KeyboardInterrupt, as Ctrl-C does by default."""
    stop = Stop()

    def handle(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        raise KeyboardInterrupt

    with _handling(handle):
        yield stop


@contextmanager
def _handling(handle: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Install a handler inside the block.

    A signal that is ignored (SIGHUP under nohup, SIGINT in a background job) stays ignored. Outside
    the main thread, where Python handles no signals, nothing changes.
    """
    main = threading.current_thread() is threading.main_thread()
    handled = [n for n in STOPPING if main and signal.getsignal(n) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in handled}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
