"""Pictures arranged into larger ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from vidlabel.video.scale import Pixels

GAP_PX = 4
"""Black between two pictures."""

STRIP = (24, 24, 24)
"""Background of text below a picture."""


def side_by_side(pictures: Sequence[Pixels]) -> Pixels:
    """Pictures in a row with a gap between them; below the shorter ones, the colour STRIP."""
    height = max(map(len, pictures))
    gap = np.zeros((height, GAP_PX, 3), dtype=np.uint8)
    columns = (extended(picture, height) for picture in pictures)
    return np.hstack([part for column in columns for part in (gap, column)][1:])


def stacked(rows: Sequence[Pixels]) -> Pixels:
    """Pictures of one width one above the other, with a gap between them."""
    gap = np.zeros((GAP_PX, rows[0].shape[1], 3), dtype=np.uint8)
    return np.vstack([part for row in rows for part in (gap, row)][1:])


def extended(picture: Pixels, height: int) -> Pixels:
    """A picture made as high as this with the colour STRIP below it."""
    if len(picture) == height:
        return picture
    strip = np.full((height - len(picture), picture.shape[1], 3), STRIP, dtype=np.uint8)
    return np.vstack([picture, strip])


def with_strip(picture: Pixels, strip: Pixels) -> Pixels:
    """A picture with a strip, which is not wider, below it."""
    done = extended(picture, len(picture) + len(strip))
    done[len(picture) :, : strip.shape[1]] = strip
    return done


def letterboxed(picture: Pixels, width: int, height: int) -> Pixels:
    """A picture scaled to fit this size, in the middle of black."""
    high, wide = picture.shape[:2]
    scale = min(width / wide, height / high)
    size = max(1, round(wide * scale)), max(1, round(high * scale))
    if size != (wide, high):
        picture = np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    if size == (width, height):
        return picture
    page = np.zeros((height, width, 3), dtype=np.uint8)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    page[top : top + size[1], left : left + size[0]] = picture
    return page
