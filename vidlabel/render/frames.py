"""The first seconds of a video as frames at a constant rate, by their true times."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from vidlabel.errors import Reason, VideoError
from vidlabel.render.spec import MAX_FPS, SMALLEST_PX, RenderSpec
from vidlabel.specs import VideoItem
from vidlabel.video.index import EARLY_S
from vidlabel.video.reader import Video, open_video
from vidlabel.video.scale import Pixels

DEFAULT_WIDTH_PX = 320
"""Largest width of a frame if none is given."""

USUAL_FPS = 30.0
"""Highest frame rate of a preview if none is given; a faster video shows every second frame, or
fewer."""

LOWEST_FPS = 5.0
"""A slower video shows each frame several times, so that its length stays true."""

SAMPLES = 12
"""So many pairs of frames, or fewer, represent a video when the scale of its flow and the palette
of a GIF are chosen."""


class PreviewFrames:
    """The frames of a video that a preview shows. The video is decoded once to learn about it, and
    again for the frames.

    Args:
        width_px: width of the frames; None uses the video's own, up to DEFAULT_WIDTH_PX.
        spec: length and frame rate of the preview.

    Attributes:
        fps: pictures per second of the preview.
        end_s: length of the preview.
        times_s: (M,) when each frame first appears.
        repeats: (M,) how many pictures in a row each frame fills.
        pairs: (frame, next frame) at SAMPLES moments spread over the video, each only once; a
            single frame is paired with itself.
        sample_times_s: time of the first frame of each pair.
        damaged: what could not be decoded, in words; known when the frames have been read.

    Raises:
        VideoError: by any method, if the video cannot be read.
    """

    def __init__(self, item: VideoItem, width_px: int | None, spec: RenderSpec) -> None:
        if item.problem is not None:
            raise VideoError(item.problem, item.detail)
        self._path, self._max_s = item.path, spec.max_s
        self.damaged = ""
        self.times_s: list[float] = []
        self.repeats: list[int] = []
        self.pairs: list[tuple[Pixels, Pixels]] = []
        self.sample_times_s: list[float] = []
        with open_video(item.path) as video:
            info = video.info()
            share = (width_px or min(info.width_px, DEFAULT_WIDTH_PX)) / info.width_px
            self._side_px = max(SMALLEST_PX, round(min(info.width_px, info.height_px) * share))
            self.end_s = min(video.duration_s, spec.max_s)
            self.fps = spec.fps or preview_fps(video, self.end_s)
            self._early_s = min(EARLY_S, 0.25 / self.fps)
            count = max(1, math.floor(self.end_s * self.fps + 0.5))
            self._moments_s = [number / self.fps for number in range(count)]
            frames = _limited(video.frames(self._side_px, spec.max_s), item.path, spec.max_s)
            self._choose_samples(on_screen(frames, self._moments_s, self._early_s))

    def _choose_samples(self, shown: Iterable[tuple[int, Pixels]]) -> None:
        wanted = [(number + 0.5) / SAMPLES * len(self._moments_s) for number in range(SAMPLES)]
        done, latest, sampled = 0, None, False
        for count, pixels in shown:
            if latest is not None and sampled:
                self.pairs.append((latest, pixels))
                self.sample_times_s.append(self.times_s[-1])
            sampled = bisect_left(wanted, done) < bisect_left(wanted, done + count)
            self.times_s.append(self._moments_s[done])
            self.repeats.append(count)
            done, latest = done + count, pixels
        if latest is not None and not self.pairs:
            self.pairs, self.sample_times_s = [(latest, latest)], self.times_s[-1:]

    def frames(self) -> Iterator[Pixels]:
        """The M frames in the order of their times: (H, W, 3) uint8 RGB, upright."""
        return (pixels for _, pixels in self.at(self._moments_s))

    def at(self, moments_s: Sequence[float]) -> Iterator[tuple[int, Pixels]]:
        """Each frame that is on screen at one of these moments (ascending), and at how many."""
        return on_screen(self._decode(), moments_s, self._early_s)

    def _decode(self) -> Iterator[TimedFrame]:
        with open_video(self._path) as video:
            self.damaged = yield from video.frames(self._side_px, self._max_s)


def on_screen(
    frames: Iterable[TimedFrame], moments_s: Sequence[float], early_s: float
) -> Iterator[tuple[int, Pixels]]:
    """Each frame that is on screen at one of these moments (ascending), and at how many; a frame
    may appear so much before its time."""
    done = 0
    shown: Pixels | None = None
    for time_s, pixels in frames:
        if shown is not None:
            before = bisect_left(moments_s, time_s - early_s, done)
            if before > done:
                yield before - done, shown
                done = before
        shown = pixels
    if shown is not None and done < len(moments_s):
        yield len(moments_s) - done, shown


def preview_fps(video: Video, end_s: float) -> float:
    """The video's own frame rate, divided or multiplied by a whole number where it is too high or
    too low.

    Where the rate varies, it is the one that most frames have: the mean would skip frames of a
    burst.
    """
    fps = video.fps
    if video.frame_times_s is not None:
        times_s = np.unique(video.frame_times_s)
        gaps_s = np.diff(times_s[times_s < end_s])
        if gaps_s.size:
            mean_s, median_s = float(gaps_s.mean()), float(np.median(gaps_s))
            fps = 1 / (mean_s if mean_s < 1.1 * median_s else median_s)
    fps *= math.ceil(LOWEST_FPS / fps)
    # Timestamps in whole milliseconds make 30.3 of 30.
    return min(USUAL_FPS, fps / max(1, math.ceil(fps / USUAL_FPS - 0.05)))


def _limited(frames: Iterator[TimedFrame], path: str, max_s: float) -> Iterator[TimedFrame]:
    """The frames, up to MAX_FPS of them per second: a file with more would keep us for ever."""
    for number, frame in enumerate(frames):
        if number > MAX_FPS * max_s:
            raise VideoError(Reason.TOO_LARGE, f"{path}: over {MAX_FPS} frames a second")
        yield frame


TimedFrame = tuple[float, Pixels]
