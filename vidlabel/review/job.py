"""One run of `vidlabel review`: a page on which to check and correct a table of labels."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from vidlabel import console
from vidlabel.datasets.open import open_dataset
from vidlabel.errors import ExitCode, Reason, UsageError, VideoError
from vidlabel.files.find import excerpt, identity
from vidlabel.files.lock import holding
from vidlabel.files.names import shortened
from vidlabel.files.spelling import Spellings
from vidlabel.files.write import check_output, make_folder, remove_leftovers, write_bytes
from vidlabel.machine import worker_count
from vidlabel.results.embeddings import read_embeddings
from vidlabel.results.record import Record
from vidlabel.results.tables import read_labels
from vidlabel.review.order import by_worth
from vidlabel.review.page import Order, PageRow, page
from vidlabel.review.previews import CLIP_S, SIDE_PX, make_preview, make_track
from vidlabel.review.timeline import by_video, is_timeline, ranks_of_videos, with_lengths
from vidlabel.specs import Status
from vidlabel.text import plural, text_path

NOT_AGAIN = (Reason.CRASHED, Reason.TIMEOUT, Reason.TOO_LARGE)
"""Videos that failed like this in a separate decoder process are not decoded in this one."""

_PREVIEW = re.compile(r"([0-9a-f]{16})\.(?:jpg|mp4)")


@dataclass(frozen=True)
class ReviewSpec:
    """The page to make."""

    table: Path
    out: Path | None = None
    """The HTML file; None puts it beside the table. Previews go into a folder beside it."""
    truth: str | None = None
    """The true classes: a folder of classes, a CSV table, hmdb51:ROOT or ucf101:ROOT."""
    root: Path | None = None
    """Folder of relative paths in the table; None tries the current one, then the table's."""
    order: Order = "value"
    """In which order the page opens."""
    embeddings: Path | None = None
    """The file of `predict --embeddings`, for the order by value; without it, that is by the
    probabilities in the table alone."""
    with_clips: bool = True
    """Whether the page can play clips; otherwise it has posters only."""
    restart: bool = False
    """Make all previews again, also those that could be kept."""
    timeline: bool | None = None
    """Whether each video is shown once, with its rows as segments on a strip; None does so if a
    video has several rows with times."""

    def __post_init__(self) -> None:
        if self.page.suffix.lower() not in (".html", ".htm"):
            raise UsageError(f"--out {self.page}: the page must end in .html")
        if self.truth == "synthetic":
            raise UsageError(
                "--truth: name a folder with one sub-folder per class, or a .csv table"
            )

    @property
    def page(self) -> Path:
        """The HTML file."""
        return self.out or self.table.with_name(shortened(f"{self.table.stem}.html"))

    @property
    def previews(self) -> Path:
        """The folder of posters and clips."""
        return self.page.with_name(shortened(f"{self.page.stem}_previews"))


def review_table(spec: ReviewSpec, quiet: bool = False) -> ExitCode:
    """Make the page and its previews and report what was done.

    A video that cannot be read costs one line; the page shows the reason. Previews of videos that
    have not changed are kept, also of videos that were moved; others are removed. With `quiet`
    there is neither progress bar nor summary.

    Raises:
        UsageError: the table or the truth cannot be read.
        OutputError: a file cannot be written, or another process writes there.
    """
    make_folder(spec.page.parent)
    check_output(spec.page)
    labels = read_labels(spec.table)
    embeddings = read_embeddings(spec.embeddings) if spec.embeddings else None
    samples = open_dataset(spec.truth, Path()).samples if spec.truth else []
    truths = {os.path.realpath(s.path): s.label for s in samples if not s.is_segment}
    roots = [spec.root] if spec.root else [Path(), spec.table.parent]
    spellings = Spellings()
    timeline = is_timeline(labels.rows) if spec.timeline is None else spec.timeline
    if timeline and truths:
        console.warn(f"--truth {spec.truth}: is for whole videos, and not shown for segments")
        truths = {}
    videos = by_video(labels.rows) if timeline else [(row, None) for row in labels.rows]
    rows = [_page_row(row, parts, roots, truths, spec, spellings) for row, parts in videos]
    if told := spellings.told():
        console.warn(f"{spec.table}: {told}")
    if embeddings and not {text_path(row["path"]) for row in labels.rows} & {*embeddings.paths}:
        console.warn(f"--embeddings {spec.embeddings}: has none of the videos in {spec.table}")
    make_folder(spec.previews)
    with holding(spec.page):
        failed, kept = _make_previews(rows, spec, quiet)
        if truths and not any(row.truth for row in rows):
            console.warn(f"--truth {spec.truth}: has none of the videos in {spec.table}")
        names = sorted({*labels.classes, *(row.truth for row in rows if row.truth)})
        remove_leftovers(spec.page)
        worth = by_worth(labels.rows, embeddings)
        of_rows = sorted(range(len(worth)), key=worth.__getitem__)
        ranks = ranks_of_videos(labels.rows, worth) if timeline else of_rows
        rows = with_lengths([
            replace(row, why=failed.get(row.name, ""), rank=rank)
            for row, rank in zip(rows, ranks, strict=True)
        ])  # fmt: skip
        text = page(spec.table.name, _digest(rows), names, rows, spec.order)
        write_bytes(spec.page, [text.encode()])
        _remove_others(rows, spec)
    if not quiet:
        count = len({row.name for row in rows})
        parts = [f"{spec.page} written, with {count - len(failed)} of {plural(count, 'preview')}"]
        parts += [f"{kept} of them kept unchanged (--restart makes them again)"] if kept else []
        parts += [f"{len(failed)} failed"] if failed else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


