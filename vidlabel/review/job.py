"""`vidlabel review`: of a table of labels, a page to look through them and correct them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

from vidlabel import console
from vidlabel.datasets.open import open_dataset
from vidlabel.decode.pool import worker_count
from vidlabel.errors import ExitCode, OutputError, Reason, UsageError, VideoError
from vidlabel.files.lock import holding
from vidlabel.files.write import check_output, remove_leftovers, write_bytes
from vidlabel.results.record import Record
from vidlabel.results.tables import read_labels
from vidlabel.review.page import PageRow, page
from vidlabel.review.previews import CLIP_S, SIDE_PX, Preview, make_preview
from vidlabel.specs import Status
from vidlabel.text import text_path

NOT_AGAIN = (Reason.CRASHED, Reason.TIMEOUT, Reason.TOO_LARGE)
"""What failed so in a decoder process of its own is not decoded here, in ours."""

_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")  # as `text.text_path` writes what is not UTF-8
_Made: TypeAlias = "Generator[tuple[_Job, Preview | VideoError], None, None]"
_AHEAD = 4  # previews per thread that wait to be written; flat memory


@dataclass(frozen=True)
class ReviewSpec:
    """What page to make."""

    table: Path
    out: Path | None = None
    """The HTML file; None is beside the table. Previews go into a folder beside it."""
    truth: str | None = None
    """Where the true classes are: a folder of classes, a CSV table, or `hmdb51:ROOT` and such."""
    root: Path | None = None
    """Where relative paths of the table begin; None is the current folder, then the table's."""
    with_clips: bool = True
    """Whether the page can play; otherwise it has posters alone."""
    restart: bool = False
    """Make the previews again that could be kept, too."""

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
        return self.out or self.table.with_suffix(".html")

    @property
    def previews(self) -> Path:
        """The folder of posters and clips."""
        return self.page.with_name(f"{self.page.stem}_previews")


@dataclass(frozen=True)
class _Job:
    """A preview to make, of a video or of a part of it."""

    path: str
    given: str
    """The path as the table has it."""
    start_s: float | None
    end_s: float | None
    name: str
    """Of its files, without the suffix."""


def review_table(spec: ReviewSpec, quiet: bool = False) -> ExitCode:
    """Make the page and its previews; say what was done.

    A video that cannot be read costs one line, and has its reason on the page. Previews that are
    there and newer than their video are kept.

    Args:
        spec: what to make.
        quiet: no progress bar, and no line at the end.

    Raises:
        UsageError: the table or the truth cannot be read.
        OutputError: a file cannot be written, or another process writes there.
    """
    check_output(spec.page)
    labels = read_labels(spec.table)
    truths = _read_truth(spec.truth) if spec.truth else {}
    roots = [spec.root] if spec.root else [Path(), spec.table.parent]
    jobs = [_job(row, roots, spec) for row in labels.rows]
    _make_folder(spec.previews)
    with holding(spec.page):
        failed, kept = _make_previews(labels.rows, jobs, spec, quiet)
        rows = [
            _page_row(row, job, truths, failed.get(job.name, ""), spec)
            for row, job in zip(labels.rows, jobs, strict=True)
        ]
        if truths and not any(row.truth for row in rows):
            console.warn(f"--truth {spec.truth}: has none of the videos in {spec.table}")
        names = sorted({*labels.classes, *(row.truth for row in rows if row.truth)})
        remove_leftovers(spec.page)
        text = page(spec.table.name, labels.digest, names, rows)
        write_bytes(spec.page, [text.encode()])
    if not quiet:
        count = len({job.name for job in jobs})
        parts = [f"{spec.page} written, with {count - len(failed)} of {count} previews"]
        parts += [f"{kept} of them kept (--restart makes them again)"] if kept else []
        parts += [f"{len(failed)} failed"] if failed else []
        console.note(", ".join(parts))
    return ExitCode.SOME_FAILED if failed else ExitCode.OK


# --- which videos ---------------------------------------------------------------------------------


def _find(given: str, roots: Sequence[Path]) -> tuple[str, str]:
    """The absolute path of a video that a table names, and that name with its own bytes; where
    there is no such file, as it is written."""
    raw = _ESCAPED.sub(lambda byte: chr(0xDC00 + int(byte[1], 16)), given)  # as `os.fsdecode`
    for text in dict.fromkeys((given, raw)):
        for root in roots:
            place = os.path.abspath(root / text)  # noqa: PTH100  (keeps links as they are)
            if os.path.lexists(place):
                return place, text
    return os.path.abspath(roots[0] / given), given  # noqa: PTH100


