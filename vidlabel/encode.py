"""Write a video file; for generated clips and tests."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.stream import VideoStream
from numpy.typing import NDArray


def write_video(
    path: str | Path,
    frames: Iterable[NDArray[np.uint8]],
    fps: float,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    pix_fmt: str = "yuv420p",
) -> int:
    """Encode frames at a constant rate; the container follows the suffix.

    Args:
        path: the file to write; replaced if it exists.
        frames: (H, W, 3) uint8 RGB arrays, all of one size, with even H and W.
        fps: frames a second.
        codec: an FFmpeg encoder, such as libx264, mpeg4 or mjpeg.
        options: of that encoder, such as {"crf": "23", "g": "30"}.
        pix_fmt: pixel format in the file.

    Returns:
        How many frames were written.
    """
    count = 0
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options or {}))
        for array in frames:
            if count == 0:
                stream.height, stream.width = array.shape[:2]
                stream.pix_fmt = pix_fmt
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
            count += 1
        container.mux(stream.encode(None))
    return count
