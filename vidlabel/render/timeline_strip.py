"""The strip below a video: its segments over time in the colours of their classes, the names of the
classes, the time, and a line at the moment that is shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from PIL import Image, ImageDraw

from vidlabel.fonts import drawable, fitted, load_font
from vidlabel.render.captions import MARK, PALE, READABLE_PX, WHITE, ink_box, ink_width
from vidlabel.render.class_colours import Paint
from vidlabel.render.layout import STRIP
from vidlabel.render.timeline import Segment, Timeline
from vidlabel.text import clock_time
from vidlabel.video.scale import Pixels

LINES_OF_NAMES = 3
"""Most lines of time and names below the segments."""

TRACK = (58, 58, 58)
"""Colour of gaps between segments."""

INK = (0, 0, 0)
"""Colour of names on segments."""

_DIGITS = "0123456789:./"


@dataclass(frozen=True)
class Span:
    """What a strip covers: the part of a video that is shown, and how fast it plays."""

    start_s: float
    end_s: float
    speed: float = 1.0


class TimelineStrip:
    """Draws the strip for pictures of one width.

    Args:
        width: of the strip in px.
        text_px: size of its text.

    Attributes:
        height: of the strip in px.
    """

    def __init__(self, timeline: Timeline, span: Span, width: int, text_px: int) -> None:
        self._span, self._width = span, width
        self._text_px = max(READABLE_PX, text_px)
        self._pad = max(3, round(0.4 * self._text_px))
        self._font = load_font(_DIGITS, self._text_px)
        self._timeline = timeline.within(span.start_s, span.end_s)
        self._names = self._fitting_names()
        rows = max(1, len(self._timeline.rows))
        tall = rows == 1 or bool(self._names)
        self._row = round((1.45 if tall else 0.7) * self._text_px)
        self._gap = max(1, self._text_px // 8)
        self._bottom = self._pad + rows * (self._row + self._gap) - self._gap
        legend = self._legend()
        self._line = round(1.3 * self._text_px)
        digits = ink_box(self._font, _DIGITS)
        self._baseline = self._bottom + self._pad + digits[3] - digits[1]
        self.height = self._baseline + len(legend) * self._line - self._line + self._pad
        self._still = self._drawn(legend)
        self._drawn_at = lru_cache(64)(self._at)

    def at(self, time_s: float) -> Pixels:
        """The strip (height, width, 3) with the line and the clock at a time of the video."""
        return self._drawn_at(self._place(time_s), self._clock(time_s))

    def marked(self, times_s: Iterable[float]) -> Pixels:
        """The strip with a line at each of some times, and with its whole length for the clock."""
        whole = f"{clock_time(self._span.start_s)} - {clock_time(self._span.end_s)}"
        return self._with([self._place(time_s) for time_s in times_s], whole)

    def _at(self, place: int, clock: str) -> Pixels:
        return self._with([place], clock)

    def _with(self, places: Iterable[int], clock: str) -> Pixels:
        page = self._still.copy()
        for place in places:
            self._draw_line(page, place)
        image = Image.fromarray(page)
        room = self._width - 2 * self._pad
        texts = (
            text for text in (clock, clock.partition(" ")[0]) if ink_width(self._font, text) <= room
        )
        text = next(texts, "")
        ImageDraw.Draw(image).text((self._pad, self._baseline), text, WHITE, self._font, "ls")
        return np.asarray(image)

    def _place(self, time_s: float) -> int:
        """The column of a time."""
        span, room = self._span, max(1, self._width - 2 * self._pad)
        share = (time_s - span.start_s) / max(1e-9, span.end_s - span.start_s)
        return self._pad + round(min(max(share, 0.0), 1.0) * room)

    def _clock(self, time_s: float) -> str:
        """The time, the end, and the speed if it is not real time."""
        span = self._span
        speed = f"  \N{MULTIPLICATION SIGN}{span.speed:.3g}" if span.speed != 1 else ""
        return f"{clock_time(int(time_s + 1e-6))} / {clock_time(span.end_s)}{speed}"

    def _fitting_names(self) -> dict[Segment, tuple[str, int]]:
        """The segments with room for their whole name: how it is drawn, and its middle in px."""
        named = {}
        for row in self._timeline.rows:
            starts = [self._place(each.start_s) for each in row]
            ends = [self._place(each.end_s) for each in row]
            for place, segment in enumerate(row):
                # Others may be drawn over it in the last row.
                left = max([starts[place], *ends[:place][-1:]])
                right = min([ends[place], *starts[place + 1 :][:1]])
                text = drawable(segment.caption.lines[0].text)
                wide = ink_width(load_font(text, self._text_px), text)
                if wide + 2 * self._pad <= right - left:
                    named[segment] = text, (left + right) // 2
        return named

    def _legend(self) -> list[list[tuple[int, str, Paint | None]]]:
        """Lines of names that are on no segment: left edge, text and paint of each; `+N` without
        paint at the end for those without a place."""
        shown = {(each.caption.lines[0].text, each.paint) for each in self._names}
        span = self._span
        kinds = [x for x in self._timeline.shares(span.start_s, span.end_s) if x not in shown]
        right = self._width - self._pad
        box = round(MARK * self._text_px) + self._pad // 2
        # The digits of the clock change; none is wider than 0.
        digits = "".join("0" if each.isdigit() else each for each in self._clock(span.end_s))
        left = 2 * self._pad + ink_width(self._font, digits) + self._text_px
        lines: list[list[tuple[int, str, Paint | None]]] = [[]]
        for number, (name, paint) in enumerate(kinds):
            more = len(kinds) - number - 1
            text = drawable(name)
            font = load_font(text, self._text_px)
            spare = ink_width(self._font, f"+{more}") + self._pad if more else 0
            last = len(lines) == LINES_OF_NAMES
            room = right - left - box - (spare if last else 0)
            wide = ink_width(font, text)
            if wide > room and not last:
                lines.append([])
                left, last = self._pad, len(lines) == LINES_OF_NAMES
                room = right - left - box - (spare if last else 0)
            if wide > room and lines[-1]:
                lines[-1].append((left, f"+{more + 1}", None))
                break
            text = fitted(text, room, partial(ink_width, font))
            lines[-1].append((left, text, paint))
            left += box + ink_width(font, text) + self._text_px
        return lines

    def _drawn(self, legend: list[list[tuple[int, str, Paint | None]]]) -> Pixels:
        """The strip without what moves."""
        page = np.full((self.height, self._width, 3), STRIP, dtype=np.uint8)
        tops = [self._pad + n * (self._row + self._gap) for n in range(len(self._timeline.rows))]
        for top in tops or [self._pad]:
            page[top : top + self._row, self._pad : self._width - self._pad] = TRACK
        for top, row in zip(tops, self._timeline.rows, strict=True):
            for segment in row:
                left, right = self._place(segment.start_s), self._place(segment.end_s)
                right = max(right - (right - left > 3), left + 2)  # a gap to the next, if it fits
                right = min(right, self._width)
                page[top : top + self._row, left:right] = segment.paint.box(right - left, self._row)
        image = Image.fromarray(page)
        pen = ImageDraw.Draw(image)
        for top, row in zip(tops, self._timeline.rows, strict=True):
            for segment in row:
                if segment in self._names:
                    self._write_name(pen, segment, top)
        for number, line in enumerate(legend):
            self._write_legend(image, line, self._baseline + number * self._line)
        return np.asarray(image)

    def _write_name(self, pen: ImageDraw.ImageDraw, segment: Segment, top: int) -> None:
        text, middle = self._names[segment]
        font = load_font(text, self._text_px)
        box = ink_box(font, text)
        baseline = top + (self._row - (box[3] - box[1])) // 2 - box[1]
        left = middle - (box[2] - box[0]) // 2 - box[0]
        ink = PALE if segment.paint.hollow else INK
        pen.text((left, baseline), text, ink, font, "ls")

    def _write_legend(
        self, image: Image.Image, line: list[tuple[int, str, Paint | None]], baseline: int
    ) -> None:
        pen, side = ImageDraw.Draw(image), round(MARK * self._text_px)
        for left, text, paint in line:
            if paint:
                image.paste(Image.fromarray(paint.box(side, side)), (left, baseline - side))
                left += side + self._pad // 2
            pen.text((left, baseline), text, PALE, load_font(text, self._text_px), "ls")

    def _draw_line(self, page: Pixels, place: int) -> None:
        """A white line with dark edges over all rows."""
        thick = max(2, self._text_px // 8)
        left = min(max(place - thick // 2, 0), self._width - thick)
        over = self._pad // 2 + 1
        rows = slice(max(0, self._pad - over), self._bottom + over)
        page[rows, max(0, left - 1) : left + thick + 1] = 0
        page[rows, left : left + thick] = 255
