"""A timeline: the labelled segments of one video."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path

from vidlabel.text import safe


@dataclass(frozen=True)
class Segment:
    """A labelled stretch of a video, in seconds of true presentation time."""

    start_s: float
    """At least 0."""
    end_s: float
    """At least `start_s`; NaN if the label is for a whole video of unknown length."""
    label: str
    confidence: float | None = None
    """0..1; None if the table has none."""


@dataclass(frozen=True)
class Timeline:
    """The labels of one video over time."""

    path: str
    """As the table has it; valid UTF-8."""
    segments: tuple[Segment, ...]
    """By start, then by end. They may overlap, and there may be none."""
    whole: bool = False
    """Whether there is one label, for the whole video."""
    duration_s: float | None = None
    fps: float | None = None
    """Mean frames per second, if it was asked for."""
    status: str = "ok"
    """That of the video's first row."""
    reason: str = ""
    """Why the video failed, or a remark."""
    model: str = ""

    @property
    def name(self) -> str:
        """File name of the video."""
        return Path(self.path).name

    @property
    def absolute(self) -> str:
        """Absolute path of the video."""
        return os.path.abspath(self.path)  # noqa: PTH100  (links are not followed)


def classes_of(timelines: tuple[Timeline, ...]) -> list[str]:
    """All labels of the timelines, sorted."""
    return sorted({each.label for timeline in timelines for each in timeline.segments})


def span_ms(segment: Segment) -> tuple[int, int]:
    """Start and end in whole milliseconds; the end is at least one later."""
    start = round(segment.start_s * 1000)
    return start, max(start + 1, round(segment.end_s * 1000))


def span_frames(segment: Segment, fps: float) -> tuple[int, int]:
    """First frame, from 0, and the frame after the last one, at least one later, at a constant
    rate of `fps` frames per second."""
    first = round(segment.start_s * fps)
    return first, max(first + 1, round(segment.end_s * fps))


def is_timed(segment: Segment) -> bool:
    """Whether its end is known."""
    return math.isfinite(segment.end_s)


def one_line(label: str) -> str:
    """A label for formats of lines: line ends, control characters and marks of the writing
    direction as `\\xNN` or `\\uNNNN`."""
    return safe(label)