def _read_truth(data: str) -> dict[str, str]:
    """True class of each video, by its real path."""
    samples = open_dataset(data, Path()).samples
    return {os.path.realpath(sample.path): sample.label for sample in samples}


def _job(row: Record, roots: Sequence[Path], spec: ReviewSpec) -> _Job:
    path, given = _find(row["path"], roots)
    # A name that depends on nothing but what is shown: the page and its videos may move together.
    below = os.path.relpath(path, spec.page.parent)
    shown = f"{below}\0{row['start_s']}\0{row['end_s']}\0{SIDE_PX}\0{CLIP_S}"
    digest = hashlib.sha256(shown.encode("utf-8", "surrogatepass")).hexdigest()
    return _Job(path, given, row["start_s"], row["end_s"], digest[:16])


def _page_row(
    row: Record, job: _Job, truths: Mapping[str, str], why: str, spec: ReviewSpec
) -> PageRow:
    folder = _quoted(spec.previews.name)
    below = os.path.relpath(job.path, spec.page.parent)
    return PageRow(
        record=row,
        path=job.path,
        given=job.given,
        href=_quoted(below),
        truth=truths.get(os.path.realpath(job.path), "") if truths else "",
        poster="" if why else f"{folder}/{job.name}.jpg",
        clip="" if why or not spec.with_clips else f"{folder}/{job.name}.mp4",
        why=why,
    )


def _quoted(path: str) -> str:
    """A relative path as part of a URL, bytes that are not UTF-8 included."""
    try:
        return quote(os.fsencode(path))
    except UnicodeEncodeError:  # a surrogate that stands for no byte; no file has such a name
        return quote(text_path(path))


# --- their previews -------------------------------------------------------------------------------


def _make_previews(
    rows: Sequence[Record], jobs: Sequence[_Job], spec: ReviewSpec, quiet: bool
) -> tuple[dict[str, str], int]:
    """Why a preview could not be made, by its name; and how many were kept."""
    failed: dict[str, str] = {}
    waiting: dict[str, _Job] = {}
    kept: set[str] = set()
    for row, job in zip(rows, jobs, strict=True):
        if row["status"] == Status.FAILED and row["reason"] in NOT_AGAIN:
            failed[job.name] = f"{row['reason']} when it was labelled; not tried again"
            console.error(f"{job.path}: {failed[job.name]}")
        elif not spec.restart and _is_newer(job, spec):
            kept.add(job.name)
        else:
            waiting[job.name] = job
    done = len(failed) + len(kept)
    with (
        console.Progress(done + len(waiting), quiet, done, "previews") as progress,
        closing(_made(list(waiting.values()), spec)) as made,
    ):
        for job, result in made:
            if isinstance(result, VideoError):
                failed[job.name] = result.detail.removeprefix(f"{job.path}: ")
                console.error(result.detail)
            else:
                _write(job, result, spec)
            progress.advance(failed=isinstance(result, VideoError))
    return failed, len(kept)


def _made(jobs: Sequence[_Job], spec: ReviewSpec) -> _Made:
    """Each job and its result. FFmpeg works in threads, since it lets go of Python meanwhile."""

    def make(job: _Job) -> Preview | VideoError:
        try:
            return make_preview(job.path, job.start_s, job.end_s, spec.with_clips)
        except VideoError as error:
            return error

    threads = worker_count(None)
    size = _AHEAD * threads
    with ThreadPoolExecutor(threads) as pool:
        for start in range(0, len(jobs), size):
            group = jobs[start : start + size]
            yield from zip(group, pool.map(make, group), strict=True)


def _write(job: _Job, preview: Preview, spec: ReviewSpec) -> None:
    for suffix, data in ((".mp4", preview.clip), (".jpg", preview.poster)):
        if data:
            write_bytes(spec.previews / (job.name + suffix), [data])


def _is_newer(job: _Job, spec: ReviewSpec) -> bool:
    """Whether all files of a preview are there and newer than the video."""
    suffixes = (".jpg", ".mp4") if spec.with_clips else (".jpg",)
    try:
        video_ns = Path(job.path).stat().st_mtime_ns
        files = [spec.previews / (job.name + suffix) for suffix in suffixes]
        return min(file.stat().st_mtime_ns for file in files) > video_ns
    except (OSError, ValueError):  # one is not there
        return False


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error
