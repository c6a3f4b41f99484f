"""Many videos in one picture: a grid in which all of them play, or a sheet of their frames."""

from __future__ import annotations

import hashlib
import math
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from statistics import median
from threading import Event

import numpy as np
from PIL import Image

from vidlabel import console
from vidlabel.decode.pool import worker_count
from vidlabel.errors import ExitCode, UsageError, VideoError
from vidlabel.files.find import identity
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import stamp, stamp_of
from vidlabel.files.write import remove_leftovers, replacing
from vidlabel.render.captions import BELOW, Caption, Line, Overlay, draw_caption
from vidlabel.render.clip import DRAWN, GAP_PX, RenderSpec, in_threads, make_folder, open_footage
from vidlabel.render.footage import SAMPLES, USUAL_WIDTH_PX, Footage
from vidlabel.render.labels import Captions
from vidlabel.specs import VideoItem
from vidlabel.video.reader import open_video
from vidlabel.video.write import FORMATS, Pixels, Timing, write_clip

GRID_FPS = 30.0
"""Frames a second of a grid at most, if nothing is said."""

SHEET_WIDTH_PX = 160
"""Width of a frame in a sheet, if nothing is said."""

SHEET_ROWS = 50
"""Videos on one sheet; with more there are several."""


@dataclass(frozen=True)
class Album:
    """What to make of many videos together: a grid, or sheets if `frames` is set."""

    rows: int
    columns: int = 1
    frames: int = 0
    """Frames of each video in a sheet."""

    def __post_init__(self) -> None:
        if not (1 <= self.rows <= 100 and 1 <= self.columns <= 100):
            raise UsageError("--grid must be 1x1 to 100x100, as ROWSxCOLUMNS")
        if not 0 <= self.frames <= 100:
            raise UsageError(f"--sheet must be 1 to 100, got {self.frames}")

    @property
    def per_page(self) -> int:
        """Videos in one file."""
        return self.rows * self.columns

    @property
    def kind(self) -> str:
        """`grid` or `sheet`."""
        return "sheet" if self.frames else "grid"


def grid_of(text: str) -> Album:
    """The album that `ROWSxCOLUMNS` asks for. Raises UsageError."""
    match = re.fullmatch(r"(\d{1,3})x(\d{1,3})", text)
    if match is None:
        raise UsageError(f"--grid is ROWSxCOLUMNS, such as 2x3; got {text}")
    return Album(int(match[1]), int(match[2]))


def sheet_of(frames: int) -> Album:
    """Sheets with so many frames of each video. Raises UsageError."""
    if frames < 1:
        raise UsageError(f"--sheet must be 1 to 100, got {frames}")
    return Album(SHEET_ROWS, frames=frames)


def target_of(out: Path, album: Album, fmt: str | None) -> Path:
    """The file to write, if one is enough: `out` itself, or one in the folder `out`.

    Raises:
        UsageError: the suffix of `out` does not go with what is asked for.
    """
    fits = ["png"] if album.frames else list(FORMATS)
    if album.frames and fmt:
        raise UsageError(f"--sheet is a .png; leave out --format {fmt}")
    suffix = out.suffix.lower().removeprefix(".")
    if out.is_dir() or not suffix:
        return out / f"{album.kind}.{fmt or fits[0]}"
    if suffix not in fits or (fmt and fmt != suffix):
        wanted = f".{fmt}" if fmt else " or ".join(f".{each}" for each in fits)
        raise UsageError(f"--out {out}: a {album.kind} is a {wanted}, or goes into a folder")
    return out


def without_albums(items: Iterable[VideoItem], target: Path) -> list[VideoItem]:
    """The videos without those that an earlier run has written there."""
    own = re.compile(rf"{re.escape(target.stem)}(-\d+)?{re.escape(target.suffix)}")
    folder = target.parent.resolve()
    return [
        item
        for item in items
        if not (own.fullmatch(Path(item.path).name) and Path(item.path).parent.resolve() == folder)
    ]


