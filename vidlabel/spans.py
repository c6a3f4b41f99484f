"""Stretches of videos, and how long videos are divided into them; plain data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from vidlabel.errors import UsageError
from vidlabel.text import seconds_text

Span: TypeAlias = tuple[float, float]
"""Start and end of a stretch of a video, seconds from its start: 0 <= start < end. The end does not
belong to it; one after the end of the video, such as `inf`, means that."""

WHOLE: Span = (0.0, math.inf)


class VideoSpan(NamedTuple):
    """A video, or a span of it. As text it is the path, with `#t=START,END` for a span, as in W3C
    Media Fragments URI 1.0."""

    path: str
    start_s: float = 0.0
    end_s: float = math.inf

    @property
    def span(self) -> Span:
        """The span; WHOLE for all of the video."""
        return self.start_s, self.end_s

    @property
    def fragment(self) -> str:
        """`#t=START,END`, in seconds; empty for a whole video."""
        if self.span == WHOLE:
            return ""
        end = "" if self.end_s == math.inf else f",{seconds_text(self.end_s)}"
        return f"#t={seconds_text(self.start_s)}{end}"

    def __str__(self) -> str:
        return f"{self.path}{self.fragment}"


@dataclass(frozen=True)
class TimelineSpec:
    """How videos are labelled in segments: by windows, each seen as a clip, and what becomes of
    their labels. Raises UsageError if a value is out of range."""

    window_s: float | None = None
    """Length of a window; None for that of the model's clips if they have one (--fps), else 2 s."""
    stride_s: float | None = None
    """From the start of a window to that of the next; None for a quarter of a window."""
    min_length_s: float | None = None
    """Shorter segments are left out; None for half a window."""
    gaps: bool = False
    """Whether what lies between segments gets rows too, with the status `uncertain`."""

    def __post_init__(self) -> None:
        for name in ("window_s", "stride_s"):
            value = getattr(self, name)
            flag = "--" + name.removesuffix("_s")
            if not (value is None or 0.01 <= value <= 3600):
                raise UsageError(f"{flag} must be 0.01 to 3600 seconds, got {value}")
        least = self.min_length_s
        if not (least is None or 0 <= least < math.inf):
            raise UsageError(f"--min-length must be at least 0 seconds, got {least}")
