"""A decoder process: the program that a `pool.DecoderPool` runs.

It never imports torch. It can be killed at any moment, its memory is limited, and it counts packets
in the shared file so that the pool sees its progress.
"""

from __future__ import annotations

import math
import mmap
import os
import struct
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from vidlabel.clips.read import RUN, ClipData, read_clip, read_run, read_time_steps
from vidlabel.clips.sample import view_count
from vidlabel.clips.windows import Windows, read_moments
from vidlabel.decode.open_videos import OpenVideos
from vidlabel.errors import Reason, VideoError
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec, Limits, OnPacket, VideoItem
from vidlabel.video.reader import open_video
from vidlabel.video.scale import MAX_ASPECT

PULSE = struct.Struct("=Q")
"""How the packet count of a process is stored, at the start of the shared file."""

_WATCH_S = 0.2


@dataclass(frozen=True)
class DecodeJob:
    """What every process of a pool does with a file.

    By default it reads `views` clips, as `read.read_clip` does. With flow, which is computed before
    cropping, or without `cropped`, it reads `views` stretches of whole frames, with `each` steps
    for every one of a clip, as `read_time_steps` does. With `every` it reads all frames, part by
    part, as `read.read_run` does. With `windows` it reads the moments of one part after the other,
    as `windows.read_moments` does.
    """

    clip: ClipSpec
    views: int = 1
    limits: Limits = field(default_factory=Limits)
    cropped: bool = True
    each: int = 1
    every: bool = False
    windows: Windows | None = None

    @property
    def clips_at_once(self) -> int:
        """The most clips that one file, or one part of a file, can become."""
        return RUN if self.every else view_count(self.views)

    @property
    def slot_bytes(self) -> int:
        """The most bytes that one file's clips, or one part's frames, can take."""
        spec = self.clip
        if self.windows is not None:
            return self.windows.part_bytes
        if self.cropped and not spec.has_flow and not self.every:
            return view_count(self.views) * spec.frames * spec.channels * spec.size_px**2
        longest = max(spec.aspect, 1 / spec.aspect) if spec.aspect else MAX_ASPECT
        area = math.ceil(spec.resize_px * longest) * spec.resize_px
        if self.every:
            channels = 3 * spec.has_rgb + spec.has_flow
            return (RUN + spec.pairs * spec.has_flow) * channels * area
        return self.views * spec.frames * self.each * spec.decoded_channels * area

    def read(
        self, path: str, on_packet: OnPacket = None, part: int = 0, span: Span = WHOLE
    ) -> ClipData:
        """Decode the `span` of one file, or a part of it. Raises VideoError."""
        if self.windows is not None:
            with open_video(path, self.limits, on_packet) as video:
                return read_moments(video, path, self.windows, part, span)
        if self.every:
            return read_run(path, self.clip, part, self.limits, on_packet, span)
        if self.cropped and not self.clip.has_flow:
            return read_clip(path, self.clip, self.views, self.limits, on_packet, span)
        return read_time_steps(path, self.clip, self.views, self.limits, on_packet, self.each, span)

    def read_item(self, item: VideoItem, videos: OpenVideos, on_packet: OnPacket) -> ClipData:
        """As `read`; the parts of windows are read from a video that stays open."""
        if self.windows is None:
            return self.read(item.path, on_packet, item.part, item.span)
        with videos.reading(item.path) as video:
            return read_moments(video, item.path, self.windows, item.part, item.span)


@dataclass(frozen=True)
class DecoderSetup:
    """The first message to a process: its job, and its places in the shared file."""

    job: DecodeJob
    bytes: int
    """Size of the shared file."""
    pulse_at: int
    slots_at: int


def main() -> None:
    """Serve on the two inherited file descriptors named on the command line."""
    channel, memory, parent = (int(text) for text in sys.argv[1:4])
    end_with(parent)
    # The pool ends a process by closing its connection, or by ending itself.
    with Connection(channel) as connection, suppress(EOFError, ConnectionError):
        setup: DecoderSetup = connection.recv()
        # The shared file is added, since its size depends on the number of processes.
        _limit_memory(setup.job.limits.memory_mb * 2**20 + setup.bytes)
        _serve(connection, mmap.mmap(memory, setup.bytes), setup)


def _serve(connection: Connection, shared: mmap.mmap, setup: DecoderSetup) -> None:
    packets = 0

    def count() -> None:
        nonlocal packets
        packets += 1
        PULSE.pack_into(shared, setup.pulse_at, packets)

    videos = OpenVideos(setup.job.limits, count)
    connection.send(("ready", None))
    while True:
        item, slot = connection.recv()
        path = item.path
        count()
        try:
            data = setup.job.read_item(item, videos, count)
        except VideoError as error:
            connection.send(("error", (error.reason, error.detail)))
            continue
        except MemoryError:  # outside FFmpeg, whose own are handled where it is called
            detail = f"{path}: needs over {setup.job.limits.memory_mb} MiB (--max-memory)"
            connection.send(("error", (Reason.TOO_LARGE, detail)))
            continue
        except Exception as error:  # noqa: BLE001  (a bug costs only this row, which names it)
            detail = f"{path}: {type(error).__name__}: {error}"
            connection.send(("error", (Reason.READ_ERROR, detail)))
            continue
        start = setup.slots_at + slot * setup.job.slot_bytes
        target = np.frombuffer(shared, np.uint8, data.clips.size, start)
        np.copyto(target.reshape(data.clips.shape), data.clips)
        without = replace(data, clips=np.empty(0, np.uint8))  # the pool sees them in the slot
        connection.send(("clips", (data.clips.shape, without)))


def end_with(parent: int) -> None:
    """End this process soon after `parent` has ended, even while a file hangs.

    Between two files a closed connection is noticed, but not during a call of FFmpeg. Polling works
    on every system, and FFmpeg is called without Python's lock.
    """

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_WATCH_S)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _limit_memory(limit: int) -> None:
    """Let allocations beyond `limit` bytes of address space fail, if the system can do that.

    Then a file that needs more fails alone, and the machine does not run out of memory. If it does
    nevertheless, Linux is to end this process and not the program with the results.
    """
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("500", encoding="ascii")
    with suppress(ImportError, OSError, ValueError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_AS)
        if hard != resource.RLIM_INFINITY:
            limit = min(limit, hard)
        resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


if __name__ == "__main__":
    main()