def render_album(
    items: Sequence[VideoItem],
    album: Album,
    spec: RenderSpec,
    target: Path,
    captions: Captions,
    restart: bool = False,
    quiet: bool = False,
    workers: int | None = None,
) -> ExitCode:
    """Make a grid or a sheet of the videos, or several, `NAME-1` and so on; say what was done.

    A video that cannot be read costs one line, and has no place.

    Args:
        items: the videos.
        album: what to make.
        spec: width (of each video in it), seconds, frames a second, quality; no flow.
        target: the file, where one is enough.
        captions: what is said of each video.
        restart: make it again even if nothing has changed.
        quiet: no progress bar, and no line at the end.
        workers: videos that are opened at a time; None is one for each core.

    Raises:
        OutputError: a file cannot be written, or another process writes there.
        RunError: nothing can be labelled any more.
    """
    count = math.ceil(len(items) / album.per_page)
    names = [target.with_stem(f"{target.stem}-{number + 1}") for number in range(count)]
    pages = names if count > 1 else [target]
    make_folder(target.parent)
    with holding(target):
        digest = _digest(items, album, spec, captions)
        if not restart and all(stamp_of(page) == digest for page in pages):
            if not quiet:
                console.note(f"{_told(pages)} kept, with nothing to change (--restart)")
            return ExitCode.OK
        made: list[Path] = []
        tally: Counter[str] = Counter()
        clips = _opened(items, captions, album, spec, tally, quiet, worker_count(workers))
        for page in pages:
            if not (some := list(islice(clips, album.per_page))):
                break
            remove_leftovers(page)
            with replacing(page) as part:
                (_write_sheet if album.frames else _write_grid)(part, some, album, spec)
                # With a video that has failed, it is made again the next time.
                stamp(part, "" if tally.total() else digest)
            made.append(page)
            for clip in some:
                if clip.damaged:
                    console.warn(f"{clip.path}: {clip.damaged}")
    if not quiet:
        parts = [f"{len(items) - tally['failed']} of {len(items)} videos in {_told(made)}"]
        parts += [f"{tally[kind]} {told}" for kind, told in _KINDS.items() if tally[kind]]
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if tally.total() else ExitCode.OK


_KINDS = {"failed": "failed", "unlabelled": "without a label"}


def _told(pages: Sequence[Path]) -> str:
    if len(pages) < 2:
        return str(pages[0]) if pages else "no file"
    return f"{pages[0]} to {pages[-1].name}"


def _digest(items: Sequence[VideoItem], album: Album, spec: RenderSpec, captions: Captions) -> str:
    """Stands for all that the files depend on."""
    each = [(item.path, identity(item.path), captions.key(item)) for item in items]
    what = repr((DRAWN, album, spec, each))
    return hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest()[:32]


class Clip:
    """A video that could be opened, and what is said of it.

    Args:
        item: the video.
        caption: what is said.
        album: what it is for.
        spec: how it is drawn.

    Attributes:
        footage: for a grid, its frames.
        stills: for a sheet, a few of them.

    Raises:
        VideoError: it cannot be read.
    """

    def __init__(self, item: VideoItem, caption: Caption, album: Album, spec: RenderSpec) -> None:
        self.path, self.caption = item.path, caption
        self.footage: Footage | None = None
        self.stills: list[Pixels] = []
        self._damaged = ""
        if not album.frames:
            usual = replace(spec, width_px=spec.width_px or USUAL_WIDTH_PX)
            self.footage = open_footage(item, usual)
            return
        if item.problem is not None:
            raise VideoError(item.problem, item.detail)
        with open_video(item.path) as video:
            end_s = min(video.duration_s, spec.max_s)
            moments = (np.arange(album.frames) + 0.5) / album.frames * end_s
            width, height = _still_size(spec)
            found = video.frames_at(moments.tolist(), max(width, height))
        self._damaged = found.damaged
        self.stills = [_letterboxed(pixels, width, height) for pixels in found.pixels]

    @property
    def damaged(self) -> str:
        """What could not be decoded, in words, as far as it is known."""
        return self.footage.damaged if self.footage else self._damaged


def _opened(
    items: Sequence[VideoItem], captions: Captions, album: Album, spec: RenderSpec,
    tally: Counter[str], quiet: bool, threads: int,
) -> Iterator[Clip]:  # fmt: skip
    """The videos that can be read; the others are told of, and counted in `tally`."""

    def work(each: _Said, stop: Event) -> tuple[Clip | VideoError, bool]:
        item, (caption, labelled) = each
        try:
            return Clip(item, caption, album, spec), labelled
        except VideoError as error:
            return error, labelled

    said = zip(items, captions.of(items), strict=False)
    with (
        console.Progress(len(items), quiet, doing="rendering") as progress,
        closing(in_threads(work, said, threads)) as clips,
    ):
        for clip, labelled in clips:
            failed = isinstance(clip, VideoError)
            progress.advance(failed=failed)
            if isinstance(clip, VideoError):
                console.error(clip.detail)
                tally["failed"] += 1
            else:
                tally["unlabelled"] += not labelled
                yield clip


_Said = tuple[VideoItem, tuple[Caption, bool]]


# --- grids ----------------------------------------------------------------------------------------


def _write_grid(path: Path, clips: Sequence[Clip], album: Album, spec: RenderSpec) -> None:
    """All clips at once, each at its own speed, from its start again where it has ended."""
    cells = _cells(clips)
    footages = [cell.footage for cell in cells]
    end_s = max(footage.timing.end_s for footage in footages)
    rate = max(len(footage.timing.times_s) / footage.timing.end_s for footage in footages)
    fps = min(rate, spec.max_fps, GRID_FPS)
    moments = [number / fps for number in range(max(1, round(end_s * fps)))]
    playing = zip(*(cell.at(moments) for cell in cells), strict=True)
    pictures = (_tiled(each, album) for each in playing)
    sample = [_tiled([cell.sample(n) for cell in cells], album) for n in range(SAMPLES)]
    timing = Timing(moments, max(end_s, moments[-1] + 0.5 / fps))
    write_clip(path, pictures, timing, sample, spec.quality)


