"""Write video files: generated clips through PyAV, previews through imageio."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import av
import imageio.v3 as iio
import numpy as np
from av.video.stream import VideoStream

from vidlabel.video.scale import Pixels

FORMATS = ("mp4", "gif")
"""Formats that `write_preview` writes; the names are the suffixes."""

GIF_FPS = 50
"""Highest frame rate of a GIF: browsers show a picture with a shorter delay for 1/10 s."""


def write_video(
    path: str | Path, frames: Iterable[Pixels], fps: float, codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> None:  # fmt: skip
    """Encode frames at a constant rate, in yuv420p; the container follows the suffix.

    Args:
        path: replaced if it exists.
        frames: (H, W, 3) uint8 RGB arrays, all of one size, with even H and W.
        codec: an FFmpeg encoder, such as libx264, mpeg4 or mjpeg.
        options: of that encoder, such as {"crf": "23", "g": "30"}.
    """
    with av.open(str(path), "w") as container:
        rate = Fraction(fps).limit_denominator(1001)
        stream = cast(VideoStream, container.add_stream(codec, rate=rate, options=options or {}))
        for number, array in enumerate(frames):
            if number == 0:
                stream.height, stream.width = array.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(array, format="rgb24")))
        container.mux(stream.encode(None))


@dataclass(frozen=True)
class Quality:
    """Quality of a preview, traded against its size."""

    crf: int = 20
    """MP4: constant rate factor of x264, from 0 (lossless) to 51."""
    colours: int = 256
    """GIF: number of colours, 4 to 256."""
    loop: bool = True
    """GIF: whether it repeats for ever."""
    preset: str = "medium"
    """MP4: of x264, how much time it takes to make the file smaller."""
    keyframes: int = 250
    """MP4: the most pictures from one keyframe to the next; players seek faster where it is low."""


def write_preview(
    path: Path, pictures: Iterable[Pixels], fps: float, sample: Sequence[Pixels],
    quality: Quality | None = None,
) -> None:  # fmt: skip
    """Write pictures at a constant rate as an MP4 or a GIF, depending on the suffix.

    An MP4 is H.264 in yuv420p, which every player and browser shows. Its index comes first, so
    that it plays while it loads. An odd side is made even by repeating its last pixels.

    All pictures of a GIF share one palette and one dither pattern, so that parts that do not change
    do not flicker. Above GIF_FPS, pictures are left out at regular steps.

    Args:
        pictures: (H, W, 3) uint8 RGB, all of one size, at least one.
        sample: pictures that together have the colours of all; used for the palette of a GIF.
        quality: None uses the defaults.

    Raises:
        OSError: the file cannot be written.
    """
    quality = quality or Quality()
    try:
        with path.absolute().open("wb") as file:
            if path.suffix.lower() == ".gif":
                step = math.ceil(fps / GIF_FPS)
                _write_gif(file, islice(pictures, 0, None, step), fps / step, sample, quality)
            else:
                _write_mp4(file, pictures, fps, quality)
    except av.FFmpegError as error:  # around the error of the file
        cause = error.__cause__ or error.__context__
        raise cause if isinstance(cause, OSError) else OSError(str(error)) from None


def _write_mp4(file: BinaryIO, pictures: Iterable[Pixels], fps: float, quality: Quality) -> None:
    # The matrix from RGB to YUV is written into the file, so that players need not guess it.
    convert = [("scale", "out_color_matrix=bt709:out_range=tv"), ("format", "yuv420p")]
    encoder = {"crf": str(quality.crf), "colorspace": "bt709", "color_range": "tv"}
    encoder |= {"preset": quality.preset, "g": str(quality.keyframes)}
    encoder["x264-params"] = "cpu-independent=1"  # else its rate control differs from run to run
    faststart = {"movflags": "+faststart"}
    even = map(_with_even_sides, pictures)
    filters = {"filter_sequence": convert}
    _encode(file, ".mp4", "libx264", even, fps, "yuv420p", filters, encoder, options=faststart)


def _with_even_sides(picture: Pixels) -> Pixels:
    height, width = picture.shape[:2]
    return np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _write_gif(
    file: BinaryIO, pictures: Iterable[Pixels], fps: float, sample: Sequence[Pixels],
    quality: Quality,
) -> None:  # fmt: skip
    # An ordered pattern (bayer) stays in place; error diffusion would crawl over still parts.
    nodes = {
        "palette": ("movie", {"filename": _palette_url(sample, quality.colours)}),
        "use": ("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle"),
    }
    edges = [("video_in", "use", 0, 0), ("palette", "use", 0, 1), ("use", "video_out", 0, 0)]
    graph = {"filter_graph": (nodes, edges)}
    loop = {"loop": "0" if quality.loop else "-1"}
    _encode(file, ".gif", "gif", pictures, fps, "pal8", graph, options=loop)


def _palette_url(sample: Sequence[Pixels], colours: int) -> str:
    """The best colours for all of the pictures, by FFmpeg's palettegen: a PNG as a data URL, which
    its filter `movie` reads like a file."""
    png = io.BytesIO()
    filters = {"filter_sequence": [("palettegen", f"max_colors={colours}")]}
    _encode(png, ".png", "png", sample, 1, "rgba", filters, container="image2pipe")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def _encode(
    file: BinaryIO, suffix: str, codec: str, pictures: Iterable[Pixels], fps: float, pix_fmt: str,
    filters: dict[str, Any], encoder: dict[str, str] | None = None, **container: Any,
) -> None:  # fmt: skip
    """Write pictures, which pass through filters, with imageio's PyAV writer.

    imageio itself sets neither the size that enters the filters, nor the pixel format that leaves
    them, nor options of the encoder; these are set on the PyAV stream that it holds.
    """
    remaining = iter(pictures)
    first = next(remaining)
    writer = iio.imopen(file, "w", plugin="pyav", extension=suffix, **container)
    try:
        with writer:
            writer.init_video_stream(codec, fps=fps, pixel_format="rgb24")
            stream = writer._video_stream
            stream.height, stream.width = first.shape[:2]
            writer.set_video_filter(**filters)
            stream.pix_fmt, stream.options = pix_fmt, encoder or {}
            for picture in chain([first], remaining):
                writer.write_frame(picture)
    finally:
        writer._video_stream = None  # or its finaliser would flush again what has failed
