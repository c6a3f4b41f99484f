"""Temporal sampling: the times at which a model sees a video."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec
from vidlabel.video.reader import Video

CROPS = ("centre", "left", "right")
"""Places of the square along the longer side; left and right mean top and bottom of upright
frames."""

ROUNDING_S = 1e-6
"""Times that differ by less are equal."""

EDGE_S = 1e-3
"""How exact the ends of a span are: tables round them to milliseconds."""


def view_count(views: int) -> int:
    """Clips per video: one, or three crops of each of several stretches."""
    return 1 if views == 1 else views * len(CROPS)


def sample_times(duration_s: float, steps: int, stretches: int = 1) -> NDArray[np.float64]:
    """The times that represent a video: the middles of equal parts that cover all of it.

    Segment sampling as in Temporal Segment Networks (Wang et al. 2016, arXiv 1608.00859),
    by time instead of by frame number.

    Args:
        duration_s: length of the video, seconds, at least 0.
        steps: time steps per clip.
        stretches: number of consecutive parts of the video with a clip each.

    Returns:
        (stretches, steps) seconds, ascending, within [0, duration_s).
    """
    parts = stretches * steps
    middles = (np.arange(parts) + 0.5) * (duration_s / parts)
    return np.asarray(middles, dtype=np.float64).reshape(stretches, steps)


def clip_times(
    video: Video, spec: ClipSpec, stretches: int, each: int = 1, span: Span = WHOLE
) -> tuple[NDArray[np.float64], bool]:
    """Times (stretches, T, n) of the n frames of each time step (1 for RGB, otherwise
    `luma_frames`, after the one for RGB if there are both); and whether some are repeated because
    the video is too short for the clip.

    A video with fewer frames than the clip gives each of its frames once, in order, and then
    repeats the last one, instead of being slowed down. A video shorter than a clip at `spec.fps` is
    looped. With `each`, there are `each` times as many time steps: those of the clip, number
    `each` // 2 of every `each`, and others in between at equal distances.

    A `span` that begins within the video is sampled as a video of its own that is as long. Only
    the frames around a time step, which show its motion, may come from before or after the span.
    """
    start_s, length_s = span[0], min(span[1], video.duration_s) - span[0]
    short = span != WHOLE and length_s * video.fps < spec.frames  # then counted also in large files
    shown = frames_in(video, span) if short or video.frame_times_s is not None else None
    padded = shown is not None and len(shown) < spec.frames
    if spec.fps:
        longer = replace(spec, frames=spec.frames * each)
        steps, padded = _paced(length_s, longer, stretches)
        steps = start_s + steps
        if span != WHOLE and length_s > 2 * EDGE_S:  # the very end is a frame of what follows
            steps = np.clip(steps, start_s + EDGE_S, start_s + length_s - EDGE_S)
    elif shown is not None and padded:
        rest = spec.frames - len(shown)
        row = np.concatenate([shown, np.full(rest, shown[-1])])
        steps = np.tile(np.repeat(row, each), (stretches, 1))
    else:
        steps = start_s + _between(sample_times(length_s, spec.frames, stretches), each)
    return step_times(video, spec, steps), padded


def step_times(video: Video, spec: ClipSpec, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times (..., n) of the n frames of time steps at the times (...); n as in `clip_times`."""
    if spec.input == "rgb":
        return steps[..., None]
    around = _around(video, spec, steps)
    if spec.has_rgb:  # the frame itself, even if it is not the middle of its stack
        around = np.concatenate([steps[..., None], around], axis=-1)
    return around


def every_frame(video: Video) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """For each frame (N,), a time at which it is on screen, and the time at which it appears.

    For large files, which are not read as a whole, these follow from the mean rate: half-way
    between two frames, where rounding in the file's own times cannot lead to a neighbour.
    """
    if video.frame_times_s is not None:
        return video.frame_times_s, video.frame_times_s
    frames = max(1, round(video.duration_s * video.fps))
    return sample_times(video.duration_s, frames)[0], np.arange(frames) * video.duration_s / frames


def frames_in(video: Video, span: Span) -> NDArray[np.float64]:
    """For each frame (N,) that is on screen in the span, at least one, a time at which it is."""
    times, starts = every_frame(video)
    if span == WHOLE:
        return times
    first = max(0, int(np.searchsorted(starts, span[0] + EDGE_S, side="right")) - 1)
    end = int(np.searchsorted(starts, span[1] - EDGE_S))
    return times[first : max(end, first + 1)]


def _between(steps: NDArray[np.float64], each: int) -> NDArray[np.float64]:
    """Times (..., T * each) from times (..., T) that are the middles of equal parts from 0 on."""
    if each == 1:
        return steps
    part_s = 2 * steps.flat[0]
    offsets_s = (np.arange(each) - each // 2) / each * part_s
    return (steps[..., None] + offsets_s).reshape(*steps.shape[:-1], -1)


def _paced(duration_s: float, spec: ClipSpec, stretches: int) -> tuple[NDArray[np.float64], bool]:
    """Times (stretches, T) at `spec.fps` around the middles of the stretches; is it too short?"""
    offsets = (np.arange(spec.frames) - (spec.frames - 1) / 2) / spec.fps  # around the middle
    span_s, half = offsets[-1] - offsets[0], spec.frames / spec.fps / 2
    middles = sample_times(duration_s, 1, stretches)
    if stretches > 1 and span_s < duration_s + ROUNDING_S:
        # A clip that would extend beyond the video is moved inside.
        middles = np.clip(
            middles, min(half, duration_s / 2), max(duration_s - half, duration_s / 2)
        )
    times = middles + offsets
    # Rounding must not turn the first time of a video into the last, or the last into the first.
    beyond = (times < -ROUNDING_S) | (times > duration_s + ROUNDING_S)
    looped = np.mod(times, duration_s) if duration_s else np.zeros_like(times)
    times = np.where(beyond, looped, np.clip(times, 0.0, duration_s))
    return np.asarray(times, dtype=np.float64), bool(span_s > duration_s - ROUNDING_S)


def _around(video: Video, spec: ClipSpec, steps: NDArray[np.float64]) -> NDArray[np.float64]:
    """Times (..., n) of the frames around each of the times (...).

    Times that would be outside the video are moved inside, so that the frames still show motion.
    """
    count = spec.luma_frames
    before = count // 2
    if spec.has_flow and spec.step_s == 0:
        times, starts = every_frame(video)
        shown = np.searchsorted(starts, steps + ROUNDING_S, side="right") - 1
        first = np.clip(shown - before, 0, max(0, len(times) - count))
        places = first[..., None] + np.arange(count)
        return np.asarray(times[np.minimum(places, len(times) - 1)], dtype=np.float64)
    known = video.frame_times_s
    last = known[-1] if known is not None else video.duration_s
    around = (np.arange(count) - before) * spec.step_s
    middles = np.clip(steps, min(-around[0], last / 2), max(last - around[-1], last / 2))
    return np.clip(middles[..., None] + around, 0.0, last)