@dataclass(frozen=True)
class _Cell:
    """One clip's place in a grid."""

    footage: Footage
    overlay: Overlay
    width: int
    height: int
    """Of the frames; a caption below is not counted."""
    strip: int
    """Height of the tallest caption below, of all cells."""

    def at(self, moments: Iterable[float]) -> Iterator[Pixels]:
        """What is on screen at each of these moments, ascending, s."""
        times_s, end_s = self.footage.timing.times_s, self.footage.timing.end_s
        frames: Iterator[Pixels] = iter(())
        turn, number, picture = -1, -1, np.empty(0, dtype=np.uint8)
        for moment in moments:
            turns, time_s = divmod(moment + 1e-6, end_s)
            if turns != turn:
                turn, number, frames = int(turns), -1, self.footage.frames()
            wanted = max(0, bisect_right(times_s, time_s) - 1)
            if wanted != number:
                for frame in islice(frames, wanted - number):
                    last = frame
                number, picture = wanted, self.drawn(last)
            yield picture

    def sample(self, number: int) -> Pixels:
        """One of a few pictures that stand for all."""
        pairs = self.footage.pairs
        return self.drawn(pairs[number % len(pairs)][0])

    def drawn(self, frame: Pixels) -> Pixels:
        """A frame in the cell, with the caption."""
        shown = self.overlay.onto(_letterboxed(frame, self.width, self.height))
        missing = self.height + self.strip - len(shown)
        return _padded(shown, missing)


def _cells(clips: Sequence[Clip]) -> list[_Cell]:
    """Cells of one size for clips of one width: as high as most of them."""
    footages = [clip.footage for clip in clips if clip.footage is not None]
    shapes = [footage.pairs[0][0].shape for footage in footages]
    width = max(shape[1] for shape in shapes)
    height = round(median(shape[0] for shape in shapes))
    overlays = [draw_caption(clip.caption, width, height) for clip in clips]
    if any(overlay.below for overlay in overlays):
        overlays = [draw_caption(clip.caption, width, height, below=True) for clip in clips]
    strip = max(overlay.below * len(overlay.rgba) for overlay in overlays)
    return [
        _Cell(footage, overlay, width, height, strip)
        for footage, overlay in zip(footages, overlays, strict=True)
    ]


def _tiled(cells: Sequence[Pixels], album: Album) -> Pixels:
    """Pictures of one size in rows, black where there are none, GAP_PX between them."""
    height, width = (side + GAP_PX for side in cells[0].shape[:2])
    columns = min(album.columns, len(cells))
    rows = math.ceil(len(cells) / columns)
    page = np.zeros((rows * height - GAP_PX, columns * width - GAP_PX, 3), dtype=np.uint8)
    for number, cell in enumerate(cells):
        top, left = (number // columns) * height, (number % columns) * width
        page[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return page


# --- sheets ---------------------------------------------------------------------------------------


def _write_sheet(path: Path, clips: Sequence[Clip], album: Album, spec: RenderSpec) -> None:
    """A row for each clip: what is said of it, and its name, then its frames in their order."""
    width, _ = _still_size(spec)
    rows = []
    for clip in clips:
        name = Line(Path(clip.path).name)
        said = Caption((*clip.caption.lines, name), clip.caption.verdict)
        text = draw_caption(said, round(1.6 * width), 1, below=True).rgba[..., :3]
        parts = [text, *clip.stills]
        high = max(len(part) for part in parts)
        row = [_padded(part, high - len(part)) for part in parts]
        gap = np.zeros((high, GAP_PX, 3), dtype=np.uint8)
        rows.append(np.hstack([each for part in row for each in (gap, part)][1:]))
    between = np.zeros((GAP_PX, rows[0].shape[1], 3), dtype=np.uint8)
    page = np.vstack([each for row in rows for each in (between, row)][1:])
    Image.fromarray(page).save(path, "png")


def _still_size(spec: RenderSpec) -> tuple[int, int]:
    """Width and height of the frames in a sheet, px."""
    width = spec.width_px or SHEET_WIDTH_PX
    return width, max(1, round(width * 3 / 4))


def _padded(picture: Pixels, missing: int) -> Pixels:
    """A picture with so many lines more, of the ground that captions have below a picture."""
    if missing <= 0:
        return picture
    foot = np.empty((missing, picture.shape[1], 3), dtype=np.uint8)
    foot[...] = BELOW[:3]
    return np.vstack([picture, foot])


def _letterboxed(frame: Pixels, width: int, height: int) -> Pixels:
    """A frame as large as fits, in the middle of a black picture of this size."""
    high, wide = frame.shape[:2]
    share = min(width / wide, height / high)
    size = max(1, round(wide * share)), max(1, round(high * share))
    if size != (wide, high):
        shown = Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR)
        frame = np.asarray(shown)
    if size == (width, height):
        return frame
    page = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    page[top : top + size[1], left : left + size[0]] = frame
    return page
