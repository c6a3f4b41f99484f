"""Chapters as FFmpeg's metadata (.ffmeta), to be put into a video without encoding it again:
`ffmpeg -i long.mp4 -i long.mp4.ffmeta -map_chapters 1 -codec copy chapters.mp4`.

Format: https://ffmpeg.org/ffmpeg-formats.html#Metadata-2. A chapter for each segment: there is none
in the gaps, and those of overlapping segments overlap.
"""

from __future__ import annotations

import re

from vidlabel.results.formats.timeline import Timeline, one_line, span_ms


def chapters(timeline: Timeline) -> str:
    """FFmpeg's metadata with a chapter for each segment, times in milliseconds."""
    parts = [";FFMETADATA1\n"]
    for segment in timeline.segments:
        start, end = span_ms(segment)
        title = re.sub(r"[=;#\\]", r"\\\g<0>", one_line(segment.label))
        parts.append(f"[CHAPTER]\nTIMEBASE=1/1000\nSTART={start}\nEND={end}\ntitle={title}\n")
    return "".join(parts)