# --- which videos ---------------------------------------------------------------------------------


def _page_row(
    record: Record, segments: tuple[Record, ...] | None, roots: Sequence[Path],
    truths: Mapping[str, str], spec: ReviewSpec, spellings: Spellings,
) -> PageRow:  # fmt: skip
    path, given = spellings.find_below(record["path"], roots)
    below = os.path.relpath(path, spec.page.parent)
    # The name depends only on what is shown, not on where that lies.
    sample = excerpt(path)
    file = (Path(path).name, identity(path), sample) if sample else path
    length_s = CLIP_S if segments is None else None
    name = _hash(file, record["start_s"], record["end_s"], SIDE_PX, length_s)[:16]
    files = f"{_quoted(spec.previews.name)}/{name}"
    return PageRow(
        record=record,
        path=path,
        given=given,
        href=_quoted(below),
        truth=truths.get(os.path.realpath(path), "") if truths else "",
        name=name,
        poster=f"{files}.jpg",
        clip=f"{files}.mp4" if spec.with_clips else "",
        segments=segments,
    )


def _digest(rows: Sequence[PageRow]) -> str:
    """Under which the browser keeps corrections: the same for the same videos and labels."""
    each = ((row.name, (row.record,) if row.segments is None else row.segments) for row in rows)
    return _hash(
        *((name, *(sorted((told | {"path": ""}).items()) for told in all_)) for name, all_ in each)
    )


def _hash(*what: object) -> str:
    return hashlib.sha256(repr(what).encode("utf-8", "surrogatepass")).hexdigest()


def _quoted(path: str) -> str:
    """A relative path as part of a URL, also with bytes that are not UTF-8."""
    try:
        return quote(os.fsencode(path))
    except UnicodeEncodeError:  # a surrogate that stands for no byte; no file has such a name
        return quote(text_path(path))


# --- their previews -------------------------------------------------------------------------------


def _make_previews(
    rows: Sequence[PageRow], spec: ReviewSpec, quiet: bool
) -> tuple[dict[str, str], int]:
    """The reason for each preview that could not be made, by its name; and how many were kept."""
    failed: dict[str, str] = {}
    waiting: dict[str, PageRow] = {}
    kept: set[str] = set()
    ended = threading.Event()
    for row in rows:
        reason = row.record["reason"]
        if row.record["status"] == Status.FAILED and reason in NOT_AGAIN:
            failed[row.name] = f"{reason} when it was labelled; not tried again"
            console.error(f"{row.path}: {failed[row.name]}")
        elif not spec.restart and _is_there(row, spec):
            kept.add(row.name)
        else:
            waiting[row.name] = row

    def make(row: PageRow) -> VideoError | None:
        start_s, end_s = row.record["start_s"], row.record["end_s"]
        try:
            if row.segments is None:
                files = make_preview(row.path, start_s, end_s, spec.with_clips)
            else:
                files = make_track(row.path, spec.with_clips, lambda: not ended.is_set())
        except VideoError as error:
            return error
        for suffix, data in files.items():
            write_bytes(spec.previews / (row.name + suffix), [data])
        return None

    done = len(failed) + len(kept)
    with (
        console.Progress(done + len(waiting), quiet, done, "previews") as progress,
        ThreadPoolExecutor(worker_count(None)) as pool,  # FFmpeg releases Python's lock
    ):
        errors = pool.map(make, waiting.values())
        try:
            for row, error in zip(waiting.values(), errors, strict=True):
                if error:
                    failed[row.name] = error.detail.removeprefix(f"{row.path}: ")
                    console.error(error.detail)
                progress.advance(failed=error is not None)
        finally:
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
    return failed, len(kept)


def _is_there(row: PageRow, spec: ReviewSpec) -> bool:
    """Whether all files of a preview exist."""
    suffixes = (".jpg", ".mp4") if spec.with_clips else (".jpg",)
    return all((spec.previews / (row.name + suffix)).is_file() for suffix in suffixes)


def _remove_others(rows: Sequence[PageRow], spec: ReviewSpec) -> None:
    """Remove previews of videos that are not on the page any more, or have changed."""
    names = {row.name for row in rows}
    for file in spec.previews.iterdir():
        match = _PREVIEW.fullmatch(file.name)
        if match and match[1] not in names:
            with suppress(OSError):
                file.unlink()
