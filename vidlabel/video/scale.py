"""The frame scaler: decoded frames to small upright arrays (scale, rotate, flip)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import cast

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from vidlabel.specs import PixelKind, Resample

Pixels = NDArray[np.uint8]
"""A picture: (H, W, 3) uint8 RGB."""

MAX_ASPECT = 4.0
"""Longer frames are squashed to this aspect, so that no file decides how much memory is used."""


@dataclass(frozen=True, repr=False)
class DecodedFrames:
    """Decoded frames, in the order of the times that were asked for.

    Raises:
        ValueError: the arrays do not have these types and shapes.
    """

    pixels: NDArray[np.uint8]
    """(N, H, W, C), 0..255, rotated for display; C is 3 for RGB, 1 for luma and 4 for both."""
    times_s: NDArray[np.float64]
    """(N,) true presentation times of the frames, seconds from the start of the video."""
    damaged: str
    """What could not be decoded, in words; empty for a healthy file."""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 4 or self.pixels.dtype != np.uint8:
            raise ValueError(f"pixels must be (N, H, W, C) uint8, got {self!r}")
        if self.pixels.shape[3] not in (1, 3, 4):
            raise ValueError(f"frames must have 1, 3 or 4 channels, got {self!r}")
        if self.times_s.shape != self.pixels.shape[:1]:
            raise ValueError(f"every frame must have a time, got {self!r}")

    def __repr__(self) -> str:
        return (
            f"DecodedFrames(pixels={self.pixels.shape} {self.pixels.dtype}, "
            f"times_s={self.times_s.shape}, damaged={self.damaged!r})"
        )


class FrameScaler:
    """Turns decoded frames into (H, W, C) uint8 arrays of one size, upright.

    The first frame sets the size, so that a stream whose resolution changes still gives frames of
    one shape. Scaling by area and conversion to RGB (or luma) are one swscale pass. The reformatter
    is kept because swscale's tables take longer to make than the scaling takes.

    Args:
        side_px: the shorter side of the result.
        kind: channels of the result.
        pixel_aspect: width over height of a stored pixel (the stream's sample aspect ratio).
        aspect: width over height of the result; 0 keeps that of the frame, up to MAX_ASPECT.
        resample: how RGB is scaled. Other ways than `area` give the pixels of the image processors
            of Transformers, for which the longer side is rounded down.
    """

    def __init__(
        self, side_px: int = 128, kind: PixelKind = "rgb", pixel_aspect: float = 1.0,
        aspect: float = 0.0, resample: Resample = "area",
    ) -> None:  # fmt: skip
        self._side_px = side_px
        self._formats = {"rgb": ["rgb24"], "luma": ["gray"], "rgb+luma": ["rgb24", "gray"]}[kind]
        self._pixel_aspect = pixel_aspect
        self._aspect = aspect
        self._resample = resample
        # One per format: a reformatter that alternates between two makes its tables each time.
        self._reformatters = [VideoReformatter() for _ in self._formats]
        self._size_px: tuple[int, int] | None = None  # as displayed: width, height

    def scale(self, frame: VideoFrame) -> NDArray[np.uint8]:
        """One frame as (H, W, C) uint8, 0..255."""
        horizontal, vertical, swap = _orientation(frame)
        if self._size_px is None:
            width, height, _ = self.displayed_size(frame)
            if self._aspect:
                width, height = round(1_000_000 * self._aspect), 1_000_000
            down = self._resample != "area" and not self._aspect
            self._size_px = fit(width, height, self._side_px, down)
        width, height = self._size_px[::-1] if swap else self._size_px
        pixels = (self._by_area if self._resample == "area" else self._by_pillow)(
            frame, width, height
        )
        if swap:
            pixels = pixels.swapaxes(0, 1)
        if horizontal:
            pixels = pixels[:, ::-1]
        if vertical:
            pixels = pixels[::-1]
        return np.ascontiguousarray(pixels, dtype=np.uint8)

    def _by_area(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        parts = [
            reformatter.reformat(
                frame, width, height, name, interpolation=Interpolation.AREA,
                threads=1,  # many files are decoded in parallel instead
            ).to_ndarray().reshape(height, width, -1)
            for reformatter, name in zip(self._reformatters, self._formats, strict=True)
        ]  # fmt: skip
        return np.asarray(parts[0] if len(parts) == 1 else np.concatenate(parts, -1), np.uint8)

    def _by_pillow(self, frame: VideoFrame, width: int, height: int) -> NDArray[np.uint8]:
        from PIL import Image  # only few models need it

        wide = max(1, round(frame.width * self._pixel_aspect))
        whole = self._reformatters[0].reformat(
            frame, wide, frame.height, "rgb24", interpolation=Interpolation.BILINEAR, threads=1
        )
        how = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
        image = Image.fromarray(whole.to_ndarray())
        return np.asarray(image.resize((width, height), how[self._resample]))

    def displayed_size(self, frame: VideoFrame) -> tuple[int, int, int]:
        """Width and height in pixels as displayed, and the clockwise turn in degrees."""
        width, height = frame.width * self._pixel_aspect, float(frame.height)
        if _orientation(frame)[2]:
            width, height = height, width
        return max(1, round(width)), max(1, round(height)), -frame.rotation % 360


def fit(width: int, height: int, side_px: int, down: bool = False) -> tuple[int, int]:
    """Width and height with the shorter side `side_px` and the aspect kept up to MAX_ASPECT; `down`
    rounds the longer side down."""
    short, long = sorted((width, height))
    longer = round(side_px * min(MAX_ASPECT, long / short))
    if down and long < MAX_ASPECT * short:
        longer = int(side_px * long / short)
    return (longer, side_px) if width >= height else (side_px, longer)


def _orientation(frame: VideoFrame) -> tuple[bool, bool, bool]:
    """The display matrix as: flip left-right, flip top-bottom, after swapping axes.

    The matrix maps (x, y) to (a x + c y, b x + d y); FFmpeg's libavutil/display.h. As in players,
    only quarter turns and flips are applied.
    """
    data = frame.side_data.get("DISPLAYMATRIX") if frame.side_data else None
    if data is None:
        return False, False, False
    a, b, _, c, d = struct.unpack("<9i", cast(bytes, data))[:5]
    if abs(b) > abs(a):
        return c < 0, b < 0, True
    return a < 0, d < 0, False
