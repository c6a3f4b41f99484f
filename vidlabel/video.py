"""Read video: open safely, say what is in a file, and decode just the frames that are wanted.

A file is trusted in nothing. Its frames are placed by their presentation timestamps, as read from
the packets, never by a header's frame count; a damaged packet costs its own frame and no other;
and no file name or content can make FFmpeg open another file or the network.

Most of the time goes into decoding, so most of this module is about decoding less:

* A file of at most `WALK_BYTES` is read once without decoding. That gives the exact time of each
  frame, and which packets the wanted ones depend on; groups of pictures without a wanted frame are
  not decoded at all, and within a group non-reference frames (most B-frames) are skipped.
* A larger file is not walked through: for each wanted time the demuxer seeks to the keyframe
  before it, so that the work does not grow with the length of the video.
* Where timestamps cannot be had (raw streams, AVI with B-frames) frames are decoded in order.

All three give the same frames as decoding everything; tests/test_video.py holds them to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import av.error
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream
from numpy.typing import NDArray

from vidlabel.errors import Reason, VideoError
from vidlabel.files import check_video_file
from vidlabel.pixels import FrameScaler
from vidlabel.specs import Limits, VideoInfo

WALK_BYTES = 32 * 2**20
"""Files up to this size are indexed in full; their packets are kept in memory meanwhile."""

RUN_BYTES = 64 * 2**20
"""Most bytes of packets kept in memory between a keyframe and the frame wanted after it."""

MAX_FAILURES = 8
"""Decoding stops after so many broken packets in a row."""

CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,live_flv,asf,ogg,"
    "h264,hevc,m4v,ivf,obu,rm,mxf,nut,dv,wtv"
)
"""FFmpeg demuxers that read one self-contained video file. Playlists and scripts (hls, dash,
concat, sdp), which open other files, and still images are not among them."""

ORDER_ONLY = frozenset({"h264", "hevc", "m4v", "mpegvideo", "obu"})
"""Raw streams: no timestamps at all."""


@dataclass(frozen=True)
class Frames:
    """Decoded frames, in the order of the times that were asked for.

    `pixels` is (N, H, W, C) uint8, range 0..255, C = 3 for RGB and 1 for luma, rotated for
    display; `times_s` (N,) are the true presentation times of the frames, 0 = start of the video.
    """

    pixels: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    damaged: str
    """What could not be decoded, in words; empty for a healthy file."""


@dataclass(frozen=True)
class _Index:
    """The packets of a video, in decoding order, with what is needed to decode few of them."""

    pts: NDArray[np.int64]
    keyframe: NDArray[np.bool_]
    packets: list[Packet]

    def wanted(self, target: int) -> int:
        """The pts of the frame on screen at `target`: the latest one not after it."""
        shown = self.pts[self.pts <= target]
        return int(shown.max() if shown.size else self.pts.min())

    def run_start(self, position: int) -> int:
        """Position of the keyframe that decoding the packet at `position` must start from."""
        starts = np.flatnonzero(self.keyframe[: position + 1])
        if starts.size == 0:
            return 0
        start = int(starts[-1])
        # A leading picture (decoded after a keyframe, shown before it) may refer to the group
        # before; start there.
        if self.pts[position] < self.pts[start] and starts.size > 1:
            start = int(starts[-2])
        return start


@contextmanager
def open_video(path: str, limits: Limits | None = None) -> Iterator[Video]:
    """Open a local video file, as a context manager.

    Args:
        path: a file; never a URL, a protocol or a playlist, whatever its name says.
        limits: what the file may cost; the defaults of `Limits` if None.

    Raises:
        VideoError: the file cannot be read, with the reason. Errors of FFmpeg inside the `with`
            block become VideoErrors too.
    """
    limits = limits or Limits()
    check_video_file(path)
    with _mapped_errors(path), _open_container(path) as container:
        yield Video(path, container, limits)


def probe(path: str, limits: Limits | None = None) -> VideoInfo:
    """What is in a video file; decodes its first frame. Raises VideoError as `open_video`."""
    with open_video(path, limits) as video:
        return video.info()


class Video:
    """An open video. Made by `open_video`.

    Attributes:
        duration_s: length in seconds, counted from the packets where they were walked through.
        frame_times_s: (N,) presentation times of all frames from 0, ascending, or None where the
            file was too large to walk through.
    """

    def __init__(self, path: str, container: InputContainer, limits: Limits) -> None:
        self._path = path
        self._container = container
        self._limits = limits
        self._stream = _pick_stream(container)
        self._context = self._stream.codec_context
        self._pixel_aspect = float(self._stream.sample_aspect_ratio or 1)
        self._scaler = FrameScaler(pixel_aspect=self._pixel_aspect)
        self._broken = 0  # packets that could not be read or decoded
        self._walked_ok = True
        self._check_size(self._context.width, self._context.height)
        # Decoders honour max_pixels only as an option of their own; the container ignores it.
        self._context.options = {"max_pixels": str(limits.pixels)}
        self._context.thread_type = "NONE"  # threads come from decoding many files at once
        self._context.thread_count = 1
        if self._stream.time_base is None:
            raise VideoError(Reason.NOT_VIDEO, f"{path}: the video stream has no time base")
        self._time_base = float(self._stream.time_base)
        rate = self._stream.average_rate or self._stream.guessed_rate
        self._fps = float(rate) if rate else 25.0
        self._kept: list[Packet] = []
        self._start = self._stream.start_time or 0
        self._index: _Index | None = None
        # AVI stores no presentation times; FFmpeg guesses them, wrongly once B-frames reorder.
        guessed = self._container.format.name == "avi" and self._context.has_b_frames
        self._ordered = guessed or self._container.format.name in ORDER_ONLY
        self.frame_times_s: NDArray[np.float64] | None = None
        self.duration_s = self._header_duration()
        large = Path(path).stat().st_size > WALK_BYTES
        if not large or not self.duration_s:
            self._walk(keep=not large)
        if self.duration_s > limits.duration_s:
            raise VideoError(
                Reason.TOO_LARGE,
                f"{path}: {self.duration_s:.0f} s long, the limit is {limits.duration_s:.0f} s "
                "(--max-duration)",
            )

    def info(self) -> VideoInfo:
        """Container, codec, displayed size, length; decodes one frame to know the rotation."""
        first = next(self._decoded(self._demux()), None)
        if first is None:
            raise VideoError(Reason.NO_FRAMES, f"{self._path}: no frame can be decoded")
        width_px, height_px, rotation_deg = self._scaler.displayed_size(first)
        return VideoInfo(
            container=self._container.format.name.split(",")[0],
            codec=self._context.name,
            width_px=width_px,
            height_px=height_px,
            rotation_deg=rotation_deg,
            fps=self._fps,
            duration_s=self.duration_s,
            frames=None if self.frame_times_s is None else len(self.frame_times_s),
            audio=bool(self._container.streams.audio),
        )

    def frames_at(self, times_s: Sequence[float], side_px: int, gray: bool = False) -> Frames:
        """Decode the frames on screen at the given times.

        Args:
            times_s: seconds from the start of the video, any order, repeats allowed.
            side_px: the shorter side of the frames returned; the aspect as displayed is kept (up
                to 4:1).
            gray: luma (C = 1) instead of RGB.

        Raises:
            VideoError: `no_frames` if nothing could be decoded at all.
        """
        self._scaler = FrameScaler(side_px, gray, self._pixel_aspect)
        order = np.argsort(np.asarray(times_s, dtype=np.float64), kind="stable")
        targets = np.maximum(np.asarray(times_s, dtype=np.float64)[order], 0.0)
        if self._ordered:
            found = self._by_order(targets)
        elif self._index is not None:
            found = self._by_index(self._index, self._to_pts(targets))
        else:
            found = self._by_seeking(self._to_pts(targets))
        if not found:
            raise VideoError(
                Reason.NO_FRAMES, f"{self._path}: opens, but no frame can be decoded"
            )
        position = np.empty_like(order)
        position[order] = np.arange(len(order))
        frames = [found[i] for i in position]
        return Frames(
            pixels=np.stack([pixels for _, pixels in frames]),
            times_s=np.array([time_s for time_s, _ in frames]),
            damaged=self._damage(),
        )

    # --- how the wanted frames are reached ----------------------------------------------------

    def _by_index(self, index: _Index, targets: NDArray[np.int64]) -> list[_Found]:
        """Decode only the groups of pictures that hold wanted frames, from a full index."""
        wanted = [index.wanted(int(t)) for t in targets]
        position_of = {int(pts): i for i, pts in enumerate(index.pts)}
        runs: list[tuple[int, int, set[int]]] = []  # [first, last] positions, wanted pts
        for pts in sorted(set(wanted), key=lambda p: position_of[p]):
            position = position_of[pts]
            start = index.run_start(position)
            if runs and start <= runs[-1][1]:
                first, last, members = runs[-1]
                runs[-1] = (first, max(last, position), members | {pts})
            else:
                runs.append((start, position, {pts}))
        got: dict[int, NDArray[np.uint8]] = {}
        for first, last, members in runs:
            got |= self._decode_run(index.packets[first : last + 1], members)
        return self._assign(wanted, got)

    def _by_seeking(self, targets: NDArray[np.int64]) -> list[_Found]:
        """Seek to the keyframe before each group of targets; the cost is that of the groups."""
        near = max(1, round(1.0 / self._time_base))  # targets within a second share a seek
        breaks = np.flatnonzero(np.diff(targets) > near) + 1
        wanted: list[int] = []
        got: dict[int, NDArray[np.uint8]] = {}
        for group in np.split(targets, breaks):
            index = self._local_index(int(group[0]), int(group[-1]))
            if index is None:  # seeking does not work here, or the header's duration is untrue
                self._walk(keep=False)
                return self._by_order(self._to_seconds(targets))
            members = [index.wanted(int(t)) for t in group]
            wanted += members
            got |= self._decode_run(index.packets, set(members))
        return self._assign(wanted, got)

    def _local_index(self, first: int, last: int) -> _Index | None:
        """The packets from a keyframe at or before `first` to where `last` is surely included.

        A seek may land late (MPEG-TS mostly does), so what it gives is checked, and repeated
        from further back. None if the place cannot be reached.
        """
        for back_s in (0.0, 1.0, 4.0, 16.0, 64.0):
            offset = max(self._start, first - round(back_s / self._time_base))
            self._container.seek(offset, stream=self._stream, backward=True)
            packets: list[Packet] = []
            size = 0
            for packet in self._demux():
                if packet.pts is None or packet.dts is None:
                    return None
                if not packets and not packet.is_keyframe:
                    continue
                packets.append(packet)
                size += packet.size
                # Packets come in dts order and dts <= pts, so no later one can be shown before.
                if packet.dts > last:
                    break
                if size > RUN_BYTES:
                    return None
            index = _make_index(packets)
            if index is not None and (index.pts[0] <= first or offset == self._start):
                return index
            if index is None and back_s >= 4.0:
                return None
        return None

    def _decode_run(self, packets: list[Packet], wanted: set[int]) -> dict[int, NDArray[np.uint8]]:
        """Decode packets that start with a keyframe; scaled pixels of the wanted pts.

        Where a wanted frame turns out broken, the next frame that decodes stands in for it.
        """
        got: dict[int, NDArray[np.uint8]] = {}
        pending = sorted(wanted)
        self._context.flush_buffers()
        for frame in self._decoded(packets, wanted):
            if not pending:
                break
            if frame.pts is None or frame.pts < pending[0]:
                continue
            pixels = self._scaler.scale(frame)
            self._broken += frame.is_corrupt
            while pending and pending[0] <= frame.pts:
                if frame.pts != pending[0]:
                    self._broken += 1
                got[pending.pop(0)] = pixels
        self._context.flush_buffers()
        return got

    def _by_order(self, targets_s: NDArray[np.float64]) -> list[_Found]:
        """Decode from the start, frame after frame, up to the last target. Any length, flat memory.

        Times are decoding timestamps counted from the first frame's, or, without any, the frame's
        number over the frame rate: all that such streams know.
        """
        found: list[_Found] = []
        previous: VideoFrame | None = None
        previous_s = 0.0
        first_dts: int | None = None
        pixels: NDArray[np.uint8] | None = None
        for number, frame in enumerate(self._decoded(self._all_packets())):
            first_dts = frame.dts if first_dts is None else first_dts
            if frame.dts is not None and first_dts is not None:
                time_s = (frame.dts - first_dts) * self._time_base
            else:
                time_s = previous_s + 1.0 / self._fps if number else 0.0
            while len(found) < len(targets_s) and targets_s[len(found)] < time_s - 1e-6:
                if pixels is None:
                    pixels = self._scaler.scale(previous or frame)
                found.append((previous_s, pixels))
            if len(found) == len(targets_s):
                return found
            previous, previous_s, pixels = frame, time_s, None
        if previous is not None:
            last = self._scaler.scale(previous)
            found += [(previous_s, last)] * (len(targets_s) - len(found))
        return found

    def _assign(self, wanted: list[int], got: dict[int, NDArray[np.uint8]]) -> list[_Found]:
        """One frame for every wanted pts; the nearest decoded one where its own is lost."""
        if not got:
            return []
        available = np.array(sorted(got), dtype=np.int64)
        found = []
        for pts in wanted:
            if pts not in got:
                self._broken += 1
                pts = int(available[np.abs(available - pts).argmin()])
            found.append(((pts - self._start) * self._time_base, got[pts]))
        return found

    # --- packets and frames -------------------------------------------------------------------

    def _walk(self, keep: bool) -> None:
        """Read all packets without decoding: exact times, exact length, what is cut off."""
        promised_s = self._header_duration()
        packets: list[Packet] = []
        pts: list[int | None] = []
        dts: list[int] = []
        last_ticks = 0
        source = self._demux() if keep else self._all_packets()
        for packet in source:
            if len(pts) >= self._limits.frames:
                raise VideoError(
                    Reason.TOO_LARGE, f"{self._path}: over {self._limits.frames} frames"
                )
            if packet.is_discard:  # before the start of an edit list: decoded, never shown
                last_ticks = 0
            pts.append(packet.pts)
            last_ticks = packet.duration or last_ticks
            if packet.dts is not None:
                dts.append(packet.dts)
            if keep:
                packets.append(packet)
        if not pts:
            raise VideoError(Reason.NO_FRAMES, f"{self._path}: opens, but holds no video data")
        self._kept = packets
        index = _make_index(packets) if keep else None
        frame_s = last_ticks * self._time_base or 1.0 / self._fps
        if index is not None and not self._ordered:
            self._index = index
            shown = np.sort(index.pts)
            self._start = int(shown[0])
            self.frame_times_s = (shown - self._start) * self._time_base
        else:
            self._ordered = True
            ticks = np.sort(np.array(dts, dtype=np.int64))
            if len(ticks) == len(pts):
                self.frame_times_s = (ticks - ticks[0]) * self._time_base
            else:
                self.frame_times_s = np.arange(len(pts)) / self._fps
        self.duration_s = float(self.frame_times_s[-1]) + frame_s
        self._walked_ok = promised_s - self.duration_s <= max(0.5, 0.05 * promised_s)

    def _all_packets(self) -> Iterator[Packet]:
        """The packets from the start: those kept in memory, or read again."""
        if self._kept:
            self._context.flush_buffers()
            yield from self._kept
            return
        with _open_container(self._path) as container:
            again = container.streams[self._stream.index]
            for packet in self._demux(container, again):  # type: ignore[arg-type]
                yield packet

    def _demux(
        self, container: InputContainer | None = None, stream: VideoStream | None = None
    ) -> Iterator[Packet]:
        """Packets of the video stream; reading goes on after damage, up to MAX_FAILURES."""
        container = container or self._container
        source = container.demux(stream or self._stream)
        failures = 0
        while failures < MAX_FAILURES:
            try:
                packet = next(source)
            except StopIteration:
                return
            except av.error.InterruptedError:
                raise
            except av.FFmpegError:
                failures += 1
                self._broken += 1
                source = container.demux(stream or self._stream)
                continue
            failures = 0
            if packet.size:  # an empty packet is PyAV's flush signal at the end
                yield packet

    def _decoded(
        self, packets: Iterable[Packet], wanted: set[int] | None = None
    ) -> Iterator[VideoFrame]:
        """Decode packet by packet, past damage; with `wanted`, skip what nothing depends on."""
        failures = 0
        for packet in packets:
            if wanted is not None:
                # Skipping a non-reference frame changes no pixel of any other.
                keep = packet.pts in wanted
                self._context.skip_frame = "DEFAULT" if keep else "NONREF"
            try:
                frames = self._context.decode(packet)
            except av.error.InterruptedError:
                raise
            except (av.FFmpegError, ValueError):
                self._broken += 1
                failures += 1
                if failures >= MAX_FAILURES:
                    break
                continue
            failures = 0
            for frame in frames:
                self._check_size(frame.width, frame.height)
                yield frame
        self._context.skip_frame = "DEFAULT"
        try:
            yield from self._context.decode(None)
        except av.error.InterruptedError:
            raise
        except (av.FFmpegError, ValueError):
            self._broken += 1

    # --- small things -------------------------------------------------------------------------

    def _header_duration(self) -> float:
        if self._stream.duration:
            return float(self._stream.duration) * self._time_base
        if self._container.duration:
            return self._container.duration / 1_000_000  # AV_TIME_BASE: microseconds
        return 0.0

    def _to_pts(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        # The small addend keeps a time that is a frame's own from falling just before it.
        return (np.floor(seconds / self._time_base + 1e-3)).astype(np.int64) + self._start

    def _to_seconds(self, pts: NDArray[np.int64]) -> NDArray[np.float64]:
        return (pts - self._start) * self._time_base

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._limits.pixels:
            raise VideoError(
                Reason.TOO_LARGE,
                f"{self._path}: frames of {width}x{height}, the limit is "
                f"{self._limits.pixels} pixels (--max-pixels)",
            )

    def _damage(self) -> str:
        parts = []
        if self._broken:
            parts.append(f"{self._broken} frames could not be decoded")
        if not self._walked_ok:
            parts.append(
                f"the file ends after {self.duration_s:.2f} s of {self._header_duration():.2f} s"
            )
        return "; ".join(parts)


_Found = tuple[float, NDArray[np.uint8]]


def _make_index(packets: list[Packet]) -> _Index | None:
    """An index, or None where a packet has no presentation time or two share one."""
    pts = [packet.pts for packet in packets if not packet.is_discard]
    if not pts or None in pts or len(set(pts)) != len(pts):
        return None
    return _Index(
        pts=np.array([p.pts for p in packets], dtype=np.int64),
        keyframe=np.array([p.is_keyframe for p in packets], dtype=np.bool_),
        packets=packets,
    )


def _open_container(path: str) -> InputContainer:
    # The absolute path behind `file:` keeps a name such as `concat:x` or `http:x` a name, the
    # format list keeps scripts and playlists out, the protocol list keeps the network out.
    return av.open(
        "file:" + str(Path(path).absolute()),
        options={"format_whitelist": CONTAINERS, "protocol_whitelist": "file"},
        metadata_errors="replace",
    )


def _pick_stream(container: InputContainer) -> VideoStream:
    """The largest video stream that is not cover art, the first of equals.

    Raises:
        VideoError: `no_video_stream`, or `no_decoder` where FFmpeg has none for its codec.
    """
    name = container.name.removeprefix("file:")
    cover = av.stream.Disposition.attached_pic
    streams = [s for s in container.streams.video if not s.disposition & cover]
    if not streams:
        kind = "only cover art" if container.streams.video else "no video stream"
        raise VideoError(Reason.NO_VIDEO_STREAM, f"{name}: {kind} in this file")
    usable = [s for s in streams if s.codec_context is not None]
    if not usable:
        raise VideoError(Reason.NO_DECODER, f"{name}: no decoder for its video codec")
    return max(usable, key=lambda s: (s.codec_context.width * s.codec_context.height, -s.index))


@contextmanager
def _mapped_errors(path: str) -> Iterator[None]:
    """The one place where errors of FFmpeg and the system become reasons."""
    try:
        yield
    except av.error.InterruptedError as error:  # a signal, not a bad file
        raise KeyboardInterrupt from error
    except VideoError:
        raise
    except (av.error.DecoderNotFoundError, av.error.PatchWelcomeError) as error:
        raise VideoError(Reason.NO_DECODER, f"{path}: {_plain(error)}") from error
    except (PermissionError, FileNotFoundError) as error:
        missing = isinstance(error, FileNotFoundError)
        reason = Reason.NOT_FOUND if missing else Reason.PERMISSION
        raise VideoError(reason, f"{path}: {_plain(error)}") from error
    except MemoryError as error:
        raise VideoError(Reason.TOO_LARGE, f"{path}: not enough memory to decode it") from error
    except (av.error.InvalidDataError, av.error.ArgumentError, av.error.EOFError) as error:
        detail = f"{path}: not a video that can be read ({_plain(error)})"
        raise VideoError(Reason.NOT_VIDEO, detail) from error
    except (av.FFmpegError, OSError, UnicodeDecodeError, IndexError, ValueError) as error:
        raise VideoError(Reason.READ_ERROR, f"{path}: {_plain(error)}") from error


def _plain(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(text).splitlines()[0]

