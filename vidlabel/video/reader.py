"""The video reader: describes a file, and decodes only the frames that are wanted.

Nothing in a file is trusted. Its frames are placed by their presentation timestamps, as read from
the packets, never by the frame count of a header; a damaged packet costs its own frame and no
other; and no file name or content can make FFmpeg open another file or the network.

Decoding takes most of the time, so this module decodes as little as possible, and gives the same
frames as decoding everything (tests/video/test_reader.py):

* A file of at most `WALK_BYTES` is read once without decoding. That gives the exact time of each
  frame, and the packets that the wanted frames depend on; groups of pictures without a wanted frame
  are not decoded at all, and within a group non-reference frames (most B-frames) are skipped.
* A larger file is not read as a whole: for each wanted time the demuxer seeks to the keyframe
  before it, so that the work does not grow with the length of the video. Only MPEG-TS, -PS and Ogg,
  which may hold joined recordings, and edit lists of several parts are read as a whole, once.
* Without usable timestamps (raw streams, AVI with B-frames) frames are decoded in order.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice, pairwise
from pathlib import Path

import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from vidlabel.errors import Reason, VideoError
from vidlabel.files.find import check_video_file
from vidlabel.specs import Limits, OnPacket, PixelKind, Resample, VideoInfo
from vidlabel.text import plural
from vidlabel.video.container import (
    GAP_S,
    MAYBE_STILL,
    frame_rate,
    has_timestamps,
    longest_gap_s,
    mapped_errors,
    open_container,
    promised_s,
)
from vidlabel.video.disguise import recognise
from vidlabel.video.index import RESET_S, Clock, Index, Part, Rules, Run, Stamps, make_index
from vidlabel.video.on_screen import OnScreen
from vidlabel.video.scale import DecodedFrames, FrameScaler
from vidlabel.video.stream import RUN_BYTES, Stream, VideoPacket, run_until

WALK_BYTES = 32 * 2**20
"""Files up to this size are indexed in full, with their packets in memory."""

KEEP_PACKETS = 400_000
"""Most packets kept in memory, however small they are; four hours of video."""

MAX_HIDDEN = 20_000
"""Most frames hidden by an edit list for reading by seeking, which takes quadratic time then."""

_UNREADABLE = (Reason.NOT_VIDEO, Reason.NO_VIDEO_STREAM, Reason.NO_DECODER, Reason.NO_FRAMES)


@contextmanager
def open_video(
    path: str, limits: Limits | None = None, on_packet: OnPacket = None
) -> Iterator[Video]:
    """Open a local video file, as a context manager.

    Args:
        path: a file; never a URL, a protocol or a playlist, whatever its name says.
        limits: bounds for the file; the defaults of `Limits` if None.
        on_packet: called for every packet, as a sign of progress.

    Raises:
        VideoError: the file cannot be read, with the reason. Errors of FFmpeg inside the `with`
            block become VideoErrors too.
    """
    limits = limits or Limits()
    check_video_file(path)
    try:
        with mapped_errors(path), open_container(path, limits) as container:
            yield Video(path, container, limits, on_packet)
    except VideoError as error:
        if error.reason in _UNREADABLE and (known := recognise(path)):
            raise VideoError(known[0], f"{path}: {known[1]}") from error
        raise


def probe(path: str, limits: Limits | None = None) -> VideoInfo:
    """Describe a video file; decodes its first frame. Raises VideoError as `open_video`."""
    with open_video(path, limits) as video:
        return video.info()


class Video:
    """An open video. Made by `open_video`.

    Attributes:
        duration_s: length in seconds, from the packets, not from the header.
        frame_times_s: (N,) presentation times of all frames from 0, ascending, or None if the file
            is too large to read all packets.
        fps: the mean rate that the container gives, frames per second.
        timed: whether frames have usable timestamps; else they can only be decoded in order.
    """

    def __init__(
        self, path: str, container: InputContainer, limits: Limits, on_packet: OnPacket = None
    ) -> None:
        self._path = path
        self._container = container
        self._limits = limits
        self._source = Stream(path, container, limits, on_packet)
        stream = self._source.stream
        self._pixel_aspect = float(stream.sample_aspect_ratio or 1)
        self._scaler = FrameScaler(pixel_aspect=self._pixel_aspect)
        self._time_base = self._source.time_base
        self._start = stream.start_time or 0  # pts of the first frame shown
        self.timed = has_timestamps(container, stream)
        self._edited = container.format.name.startswith("mov")
        self._gap_s = longest_gap_s(container)
        self.fps = frame_rate(stream, self.timed)
        self._frame_ticks = max(1, round(1.0 / (self.fps * self._time_base)))
        self._timeline: Index | None = None  # None if not all packets were read, or have no times
        self._index: Index | None = None  # the same; None: read by seeking, or in order
        self._parts = [Part(0, None)]
        self._screen: OnScreen | None = None  # of frames that are decoded in order
        self._walked: Iterator[VideoPacket] | None = None  # packets from `_place` on, by index
        self._place = 0
        self.frame_times_s: NDArray[np.float64] | None = None
        self.duration_s = 0.0
        small = Path(path).stat().st_size <= WALK_BYTES
        if small or not self.timed or not self._find_end():
            self._walk(keep=small)
        if self.duration_s > limits.duration_s:
            raise VideoError(
                Reason.TOO_LARGE,
                f"{path}: {self.duration_s:.0f} s long, the limit is {limits.duration_s:.0f} s "
                "(--max-duration)",
            )

    def info(self) -> VideoInfo:
        """Container, codec, displayed size, length; decodes one frame to learn the rotation."""
        first = next(self._source.frames(self._source.all_packets()), None)
        if first is None:
            raise self._source.no_frames()
        width_px, height_px, rotation_deg = self._scaler.displayed_size(first)
        return VideoInfo(
            container=self._container.format.name.split(",")[0],
            codec=self._source.context.name,
            width_px=width_px,
            height_px=height_px,
            rotation_deg=rotation_deg,
            fps=self.fps,
            duration_s=self.duration_s,
            frames=None if self.frame_times_s is None else len(self.frame_times_s),
            audio=bool(self._container.streams.audio),
        )

    def frames_at(
        self, times_s: Sequence[float], side_px: int, kind: PixelKind = "rgb", aspect: float = 0.0,
        resample: Resample = "area",
    ) -> DecodedFrames:  # fmt: skip
        """Decode the frames on screen at the given times.

        Args:
            times_s: seconds from the start of the video, any order, repeats allowed.
            side_px: the shorter side of the frames returned.
            kind, aspect, resample: channels and scaling, as of a `FrameScaler`.

        Raises:
            VideoError: `no_frames` if nothing could be decoded at all.
        """
        self._scaler = FrameScaler(side_px, kind, self._pixel_aspect, aspect, resample)
        times = np.maximum(np.asarray(times_s, dtype=np.float64), 0.0)
        order = np.argsort(times, kind="stable")
        targets = times[order]
        found = self._reach(targets)
        if not found:
            raise self._source.no_frames()
        frames = [found[i] for i in np.argsort(order)]  # in the order of `times_s` again
        pixels, appeared = np.stack([each for _, each in frames]), [time_s for time_s, _ in frames]
        decoded = DecodedFrames(pixels, np.array(appeared), self._damage())
        self._source.broken = 0  # a later call tells only what is lost then
        return decoded

    def frames(self, side_px: int, until_s: float = math.inf) -> Generator[_Found, None, str]:
        """Decode one frame after another from the start, in constant memory.

        Yields seconds from the start, ascending, and RGB pixels (H, W, 3) uint8, scaled as by
        `frames_at`, of all frames before `until_s`; returns what could not be decoded, in words.
        Raises VideoError `no_frames` if nothing could be decoded.
        """
        scaler = FrameScaler(side_px, pixel_aspect=self._pixel_aspect)
        # A frame is on screen until a later one; of those that appear at once, the last one stays.
        waiting: tuple[float, VideoFrame] | None = None
        for time_s, frame in self._in_order():
            if time_s >= until_s:
                break
            if waiting is not None and time_s > waiting[0]:
                yield waiting[0], scaler.scale(waiting[1])
            if time_s >= (waiting[0] if waiting else 0.0):  # an edit list hides what is before 0
                waiting = time_s, frame
                self._source.broken += frame.is_corrupt
        if waiting is None:
            raise self._source.no_frames()
        yield waiting[0], scaler.scale(waiting[1])
        return self._damage()

    # --- how the wanted frames are reached ----------------------------------------------------

    def _reach(self, targets_s: NDArray[np.float64]) -> list[_Found]:
        """The frames on screen at ascending times; empty if none can be decoded."""
        if not self.timed:
            return self._by_order(targets_s)
        if self._index is not None:
            return self._by_index(self._index, self._to_pts(targets_s))
        return self._by_seeking(targets_s)

    def _by_index(self, index: Index, targets: NDArray[np.int64]) -> list[_Found]:
        """Decode only the groups of pictures that hold wanted frames, from a full index."""
        wanted = [index.wanted(int(t)) for t in targets]
        got: dict[int, NDArray[np.uint8]] = {}
        runs = index.runs(wanted)
        if self._walked is None or runs[0].first < self._place:
            self._walked, self._place = self._source.all_packets(), 0
        for run in runs:

            def further(run: Run = run) -> Iterator[VideoPacket]:
                first = index.run_start(run.first, run.part, back=2)
                return islice(self._source.all_packets(), first, run.last + 1)

            own = islice(self._walked, run.first - self._place, run.last + 1 - self._place)
            self._place = run.last + 1
            found = self._source.decode_run(self._scaler, own, run.pts, further)
            got |= {run.part.time(pts): pixels for pts, pixels in found.items()}
            deque(own, maxlen=0)  # what was not needed of them
        return self._assign(wanted, got)

    def _by_seeking(self, targets_s: NDArray[np.float64]) -> list[_Found]:
        """Seek to the keyframe before each group of targets; the cost is that of the groups."""
        targets = self._to_pts(targets_s)
        wanted: list[int] = []
        got: dict[int, NDArray[np.uint8]] = {}
        for group in self._groups(targets):
            found = self._local_index(int(group[0]), int(group[-1]))
            if found is None:  # seeking does not work here
                if self._timeline is None:
                    self._walk(keep=False)
                self._index = self._timeline
                return self._reach(targets_s)
            index, packets = found
            members = [index.wanted(int(t)) for t in group]
            wanted += members

            def further(near: _Near = found, last: int = int(group[-1])) -> list[VideoPacket]:
                for _ in range(2):
                    near = self._local_index(int(near[0].pts[0]) - 1, last) or near
                return near[1]

            got |= self._source.decode_run(self._scaler, packets, set(members), further)
        return self._assign(wanted, got)

    def _groups(self, targets: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Targets that share a seek: each within a second of the one before, and so few that their
        packets fit into memory."""
        rate = Path(self._path).stat().st_size / max(self.duration_s, 1.0)  # bytes per second
        near, longest = (max(1, round(s / self._time_base)) for s in (1.0, RUN_BYTES / 2 / rate))
        breaks = (np.diff(targets) > near) | (np.diff(targets // longest) > 0)
        return np.split(targets, np.flatnonzero(breaks) + 1)

    def _local_index(self, first: int, last: int | None) -> _Near | None:
        """The packets from a keyframe at or before `first` until `last` is certainly included.

        A seek may land late (in MPEG-TS most do), so the result is checked, and the seek repeated
        from further back. `last` None means the end. None if the place cannot be reached, or if
        timestamps step back there.
        """
        for back_s in (0.0, 1.0, 4.0, 16.0, 64.0):
            offset = first - round(back_s / self._time_base)
            beginning = offset <= self._start
            if not beginning and not self._source.seek(offset):
                return None
            # Seeking to the very start can land late as well; opening the file again cannot.
            source = self._source.all_packets() if beginning else self._source.packets()
            packets = run_until(source, last)
            if not packets:
                return None
            index = make_index(Stamps.of(packets), Rules(), self._frame_ticks)
            if index is None or len(index.parts) > 1:
                return None
            if index.pts[0] <= first or beginning:
                return index, packets
        return None

    def _by_order(self, targets_s: NDArray[np.float64]) -> list[_Found]:
        """Decode from the start, or from where an earlier call has ended, up to the last target."""
        if self._screen is None or targets_s[0] < self._screen.time_s:
            self._screen = OnScreen(self._in_order())
        return self._screen.at(targets_s, self._scaler)

    def _in_order(self) -> Iterator[tuple[float, VideoFrame]]:
        """All frames from the start, and their times in seconds: presentation times, or those of a
        `Clock` if there are none."""
        clock = Clock(self._time_base, self.fps, self._gap_s)
        packets = self._source.all_packets()
        for part in self._parts:
            for frame in self._source.frames(islice(packets, part.count)):
                if not self.timed:
                    yield clock.next(frame.dts), frame
                elif frame.pts is not None:
                    yield (part.time(frame.pts) - self._start) * self._time_base, frame

    def _assign(self, wanted: list[int], got: dict[int, NDArray[np.uint8]]) -> list[_Found]:
        """One frame for every wanted pts; the nearest decoded one if its own is lost."""
        if not got:
            return []
        available = np.array(sorted(got), dtype=np.int64)
        found = []
        for pts in wanted:
            if pts not in got:
                self._source.broken += 1
                pts = int(available[np.abs(available - pts).argmin()])
            found.append(((pts - self._start) * self._time_base, got[pts]))
        return found

    # --- when frames are shown ----------------------------------------------------------------

    def _find_end(self) -> bool:
        """Find the length of a large file from its last packets.

        False if that is impossible, or if only all packets tell when frames are shown: recordings
        may be joined, or an edit list has several parts.
        """
        stream = self._source.stream
        header_s = promised_s(self._container, stream, self._start * self._time_base)
        entries = stream.index_entries if self._edited else ()
        back = any(later.timestamp <= entry.timestamp for entry, later in pairwise(entries))
        if self._gap_s <= GAP_S or header_s <= 0 or back:
            return False
        found = self._local_index(self._start + round(header_s / self._time_base), None)
        if found is None or self._source.broken or found[0].times[-1] < self._start:
            self._source.broken = 0
            return False
        self.duration_s = (found[0].end - self._start) * self._time_base
        return True

    def _walk(self, keep: bool) -> None:
        """Read all packets without decoding: exact times, exact length, whether the end is cut."""
        stamps = Stamps()
        kept: list[VideoPacket] = []
        for packet in self._source.packets() if keep else self._source.all_packets():
            stamps.add(packet)
            if keep:
                kept.append(packet)
            if len(kept) > KEEP_PACKETS:
                keep, kept = False, []
        if not stamps.pts:
            raise VideoError(Reason.NO_FRAMES, f"{self._path}: opens, but holds no video data")
        if len(stamps.pts) == 1 and self._container.format.name in MAYBE_STILL:
            raise VideoError(Reason.NOT_VIDEO, f"{self._path}: a still picture, not a video")
        self._source.kept = kept
        rules = Rules(self._gap_s / self._time_base, RESET_S / self._time_base, self._edited)
        index = make_index(stamps, rules, self._frame_ticks) if self.timed else None
        if index is not None:
            seekable = len(index.parts) == 1 and stamps.shown.count(0) <= MAX_HIDDEN
            self._index = None if seekable and not keep else index
            self._timeline, self._parts = index, index.parts
            self._start = int(index.times[0])
            self.frame_times_s = (index.times - self._start).astype(np.float64) * self._time_base
            self.duration_s = (index.end - self._start) * self._time_base
        else:
            self.timed = False
            clock = Clock(self._time_base, self.fps, self._gap_s)
            self.frame_times_s = np.array([clock.next(dts) for dts in stamps.dts])
            last_s = stamps.last_ticks * self._time_base or 1.0 / self.fps
            self.duration_s = float(self.frame_times_s[-1]) + last_s

    def _to_pts(self, seconds: NDArray[np.float64]) -> NDArray[np.int64]:
        # The small addend keeps the exact time of a frame from being rounded to just before it.
        return (np.floor(seconds / self._time_base + 1e-3)).astype(np.int64) + self._start

    def _damage(self) -> str:
        parts, stream = [], self._source.stream
        if self._source.broken:
            parts.append(f"{plural(self._source.broken, 'frame')} could not be decoded")
        header_s = promised_s(self._container, stream, self._start * self._time_base)
        # The container's length may be that of a longer stream, or an estimate if times jump.
        own = (stream.duration or len(self._container.streams) == 1) and self._gap_s > GAP_S
        if own and header_s - self.duration_s > max(0.5, 0.05 * header_s):
            parts.append(f"the file ends after {self.duration_s:.2f} s of {header_s:.2f} s")
        return "; ".join(parts)


_Found = tuple[float, NDArray[np.uint8]]
_Near = tuple[Index, list[VideoPacket]]
