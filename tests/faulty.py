"""A decode job that misbehaves; its own module, because workers import it (and not torch)."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from vidlabel.clips import ClipData
from vidlabel.workers import DecodeJob


class FaultyJob(DecodeJob):
    """Does to a worker what the file's name says, before reading it."""

    def read(self, path: str) -> ClipData:
        name = Path(path).name
        if name.startswith("segfault"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if name.startswith("hang"):
            signal.pause()
        if name.startswith("bug"):
            raise ZeroDivisionError("our own mistake")
        if name.startswith("flaky"):
            marker = Path(path).with_suffix(".tried")
            if not marker.exists():
                marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return super().read(path)
