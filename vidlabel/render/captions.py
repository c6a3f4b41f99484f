"""Captions of videos: the label, its probability, and whether it is right.

A caption is drawn once for a video and then laid over each of its frames.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from vidlabel.fonts import Font, drawable, fitted, load_font
from vidlabel.render.class_colours import Paint
from vidlabel.render.layout import STRIP, with_strip
from vidlabel.specs import Prediction, Status
from vidlabel.video.scale import Pixels

Verdict = Literal["", "right", "wrong"]

READABLE_PX = 12
"""Size of the smallest text. If the picture is too small for it, the caption goes below."""

LETTERS = 18
"""The size of the text is the picture's width over LETTERS or its height over LINES, whichever is
smaller."""

LINES = 15

MOST = 0.3
"""Share of a picture's height that a caption may cover; a higher caption goes below."""

WIDEST = 26
"""Width of a caption, in sizes of its text, in a picture that is much wider."""

MOST_NUMBER = 0.7
"""Share of a line that its number may take; in a narrower line there is only the bar."""

GROUND = (0, 0, 0, 195)
"""Background of text over a picture. Over white, all text colours have a contrast of at least
4.5 : 1 with it (WCAG 2.2, 1.4.3)."""

WHITE, PALE = (255, 255, 255, 255), (215, 215, 215, 255)
COLOURS = {"": (120, 195, 255, 255), "right": (95, 225, 120, 255), "wrong": (255, 140, 130, 255)}
"""Colour of the label for each verdict, which also has a mark of its own."""

MARK = 0.7
"""Height of a mark before a text, in sizes of the text."""

_TRACK = (95, 95, 95, 255)


@dataclass(frozen=True)
class Line:
    """One line of a caption: a class with its probability, or plain text."""

    text: str
    share: float = math.nan
    """Probability, 0..1; NaN shows neither number nor bar."""
    paint: Paint | None = None
    """That of the class on a timeline; None draws no box of it."""


@dataclass(frozen=True)
class Caption:
    """The caption of a video."""

    lines: tuple[Line, ...]
    verdict: Verdict = ""
    """Whether the first line is right."""
    label: str | None = None
    """The video's class as the model names it; "" if it is uncertain, None if it has none. Lines
    are for people only: they write `a_b` and `a b` alike."""


def caption_of(row: Prediction | None, truth: str | None = None, top_k: int = 1) -> Caption:
    """The caption for a row of predictions, with the true class if it is known, and `top_k`
    classes."""
    is_truth = () if truth is None else (Line(f"truth: {name(truth)}"),)
    if row is None:
        return Caption((Line("no label"), *is_truth))
    if not row.ok:
        return Caption((Line(f"no label: {name(row.reason)}"), *is_truth))
    first = Line(name(row.label), row.confidence)
    # Below --min-confidence, the most likely class follows `uncertain`.
    uncertain = row.status is Status.UNCERTAIN
    rest = row.top if uncertain and top_k > 1 else row.top[1:]
    lines = (first, *(Line(name(label), share) for label, share in rest[: top_k - 1]))
    if truth is None or uncertain:
        return Caption((*lines, *is_truth), label="" if uncertain else row.label)
    if row.label == truth:
        return Caption(lines, "right", row.label)
    return Caption((first, *is_truth, *lines[1:]), "wrong", row.label)


def name(text: str) -> str:
    """A class name as people read it."""
    return text.replace("_", " ")


@dataclass(frozen=True)
class Overlay:
    """A drawn caption for pictures of one size, over or below them."""

    rgba: NDArray[np.uint8]
    """(h, w, 4) uint8; w is at most the picture's width."""
    below: bool

    def onto(self, picture: Pixels) -> Pixels:
        """A copy of the picture (H, W, 3) with the caption at its bottom left, or below it, then
        (H + h, W, 3)."""
        if self.below:
            return with_strip(picture, self.rgba[..., :3])
        height, width = self.rgba.shape[:2]
        alpha = self.rgba[..., 3:].astype(np.uint16)
        done = picture.copy()
        under = done[-height:, :width]
        over = self.rgba[..., :3] * alpha + under * (255 - alpha) + 127
        under[...] = over // 255
        return done


def draw_caption(caption: Caption, width: int, height: int, below: bool | None = None) -> Overlay:
    """Draw a caption for pictures of one size in px; None chooses whether it goes below them."""
    size_px = int(min(width / LETTERS, height / LINES))
    if below is None:
        drawn = _Drawing(max(size_px, READABLE_PX), caption)
        below = size_px < READABLE_PX or drawn.height > MOST * height
    if below:
        size_px = int(min(max(size_px, READABLE_PX), width / LETTERS))
    drawing = _Drawing(max(size_px, READABLE_PX), caption)
    ground = (*STRIP, 255) if below else GROUND
    widest = WIDEST * drawing.size_px
    box_width = width if below or width < 1.3 * widest else widest
    return Overlay(np.asarray(drawing.on(box_width, ground)), below)


