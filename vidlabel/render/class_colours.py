"""The colours by which classes are told apart on a timeline."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from vidlabel.render.layout import STRIP
from vidlabel.video.scale import Pixels

Colour = tuple[int, int, int]

HUES: tuple[Colour, ...] = (
    (86, 180, 233), (240, 165, 40), (40, 190, 145), (245, 230, 85), (238, 118, 60),
    (224, 140, 190), (150, 150, 255), (150, 215, 90), (255, 160, 155), (80, 215, 220),
    (205, 165, 120), (225, 185, 255),
)  # fmt: skip
"""Colours of the first classes: those of Okabe and Ito (2008), which people with colour vision
deficiency can tell apart, made lighter, and four more. Each has a contrast of at least 4.5 : 1 with
black text on it, and of 3 : 1 with the strip around it (WCAG 2.2, 1.4.3 and 1.4.11)."""

UNSURE: Colour = (150, 150, 150)
"""Colour of segments whose label is `uncertain`; they are hollow."""

STRIPES = (0, 7, 4)
"""Period in px of dark stripes over the colours, for each further round of classes; 0 has none."""


@dataclass(frozen=True)
class Paint:
    """What a class is drawn with."""

    colour: Colour
    stripe_px: int = 0
    """Period of the dark stripes; 0 for none."""
    hollow: bool = False

    def box(self, width: int, height: int) -> Pixels:
        """A box (height, width, 3) painted so."""
        box = np.full((height, width, 3), self.colour, dtype=np.uint8)
        if self.hollow:
            if width > 2 and height > 2:
                box[1:-1, 1:-1] = tuple(round(0.25 * each) for each in self.colour)
        elif self.stripe_px:
            down, across = np.mgrid[:height, :width]
            box[(down + across) % self.stripe_px < 2] = STRIP
        return box


UNCERTAIN_PAINT = Paint(UNSURE, hollow=True)


def paints(classes: Iterable[str]) -> dict[str, Paint]:
    """A paint for each class, the same for the same set of classes."""
    return {
        label: Paint(HUES[number % len(HUES)], STRIPES[number // len(HUES) % len(STRIPES)])
        for number, label in enumerate(sorted({*classes}))
    }
