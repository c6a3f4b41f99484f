"""Tiny generated videos for tests: every frame carries its number, readable after any codec.

A frame is a 4 x 4 grid of black and white cells, one bit of the number each, so that it survives
scaling, squashing and strong compression. `corner_frame` has four colours instead, to tell turns
and flips apart.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

os.environ.setdefault("SVT_LOG", "0")  # the AV1 encoder talks to stderr by itself

Pixels = NDArray[np.uint8]
GRID = 4
DARK, LIGHT = 40, 215


def barcode(number: int, width: int, height: int) -> Pixels:
    """A (height, width, 3) frame that shows `number`, 0 to 65535."""
    bits = (number >> np.arange(GRID * GRID)) & 1
    cells = np.where(bits, LIGHT, DARK).astype(np.uint8).reshape(GRID, GRID)
    rows = np.arange(height) * GRID // height
    columns = np.arange(width) * GRID // width
    return np.repeat(cells[np.ix_(rows, columns)][..., None], 3, axis=-1)


def read_barcode(pixels: Pixels) -> int:
    """The number that a frame (H, W, C) shows, whatever its size."""
    height, width = pixels.shape[:2]
    middles = (np.arange(GRID) * 2 + 1) / (2 * GRID)
    rows, columns = (middles * height).astype(int), (middles * width).astype(int)
    bits = pixels[np.ix_(rows, columns)].mean(axis=-1).ravel() > 127
    return int((bits << np.arange(GRID * GRID)).sum())


def read_barcodes(frames: Pixels) -> list[int]:
    """The numbers that frames (N, H, W, C) show."""
    return [read_barcode(frame) for frame in frames]


def corner_frame(number: int, width: int, height: int) -> Pixels:
    """Red, green, blue and white quarters: top left, top right, bottom left, bottom right."""
    del number
    frame = np.full((height, width, 3), 255, dtype=np.uint8)
    frame[: height // 2, : width // 2] = (255, 0, 0)
    frame[: height // 2, width // 2 :] = (0, 255, 0)
    frame[height // 2 :, : width // 2] = (0, 0, 255)
    return frame


def corners(pixels: Pixels) -> str:
    """The colours of a frame's quarters, row by row: upright, `corner_frame` gives RGBW."""
    height, width = pixels.shape[:2]
    names = ""
    for row in (height // 4, height * 3 // 4):
        for column in (width // 4, width * 3 // 4):
            names += {(1, 0, 0): "R", (0, 1, 0): "G", (0, 0, 1): "B", (1, 1, 1): "W"}.get(
                tuple(int(v > 127) for v in pixels[row, column]), "?"
            )
    return names


def grey_frame(number: int, width: int, height: int) -> Pixels:
    """One grey level, for sizes too small for a barcode."""
    del number
    return np.full((height, width, 3), 120, dtype=np.uint8)


@dataclass(frozen=True)
class VideoSpec:
    """One video to generate; hashable, so that it can be made once a session."""

    suffix: str = ".mp4"
    codec: str = "libx264"
    frames: int = 24
    fps: int = 10
    size: tuple[int, int] = (64, 48)  # width, height
    pix_fmt: str = "yuv420p"
    gop: int = 12
    bf: int = 0
    options: tuple[tuple[str, str], ...] = ()
    """Options of the encoder."""
    mux: tuple[tuple[str, str], ...] = ()
    """Options of the container."""
    pts_ms: tuple[int, ...] = ()
    """Presentation times of the frames in milliseconds, instead of a constant rate."""
    offset_s: int = 0
    rotation: tuple[int, bool, bool] = (0, False, False)
    """Degrees clockwise for display, then flips: left-right, top-bottom."""
    pixel_aspect: tuple[int, int] = (1, 1)
    full_range: bool = False
    audio_s: float = 0.0
    """Seconds of sound beside the picture."""
    title: str = ""
    other_sizes: tuple[tuple[int, int], ...] = ()
    """Further video streams, in front of this one, showing the number 0 only."""
    draw: Callable[[int, int, int], Pixels] = field(default=barcode)


def write(path: Path, spec: VideoSpec) -> Path:
    """Make the video that `spec` describes."""
    with av.open(str(path), "w", container_options=dict(spec.mux)) as out:
        if spec.title:
            out.metadata["title"] = spec.title
        others = [_add_video(out, spec, size) for size in spec.other_sizes]
        stream = _add_video(out, spec, spec.size)
        if others:  # FFmpeg's MP4 writer would make the first stream the default
            stream.disposition = Disposition.default
        if any(spec.rotation):
            degrees, hflip, vflip = spec.rotation
            stream.set_display_rotation(degrees, hflip=hflip, vflip=vflip)
        sound = out.add_stream("aac", rate=8000, layout="mono") if spec.audio_s else None
        for number in range(spec.frames):
            for other in others:
                _encode(out, other, spec, 0, number)
            _encode(out, stream, spec, number, number)
        for each in (*others, stream):
            out.mux(each.encode(None))
        if sound is not None:
            add_silence(out, sound, spec.audio_s)
    return path


def _add_video(out, spec: VideoSpec, size: tuple[int, int]):
    options = {"preset": "ultrafast"} if spec.codec in ("libx264", "libx265") else {}
    if spec.codec == "libx265":
        options["x265-params"] = "log-level=none:pools=1:frame-threads=1"
    stream = out.add_stream(spec.codec, rate=spec.fps, options=options | dict(spec.options))
    stream.width, stream.height = size
    stream.pix_fmt = spec.pix_fmt
    context = stream.codec_context
    context.gop_size = spec.gop
    context.max_b_frames = spec.bf
    context.thread_count = 1
    context.sample_aspect_ratio = Fraction(*spec.pixel_aspect)
    if spec.full_range:
        context.color_range = 2
    if spec.pts_ms:
        context.time_base = Fraction(1, 1000)
    return stream


def _encode(out, stream, spec: VideoSpec, shown: int, number: int) -> None:
    frame = av.VideoFrame.from_ndarray(spec.draw(shown, stream.width, stream.height))
    if spec.full_range:
        frame = frame.reformat(format=spec.pix_fmt, dst_color_range=2)
    if spec.pts_ms:
        frame.pts, frame.time_base = spec.pts_ms[number], Fraction(1, 1000)
    else:
        frame.pts = number + spec.offset_s * spec.fps
        frame.time_base = Fraction(1, spec.fps)
    out.mux(stream.encode(frame))


def add_silence(out, stream, seconds: float) -> None:
    """Encode so many seconds of silence into an audio stream."""
    for start in range(0, int(seconds * 8000), 1024):
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 8000, start, Fraction(1, 8000)
        out.mux(stream.encode(frame))
    out.mux(stream.encode(None))


def write_audio(path: Path, cover: bool = False) -> Path:
    """A second of silence, with cover art if asked for."""
    with av.open(str(path), "w") as out:
        sound = out.add_stream("aac", rate=8000, layout="mono")
        if cover:
            picture = out.add_stream("png", rate=1)
            picture.width, picture.height, picture.pix_fmt = 64, 48, "rgb24"
            picture.disposition = Disposition.attached_pic
            out.mux(picture.encode(av.VideoFrame.from_ndarray(barcode(1, 64, 48))))
            out.mux(picture.encode(None))
        add_silence(out, sound, 1.0)
    return path


def restamp(source: Path, target: Path, stamps: Sequence[int]) -> Path:
    """The same packets with other presentation times (and decoding times), in milliseconds."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        packets = (packet for packet in old.demux(video=0) if packet.size)
        for packet, stamp in zip(packets, stamps, strict=True):
            packet.time_base = Fraction(1, 1000)
            packet.pts = packet.dts = stamp
            packet.stream = stream
            new.mux(packet)
    return target


def packet_places(path: Path) -> list[tuple[int, int]]:
    """Where the packets of the first video stream lie in the file: (offset, size)."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size]


def cut(source: Path, target: Path, size: int) -> Path:
    """The first `size` bytes of a file."""
    target.write_bytes(source.read_bytes()[:size])
    return target


def with_edit_list(source: Path, target: Path, skip_s: Fraction) -> Path:
    """An mp4 whose edit list skips the first seconds, as a phone's trimming does."""
    data = bytearray(source.read_bytes())
    place = data.index(b"elst") + 4
    with av.open(str(source)) as container:
        ticks_a_second = 1 / container.streams.video[0].time_base
    media_time = int.from_bytes(data[place + 12 : place + 16], "big") + skip_s * ticks_a_second
    shown = int.from_bytes(data[place + 8 : place + 12], "big") - skip_s * 1000
    data[place + 8 : place + 12] = int(shown).to_bytes(4, "big")
    data[place + 12 : place + 16] = int(media_time).to_bytes(4, "big")
    target.write_bytes(data)
    return target


def join(sources: Sequence[Path], target: Path) -> Path:
    """Files one after the other, as `cat` joins recordings."""
    target.write_bytes(b"".join(source.read_bytes() for source in sources))
    return target


def with_edits(source: Path, target: Path, edits: Sequence[tuple[float, float | None]]) -> Path:
    """An mp4 (index last) whose edit list presents these parts of the source, one after another:
    length and start in seconds of each; a start of None shows nothing for so long."""
    data = source.read_bytes()
    with av.open(str(source)) as container:
        ticks_a_second = 1 / container.streams.video[0].time_base
    place = data.index(b"elst") + 4
    lead = int.from_bytes(data[place + 12 : place + 16], "big")  # B-frames move the first frame
    entries = b"".join(
        struct.pack(
            ">Iihh", round(length * 1000),
            -1 if start is None else lead + round(start * ticks_a_second), 1, 0,
        )
        for length, start in edits
    )  # fmt: skip
    elst = _box(b"elst", struct.pack(">II", 0, len(edits)) + entries)
    edts_start, edts_end = _find(data, b"moov", b"trak", b"edts")
    old_size, edts = edts_end - edts_start, _box(b"edts", elst)
    data = data[:edts_start] + edts + data[edts_end:]
    for path in ((b"moov",), (b"moov", b"trak")):
        start, _ = _find(data, *path)
        size = int.from_bytes(data[start : start + 4], "big") + len(edts) - old_size
        data = data[:start] + struct.pack(">I", size) + data[start + 4 :]
    target.write_bytes(data)
    return target


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", 8 + len(body)) + kind + body


def _find(data: bytes, *kinds: bytes) -> tuple[int, int]:
    """Where a box starts and ends: the first of each kind inside of the one before."""
    start = 0
    for kind in kinds:
        while data[start + 4 : start + 8] != kind:
            start += int.from_bytes(data[start : start + 4], "big")
        end = start + int.from_bytes(data[start : start + 4], "big")
        start += 8
    return start - 8, end