class _Drawing:
    """The layout of a caption with text of one size.

    Each line has its text at the left, its number at the right and its bar below. The first line
    starts with the mark of the verdict.
    """

    def __init__(self, size_px: int, caption: Caption) -> None:
        self.size_px = size_px
        self._caption = caption
        self._pad = max(3, round(size_px * 0.4))
        self._bar = max(2, round(size_px * 0.17))
        self._texts = [drawable(line.text) for line in caption.lines]
        self._fonts = [load_font(text, size_px) for text in self._texts]
        self._number_font = load_font("0123456789 %", size_px)
        heights = [
            ink_box(font, "Ág" + text)[3] - ink_box(font, "Ág" + text)[1]
            for font, text in zip(self._fonts, self._texts, strict=True)
        ]
        self._steps = [
            high + self._pad + (0 if math.isnan(line.share) else self._bar + self._pad // 2)
            for high, line in zip(heights, caption.lines, strict=True)
        ]
        self.height = self._pad + sum(self._steps)

    def on(self, width: int, ground: tuple[int, int, int, int]) -> Image.Image:
        """The caption in a box of this width."""
        box = Image.new("RGBA", (width, self.height), ground)
        pen = ImageDraw.Draw(box)
        top = self._pad
        for number, step in enumerate(self._steps):
            self._line(box, pen, number, top, width)
            top += step
        return box

    def _line(
        self, box: Image.Image, pen: ImageDraw.ImageDraw, number: int, top: int, width: int
    ) -> None:
        line, text, font = self._caption.lines[number], self._texts[number], self._fonts[number]
        first = number == 0
        verdict = self._caption.verdict if first else ""
        left, right = self._pad, width - self._pad
        baseline = top - ink_box(font, "Ág" + text)[1]
        if verdict:
            _mark(pen, verdict, left, baseline, self.size_px)
            left += round(1.1 * self.size_px)
        if line.paint is not None:
            side = round(MARK * self.size_px)
            box.paste(Image.fromarray(line.paint.box(side, side)), (left, baseline - side))
            left += side + self._pad
        if not math.isnan(line.share):
            own = line.paint if not verdict else None
            of_bar = own.colour if own else COLOURS[verdict]
            self._gauge(pen, line.share, of_bar, baseline, width)
            percent = f"{100 * line.share:.0f} %"
            wide = ink_box(self._number_font, percent)[2]
            if wide <= MOST_NUMBER * (right - left):
                number_at = (right - wide, baseline)
                pen.text(number_at, percent, WHITE, self._number_font, anchor="ls")
                right -= wide + self._pad
        text = fitted(text, right - left, lambda some: ink_width(font, some))
        colour = (COLOURS[verdict] if verdict else WHITE) if first else PALE
        pen.text((left - min(0, ink_box(font, text)[0]), baseline), text, colour, font, anchor="ls")

    def _gauge(
        self, pen: ImageDraw.ImageDraw, share: float, colour: Sequence[int], baseline: int,
        width: int,
    ) -> None:  # fmt: skip
        """A bar below a line of text, filled in proportion to the share."""
        top = baseline + ink_box(self._number_font, "Ág")[3] + self._pad // 4
        left, right = self._pad, width - self._pad - 1
        pen.rectangle((left, top, right, top + self._bar - 1), _TRACK)
        end = left + round((right - left) * min(max(share, 0.0), 1.0))
        pen.rectangle((left, top, end, top + self._bar - 1), tuple(colour))


def _mark(pen: ImageDraw.ImageDraw, verdict: Verdict, left: int, baseline: int, size: int) -> None:
    """A tick or a cross. It is drawn, since few fonts have these characters."""
    side = round(MARK * size)
    top, bottom, right = baseline - side, baseline, left + side
    colour, thick = COLOURS[verdict], max(2, size // 7)
    if verdict == "right":
        tick = [(left, top + side // 2), (left + side // 3, bottom), (right, top)]
        pen.line(tick, colour, thick, joint="curve")
    else:
        pen.line([(left, top), (right, bottom)], colour, thick)
        pen.line([(left, bottom), (right, top)], colour, thick)


def ink_box(font: Font, text: str) -> tuple[int, int, int, int]:
    """Left, top, right and bottom edge of a drawn text, px from the start of its baseline."""
    if not text:
        return (0, 0, 0, 0)
    box = font.getbbox(text, anchor="ls")
    return math.floor(box[0]), math.floor(box[1]), math.ceil(box[2]), math.ceil(box[3])


def ink_width(font: Font, text: str) -> int:
    """Width of a drawn text in px."""
    box = ink_box(font, text)
    return box[2] - min(0, box[0])
