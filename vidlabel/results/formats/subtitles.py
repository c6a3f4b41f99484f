"""Subtitles: SubRip (.srt) and WebVTT (.vtt), a cue for each segment.

SubRip has no specification; this is what its program wrote, as FFmpeg reads it
(https://wiki.videolan.org/SubRip/). WebVTT: https://www.w3.org/TR/webvtt1/. Cues may overlap; a
player shows them together.
"""

from __future__ import annotations

from vidlabel.results.formats.timeline import Timeline, one_line, span_ms

_NO_MARKUP = str.maketrans("<>", "\u2039\u203a")


def srt(timeline: Timeline) -> str:
    """SubRip, times in milliseconds. Text between `<` and `>` is markup and cannot be escaped: they
    become single quotation marks of that shape."""
    cues = []
    for number, segment in enumerate(timeline.segments, 1):
        start, end = (_clock(ms, ",") for ms in span_ms(segment))
        text = one_line(segment.label).translate(_NO_MARKUP)
        cues.append(f"{number}\n{start} --> {end}\n{text}\n\n")
    return "".join(cues)


def vtt(timeline: Timeline) -> str:
    """WebVTT, times in milliseconds."""
    cues = ["WEBVTT\n"]
    for segment in timeline.segments:
        start, end = (_clock(ms, ".") for ms in span_ms(segment))
        text = one_line(segment.label).replace("&", "&amp;")
        text = text.replace("<", "&lt;").replace(">", "&gt;")
        cues.append(f"\n{start} --> {end}\n{text}\n")
    return "".join(cues)


def _clock(ms: int, mark: str) -> str:
    """`hh:mm:ss` and milliseconds; the hours have as many digits as they need."""
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"
