"""The segments of a video: which of them are on screen when, and in which row each is drawn."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property

from vidlabel.render.captions import Caption
from vidlabel.render.class_colours import Paint

MOST_ROWS = 3
"""Most rows of segments that overlap. The segments of further rows are drawn over the last one."""

MOST_NAMED = 3
"""Most segments at once that a caption names."""


@dataclass(frozen=True, eq=False)
class Segment:
    """A labelled stretch of a video; like no other, so that it is quickly looked up."""

    start_s: float
    end_s: float
    """May be infinite: to the end of the video."""
    label: str
    """As the table has it, also where it is `uncertain`."""
    caption: Caption
    paint: Paint


@dataclass(frozen=True)
class Timeline:
    """The segments of a video, by their starts."""

    segments: tuple[Segment, ...]
    label: str | None = ""
    """As that of a caption: a timeline is labelled, though there is no class for all of it."""

    @classmethod
    def of(cls, segments: Iterable[Segment]) -> Timeline:
        """That of segments in any order."""
        return cls(tuple(sorted(segments, key=lambda each: (each.start_s, -each.end_s))))

    @cached_property
    def _moments(self) -> tuple[list[float], list[tuple[Segment, ...]]]:
        """The times at which segments begin or end, ascending, and those on screen from there."""
        changes = {each.start_s for each in self.segments} | {each.end_s for each in self.segments}
        times_s = sorted(change for change in changes if change < math.inf)
        shown: list[tuple[Segment, ...]] = []
        current: list[Segment] = []
        following, starts_s = 0, [each.start_s for each in self.segments]
        for time_s in times_s:
            current = [each for each in current if each.end_s > time_s]
            while following < len(starts_s) and starts_s[following] <= time_s:
                if self.segments[following].end_s > time_s:
                    current.append(self.segments[following])
                following += 1
            shown.append(tuple(current))
        return times_s, shown

    def at(self, time_s: float) -> tuple[Segment, ...]:
        """The segments on screen at a time of the video; the earlier one first."""
        times_s, shown = self._moments
        # A picture at 0.3 s has the time 0.30000000000000004 or a little less.
        place = bisect_right(times_s, time_s + 1e-6)
        return shown[place - 1] if place else ()

    def sets(self) -> list[tuple[Segment, ...]]:
        """The different sets of segments that are on screen at once."""
        return list(dict.fromkeys(self._moments[1]))

    def within(self, start_s: float, end_s: float) -> Timeline:
        """The segments that are on screen between two times."""
        some = (each for each in self.segments if each.start_s < end_s and each.end_s > start_s)
        return Timeline(tuple(some))

    @cached_property
    def rows(self) -> list[list[Segment]]:
        """Segments that do not overlap, row by row, as few rows as possible up to MOST_ROWS."""
        rows: list[list[Segment]] = []
        ends_s: list[float] = []
        for segment in self.segments:
            free = (row for row, end_s in enumerate(ends_s) if end_s <= segment.start_s + 1e-6)
            row = next(free, len(rows))
            if row == MOST_ROWS:
                row -= 1
            elif row == len(rows):
                rows.append([])
                ends_s.append(0.0)
            rows[row].append(segment)
            ends_s[row] = max(ends_s[row], segment.end_s)
        return rows

    def shares(self, start_s: float, end_s: float) -> dict[tuple[str, Paint], float]:
        """How many seconds between two times each class covers, by its name as people read it and
        its paint; most first."""
        seconds: dict[tuple[str, Paint], float] = {}
        for each in self.segments:
            kind = each.caption.lines[0].text, each.paint
            length_s = min(each.end_s, end_s) - max(each.start_s, start_s)
            seconds[kind] = seconds.get(kind, 0.0) + length_s
        return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def caption_at(segments: Sequence[Segment]) -> Caption | None:
    """What to write while these segments are on screen: of a single one its whole caption, of
    several one line each; None in a gap."""
    if len(segments) < 2:
        return segments[0].caption if segments else None
    lines = tuple(each.caption.lines[0] for each in segments[:MOST_NAMED])
    return Caption(lines)
