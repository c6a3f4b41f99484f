"""Previews of videos, one file for each: GIF or MP4, with captions, optical flow and more."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from itertools import chain, repeat
from pathlib import Path
from threading import Event

import torch

from vidlabel import console
from vidlabel.errors import ExitCode, PlaceRefused, UsageError, VideoError
from vidlabel.files.find import VIDEO_SUFFIXES, identity
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import read_tag, write_tag
from vidlabel.files.names import fitting
from vidlabel.files.write import check_folder_name, make_folder, remove_leftovers, replacing
from vidlabel.machine import worker_count
from vidlabel.render.attention import Attention
from vidlabel.render.captions import Caption, draw_caption
from vidlabel.render.flow_panel import FlowPanel
from vidlabel.render.frames import PreviewFrames
from vidlabel.render.labels import Captions
from vidlabel.render.layout import with_strip
from vidlabel.render.parallel import in_threads, until
from vidlabel.render.spec import LAYOUT, RenderOptions, RenderSpec
from vidlabel.render.stream_bars import StreamPanel
from vidlabel.render.stretch import Draw, StretchFrames, drawn, preview_frames
from vidlabel.render.timeline import Timeline
from vidlabel.render.timeline_view import StillView, TimelineView
from vidlabel.specs import VideoItem
from vidlabel.text import plural
from vidlabel.video.scale import Pixels
from vidlabel.video.write import FORMATS, write_preview


def plan(items: Sequence[VideoItem], options: RenderOptions) -> dict[VideoItem, Path]:
    """The file to make from each video.

    In a folder --out, a file has the place that its video has among the inputs, and the video's
    full name with the suffix of the format, so that a.mp4 and a.avi do not collide. Files from an
    earlier run in --out are not inputs, unless they are named.

    Raises:
        UsageError: --out does not fit the videos or --format.
    """
    if not items:
        return {}
    inputs, out, fmt = options.inputs, options.out, options.fmt
    suffix = out.suffix.lower()
    if not out.is_dir() and suffix in {*VIDEO_SUFFIXES, ".gif"}:
        if suffix.removeprefix(".") not in FORMATS:
            raise UsageError(f"--out {out}: must be a .gif, a .mp4 or a folder")
        if fmt is not None and suffix != f".{fmt}":
            raise UsageError(f"--out {out} and --format {fmt} do not agree")
        if len(items) != 1:
            raise UsageError(f"--out {out}: one file, but {len(items)} videos; name a folder")
        if out.exists() and Path(items[0].path).exists() and out.samefile(items[0].path):
            raise UsageError(f"--out {out}: this is the video itself; name another file")
        return {items[0]: out}
    check_folder_name(out, "a .gif, a .mp4 or a folder")
    own = out.resolve()
    places = {
        item: Path(os.path.abspath(item.path))  # noqa: PTH100
        for item in items
        if item.path in inputs or not Path(item.path).parent.resolve().is_relative_to(own)
    }
    folders = [*map(_folder_of, inputs), *(place.parent for place in places.values())]
    root = os.path.commonpath(folders)
    return {
        item: out / place.relative_to(root).with_name(f"{place.name}.{fmt or FORMATS[0]}")
        for item, place in places.items()
    }


def _folder_of(text: str) -> Path:
    """The folder that an input (folder, file or glob) is or lies in."""
    path = Path(os.path.abspath(text))  # noqa: PTH100
    return next(each for each in (path, *path.parents) if each.is_dir())


@dataclass(frozen=True)
class Renderer:
    """Draws previews; what is None is not drawn."""

    spec: RenderSpec
    device: torch.device
    """Where optical flow is computed."""
    captions: Captions | None
    panel: StreamPanel | None
    attention: Attention | None

    def key(self, item: VideoItem) -> str:
        """A hash of everything that a preview depends on."""
        return hash_of(
            self.spec, identity(item.path), self.captions and self.captions.key(item),
            self.panel and self.panel.key, self.attention and self.attention.key,
        )  # fmt: skip

    def write(
        self, work: tuple[tuple[VideoItem, Path], Caption | Timeline | None], stop: Event
    ) -> tuple[str, str]:
        """Make a file, complete or not at all. It gets its key as a tag if nothing is missing.

        Returns:
            `failed`, `unlabelled` or "" if all is well; and a message, or "".

        Raises:
            OutputError: no file can be written.
            DeviceError: the device failed.
        """
        (item, path), caption = work
        labelled = caption is None or caption.label is not None
        # Without a label it is made again next time, when there may be one.
        key = self.key(item) if labelled else ""
        try:
            timed = isinstance(caption, Timeline)
            frames = preview_frames(item, timed, self.spec.width_px, self.spec)
            if isinstance(frames, StretchFrames):
                pictures, sample = self._stretch(frames, caption, stop)
            else:
                assert not isinstance(caption, Timeline)
                pictures, sample = self._pictures(item.path, frames, caption, stop)
            make_folder(path.parent)
            remove_leftovers(path)
            with replacing(path) as part:
                write_preview(part, pictures, frames.fps, sample, self.spec.quality)
                write_tag(part, key)
        except VideoError as error:
            return "failed", error.detail
        except PlaceRefused as error:
            return "failed", f"{item.path}: {error}"
        warning = f"{item.path}: {frames.damaged}" if frames.damaged else ""
        return "" if labelled else "unlabelled", warning

    def _pictures(
        self, path: str, frames: PreviewFrames, caption: Caption | None, stop: Event
    ) -> tuple[Iterator[Pixels], list[Pixels]]:
        """All pictures of a preview, and a sample of them. Each frame is drawn only once, however
        many pictures in a row it fills."""
        pictures: Iterable[Pixels] = until(stop, frames.frames())
        sample = [first for first, _ in frames.pairs]
        height, width = sample[0].shape[:2]
        if self.spec.flow:
            flow = FlowPanel(frames.pairs, self.spec, self.device)
            pictures, sample = flow.pictures(pictures), flow.sample
        legend: Pixels | None = None
        if self.attention and caption and caption.label is not None:
            heat = self.attention.look(path, caption.label)
            if heat:
                pictures = heat.over(pictures, frames.times_s, width)
                sample = [*heat.over(sample, frames.sample_times_s, width)]
                legend = heat.legend(width)
        if caption:
            overlay = draw_caption(caption, width, height)
            pictures, sample = map(overlay.onto, pictures), [*map(overlay.onto, sample)]
        if legend is not None:
            below = partial(with_strip, strip=legend)
            pictures, sample = map(below, pictures), [*map(below, sample)]
        if self.panel:
            bars = self.panel.bars(path, self.spec.max_s, sample[0].shape[1])
            pictures = bars.below(pictures, frames.times_s)
            sample = [*bars.below(sample, frames.sample_times_s)]
        return chain.from_iterable(map(repeat, pictures, frames.repeats)), sample

    def _stretch(
        self, frames: StretchFrames, caption: Caption | Timeline | None, stop: Event
    ) -> tuple[Iterator[Pixels], list[Pixels]]:
        """All pictures of a preview whose caption or speed is not that of a plain one, and a sample
        of them."""
        spec = self.spec
        flow = FlowPanel(frames.pairs, spec, self.device) if spec.flow else None
        height, width = frames.pairs[0][0].shape[:2]
        draw: Draw = _unchanged
        if isinstance(caption, Timeline):
            whole = (flow.sample[0].shape[1] if flow else width), height
            draw = TimelineView(caption, whole, frames.span).onto
        elif caption:
            draw = StillView(draw_caption(caption, width, height)).onto
        return drawn(frames, draw, stop, flow)


def _unchanged(picture: Pixels, time_s: float) -> Pixels:
    return picture


def hash_of(*what: object) -> str:
    """A short hash of values, by their text, and of how this version draws."""
    return hashlib.sha256(repr((LAYOUT, *what)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def render_videos(
    files: dict[VideoItem, Path], renderer: Renderer, options: RenderOptions
) -> ExitCode:
    """Make all files and report what was done.

    A video that cannot be read costs one line. A file is kept if a new one would be the same:
    its video, its caption and the options have not changed. Names that the folder does not take are
    shortened; a file that cannot be at its place costs one line, too.

    Raises:
        OutputError: no file can be written, or another process writes there.
        DeviceError: the device failed.
        RunError: nothing can be labelled any more.
    """
    out = options.out
    single = [*files.values()] == [out]
    make_folder(out.parent if single else out)
    with holding(out if single else out / "render"):
        planned = files
        if not single:
            files = {item: fitting(out, path) for item, path in planned.items()}
        pending = {
            item: path
            for item, path in files.items()
            if options.restart or read_tag(path) != renderer.key(item)
        }
        kept = len(files) - len(pending)
        captions: Iterable[Caption | Timeline | None] = repeat(None)
        if renderer.captions:
            captions = renderer.captions.of([*pending])
        work = zip(pending.items(), captions, strict=False)
        tally: Counter[str] = Counter()
        with (
            console.Progress(len(files), options.quiet, kept, "rendering") as progress,
            closing(in_threads(renderer.write, work, worker_count(options.workers))) as outcomes,
        ):
            for kind, message in outcomes:
                say = console.error if kind == "failed" else console.warn
                if message:
                    say(message)
                tally[kind] += 1
                progress.advance(failed=kind == "failed")
    if not options.quiet:
        made = len(pending) - tally["failed"]
        parts = [f"{made} of {plural(len(files), 'video')} rendered to {out}", *problems(tally)]
        parts += [f"{kept} kept unchanged (--restart makes them again)"] if kept else []
        renamed = sum(path != files[item] for item, path in planned.items())
        parts += [f"{renamed} under other names, which fit there"] if renamed else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if tally["failed"] + tally["unlabelled"] else ExitCode.OK


def problems(tally: Counter[str]) -> list[str]:
    """How many videos failed or have no label, as parts of the summary."""
    words = {"failed": "failed", "unlabelled": "without a label"}
    return [f"{tally[kind]} {text}" for kind, text in words.items() if tally[kind]]
