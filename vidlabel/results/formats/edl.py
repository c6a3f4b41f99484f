"""CMX 3600 edit decision lists (.edl) with the markers of DaVinci Resolve.

Each segment is an event, which editing programs cut from the video and put where it was, and a
marker, which Resolve imports with its name, colour and length (Timelines, Import, Timeline Markers
from EDL). The marker line ` |C:colour |M:name |D:frames` is that of Resolve's own export; the rest
is described in https://xmil.biz/EDL-X/CMX3600.pdf.

Events are in ASCII; the names of markers are in UTF-8, which Resolve writes too. Source times begin
at 00:00:00:00, record times at 01:00:00:00, where a timeline of Resolve begins. Timecode counts
frames without dropping any. An event ends where the next begins, since a track holds one at a time,
and two never begin at the same frame; the length of the marker is that of the segment.
"""

from __future__ import annotations

import math
import unicodedata
import zlib

from vidlabel.results.formats.timeline import Timeline, one_line, span_frames

HIGHEST_FPS = 99.5
"""Timecode has two digits for the frame."""

LIMIT_S = 23 * 3600.0
"""Timecode ends at 24 hours, and the record times begin at 1."""

_COLOURS = (
    "Blue", "Cyan", "Green", "Yellow", "Red", "Pink", "Purple", "Fuchsia", "Rose", "Lavender",
    "Sky", "Mint", "Lemon", "Sand", "Cocoa", "Cream",
)  # fmt: skip


def edl(timeline: Timeline) -> str:
    """An edit decision list, counted in frames of `timeline.fps`, which must be known unless there
    is no segment."""
    name = _ascii(timeline.name)
    lines = [f"TITLE: {name}", "FCM: NON-DROP FRAME", ""]
    if timeline.segments:
        assert timeline.fps is not None  # the caller has looked
        base = round(timeline.fps)
        events = _events([span_frames(each, timeline.fps) for each in timeline.segments])
        for number, (segment, (start, end, length)) in enumerate(
            zip(timeline.segments, events, strict=True), 1
        ):
            frames = (start, end, start + 3600 * base, end + 3600 * base)
            times = " ".join(_timecode(frame, base) for frame in frames)
            colour = _COLOURS[zlib.crc32(segment.label.encode()) % len(_COLOURS)]
            label = one_line(segment.label).replace("|", "/")
            lines += [
                f"{number:03}  001      V     C        {times}  ",
                f" |C:ResolveColor{colour} |M:{label} |D:{length}",
                f"* FROM CLIP NAME: {name}",
                "",
            ]
    return "\n".join(lines)


def _events(spans: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """First frame, frame after the last, and length of the marker, of events by their start."""
    starts: list[int] = []
    for first, _ in spans:
        starts.append(max(first, starts[-1] + 1) if starts else first)
    nexts = [*starts[1:], math.inf]
    return [
        (start, int(max(start + 1, min(after, following))), after - first)
        for start, following, (first, after) in zip(starts, nexts, spans, strict=True)
    ]


def _timecode(frame: int, base: int) -> str:
    seconds, frame = divmod(frame, base)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}:{frame:02}"


def _ascii(text: str) -> str:
    """Letters without their accents; what is not ASCII even then, as `\\uNNNN`."""
    plain = unicodedata.normalize("NFKD", one_line(text))
    letters = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return letters.encode("ascii", "backslashreplace").decode()
