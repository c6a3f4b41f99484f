"""Videos that stay open from one part to the next, so that they are indexed once."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

from vidlabel.files.find import identity
from vidlabel.specs import Limits, OnPacket
from vidlabel.video.reader import Video, open_video

MOST = 2
"""Videos open at a time; each may hold its packets in memory, `reader.WALK_BYTES`."""


class OpenVideos:
    """The videos that a process reads part by part, the last MOST of them.

    Args:
        limits, on_packet: as in `open_video`.
    """

    def __init__(self, limits: Limits, on_packet: OnPacket = None) -> None:
        self._limits, self._on_packet = limits, on_packet
        self._open: dict[object, tuple[AbstractContextManager[Video], Video]] = {}

    @contextmanager
    def reading(self, path: str) -> Iterator[Video]:
        """A video, open since an earlier use if possible. After an error it is closed.

        Raises:
            VideoError: as `open_video`, also for errors of FFmpeg inside the `with` block.
        """
        key = path, identity(path)
        if key in self._open:
            context, video = self._open.pop(key)
        else:
            context = open_video(path, self._limits, self._on_packet)
            video = context.__enter__()
        try:
            yield video
        except BaseException:
            context.__exit__(*sys.exc_info())  # raises the error, or the VideoError that it means
            raise
        self._open[key] = context, video
        while len(self._open) > MOST:
            self._open.pop(next(iter(self._open)))[0].__exit__(None, None, None)
