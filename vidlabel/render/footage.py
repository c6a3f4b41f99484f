"""Videos as frames to draw on: the first seconds, scaled, each frame with its true time."""

from __future__ import annotations

import math
from collections.abc import Iterator

from vidlabel.errors import Reason, VideoError
from vidlabel.video.reader import open_video
from vidlabel.video.write import Pixels, Timing

USUAL_WIDTH_PX = 320
"""Most of a frame's width if nothing is said."""

SMALLEST_PX = 16
"""No side of a frame is shorter."""

MAX_FPS = 300
"""A video with more frames a second is refused: its true time would be no use to anybody."""

SAMPLES = 8
"""At least so many pairs of frames (if there are), and less than twice as many, stand for all of a
video where the scale of its flow and the palette of a GIF are chosen."""


class Footage:
    """The first seconds of a video. Decodes them once to know them, and again for `frames`.

    Args:
        path: of the video.
        width_px: of the frames; None is the video's own, up to USUAL_WIDTH_PX.
        max_s: seconds from the start.
        max_fps: frames are left out where there are more a second.

    Attributes:
        timing: when each frame is shown.
        pairs: (frame, next frame) for SAMPLES or more moments spread over it; a single frame is
            a pair with itself.
        sample_times_s: when the first frame of each pair is shown.
        damaged: what could not be decoded, in words; known when `frames` has ended.

    Raises:
        VideoError: by any method, if the video cannot be read.
    """

    def __init__(
        self, path: str, width_px: int | None, max_s: float, max_fps: float = math.inf
    ) -> None:
        self._path, self._max_s, self._max_fps = path, max_s, max_fps
        self.damaged = ""
        self.pairs: list[tuple[Pixels, Pixels]] = []
        self.sample_times_s: list[float] = []
        times_s: list[float] = []
        latest: Pixels | None = None
        stride = 1
        with open_video(path) as video:
            info = video.info()
            share = (width_px or min(info.width_px, USUAL_WIDTH_PX)) / info.width_px
            self._side_px = max(SMALLEST_PX, round(min(info.width_px, info.height_px) * share))
            for time_s, pixels in self._thinned(video.frames(self._side_px, max_s)):
                if latest is not None and len(times_s) % stride == 0:
                    self.pairs.append((latest, pixels))
                    self.sample_times_s.append(times_s[-1])
                if len(self.pairs) == 2 * SAMPLES:  # half as many, twice as far apart
                    self.pairs = self.pairs[1::2]
                    self.sample_times_s = self.sample_times_s[1::2]
                    stride *= 2
                times_s.append(time_s)
                latest = pixels
                if len(times_s) > 1 + MAX_FPS * max_s:
                    raise VideoError(Reason.TOO_LARGE, f"{path}: over {MAX_FPS} frames a second")
            self.timing = Timing(times_s, min(video.duration_s, max_s))
        if latest is not None and not self.pairs:
            self.pairs, self.sample_times_s = [(latest, latest)], times_s[:1]

    def frames(self) -> Iterator[Pixels]:
        """The frames in the order of their times: (H, W, 3) uint8 RGB, upright."""
        return (pixels for _, pixels in self._thinned(self._decode()))

    def _decode(self) -> Iterator[tuple[float, Pixels]]:
        with open_video(self._path) as video:
            self.damaged = yield from video.frames(self._side_px, self._max_s)

    def _thinned(self, frames: Iterator[_Timed]) -> Iterator[_Timed]:
        """The first frame of each stretch of 1 / max_fps s, all if there is no such limit."""
        latest = -1.0
        for time_s, pixels in frames:
            if math.isinf(self._max_fps):
                yield time_s, pixels
            elif (stretch := math.floor(time_s * self._max_fps + 1e-6)) > latest:
                yield time_s, pixels
                latest = stretch


_Timed = tuple[float, Pixels]
