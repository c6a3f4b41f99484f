"""The timelines of a table: its rows by video, as labelled segments."""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence

from vidlabel.errors import VideoError
from vidlabel.files.spelling import Spellings, path_from_text
from vidlabel.results.formats.timeline import Segment, Timeline
from vidlabel.results.record import Record
from vidlabel.specs import Status
from vidlabel.text import text_path
from vidlabel.video.header import Header, read_header

WHOLE_S = 1e-3
"""A label that covers all but this much of a video is for the whole video."""


class Headers:
    """The headers of videos, each read once; None where the file is not there or not a video."""

    def __init__(self) -> None:
        self._read: dict[str, Header | None] = {}
        self._spellings = Spellings()

    def of(self, path: str) -> Header | None:
        """That of a path as a table has it."""
        if path not in self._read:
            there = self._spellings.find(path_from_text(path))
            try:
                self._read[path] = read_header(there) if there else None
            except VideoError:
                self._read[path] = None
        return self._read[path]


def timelines_of(
    rows: Iterable[Record], headers: Headers
) -> tuple[tuple[Timeline, ...], Counter[str]]:
    """The timelines of all videos, in the order of their first rows, and how many rows give no
    segment, by reason.

    Rows of one video need not follow each other. A row without times is for the whole video, whose
    length is that of the table or, where it has none, of the video's header. Times before the start
    of the video become 0.
    """
    videos: dict[str, list[Record]] = {}
    for row in rows:
        place = os.path.abspath(row["path"])  # noqa: PTH100  (links are not followed)
        videos.setdefault(place, []).append(row)
    left_out: Counter[str] = Counter()
    return tuple(_timeline(each, headers, left_out) for each in videos.values()), left_out


def _timeline(rows: Sequence[Record], headers: Headers, left_out: Counter[str]) -> Timeline:
    first = rows[0]
    shown = [row for row in rows if _is_shown(row, left_out)]
    duration_s = next((row["duration_s"] for row in rows if row["duration_s"] is not None), None)
    if duration_s is None and any(row["end_s"] is None for row in shown):
        header = headers.of(first["path"])
        duration_s = round(header.duration_s, 6) if header and header.duration_s else None
    whole = len(rows) == 1 and bool(shown) and _is_whole(first, duration_s)
    found = (_segment(row, whole, duration_s, left_out) for row in shown)
    segments = [each for each in found if each is not None]
    return Timeline(
        path=text_path(first["path"]),
        segments=tuple(sorted(segments, key=lambda each: (each.start_s, each.end_s))),
        whole=whole,
        duration_s=duration_s,
        status=first["status"],
        reason=text_path(first["reason"] or ""),
        model=text_path(first["model"] or ""),
    )


def _is_shown(row: Record, left_out: Counter[str]) -> bool:
    """Whether a row has a label to show."""
    if row["status"] in (Status.FAILED, Status.UNCERTAIN):
        left_out[row["status"]] += 1
        return False
    return True


def _is_whole(row: Record, duration_s: float | None) -> bool:
    start_s, end_s = row["start_s"] or 0.0, row["end_s"]
    ends = end_s is None or (duration_s is not None and end_s >= duration_s - WHOLE_S)
    return start_s <= WHOLE_S and ends


def _segment(
    row: Record, whole: bool, duration_s: float | None, left_out: Counter[str]
) -> Segment | None:
    start_s = max(0.0, row["start_s"] or 0.0)
    end_s = duration_s if row["end_s"] is None else row["end_s"]
    if end_s is None and not whole:
        left_out["without an end"] += 1
        return None
    if end_s is not None and end_s < start_s:
        left_out["ending before it starts"] += 1
        return None
    return Segment(
        start_s=start_s,
        end_s=math.nan if end_s is None else end_s,
        label=text_path(row["label"] or ""),
        confidence=row["confidence"],
    )
