"""Clip tensors, read from a video at the times that `sample` chooses."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.clips.sample import CROPS, EDGE_S, clip_times, frames_in
from vidlabel.errors import Reason, VideoError
from vidlabel.spans import WHOLE, Span
from vidlabel.specs import ClipSpec, Limits, OnPacket, PixelKind
from vidlabel.video.reader import Video, open_video

NO_CHANGE, DIFFERENCE_GAIN = 128, 2
"""Of difference pictures: the grey of what does not change, and levels for each level of luma."""

RUN = 64
"""Most time steps per part if a whole video is read, which bounds the memory."""


@dataclass(frozen=True)
class ClipData:
    """The clips of a video, as a decoder returns them.

    `clips` is (V, T, C, S, S) uint8, 0..255: V views of the video, whose outputs are averaged; or
    the uncropped frames of `read_time_steps` or `read_run`.
    """

    clips: NDArray[np.uint8]
    duration_s: float
    """Length of the whole video, also if the clips are of a stretch of it."""
    frames_used: int
    """Number of different frames of the video in all views."""
    padded: bool
    """True if the video, or the stretch, has fewer frames than the clip, and the last one is
    repeated."""
    damaged: str
    """What could not be decoded, in words; empty for a healthy file."""
    parts: int = 1
    """Number of parts of the video, of which this is one; above 1 only with `read_run`."""


def crop(
    pixels: NDArray[np.uint8], size_px: int, place: str, down: bool = False
) -> NDArray[np.uint8]:
    """Square crops of frames (..., H, W): from the centre, or one end of the longer side. If the
    centre is between two pixels, `down` takes the lower one, and rounding decides without it."""
    height, width = pixels.shape[-2:]
    share = {"centre": 0.5, "left": 0.0, "right": 1.0}[place]
    along_width = width >= height
    whole = int if down else round
    top = whole((height - size_px) * (0.5 if along_width else share))
    left = whole((width - size_px) * (share if along_width else 0.5))
    return pixels[..., top : top + size_px, left : left + size_px]


def to_channels(frames: NDArray[np.uint8], spec: ClipSpec) -> NDArray[np.uint8]:
    """Frames (..., T, n, H, W, C) to time steps (..., T, c, H, W): one RGB frame, the luma of n
    frames, the differences of such, or the RGB of the first and luma or differences of the rest."""
    if spec.input == "difference":
        return differences(frames[..., 0])
    if frames.shape[-1] == 1:
        return frames[..., 0]
    rgb = np.moveaxis(frames[..., 0, :, :, :3], -1, -3)
    if frames.shape[-1] == 3:
        return rgb
    luma = frames[..., 1:, :, :, 3]
    return np.concatenate([rgb, differences(luma) if spec.has_both else luma], axis=-3)


def differences(luma: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Luma (..., n, H, W) to pictures (..., n - 2, H, W) of what changes from each frame to the
    second after it: NO_CHANGE where nothing does, DIFFERENCE_GAIN more for each level brighter."""
    change = np.subtract(luma[..., 2:, :, :], luma[..., :-2, :, :], dtype=np.int16)
    change *= DIFFERENCE_GAIN
    change += NO_CHANGE
    return np.clip(change, 0, 255, out=change).astype(np.uint8)


def pixel_kind(spec: ClipSpec) -> PixelKind:
    """The channels that are needed of each decoded frame."""
    if spec.input == "rgb":
        return "rgb"
    return "rgb+luma" if spec.has_rgb else "luma"


