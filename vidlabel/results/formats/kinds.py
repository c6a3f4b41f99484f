"""The formats of timelines by name."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from vidlabel.results.formats.activitynet import activitynet
from vidlabel.results.formats.boris import boris
from vidlabel.results.formats.chapters import chapters
from vidlabel.results.formats.edl import HIGHEST_FPS, LIMIT_S, edl
from vidlabel.results.formats.elan import elan
from vidlabel.results.formats.fiftyone import fiftyone
from vidlabel.results.formats.label_studio import label_studio
from vidlabel.results.formats.label_track import audacity, segments
from vidlabel.results.formats.subtitles import srt, vtt
from vidlabel.results.formats.timeline import Timeline

FrameRate: TypeAlias = Literal["no", "if known", "for segments", "always"]
"""When a format needs the frame rate of a video."""


@dataclass(frozen=True)
class TimelineFormat:
    """A format of timelines. Exactly one of `one` and `all` writes it."""

    name: str
    suffix: str
    """Of its files, with the dot."""
    one: Callable[[Timeline], str] | None = None
    """Writes the file of one video; all its segments have times."""
    all: Callable[[tuple[Timeline, ...]], str] | None = None
    """Writes one file for all videos, also those without a label."""
    frame_rate: FrameRate = "no"
    rates: tuple[float, float] = (0.0, math.inf)
    """Lowest and highest frame rate that it can count in."""
    limit_s: float = math.inf
    """Latest time that it can hold."""

    @property
    def named_by_suffix(self) -> bool:
        """Whether the suffix alone tells the format; .json, .csv and .txt do not."""
        return self.suffix not in (".json", ".csv", ".txt")


TIMELINE_FORMATS = {
    each.name: each
    for each in (
        TimelineFormat("srt", ".srt", srt),
        TimelineFormat("vtt", ".vtt", vtt),
        TimelineFormat("chapters", ".ffmeta", chapters),
        TimelineFormat("eaf", ".eaf", elan),
        TimelineFormat(
            "edl", ".edl", edl, frame_rate="always", rates=(1.0, HIGHEST_FPS), limit_s=LIMIT_S
        ),
        TimelineFormat("audacity", ".txt", audacity),
        TimelineFormat("segments", ".csv", segments),
        TimelineFormat("boris", ".boris", all=boris, frame_rate="if known"),
        TimelineFormat("activitynet", ".json", all=activitynet),
        TimelineFormat("label-studio", ".json", all=label_studio, frame_rate="for segments"),
        TimelineFormat("fiftyone", ".json", all=fiftyone),
    )
}
"""By name, in the order of the help."""
