"""Write video files: generated clips at a constant rate, and pictures each at its own time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.error
import numpy as np
from av.filter import Graph
from av.filter.context import FilterContext
from av.video.frame import VideoFrame
from av.video.reformatter import ColorRange, Colorspace
from av.video.stream import VideoStream
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""A picture: (H, W, 3) uint8 RGB."""

FORMATS = ("mp4", "gif")
"""What `write_clip` can write; the names are the suffixes."""

MP4_TICKS = 90_000
"""Ticks a second of an MP4: a whole number of them for each frame at all usual rates."""

GIF_TICKS = 100
"""Ticks a second of a GIF; the format has no others."""

GIF_SHORTEST = 2
"""Ticks for which a frame of a GIF lasts at least; browsers show shorter ones for 10."""


def write_video(
    path: str | Path,
    frames: Iterable[Pixels],
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


@dataclass(frozen=True)
class Timing:
    """When each of N pictures is shown."""

    times_s: Sequence[float]
    """(N,) seconds, ascending; the first is where the file begins."""
    end_s: float
    """When the last one goes."""

    def ticks(self, per_s: int, shortest: int) -> dict[int, tuple[int, int]]:
        """First tick and length in ticks of each picture, by its number.

        Each begins at the tick next to its own time, so that no error adds up. A picture that
        begins less than `shortest` ticks after the one before is left out.
        """
        starts: dict[int, int] = {}
        latest = -shortest
        for number, time_s in enumerate(self.times_s):
            tick = round((time_s - self.times_s[0]) * per_s)
            if tick - latest >= shortest:
                starts[number] = latest = tick
        end = max(round((self.end_s - self.times_s[0]) * per_s), latest + shortest)
        ends = [*starts.values(), end][1:]
        return {
            number: (start, stop - start)
            for (number, start), stop in zip(starts.items(), ends, strict=True)
        }


@dataclass(frozen=True)
class Quality:
    """How good a file is, against how large."""

    crf: int = 20
    """Of an MP4: 0 (loses nothing) to 51; x264's constant rate factor."""
    colours: int = 256
    """Of a GIF: 4 to 256."""
    loop: bool = True
    """Whether a GIF repeats for ever, or is shown once."""


def write_clip(
    path: Path,
    pictures: Iterable[Pixels],
    timing: Timing,
    sample: Sequence[Pixels],
    quality: Quality | None = None,
) -> None:
    """Write an MP4 or a GIF, as the suffix says; see `write_mp4` and `write_gif`.

    Raises:
        OSError: the system refuses.
    """
    quality = quality or Quality()
    if path.suffix.lower() == ".gif":
        write_gif(path, pictures, timing, sample, quality.colours, quality.loop)
    else:
        write_mp4(path, pictures, timing, quality.crf)


def write_mp4(path: Path, pictures: Iterable[Pixels], timing: Timing, crf: int = 20) -> None:
    """Write H.264 in MP4 that every player and browser shows (yuv420p), and that plays while it is
    loaded (its index comes first).

    Args:
        path: the file to write.
        pictures: all of one size. An odd side is made even by repeating its last pixels.
        timing: of the pictures; kept to within 1 / MP4_TICKS s.
        crf: as in `Quality`.
    """
    ticks = timing.ticks(MP4_TICKS, 1)
    rate = Fraction(len(ticks) * MP4_TICKS, sum(length for _, length in ticks.values()))
    lengths = dict(ticks.values())
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as out:
        # Without B-frames (bf) the order of decoding is that of showing, and MP4, which stores
        # lengths in the former, has the true length of the last frame.
        options = {"crf": str(crf), "bf": "0"}
        rate = rate.limit_denominator(1001)
        stream = out.add_stream("libx264", rate=rate, options=options)
        stream.codec_context.time_base = Fraction(1, MP4_TICKS)
        stream.codec_context.colorspace = Colorspace.ITU709
        stream.codec_context.color_range = ColorRange.MPEG

        def encode(frame: VideoFrame | None) -> None:
            for packet in stream.encode(frame):
                assert packet.pts is not None  # it is what the frame had
                packet.duration = lengths[packet.pts]
                out.mux(packet)

        for number, picture in enumerate(pictures):
            if number not in ticks:
                continue
            height, width = picture.shape[:2]
            if number == 0:
                stream.height, stream.width = height + height % 2, width + width % 2
                stream.pix_fmt = "yuv420p"
            picture = np.pad(picture, ((0, height % 2), (0, width % 2), (0, 0)), mode="edge")
            # Which matrix made yuv of RGB is written down, so that players do not have to guess.
            yuv = _frame(picture, ticks[number][0], MP4_TICKS).reformat(
                format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG
            )
            encode(yuv)
        encode(None)


def write_gif(
    path: Path,
    pictures: Iterable[Pixels],
    timing: Timing,
    sample: Sequence[Pixels],
    colours: int = 256,
    loop: bool = True,
) -> None:
    """Write a GIF.

    All frames have one palette, and are dithered by a fixed pattern, so that what does not change
    does not flicker.

    Args:
        path: the file to write.
        pictures: all of one size.
        timing: of the pictures; kept to within half of 1 / GIF_TICKS s. Above 50 frames a second
            pictures are left out.
        sample: pictures that have the colours of all; at least one.
        colours, loop: as in `Quality`.
    """
    ticks = timing.ticks(GIF_TICKS, GIF_SHORTEST)
    *_, (_, last) = ticks.values()
    height, width = sample[0].shape[:2]
    graph, source = _palette_filter(width, height, _palette(sample, colours))
    options = {"loop": "0" if loop else "-1", "final_delay": str(last)}
    with av.open(str(path), "w", format="gif", options=options) as out:
        stream = out.add_stream("gif")
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        stream.codec_context.time_base = Fraction(1, GIF_TICKS)
        for number, picture in enumerate(pictures):
            if number in ticks:
                source.push(_frame(picture, ticks[number][0], GIF_TICKS))
                for frame in _pulled(graph):
                    out.mux(stream.encode(frame))
        source.push(None)
        for frame in _pulled(graph):
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))


