"""Many videos together in one file, or several: grids in which they play, or sheets of frames."""

from __future__ import annotations

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any

from vidlabel import console
from vidlabel.errors import ExitCode, UsageError, VideoError
from vidlabel.files.find import identity
from vidlabel.files.lock import holding
from vidlabel.files.metadata_tag import read_tag, write_tag
from vidlabel.files.write import make_folder, remove_leftovers, replacing
from vidlabel.machine import worker_count
from vidlabel.render.captions import Caption
from vidlabel.render.clip import hash_of, problems
from vidlabel.render.frames import DEFAULT_WIDTH_PX
from vidlabel.render.labels import Captions
from vidlabel.render.pages import read_stills, write_grid, write_sheet
from vidlabel.render.parallel import in_threads
from vidlabel.render.spec import Album, RenderOptions
from vidlabel.render.stretch import preview_frames
from vidlabel.render.timeline import Timeline
from vidlabel.specs import VideoItem
from vidlabel.text import plural
from vidlabel.video.write import FORMATS


def target_of(album: Album, options: RenderOptions) -> Path:
    """The file to write if one is enough: --out itself, or one in the folder --out.

    Raises:
        UsageError: the suffix of --out does not fit the album.
    """
    out, fmt = options.out, options.fmt
    kind, fits = ("sheet", ["png"]) if album.frames else ("grid", list(FORMATS))
    if album.frames and fmt:
        raise UsageError(f"--sheet is a .png; leave out --format {fmt}")
    suffix = out.suffix.lower().removeprefix(".")
    if out.is_dir() or not suffix:
        return out / f"{kind}.{fmt or fits[0]}"
    if suffix not in fits or (fmt and fmt != suffix):
        wanted = f".{fmt}" if fmt else " or ".join(f".{each}" for each in fits)
        raise UsageError(f"--out {out}: a {kind} is a {wanted}, or goes into a folder")
    return out


def without_albums(items: Iterable[VideoItem], target: Path) -> list[VideoItem]:
    """The videos without files that an earlier run has written."""
    own = re.compile(rf"{re.escape(target.stem)}(-\d+)?{re.escape(target.suffix)}")
    folder = target.parent.resolve()
    return [
        item
        for item in items
        if not (own.fullmatch(Path(item.path).name) and Path(item.path).parent.resolve() == folder)
    ]


def render_album(
    items: Sequence[VideoItem], album: Album, target: Path, captions: Captions,
    options: RenderOptions,
) -> ExitCode:  # fmt: skip
    """Make a grid or sheet of the videos, or several (`NAME-1` and so on), and report it.

    A video that cannot be read costs one line and is left out. `target` is the file, where one is
    enough.

    Raises:
        OutputError: a file cannot be written, or another process writes there.
        RunError: nothing can be labelled any more.
    """
    spec = options.spec()
    count = math.ceil(len(items) / album.per_page)
    numbered = [target.with_stem(f"{target.stem}-{number + 1}") for number in range(count)]
    pages = numbered if count > 1 else [target]
    make_folder(target.parent)
    with holding(target):
        named = names_of([item.path for item in items])
        each = [(named[x.path], identity(x.path), captions.key(x)) for x in items]
        key = hash_of(album, spec, each)
        if not options.restart and all(read_tag(page) == key for page in pages):
            if not options.quiet:
                console.note(f"{_range(pages)} kept unchanged (--restart makes it again)")
            return ExitCode.OK
        tally: Counter[str] = Counter()
        videos = _readable(items, album, captions, options, tally)
        made: list[Path] = []
        for page in pages:
            if not (some := list(islice(videos, album.per_page))):
                break
            remove_leftovers(page)
            shown = [(named[path], *rest) for path, *rest in some]
            with replacing(page) as part:
                if album.frames:
                    write_sheet(part, shown, spec)
                else:
                    write_grid(part, shown, album.columns, spec)
                # If a video has failed, it is made again next time.
                write_tag(part, "" if tally.total() else key)
            made.append(page)
            for path, _, source in some:
                if source.damaged:
                    console.warn(f"{path}: {source.damaged}")
    if not options.quiet:
        read = len(items) - tally["failed"]
        parts = [f"{read} of {plural(len(items), 'video')} in {_range(made)}", *problems(tally)]
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if tally.total() else ExitCode.OK


def names_of(paths: Sequence[str]) -> dict[str, str]:
    """What to call each file: its name, or where names are equal, its path in the folder that all
    share."""
    names = {path: Path(path).name for path in paths}
    if len({*names.values()}) == len(names):
        return names
    places = {path: Path(os.path.abspath(path)) for path in paths}  # noqa: PTH100
    root = os.path.commonpath([place.parent for place in places.values()])
    return {path: str(place.relative_to(root)) for path, place in places.items()}


def _readable(
    items: Sequence[VideoItem], album: Album, captions: Captions, options: RenderOptions,
    tally: Counter[str],
) -> Iterator[Video]:  # fmt: skip
    """The videos that can be read; the others are reported and counted in `tally`."""
    spec = options.spec()

    def read(each: tuple[VideoItem, Caption | Timeline], stop: Event) -> Video | VideoError:
        item, caption = each
        timed = isinstance(caption, Timeline)
        try:
            if album.frames:
                return item.path, caption, read_stills(item, album.frames, spec, timed)
            width_px = spec.width_px or DEFAULT_WIDTH_PX
            return item.path, caption, preview_frames(item, timed, width_px, spec)
        except VideoError as error:
            return error

    captioned = zip(items, captions.of(items), strict=False)
    with (
        console.Progress(len(items), options.quiet, doing="rendering") as progress,
        closing(in_threads(read, captioned, worker_count(options.workers))) as videos,
    ):
        for video in videos:
            progress.advance(failed=isinstance(video, VideoError))
            if isinstance(video, VideoError):
                console.error(video.detail)
                tally["failed"] += 1
            else:
                tally["unlabelled"] += video[1].label is None
                yield video


def _range(pages: Sequence[Path]) -> str:
    if len(pages) < 2:
        return str(pages[0]) if pages else "no file"
    return f"{pages[0]} to {pages[-1].name}"


Video = tuple[str, Caption | Timeline, Any]
"""Path and caption of a video, and its frames for a grid, or Stills for a sheet."""
