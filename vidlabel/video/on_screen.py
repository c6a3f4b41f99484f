"""Which frame is on screen at some times, from frames that are decoded one after another."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidlabel.video.scale import FrameScaler

EARLY_S = 1e-6
"""A frame counts as on screen so much before its own time, for rounding."""


class OnScreen:
    """Frames of a video in the order in which they are shown, read as far as they are needed.

    Args:
        frames: seconds from the start of the video, ascending, and the frame that appears then.

    Attributes:
        time_s: the latest time that was asked for; only later ones can be asked for again.
    """

    def __init__(self, frames: Iterable[tuple[float, VideoFrame]]) -> None:
        self._frames = iter(frames)
        self._shown: tuple[float, VideoFrame] | None = None
        self._next = next(self._frames, None)
        self.time_s = 0.0

    def at(
        self, times_s: NDArray[np.float64], scaler: FrameScaler
    ) -> list[tuple[float, NDArray[np.uint8]]]:
        """When the frame on screen at each of the ascending times appears, and its pixels; none if
        there are no frames. At times before the first frame it is that one."""
        found: list[tuple[float, NDArray[np.uint8]]] = []
        pixels: NDArray[np.uint8] | None = None
        for time_s in times_s:
            self.time_s = float(time_s)
            while self._next is not None and self._next[0] <= time_s + EARLY_S:
                self._shown, pixels = self._next, None
                self._next = next(self._frames, None)
            begins_s, frame = self._shown or (0.0, self._next[1] if self._next else None)
            if frame is None:
                return []
            if pixels is None:
                pixels = scaler.scale(frame)
            found.append((begins_s, pixels))
        return found
