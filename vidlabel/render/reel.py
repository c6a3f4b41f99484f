"""The segments of some classes of many videos, joined to one file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from threading import Event

from vidlabel import console
from vidlabel.errors import ExitCode, RunError, UsageError, VideoError
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import read_tag, write_tag
from vidlabel.files.write import check_folder_name, make_folder, remove_leftovers, replacing
from vidlabel.render.album import names_of
from vidlabel.render.captions import Line
from vidlabel.render.clip import hash_of
from vidlabel.render.highlights import Highlight
from vidlabel.render.layout import extended, letterboxed
from vidlabel.render.spec import RenderOptions, RenderSpec
from vidlabel.render.stretch import StretchFrames, drawn
from vidlabel.render.timeline_strip import Span
from vidlabel.render.timeline_view import TimelineView
from vidlabel.text import clock_time, plural
from vidlabel.video.scale import Pixels
from vidlabel.video.write import FORMATS, write_preview

SAMPLED = 12
"""Most videos of a reel that the palette of a GIF is chosen from."""


def render_reel(highlights: Sequence[Highlight], options: RenderOptions) -> ExitCode:
    """Join segments to one file in this order, and report it. A segment that cannot be read costs
    one line and is left out.

    Raises:
        UsageError: --out does not fit.
        OutputError: the file cannot be written, or another process writes there.
        RunError: no segment can be read.
    """
    spec, padding_s = options.spec(), options.padding or 0.0
    target = _target_of(options)
    videos = [Path(each.item.path) for each in highlights] if target.exists() else []
    if any(video.exists() and target.samefile(video) for video in videos):
        raise UsageError(f"--out {target}: this is one of the videos; name another file")
    make_folder(target.parent)
    with holding(target):
        key = hash_of("reel", [each.key(spec, padding_s) for each in highlights])
        if not options.restart and read_tag(target) == key:
            if not options.quiet:
                console.note(f"{target} kept unchanged (--restart makes it again)")
            return ExitCode.OK
        with console.Progress(len(highlights), options.quiet, doing="joining") as progress:
            reel = Reel(highlights, spec, padding_s)
            remove_leftovers(target)
            with replacing(target) as part:
                write_preview(part, reel.pictures(progress), reel.fps, reel.sample, spec.quality)
                # If a segment has failed, it is made again next time.
                write_tag(part, "" if reel.failed else key)
    if not options.quiet:
        made = len(highlights) - reel.failed
        failed = f", {reel.failed} failed" if reel.failed else ""
        console.note(f"{made} of {plural(len(highlights), 'segment')} in {target}{failed}")
    return ExitCode.SOME_FAILED if reel.failed else ExitCode.OK


def _target_of(options: RenderOptions) -> Path:
    out, fmt = options.out, options.fmt
    suffix = out.suffix.lower().removeprefix(".")
    if not out.is_dir() and suffix in FORMATS:
        if fmt not in (None, suffix):
            raise UsageError(f"--out {out} and --format {fmt} do not agree")
        return out
    check_folder_name(out, "a .gif, a .mp4 or a folder")
    return out / f"reel.{fmt or FORMATS[0]}"


class Reel:
    """The pictures of segments one after another, of one size and rate: the largest width and the
    median height of the videos, and the highest of their rates. One video is open at a time.

    Attributes:
        fps: pictures per second.
        sample: pictures that together have the colours of all.
        failed: segments that could not be read; known when the pictures have been.

    Raises:
        RunError: none of the segments can be read.
    """

    def __init__(self, highlights: Sequence[Highlight], spec: RenderSpec, padding_s: float) -> None:
        self._highlights, self._spec, self._padding_s = highlights, spec, padding_s
        self._names = names_of([*dict.fromkeys(each.item.path for each in highlights)])
        self.failed = 0
        shapes, rates = [], []
        pictures: list[tuple[Highlight, Pixels, float]] = []
        # Of each video one segment that can be read.
        seen: set[str] = set()
        for each in highlights:
            if each.item.path in seen:
                continue
            try:
                frames = self._frames(each)
            except VideoError:
                continue  # it is told in its turn
            seen.add(each.item.path)
            shapes.append(frames.pairs[0][0].shape)
            rates.append(frames.fps)
            if len(pictures) < SAMPLED:
                pictures.append((each, frames.pairs[len(frames.pairs) // 2][0], frames.start_s))
        if not seen:
            raise RunError("--reel: none of the segments can be read")
        self.fps = max(rates)
        self._spec = replace(spec, fps=self.fps)
        self._size = max(shape[1] for shape in shapes), round(median(x[0] for x in shapes))
        self._below = any(self._view(each, None).below for each in highlights)
        self._foot = max(self._view(each, self._below).extra_px for each in highlights)
        self.sample = [
            self._drawn(self._view(each, self._below), picture, time_s)
            for each, picture, time_s in pictures
        ]

    def pictures(self, progress: console.Progress) -> Iterator[Pixels]:
        """All pictures, in order. Raises RunError if there are none."""
        some = False
        for each in self._highlights:
            failed = False
            try:
                frames = self._frames(each)
                view = self._view(each, self._below)

                def draw(picture: Pixels, time_s: float, view: TimelineView = view) -> Pixels:
                    return self._drawn(view, picture, time_s)

                for picture in drawn(frames, draw, Event())[0]:
                    some = True
                    yield picture
                if frames.damaged:
                    console.warn(f"{each.item.path}: {frames.damaged}")
            except VideoError as error:
                console.error(error.detail)
                failed = True
            self.failed += failed
            progress.advance(failed=failed)
        if not some:
            raise RunError("--reel: none of the segments can be read")

    def _frames(self, highlight: Highlight) -> StretchFrames:
        spec = self._spec
        stretch = highlight.stretch(spec, self._padding_s)
        return StretchFrames(highlight.item, spec.width_px, spec, stretch)

    def _view(self, highlight: Highlight, below: bool | None) -> TimelineView:
        stretch, segment = highlight.stretch(self._spec, self._padding_s), highlight.segment
        from_to = f"{clock_time(segment.start_s)} - {clock_time(segment.end_s)}"
        whole = segment.end_s == float("inf")
        where = self._names[highlight.item.path] + ("" if whole else f"  {from_to}")
        span = Span(stretch.start_s, stretch.end_s)
        return highlight.view(self._size, span, below, (Line(where),))

    def _drawn(self, view: TimelineView, picture: Pixels, time_s: float) -> Pixels:
        width, height = self._size
        shown = view.onto(letterboxed(picture, width, height), time_s)
        return extended(shown, height + self._foot)
