"""A poster and a short silent clip of a video, small enough for a page with thousands of them."""

from __future__ import annotations

import io
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from vidlabel.errors import Reason, VideoError
from vidlabel.video.reader import Video, open_video
from vidlabel.video.write import Pixels, Timing, write_clip

SIDE_PX = 180
"""The shorter side of poster and clip; a poster of 4:3 is 240 x 180."""

CLIP_S = 4.0
"""Longest clip, around the middle of the video or part."""

CLIP_FPS = 15
"""Frames a second that a clip comes near to: every second frame of most videos."""


DEADLINE_S = 60.0
"""Longest time that one file may take."""

_MOST = round(2 * CLIP_FPS * CLIP_S)  # frames of a clip, whatever a file says of its rate


@dataclass(frozen=True)
class Preview:
    """What the page shows of a video."""

    poster: bytes
    """JPEG."""
    clip: bytes
    """MP4; empty where none was asked for."""


def make_preview(path: str, start_s: float | None, end_s: float | None, with_clip: bool) -> Preview:
    """Decode what is around the middle of a video, or of a part of it.

    Only that stretch is decoded, so that a long video costs no more than a short one.

    Args:
        path: of the video.
        start_s, end_s: the part, seconds; None for the video's own start and end.
        with_clip: whether to make a clip, too.

    Raises:
        VideoError: the video cannot be read.
        OSError: the system has no room for a temporary file.
    """
    ends = time.monotonic() + DEADLINE_S

    def check() -> None:
        if time.monotonic() > ends:
            raise VideoError(Reason.TIMEOUT, f"{path}: no preview after {DEADLINE_S:g} s")

    with open_video(path, on_packet=check) as video:
        first_s = min(start_s or 0.0, video.duration_s)
        last_s = max(first_s, min(end_s or video.duration_s, video.duration_s))
        middle_s = (first_s + last_s) / 2
        begin_s = max(first_s, middle_s - CLIP_S / 2)
        until_s = min(last_s, middle_s + CLIP_S / 2)
        asked_s = _moments(video, begin_s, until_s) if with_clip else np.array([])
        if not asked_s.size:
            asked_s = np.array([middle_s])
        frames = video.frames_at(asked_s.tolist(), SIDE_PX)
    times_s, places = np.unique(frames.times_s, return_index=True)  # a moment may share its frame
    pixels = frames.pixels[places]
    poster = _jpeg(pixels[np.abs(times_s - middle_s).argmin()])
    if not with_clip:
        return Preview(poster, b"")
    timing = Timing(times_s.tolist(), max(until_s, float(times_s[-1]) + 1 / CLIP_FPS))
    return Preview(poster, _mp4(pixels, timing))


def _moments(video: Video, begin_s: float, until_s: float) -> NDArray[np.float64]:
    """Times of about CLIP_FPS frames a second, in even steps of the video's own."""
    stride = max(1, round(video.fps / CLIP_FPS))
    if video.frame_times_s is None:  # a large file, not walked through
        return np.arange(begin_s, until_s, stride / video.fps)[:_MOST]
    times_s = video.frame_times_s
    inside = times_s[(times_s >= begin_s) & (times_s < until_s)][::stride]
    return inside[:: max(1, -(-len(inside) // _MOST))]  # where the rate is not what the file says


def _jpeg(pixels: Pixels) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "JPEG", quality=82, optimize=True)
    return data.getvalue()


def _mp4(pixels: NDArray[np.uint8], timing: Timing) -> bytes:
    with tempfile.TemporaryDirectory(prefix="vidlabel-") as folder:
        path = Path(folder) / "clip.mp4"
        write_clip(path, pixels, timing, [])
        return path.read_bytes()
