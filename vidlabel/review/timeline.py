"""Tables of segments, in which several rows belong to one video: one page row per video."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

from vidlabel.errors import VideoError
from vidlabel.machine import worker_count
from vidlabel.results.record import Record
from vidlabel.review.page import PageRow
from vidlabel.review.previews import track_fps
from vidlabel.specs import Status
from vidlabel.video.reader import probe


def is_timeline(records: Sequence[Record]) -> bool:
    """Whether a video has several rows with times."""
    seen: set[str] = set()
    for record in records:
        if record["start_s"] is None or record["end_s"] is None:
            continue
        if record["path"] in seen:
            return True
        seen.add(record["path"])
    return False


def by_video(records: Sequence[Record]) -> list[tuple[Record, tuple[Record, ...]]]:
    """For each video, in the order of the table, what is true of it as a whole, and its segments in
    order. A video whose rows have all failed has no segments."""
    found: defaultdict[str, list[Record]] = defaultdict(list)
    for record in records:
        found[record["path"]].append(record)
    return [(_whole(rows), _segments(rows)) for rows in found.values()]


def _whole(rows: Sequence[Record]) -> Record:
    # The first row of the worst status tells the reason.
    order = [Status.FAILED, Status.PARTIAL, Status.UNCERTAIN, Status.OK]
    labelled = [row for row in rows if row["status"] != Status.FAILED]
    whole = min(labelled or rows, key=lambda row: order.index(Status(row["status"])))
    lengths = [row["duration_s"] for row in rows if row["duration_s"] is not None]
    whole = whole | {"start_s": None, "end_s": None, "duration_s": max(lengths, default=None)}
    return whole


def _segments(rows: Sequence[Record]) -> tuple[Record, ...]:
    found = [row for row in rows if row["status"] != Status.FAILED]
    return tuple(sorted(found, key=lambda row: (row["start_s"] or 0.0, row["end_s"] or 0.0)))


def ranks_of_videos(records: Sequence[Record], order: Sequence[int]) -> list[int]:
    """The rank of each video of `by_video`, from 0, by the first of its rows in an `order`."""
    found: dict[str, int] = {}
    for number in order:
        found.setdefault(records[number]["path"], len(found))
    return [found[path] for path in dict.fromkeys(record["path"] for record in records)]


def with_lengths(rows: Sequence[PageRow]) -> list[PageRow]:
    """The same rows with the length and the frame rate of each video that has segments; where it
    cannot be read, the length that the table tells."""

    def measured(row: PageRow) -> PageRow:
        if row.segments is None:
            return row
        ends = [segment["end_s"] or 0.0 for segment in row.segments]
        known_s = max([row.record["duration_s"] or 0.0, *ends])
        if not row.why:
            with suppress(VideoError):
                info = probe(row.path)
                fps = track_fps(info.fps, info.duration_s)
                return replace(row, duration_s=info.duration_s, fps=fps)
        return replace(row, duration_s=known_s)

    if all(row.segments is None for row in rows):
        return list(rows)
    with ThreadPoolExecutor(worker_count(None)) as pool:
        return list(pool.map(measured, rows))
