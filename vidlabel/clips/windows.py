"""Windows: stretches of a long video, each labelled as a clip of its own.

The model sees the video at moments that lie `spacing_s` apart, the first one half of that after the
start. A window is as many of them as a clip has time steps, so that they are the middles of equal
parts of the window, as in a clip that is as long (see `sample.sample_times`); and each window
starts a whole number of moments after the one before. Windows that overlap share moments, which are
decoded and described once.

A long video is read in parts, each of a number of windows, by several decoder processes. Two parts
that follow each other share the last moments of the first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from vidlabel.clips.read import ClipData, check_span, crop, pixel_kind, to_channels
from vidlabel.clips.sample import clip_times, step_times
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec
from vidlabel.video.reader import Video
from vidlabel.video.scale import MAX_ASPECT

PART_BYTES = 3 * 2**23
"""Size of a part's moments, about: two minutes of small pictures. Larger parts share fewer moments
and seek more rarely, and take more memory."""

LEAST_CLIPS, WHOLE_CLIPS = 8, 4
"""The moments of a part are at least those of so many clips, and those of a multiple of so many: a
CPU computes so many at once."""

ROUNDING = 1e-6
"""Share of a window by which its end may be beyond that of the video."""


@dataclass(frozen=True)
class Windows:
    """The windows of a video; see the module."""

    clip: ClipSpec
    """What a moment shows, and how many make a window."""
    window_s: float
    every: int
    """Moments from the start of a window to that of the next, 1 to `clip.frames`."""
    most_bytes: int = PART_BYTES
    """Size of a part's moments, about."""

    @property
    def spacing_s(self) -> float:
        """Seconds between two moments."""
        return self.window_s / self.clip.frames

    @property
    def stride_s(self) -> float:
        """Seconds from the start of a window to that of the next."""
        return self.every * self.spacing_s

    def count(self, length_s: float) -> int:
        """Windows in a stretch of `length_s`."""
        return window_count(length_s, self.window_s, self.stride_s)

    @property
    def per_part(self) -> int:
        """Windows of a part, if it is not the last one."""
        block = WHOLE_CLIPS * self.clip.frames
        moments = max(self.most_bytes // self._moment_bytes, LEAST_CLIPS * self.clip.frames)
        return (moments // block * block - self.clip.frames) // self.every + 1

    @property
    def moments_per_part(self) -> int:
        """Moments of a part, if it is not the last one."""
        return self.moments_in(self.per_part)

    @property
    def part_bytes(self) -> int:
        """The most bytes of the moments of a part."""
        return self.moments_per_part * self._moment_bytes

    def parts(self, length_s: float) -> int:
        """Parts of a stretch of `length_s`."""
        return math.ceil(self.count(length_s) / self.per_part)

    def in_part(self, length_s: float, part: int) -> range:
        """The windows of a part."""
        first = part * self.per_part
        return range(first, min(first + self.per_part, self.count(length_s)))

    def moments_in(self, windows: int) -> int:
        """Moments of consecutive windows."""
        return (windows - 1) * self.every + self.clip.frames

    @property
    def _moment_bytes(self) -> int:
        clip = self.clip
        if not clip.has_flow:
            return clip.decoded_channels * clip.size_px**2
        longest = max(clip.aspect, 1 / clip.aspect) if clip.aspect else MAX_ASPECT
        return clip.decoded_channels * clip.resize_px * math.ceil(clip.resize_px * longest)


def window_count(length_s: float, window_s: float, stride_s: float) -> int:
    """Windows in a stretch of `length_s`: those that end within it, and at least one."""
    return max(1, math.floor((length_s - window_s) / stride_s + ROUNDING) + 1)


def read_moments(
    video: Video, path: str, windows: Windows, part: int, span: Span = WHOLE
) -> ClipData:
    """Decode the moments of one part of a video, or of a span of it.

    A stretch that is shorter than a window is sampled as one clip, as by `read.read_clip`.

    Returns:
        `clips` is (1, M, C, S, S), the centre crops of M moments, M at least `clip.frames`; or, as
        flow is computed before cropping, (1, M, c, H, W) for `flow_stacks`. `parts` is the number
        of parts.

    Raises:
        VideoError: the video cannot be read, with the reason.
    """
    clip = windows.clip
    check_span(video, span, path)
    start_s, length_s = span[0], min(span[1], video.duration_s) - span[0]
    padded, own = False, slice(0, None)
    if length_s < windows.window_s * (1 - ROUNDING):
        times, padded = clip_times(video, clip, 1, span=span)
        times = times[0]
    else:
        numbers = windows.in_part(length_s, part)
        moments = numbers.start * windows.every + np.arange(windows.moments_in(len(numbers)))
        middles = np.asarray(start_s + (moments + 0.5) * windows.spacing_s, np.float64)
        times = step_times(video, clip, middles)
        if part:  # the first ones are also the last ones of the part before
            own = slice(clip.frames - windows.every, None)
    frames = video.frames_at(
        times.ravel().tolist(), clip.resize_px, pixel_kind(clip), clip.aspect, clip.resample
    )
    steps = to_channels(frames.pixels.reshape(*times.shape, *frames.pixels.shape[1:]), clip)
    if not clip.has_flow:
        steps = np.ascontiguousarray(crop(steps, clip.size_px, "centre", clip.crops_down))
    appeared = frames.times_s.reshape(times.shape)
    before = appeared[: own.start].max(initial=-1.0)
    return ClipData(
        clips=steps[None],
        duration_s=video.duration_s,
        frames_used=int(np.count_nonzero(np.unique(appeared[own]) > before)),
        padded=padded,
        damaged=frames.damaged,
        parts=windows.parts(length_s),
    )
