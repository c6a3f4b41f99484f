"""A stretch of a video, at any speed, as frames at a constant rate, by their true times."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Event

from vidlabel.errors import Reason, VideoError
from vidlabel.render.flow_panel import FlowPanel
from vidlabel.render.frames import DEFAULT_WIDTH_PX, SAMPLES, PreviewFrames, on_screen, preview_fps
from vidlabel.render.parallel import until
from vidlabel.render.spec import SMALLEST_PX, RenderSpec
from vidlabel.render.timeline_strip import Span
from vidlabel.specs import VideoItem
from vidlabel.text import clock_time
from vidlabel.video.index import EARLY_S
from vidlabel.video.reader import Video, open_video
from vidlabel.video.scale import Pixels

LONGEST_S = 60.0
"""A longer stretch plays faster, by a whole number, so that its preview is not longer."""

CHUNK_BYTES = 32 * 2**20
"""Most bytes of frames that are decoded at a time."""

CHUNK_S = 4.0
"""Longest part of a video that is decoded at a time, where more than one frame a second is shown:
its packets are in memory."""

_SPARSE_S = 1.0
_IN_ORDER_SPEED = 2.0  # up to here most frames are decoded anyway, and seeking costs more


@dataclass(frozen=True)
class Stretch:
    """A part of a video in seconds, and how fast it plays."""

    start_s: float = 0.0
    end_s: float = math.inf
    """At most; the end of the video may come first."""
    speed: float | None = None
    """Seconds of the video for each second that is shown; None: the smallest whole number for which
    the preview lasts at most LONGEST_S."""


class StretchFrames:
    """The frames of a stretch of a video. Only what is near to them is decoded, wherever the file
    has timestamps to seek by, and a chunk of them at a time is in memory.

    Args:
        width_px: width of the frames; None uses the video's own, up to DEFAULT_WIDTH_PX.
        spec: frame rate of the preview.
        opened: the video, if it is open already.

    Attributes:
        fps: pictures per second of the preview.
        end_s: length of the preview.
        start_s, speed: the moment t of the preview shows the video at start_s + t * speed.
        pairs: (frame, next frame) at SAMPLES moments spread over the stretch, each only once.
        damaged: what could not be decoded, in words; known when the frames have been read.

    Raises:
        VideoError: by any method, if the video cannot be read, or ends before the stretch begins.
    """

    def __init__(
        self, item: VideoItem, width_px: int | None, spec: RenderSpec, stretch: Stretch,
        opened: Video | None = None,
    ) -> None:  # fmt: skip
        if item.problem is not None:
            raise VideoError(item.problem, item.detail)
        self._path, self._opened = item.path, opened
        self.damaged = ""
        self.start_s = max(0.0, stretch.start_s)
        with self._open() as video:
            if self.start_s >= video.duration_s:
                raise VideoError(
                    Reason.NO_FRAMES,
                    f"{item.path}: ends at {clock_time(video.duration_s)}, before the segment at "
                    f"{clock_time(self.start_s)} begins",
                )
            info = video.info()
            share = (width_px or min(info.width_px, DEFAULT_WIDTH_PX)) / info.width_px
            self._side_px = max(SMALLEST_PX, round(min(info.width_px, info.height_px) * share))
            self._until_s = min(stretch.end_s, video.duration_s)
            length_s = self._until_s - self.start_s
            self.speed = stretch.speed or max(1.0, math.ceil(length_s / LONGEST_S))
            self.end_s = length_s / self.speed
            self.fps = spec.fps or preview_fps(video, self._until_s)
            count = max(1, math.floor(self.end_s * self.fps + 0.5))
            self.moments_s = [number / self.fps for number in range(count)]
            self.pairs = self._samples(video)

    def _samples(self, video: Video) -> list[tuple[Pixels, Pixels]]:
        last = len(self.moments_s) - 1
        places = [int((number + 0.5) / SAMPLES * (last + 1)) for number in range(SAMPLES)]
        places = sorted({min(place, max(0, last - 1)) for place in places})
        wanted = [
            self.moments_s[each] for place in places for each in (place, min(place + 1, last))
        ]
        found = video.frames_at([self.true_s(each) for each in wanted], self._side_px)
        return [(found.pixels[n], found.pixels[n + 1]) for n in range(0, len(wanted), 2)]

    @property
    def span(self) -> Span:
        """What of the video is shown."""
        return Span(self.start_s, self._until_s, self.speed)

    def true_s(self, moment_s: float) -> float:
        """The time of the video that is shown at a moment of the preview."""
        return self.start_s + moment_s * self.speed

    def at(self, moments_s: Sequence[float]) -> Iterator[tuple[int, Pixels]]:
        """Each frame that is on screen at one of these moments (ascending), and at how many."""
        times_s = [self.true_s(moment_s) for moment_s in moments_s]
        early_s = min(EARLY_S, 0.25 / self.fps)
        with self._open() as video:
            near = self.start_s == 0 and self.speed <= _IN_ORDER_SPEED
            if near or not video.timed:
                yield from on_screen(self._in_order(video), times_s, early_s)
                return
            for chunk in self._chunks([time_s + early_s for time_s in times_s]):
                found = video.frames_at(chunk, self._side_px)
                self.damaged = found.damaged
                ends = [n for n in range(1, len(chunk)) if found.times_s[n] > found.times_s[n - 1]]
                for first, end in zip([0, *ends], [*ends, len(chunk)], strict=True):
                    yield end - first, found.pixels[first]

    def _in_order(self, video: Video) -> Iterator[tuple[float, Pixels]]:
        self.damaged = yield from video.frames(self._side_px, self._until_s)

    def _chunks(self, times_s: Sequence[float]) -> Iterator[list[float]]:
        most = max(1, CHUNK_BYTES // self.pairs[0][0].nbytes)
        chunk: list[float] = []
        for time_s in times_s:
            dense = chunk and time_s - chunk[-1] < _SPARSE_S
            if len(chunk) == most or (dense and time_s - chunk[0] > CHUNK_S):
                yield chunk
                chunk = []
            chunk.append(time_s)
        if chunk:
            yield chunk

    def _open(self) -> AbstractContextManager[Video]:
        return nullcontext(self._opened) if self._opened else open_video(self._path)


def preview_frames(
    item: VideoItem, timed: bool, width_px: int | None, spec: RenderSpec
) -> PreviewFrames | StretchFrames:
    """The frames of a preview from the start of a video; `timed` if it has segments."""
    if timed:
        return StretchFrames(item, width_px, spec, Stretch(0.0, spec.timeline_s, spec.speed))
    if spec.speed is not None:
        return StretchFrames(item, width_px, spec, Stretch(0.0, spec.max_s, spec.speed))
    return PreviewFrames(item, width_px, spec)


def drawn(
    frames: StretchFrames, draw: Draw, stop: Event, flow: FlowPanel | None = None
) -> tuple[Iterator[Pixels], list[Pixels]]:
    """All pictures of a preview, and a sample of them, with optical flow beside them if given.

    Args:
        draw: draws a picture at a time of the video.
    """
    sample = flow.sample if flow else [first for first, _ in frames.pairs]
    step_s = frames.end_s * frames.speed / len(sample)
    times_s = [frames.start_s + (number + 0.5) * step_s for number in range(len(sample))]
    return _drawn(frames, draw, stop, flow), [*map(draw, sample, times_s)]


def _drawn(
    frames: StretchFrames, draw: Draw, stop: Event, flow: FlowPanel | None
) -> Iterator[Pixels]:
    counts: deque[int] = deque()

    def once() -> Iterator[Pixels]:
        for count, pixels in frames.at(frames.moments_s):
            counts.append(count)
            yield pixels

    pictures: Iterable[Pixels] = until(stop, once())
    times_s = map(frames.true_s, frames.moments_s)
    for picture in flow.pictures(pictures) if flow else pictures:
        for _ in range(counts.popleft()):
            yield draw(picture, next(times_s))


Draw = Callable[[Pixels, float], Pixels]
