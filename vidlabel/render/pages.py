"""The pages of an album: grids in which videos play, and sheets of their frames."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, repeat
from pathlib import Path
from statistics import median

import imageio.v3 as iio
import numpy as np

from vidlabel.errors import VideoError
from vidlabel.render.captions import READABLE_PX, Caption, Line, draw_caption
from vidlabel.render.frames import SAMPLES, PreviewFrames
from vidlabel.render.layout import GAP_PX, extended, letterboxed, side_by_side, stacked, with_strip
from vidlabel.render.spec import RenderSpec
from vidlabel.render.stretch import Draw, StretchFrames
from vidlabel.render.timeline import Timeline
from vidlabel.render.timeline_strip import Span, TimelineStrip
from vidlabel.render.timeline_view import StillView, TimelineView, still_caption
from vidlabel.specs import VideoItem
from vidlabel.video.reader import open_video
from vidlabel.video.scale import DecodedFrames, Pixels
from vidlabel.video.write import write_preview

STILL_WIDTH_PX = 160
"""Width of a frame on a sheet if none is given."""


# --- grids ----------------------------------------------------------------------------------------


def write_grid(path: Path, videos: Sequence[GridVideo], columns: int, spec: RenderSpec) -> None:
    """Write a GIF or MP4 in which all videos play at their own speed, the shorter ones repeatedly.

    Args:
        videos: name, caption and frames of each video; all frames have the same width.
        columns: number of videos in a row.

    Raises:
        VideoError: a video cannot be read any more.
    """
    cells = _cells(videos)
    end_s = max(frames.end_s for *_, frames in videos)
    fps = max(frames.fps for *_, frames in videos)
    moments_s = [number / fps for number in range(max(1, round(end_s * fps)))]
    playing = zip(*(cell.at(moments_s) for cell in cells), strict=True)
    sample = [_tiled([cell.sample(n) for cell in cells], columns) for n in range(SAMPLES)]
    write_preview(path, (_tiled(each, columns) for each in playing), fps, sample, spec.quality)


@dataclass(frozen=True)
class _Cell:
    """The place of one video in a grid."""

    frames: PreviewFrames | StretchFrames
    draw: Draw
    """Draws the caption of a picture at a time of the video."""
    width: int
    height: int
    """Height of the frames, without a caption below."""
    strip: int
    """Height of the tallest caption below, of all cells."""

    def at(self, moments_s: Sequence[float]) -> Iterator[Pixels]:
        """The picture on screen at each of these moments, ascending."""
        end_s = self.frames.end_s
        for turn, some in groupby(moments_s, lambda moment_s: (moment_s + 1e-6) // end_s):
            own = [moment_s - turn * end_s for moment_s in some]
            done = 0
            for count, frame in self.frames.at(own):
                if isinstance(self.frames, StretchFrames):  # its caption may change in between
                    for moment_s in own[done : done + count]:
                        yield self._drawn(frame, self.frames.true_s(moment_s))
                else:
                    yield from repeat(self._drawn(frame, 0.0), count)
                done += count

    def sample(self, number: int) -> Pixels:
        """One of a few pictures that represent all."""
        pairs, frames = self.frames.pairs, self.frames
        share = (number + 0.5) / SAMPLES
        time_s = frames.true_s(share * frames.end_s) if isinstance(frames, StretchFrames) else 0.0
        return self._drawn(pairs[number % len(pairs)][0], time_s)

    def _drawn(self, frame: Pixels, time_s: float) -> Pixels:
        """A frame in the cell, with the caption."""
        shown = self.draw(letterboxed(frame, self.width, self.height), time_s)
        return extended(shown, self.height + self.strip)


def _cells(videos: Sequence[GridVideo]) -> list[_Cell]:
    """Cells of one size, with the median height of the videos."""
    shapes = [frames.pairs[0][0].shape for *_, frames in videos]
    width = max(shape[1] for shape in shapes)
    height = round(median(shape[0] for shape in shapes))
    views = [_view(video, (width, height), None) for video in videos]
    if any(view.below for view in views):
        views = [_view(video, (width, height), True) for video in videos]
    strip = max(view.extra_px for view in views)
    return [
        _Cell(frames, view.onto, width, height, strip)
        for (*_, frames), view in zip(videos, views, strict=True)
    ]


def _view(video: GridVideo, size: tuple[int, int], below: bool | None) -> TimelineView | StillView:
    name, caption, frames = video
    if isinstance(caption, Timeline):
        assert isinstance(frames, StretchFrames)
        return TimelineView(caption, size, frames.span, below, (Line(name),))
    return StillView(draw_caption(_with_name(caption, name), *size, below))


def _with_name(caption: Caption, name: str) -> Caption:
    return replace(caption, lines=(*caption.lines, Line(name)))


def _tiled(cells: Sequence[Pixels], columns: int) -> Pixels:
    """Pictures of one size in rows, with gaps between them; black where there are none."""
    height, width = (side + GAP_PX for side in cells[0].shape[:2])
    columns = min(columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    page = np.zeros((rows * height - GAP_PX, columns * width - GAP_PX, 3), dtype=np.uint8)
    for number, cell in enumerate(cells):
        top, left = (number // columns) * height, (number % columns) * width
        page[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return page


# --- sheets ---------------------------------------------------------------------------------------


@dataclass(frozen=True, repr=False)
class Stills(DecodedFrames):
    """Frames of a video for a sheet."""

    end_s: float
    """End of what they are spread over."""


def read_stills(item: VideoItem, count: int, spec: RenderSpec, timed: bool = False) -> Stills:
    """Read so many frames, evenly spread over a video; `timed` if it has segments. Raises
    VideoError."""
    if item.problem is not None:
        raise VideoError(item.problem, item.detail)
    width, height = _size_px(spec)
    with open_video(item.path) as video:
        end_s = min(video.duration_s, spec.timeline_s if timed else spec.max_s)
        moments_s = (np.arange(count) + 0.5) / count * end_s
        found = video.frames_at(moments_s.tolist(), max(width, height))
    pixels = np.stack([letterboxed(each, width, height) for each in found.pixels])
    return Stills(pixels, found.times_s, found.damaged, end_s)


def write_sheet(
    path: Path, videos: Sequence[tuple[str, Caption | Timeline, Stills]], spec: RenderSpec
) -> None:
    """Write a .png with a row for each video: its caption and name, then its frames, and below each
    of them its true time in the video. Of a video with segments, each frame has its own caption,
    and a strip is below all of them."""
    text_width = round(1.6 * _size_px(spec)[0])
    rows = []
    for name, caption, stills in videos:
        timeline = None
        if isinstance(caption, Timeline):
            timeline, caption = caption, Caption(())
        own = _with_name(caption, name)
        text = draw_caption(own, text_width, 1, below=True)
        times_s = stills.times_s.tolist()
        shown = [_timed(*each, timeline) for each in zip(stills.pixels, times_s, strict=True)]
        row = side_by_side([text.rgba[..., :3], *shown])
        if timeline:
            span = Span(0.0, stills.end_s)
            strip = TimelineStrip(timeline, span, row.shape[1], READABLE_PX)
            row = with_strip(row, strip.marked(times_s))
        rows.append(row)
    iio.imwrite(path, stacked(rows), plugin="pillow", extension=".png")


def _timed(frame: Pixels, time_s: float, timeline: Timeline | None) -> Pixels:
    minutes, seconds = divmod(round(time_s, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    if hours:
        clock = f"{hours}:{minutes:02}:{seconds:04.1f}"
    else:
        clock = f"{minutes}:{seconds:04.1f}" if minutes else f"{seconds:.1f} s"
    lines = still_caption(timeline, time_s) if timeline else ()
    return draw_caption(Caption((*lines, Line(clock))), frame.shape[1], 1, below=True).onto(frame)


GridVideo = tuple[str, Caption | Timeline, PreviewFrames | StretchFrames]
"""Name and caption of a video, and its frames; those of a timeline are StretchFrames."""


def _size_px(spec: RenderSpec) -> tuple[int, int]:
    """Width and height of the frames."""
    width = spec.width_px or STILL_WIDTH_PX
    return width, max(1, round(width * 3 / 4))
