"""Captions that follow the segments of a video, and the strip below it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

from vidlabel.render.captions import LETTERS, LINES, Caption, Line, Overlay, draw_caption
from vidlabel.render.layout import extended, with_strip
from vidlabel.render.timeline import Segment, Timeline, caption_at
from vidlabel.render.timeline_strip import Span, TimelineStrip
from vidlabel.video.scale import Pixels

STRIP_TEXT = 0.6
"""Size of the text of the strip, in sizes of that of a caption."""

GAP = "-"
"""Caption between segments, where it has a place of its own below the picture."""


@dataclass(frozen=True)
class StillView:
    """Draws one caption for all pictures of a video."""

    overlay: Overlay

    @property
    def below(self) -> bool:
        """Whether the caption goes below the pictures."""
        return self.overlay.below

    @property
    def extra_px(self) -> int:
        """Height of what is below the pictures."""
        return self.below * len(self.overlay.rgba)

    def onto(self, picture: Pixels, time_s: float) -> Pixels:
        """A picture (H, W, 3) as it is shown: (H + extra_px, W, 3)."""
        return self.overlay.onto(picture)


class TimelineView:
    """Draws captions and a strip for the pictures of one video.

    Args:
        size: width and height of the pictures.
        span: what of the video is shown.
        below: whether captions go below the pictures; None chooses, the same for all of them.
        lines: to write below each caption, such as a file name.
        with_strip: whether there is a strip.
    """

    def __init__(
        self, timeline: Timeline, size: tuple[int, int], span: Span, below: bool | None = None,
        lines: tuple[Line, ...] = (), with_strip: bool = True,
    ) -> None:  # fmt: skip
        self._timeline = timeline.within(span.start_s, span.end_s)
        self._width, self._height = size
        self._lines = lines
        # Captions that differ only in their numbers are equally high.
        found = [self._caption(some) for some in [(), *self._timeline.sets()]]
        alike = {tuple(line.text for line in each.lines): each for each in found if each}
        drawn = [draw_caption(each, *size, below) for each in alike.values()]
        self.below = any(each.below for each in drawn) if below is None else below
        if self.below:
            drawn = [draw_caption(each, *size, below=True) for each in alike.values()]
        self._foot = max((len(each.rgba) for each in drawn if each.below), default=0)
        text_px = int(STRIP_TEXT * min(self._width / LETTERS, self._height / LINES))
        self._strip = TimelineStrip(timeline, span, self._width, text_px) if with_strip else None
        self._drawn = lru_cache(64)(self._draw)

    @property
    def extra_px(self) -> int:
        """Height of what is below the pictures."""
        return self._foot + (self._strip.height if self._strip else 0)

    def onto(self, picture: Pixels, time_s: float) -> Pixels:
        """A picture (H, W, 3) as it is shown at a time of the video: (H + extra_px, W, 3)."""
        overlay = self._drawn(self._timeline.at(time_s))
        shown = overlay.onto(picture) if overlay else picture
        shown = extended(shown, len(picture) + self._foot)
        return with_strip(shown, self._strip.at(time_s)) if self._strip else shown

    def _draw(self, segments: tuple[Segment, ...]) -> Overlay | None:
        caption = self._caption(segments)
        if caption is None:
            if not self.below:
                return None
            caption = Caption((Line(GAP),))
        return draw_caption(caption, self._width, self._height, self.below)

    def _caption(self, segments: tuple[Segment, ...]) -> Caption | None:
        caption = caption_at(segments)
        if caption is None:
            return Caption((Line(GAP), *self._lines)) if self._lines else None
        return replace(caption, lines=(*caption.lines, *self._lines))


def still_caption(timeline: Timeline, time_s: float) -> tuple[Line, ...]:
    """The lines of a caption at one time; a dash in a gap."""
    caption = caption_at(timeline.at(time_s))
    return caption.lines if caption else (Line(GAP),)