def _frame(picture: Pixels, tick: int, per_s: int) -> VideoFrame:
    frame = VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts, frame.time_base = tick, Fraction(1, per_s)
    return frame


def _palette(pictures: Sequence[Pixels], colours: int) -> VideoFrame:
    """The colours that are best for all of the pictures, as FFmpeg's palettegen finds them."""
    height, width = pictures[0].shape[:2]
    graph = Graph()
    source = _source(graph, width, height)
    palettegen = graph.add("palettegen", f"max_colors={colours}")
    graph.link_nodes(source, palettegen, graph.add("buffersink")).configure()
    for number, picture in enumerate(pictures):
        source.push(_frame(picture, number, GIF_TICKS))
    source.push(None)
    return graph.vpull()


def _palette_filter(width: int, height: int, palette: VideoFrame) -> tuple[Graph, FilterContext]:
    """A graph that gives pictures that are pushed into the source the palette's colours."""
    graph = Graph()
    source = _source(graph, width, height)
    colours = graph.add_buffer(
        width=palette.width, height=palette.height, format=palette.format,
        time_base=Fraction(1, GIF_TICKS),
    )  # fmt: skip
    # An ordered pattern (bayer) stays where it is; error diffusion would crawl over still parts.
    use = graph.add("paletteuse", "dither=bayer:bayer_scale=4:diff_mode=rectangle")
    source.link_to(use, 0, 0)
    colours.link_to(use, 0, 1)
    use.link_to(graph.add("buffersink"))
    graph.configure()
    palette.pts, palette.time_base = 0, Fraction(1, GIF_TICKS)
    colours.push(palette)
    colours.push(None)
    return graph, source


def _source(graph: Graph, width: int, height: int) -> FilterContext:
    rgb = av.VideoFormat("rgb24")
    tick = Fraction(1, GIF_TICKS)
    return graph.add_buffer(width=width, height=height, format=rgb, time_base=tick)


def _pulled(graph: Graph) -> Iterator[VideoFrame]:
    """The frames that the graph has ready."""
    while True:
        try:
            yield graph.vpull()
        except (av.error.BlockingIOError, av.error.EOFError):  # needs more, or has given all
            return
