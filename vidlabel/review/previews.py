"""A poster and a short silent clip of a video, so small that a page can have thousands of them."""

from __future__ import annotations

import math
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import imageio.v3 as iio
import numpy as np

from vidlabel.errors import Reason, VideoError
from vidlabel.files.metadata_tag import write_tag
from vidlabel.video.index import EARLY_S
from vidlabel.video.reader import open_video
from vidlabel.video.scale import Pixels
from vidlabel.video.write import Quality, write_preview

SIDE_PX = 180
"""Shorter side of poster and clip; a 4:3 poster is 240 x 180."""

CLIP_S = 4.0
"""Longest clip, around the middle of the video or part."""

CLIP_FPS = 15
"""Approximate frame rate of a clip: every second frame of most videos."""

DEADLINE_S = 60.0
"""Longest time to spend on the clip of a file, or on one frame of a track."""

TRACK_FPS, LONG_TRACK_FPS = 30, 15
"""Highest frame rate of a track, and of one that is longer than LONG_S."""

LEAST_FPS = 10
"""Lowest frame rate of a track."""

LONG_S = 600.0
"""From this length on, a track has a lower frame rate."""


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
    poster = frames.pixels[np.abs(moments_s - middle_s).argmin()]
    return _clip(frames.pixels, fps, Quality()) | _poster(poster) if with_clip else _poster(poster)


def track_fps(fps: float, duration_s: float) -> float:
    """The frame rate of a track: the video's own, divided or multiplied so that motion stays even;
    at least LEAST_FPS, as the frames of a rate that varies may follow each other faster than the
    mean."""
    most = LONG_TRACK_FPS if duration_s > LONG_S else TRACK_FPS
    parts = max(1, math.ceil(fps / most - 0.05))  # measured rates lie a little above 30, say
    return fps / parts * max(1, math.ceil(LEAST_FPS / fps))


def make_track(path: str, with_clip: bool, go_on: Callable[[], bool]) -> dict[str, bytes]:
    """The files of a preview of a whole video, as `make_preview` gives them: the time in the clip
    is the time in the video. Frames are read one after another, so that memory is bounded.

    Args:
        go_on: asked often; False gives the track up.

    Raises:
        VideoError, OSError: as `make_preview`.
    """
    ends = time.monotonic() + DEADLINE_S

    def check() -> None:
        if time.monotonic() > ends or not go_on():
            raise VideoError(Reason.TIMEOUT, f"{path}: no further frame after {DEADLINE_S:g} s")

    with open_video(path, on_packet=check) as video:
        fps = track_fps(video.fps, video.duration_s)
        count = max(1, round(video.duration_s * fps))
        if not with_clip:
            return _poster(video.frames_at([video.duration_s / 2], SIDE_PX).pixels[0])
        poster: list[Pixels] = []

        def pictures() -> Iterator[Pixels]:
            nonlocal ends
            for number, picture in enumerate(_evenly(video.frames(SIDE_PX), fps, count)):
                check()
                ends = time.monotonic() + DEADLINE_S
                if number == count // 2 or not poster:
                    poster[:] = [picture]
                yield picture

        quality = Quality(crf=26, preset="veryfast", keyframes=max(1, round(fps)))
        return _clip(pictures(), fps, quality) | _poster(poster[0])


def _evenly(frames: Iterable[tuple[float, Pixels]], fps: float, count: int) -> Iterator[Pixels]:
    """What is on screen at the times 0, 1 / fps, ... of frames with ascending times in seconds."""
    done = 0
    last: Pixels | None = None
    for time_s, pixels in frames:
        while last is not None and done < count and done / fps + EARLY_S < time_s:
            yield last
            done += 1
        last = pixels
    while last is not None and done < count:
        yield last
        done += 1


def _clip(pictures: Iterable[Pixels], fps: float, quality: Quality) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory(prefix="vidlabel-") as folder:
        file = Path(folder) / "clip.mp4"
        write_preview(file, pictures, fps, [], quality)
        write_tag(file, "")  # so that it is never taken for a video to label
        return {".mp4": file.read_bytes()}


def _poster(picture: Pixels) -> dict[str, bytes]:
    data = iio.imwrite(
        "<bytes>", picture, plugin="pillow", extension=".jpg", quality=82, optimize=True
    )
    return {".jpg": data}