def read_time_steps(
    path: str, spec: ClipSpec, stretches: int, limits: Limits, on_packet: OnPacket = None,
    each: int = 1, span: Span = WHOLE,
) -> ClipData:  # fmt: skip
    """Decode the time steps of a video, or of a span of it, without cropping. Raises VideoError.

    `clips` is (stretches, T * each, c, H, W) with the shorter side `spec.resize_px` and
    c = `spec.decoded_channels`: optical flow is computed later, by `flow_stacks`.
    """
    with open_video(path, limits, on_packet) as video:
        check_span(video, span, path)
        times, padded = clip_times(video, spec, stretches, each, span)
        frames = video.frames_at(
            times.ravel().tolist(), spec.resize_px, pixel_kind(spec), spec.aspect, spec.resample
        )
        return ClipData(
            clips=to_channels(frames.pixels.reshape(*times.shape, *frames.pixels.shape[1:]), spec),
            duration_s=video.duration_s,
            frames_used=len(np.unique(frames.times_s)),
            padded=padded,
            damaged=frames.damaged,
        )


def read_run(
    path: str, spec: ClipSpec, part: int, limits: Limits, on_packet: OnPacket = None,
    span: Span = WHOLE,
) -> ClipData:  # fmt: skip
    """Decode every frame of a part of a video, or of a span of it, without cropping.

    A time step is a frame, or, with flow, `spec.pairs` + 1 consecutive frames; each part has up to
    RUN of them, and none is in two parts.

    Returns:
        `clips` is (1, L, c, H, W), consecutive frames with c = 3 (RGB), 1 (luma, for flow) or 4
        (both); `parts` is the number of parts of the video.

    Raises:
        VideoError: the video cannot be read, with the reason.
    """
    more = spec.pairs if spec.has_flow else 0
    with open_video(path, limits, on_packet) as video:
        check_span(video, span, path)
        times = frames_in(video, span)
        padded = len(times) <= more
        if padded:
            times = np.concatenate([times, np.full(more + 1 - len(times), times[-1])])
        own = times[part * RUN : (part + 1) * RUN + more]
        frames = video.frames_at(
            own.tolist(), spec.resize_px, pixel_kind(spec), spec.aspect, spec.resample
        )
        return ClipData(
            clips=np.moveaxis(frames.pixels, -1, -3)[None],
            duration_s=video.duration_s,
            frames_used=len(np.unique(frames.times_s[more if part else 0 :])),
            padded=padded,
            damaged=frames.damaged,
            parts=math.ceil((len(times) - more) / RUN),
        )


def read_clip(
    path: str, spec: ClipSpec, views: int, limits: Limits, on_packet: OnPacket = None,
    span: Span = WHOLE,
) -> ClipData:  # fmt: skip
    """Decode a video into the clips that a model sees.

    Args:
        path: a video file.
        spec: size, number and kind of the frames.
        views: 1 for a single clip of centre crops over the whole video; N > 1 for N consecutive
            stretches with three crops each.
        limits: bounds for the file.
        on_packet: called for every packet, as a sign of progress.
        span: the stretch of the video that the clips show, in place of all of it.

    Raises:
        VideoError: the video cannot be read, with the reason; `out_of_range` if it ends before the
            span begins.
    """
    data = read_time_steps(path, spec, views, limits, on_packet, span=span)
    return replace(data, clips=cut(data.clips, spec, views))


def check_span(video: Video, span: Span, path: str) -> None:
    """Raises VideoError if the video ends before the span begins; it may end before its end."""
    if span[0] and span[0] > video.duration_s - EDGE_S:
        raise VideoError(
            Reason.OUT_OF_RANGE,
            f"{path}: ends at {video.duration_s:.2f} s; a stretch from {span[0]:.2f} s on lies "
            "outside it",
        )


def cut(stretches: NDArray[np.uint8], spec: ClipSpec, views: int) -> NDArray[np.uint8]:
    """Stretches (N, T, C, H, W) of a video to its clips (V, T, C, S, S): the centre crop of one
    stretch, or three crops of each of several."""
    places = CROPS[:1] if views == 1 else CROPS
    crops = np.stack(
        [crop(stretches, spec.size_px, place, spec.crops_down) for place in places], axis=1
    )
    return np.ascontiguousarray(crops.reshape(-1, *crops.shape[2:]))
