"""Decoded frames with their times."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


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
