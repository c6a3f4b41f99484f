"""The median filter of TV-L1, by sorting networks."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

Exchange = tuple[int, int]
"""Two places of a list, whose contents are exchanged unless the first is the smaller."""

SORTED: dict[int, tuple[Exchange, ...]] = {
    3: ((0, 1), (1, 2), (0, 1)),
    5: ((0, 1), (3, 4), (2, 4), (2, 3), (1, 4), (0, 3), (0, 2), (1, 3), (1, 2)),
}
"""Exchanges that sort 3 or 5 numbers."""

MIDDLE: dict[int, tuple[int, tuple[Exchange, ...]]] = {
    3: (4, ((2, 4), (4, 6), (2, 4))),
    5: (4, ((8, 15), (11, 7), (4, 20), (9, 21), (16, 13), (9, 20), (15, 17), (7, 20),
            (9, 7), (3, 16), (16, 15), (7, 15), (7, 12), (7, 16), (16, 4), (4, 12))),
}  # fmt: skip
"""For a square of numbers, read row by row, whose columns and rows are sorted: the place of the
median, and the exchanges that bring it there. Most numbers are known to be smaller or larger
already. The exchanges for 5 were found by a search over networks, and checked on all 252 patterns
of such squares of 0 and 1, which is a proof (Knuth, The Art of Computer Programming, 5.3.4, the
zero-one principle)."""


class MedianFilter:
    """Medians of the `side` x `side` windows around all pixels, with edges repeated.

    It needs nothing but minima and maxima (after Adams 2021, "Fast Median Filters using Separable
    Sorting Networks"): every column is sorted once for all windows that contain it, and of the rest
    only what the median needs is done. As for differences (see `tvl1._Scale`), windows are shifted
    views of all pixels in one block; those across the padding are computed and not used. Memory is
    kept from call to call, as allocating it takes as long as the arithmetic.
    """

    def __init__(self, side: int) -> None:
        self._side = side
        self._kept: dict[int, list[Tensor]] = {}  # by length

    def __call__(self, images: Tensor) -> Tensor:
        """Of images (N, C, H, W); the next call overwrites the result."""
        side = self._side
        padded = F.pad(images, (side // 2,) * 4, mode="replicate")
        columns = _shifted(padded.view(-1), padded.shape[-1], side)
        self._exchange(columns, _needed(side, columns=True))
        square = [plane for column in columns for plane in _shifted(column, 1, side)]
        self._exchange(square, _needed(side, columns=False))
        return square[MIDDLE[side][0]].as_strided(images.shape, padded.stride())

    def _exchange(
        self, planes: list[Tensor], exchanges: Iterable[tuple[int, int, bool, bool]]
    ) -> None:
        """Put the smaller of two planes, pixel by pixel, in the first place and the larger in the
        second, each only if it is needed."""
        kept = self._kept.setdefault(len(planes[0]), [])
        free, own = list(kept), set(map(id, kept))

        def take() -> Tensor:
            if not free:
                free.append(torch.empty_like(planes[0]))
                kept.append(free[0])
                own.add(id(free[0]))
            return free.pop()

        for first, second, smaller, larger in exchanges:
            pair = planes[first], planes[second]
            if smaller:
                planes[first] = torch.minimum(*pair, out=take())
            if larger:
                planes[second] = torch.maximum(*pair, out=take())
            free += [plane for plane in pair if id(plane) in own]


def _shifted(pixels: Tensor, step: int, count: int) -> list[Tensor]:
    """`count` views of pixels (L,), each `step` further on than the one before."""
    length = len(pixels) - (count - 1) * step
    return [pixels[i * step : i * step + length] for i in range(count)]


@cache
def _needed(side: int, columns: bool) -> list[tuple[int, int, bool, bool]]:
    """The exchanges that sort a column, or find the median of a square of sorted columns, and which
    of the two results is needed: smaller, larger."""
    middle, rest = MIDDLE[side]
    pairs, wanted = list(SORTED[side]), set(range(side))
    if not columns:
        pairs = [(side * row + a, side * row + b) for row in range(side) for a, b in SORTED[side]]
        pairs, wanted = [*pairs, *rest], {middle}
    needed = []
    for first, second in reversed(pairs):
        if wanted & {first, second}:
            needed.append((first, second, first in wanted, second in wanted))
            wanted |= {first, second}
    return needed[::-1]
