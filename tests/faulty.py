"""A decode job that misbehaves; its own module, because decoders import it (and not torch)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np

from vidlabel.clips.read import ClipData
from vidlabel.decode.worker import DecodeJob
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import OnPacket


class FaultyJob(DecodeJob):
    """Does to a decoder process what the file's name says, before reading it."""

    def read(
        self, path: str, on_packet: OnPacket = None, part: int = 0, span: Span = WHOLE
    ) -> ClipData:
        match Path(path).stem.split("_")[0]:
            case "segfault":
                os.kill(os.getpid(), signal.SIGSEGV)
            case "exit":
                os._exit(0)
            case "oom":  # what the kernel does when memory runs out
                os.kill(os.getpid(), signal.SIGKILL)
            case "hog":
                np.ones(2**34, dtype=np.uint8)
            case "hang":
                signal.pause()
            case "loop":
                while True:
                    pass
            case "endless":  # with progress all the time
                while True:
                    on_packet()
                    time.sleep(0.01)
            case "slow":  # longer than a stall, with progress
                for _ in range(20):
                    on_packet()
                    time.sleep(0.1)
            case "bug":
                raise ZeroDivisionError("our own mistake")
            case "flaky":
                marker = Path(path).with_suffix(".tried")
                if not marker.exists():
                    marker.touch()
                    os.kill(os.getpid(), signal.SIGKILL)
        return super().read(path, on_packet, part, span)


class DeadJob(DecodeJob):
    """Ends its process while it is being unpacked, before anything was read."""

    def __setstate__(self, state: object) -> None:
        os._exit(7)
