"""Which moments of a video a model sees, and the clip tensor made of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vidlabel.specs import ClipSpec, Limits
from vidlabel.stream import OnPacket, ignore
from vidlabel.video import Video, open_video

CROPS = ("centre", "left", "right")
"""Where the square is cut from the longer side; left and right mean top and bottom of an upright
frame."""


@dataclass(frozen=True)
class ClipData:
    """What a decoder hands to the model.

    `clips` is (V, T, 3, S, S) uint8, 0..255: V views of the video, which are averaged.
    """

    clips: NDArray[np.uint8]
    duration_s: float
    frames_used: int
    """Different frames of the video among all views."""
    padded: bool
    """True if the video has fewer frames than the clip, and its last one is repeated."""
    damaged: str
    """What could not be decoded; empty for a healthy file."""


def view_count(views: int) -> int:
    """Clips made per video: one, or each of several stretches seen through three crops."""
    return 1 if views == 1 else views * len(CROPS)


def step_times(duration_s: float, steps: int, stretches: int = 1) -> NDArray[np.float64]:
    """The moments that represent a video: the middles of equal parts that cover all of it.

    Segment sampling as in Temporal Segment Networks (Wang et al. 2016, arXiv 1608.00859),
    by time instead of by frame number.

    Args:
        duration_s: length of the video, seconds, at least 0.
        steps: time steps per clip.
        stretches: consecutive parts of the video that get a clip each.

    Returns:
        (stretches, steps) seconds, ascending, within [0, duration_s).
    """
    parts = stretches * steps
    middles = (np.arange(parts) + 0.5) * (duration_s / parts)
    return np.asarray(middles, dtype=np.float64).reshape(stretches, steps)


def clip_times(video: Video, spec: ClipSpec, stretches: int) -> tuple[NDArray[np.float64], bool]:
    """Times (stretches, T, n) of the n frames of each step (3 for motion, 1 for RGB); padded?

    A video with fewer frames than the clip gives each of its frames once, in order, and then its
    last one again, instead of being slowed down.
    """
    known = video.frame_times_s
    padded = known is not None and len(known) < spec.frames
    if known is not None and padded:
        rest = spec.frames - len(known)
        row = np.concatenate([known, np.full(rest, known[-1])])
        steps = np.tile(row, (stretches, 1))
    else:
        steps = step_times(video.duration_s, spec.frames, stretches)
    if spec.input == "rgb":
        return steps[..., None], padded
    around = np.array([-spec.step_s, 0.0, spec.step_s])
    last = known[-1] if known is not None else video.duration_s
    # A triplet that would stick out of the video is moved inside, so that it still shows motion.
    middles = np.clip(steps, min(spec.step_s, last / 2), max(last - spec.step_s, last / 2))
    return np.clip(middles[..., None] + around, 0.0, last), padded


def crop(pixels: NDArray[np.uint8], size_px: int, place: str) -> NDArray[np.uint8]:
    """Cut squares out of frames (..., H, W, C): the centre, or one end of the longer side."""
    height, width = pixels.shape[-3:-1]
    share = {"centre": 0.5, "left": 0.0, "right": 1.0}[place]
    along_width = width >= height
    top = round((height - size_px) * (0.5 if along_width else share))
    left = round((width - size_px) * (share if along_width else 0.5))
    return pixels[..., top : top + size_px, left : left + size_px, :]


def to_channels(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Frames (..., T, n, H, W, C) to steps (..., T, 3, H, W): n = 1 RGB frame, or n = 3 luma."""
    if frames.shape[-1] == 3:
        return np.moveaxis(frames[..., 0, :, :, :], -1, -3)
    return frames[..., 0]


def read_steps(
    path: str, spec: ClipSpec, stretches: int, limits: Limits, on_packet: OnPacket = ignore
) -> ClipData:
    """Decode a video's steps, uncropped: `clips` is (stretches, T, 3, H, W), shorter side
    `spec.resize_px`. Raises VideoError."""
    with open_video(path, limits, on_packet) as video:
        times, padded = clip_times(video, spec, stretches)
        frames = video.frames_at(times.ravel().tolist(), spec.resize_px, spec.input == "motion")
        return ClipData(
            clips=to_channels(frames.pixels.reshape(*times.shape, *frames.pixels.shape[1:])),
            duration_s=video.duration_s,
            frames_used=len(np.unique(frames.times_s)),
            padded=padded,
            damaged=frames.damaged,
        )


def read_clip(
    path: str, spec: ClipSpec, views: int, limits: Limits, on_packet: OnPacket = ignore
) -> ClipData:
    """Decode a video into the clips that a model reads.

    Args:
        path: a video file.
        spec: size, number and kind of the frames.
        views: 1 for a single centre clip over the whole video; N > 1 for N consecutive stretches,
            each through three crops.
        limits: what the file may cost.
        on_packet: called for every packet, as long as there is progress.

    Raises:
        VideoError: the video cannot be read, with the reason.
    """
    data = read_steps(path, spec, views, limits, on_packet)
    steps = np.moveaxis(data.clips, -3, -1)
    places = CROPS[:1] if views == 1 else CROPS
    crops = [crop(steps, spec.size_px, place) for place in places]
    clips = np.moveaxis(np.stack(crops, axis=1), -1, -3)
    return ClipData(
        clips=np.ascontiguousarray(clips.reshape(view_count(views), *spec.shape)),
        duration_s=data.duration_s,
        frames_used=data.frames_used,
        padded=data.padded,
        damaged=data.damaged,
    )
