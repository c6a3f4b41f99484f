"""A poster and a short silent clip of a video, so small that a page can have thousands of them."""

from __future__ import annotations

import math
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from vidlabel.errors import Reason, VideoError
from vidlabel.files.metadata_tag import write_tag
from vidlabel.video.index import EARLY_S
from vidlabel.video.reader import open_video
from vidlabel.video.write import write_preview

SIDE_PX = 180
"""Shorter side of poster and clip; a 4:3 poster is 240 x 180."""

CLIP_S = 4.0
"""Longest clip, around the middle of the video or part."""

CLIP_FPS = 15
"""Approximate frame rate of a clip: every second frame of most videos."""

DEADLINE_S = 60.0
"""Longest time to spend on one file."""


def make_preview(
    path: str, start_s: float | None, end_s: float | None, with_clip: bool
) -> dict[str, bytes]:
    """The files of a preview by suffix: a clip (.mp4) if it is asked for, and a poster (.jpg).

    They show the middle of a video, or of a segment of it.

    Only what is shown is decoded, so that a long video costs no more than a short one.

    Args:
        start_s, end_s: the segment, seconds; None for the start and end of the video.

    Raises:
        VideoError: the video cannot be read.
        OSError: a temporary file cannot be written.
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
        # A whole divisor of the video's own rate keeps motion even.
        fps = video.fps / max(1, round(video.fps / CLIP_FPS))
        fps *= math.ceil(1 / fps)  # at least 1, so that the length of the clip is about right
        count = max(1, round((until_s - begin_s) * fps))
        moments_s = begin_s + np.arange(count) / fps if with_clip else np.array([middle_s])
        frames = video.frames_at((moments_s + EARLY_S).tolist(), SIDE_PX)
    files = {}
    if with_clip:
        with tempfile.TemporaryDirectory(prefix="vidlabel-") as folder:
            file = Path(folder) / "clip.mp4"
            write_preview(file, frames.pixels, fps, [])
            write_tag(file, "")  # so that it is never taken for a video to label
            files[".mp4"] = file.read_bytes()
    poster = frames.pixels[np.abs(moments_s - middle_s).argmin()]
    files[".jpg"] = iio.imwrite(
        "<bytes>", poster, plugin="pillow", extension=".jpg", quality=82, optimize=True
    )
    return files
