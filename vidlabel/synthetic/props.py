"""Things that move behind the actors: passing cars, and leaves in the wind."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import ImageDraw

from vidlabel.synthetic.backdrop import Ink, View, draw_car, random_ink
from vidlabel.synthetic.skeleton import Array


@dataclass(frozen=True)
class Car:
    """A car that drives past, its middle at `x_m` (M,) and `y_m` on the ground."""

    view: View
    x_m: Array
    y_m: float
    paint: Ink

    def draw(self, draw: ImageDraw.ImageDraw, moment: int) -> None:
        draw_car(draw, self.view, float(self.x_m[moment]), self.y_m, self.paint)


@dataclass(frozen=True)
class Leaves:
    """A branch: discs (N, 3) of x, y and radius in pixels that swing by `sway_px` (M, 2)."""

    discs_px: Array
    sway_px: Array
    inks: list[Ink]

    def draw(self, draw: ImageDraw.ImageDraw, moment: int) -> None:
        right, down = self.sway_px[moment]
        for (x, y, radius), ink in zip(self.discs_px.tolist(), self.inks, strict=True):
            # Small leaves, at the ends of the twigs, swing further.
            reach = 6.0 / (2.0 + radius)
            left, top = x + reach * right - radius, y + reach * down - radius
            draw.ellipse((left, top, left + 2 * radius, top + 2 * radius), fill=ink)


def random_props(rng: Generator, view: View, times_s: Array) -> list[Car | Leaves]:
    """Mostly nothing; else a car or a branch that moves over the moments (M,)."""
    kind = rng.random()
    if kind < 0.12:
        way = rng.choice([-1.0, 1.0])
        passing_s = rng.uniform(0.0, 1.0) * times_s[-1]
        x_m = way * rng.uniform(2.5, 9.0) * (times_s - passing_s)
        return [Car(view, x_m, rng.uniform(3.0, 7.0), random_ink(rng, (115, 115, 120), 55))]
    if kind < 0.24:
        return [_branch(rng, view, times_s)]
    return []


def _branch(rng: Generator, view: View, times_s: Array) -> Leaves:
    """Leaves that hang into the picture from an upper corner."""
    count = int(rng.integers(15, 50))
    spread = rng.uniform(0.12, 0.3) * view.width_px
    inward = np.abs(rng.normal(0.0, 0.5, (count, 2))) * spread
    if rng.random() < 0.5:
        inward[:, 0] = view.width_px - inward[:, 0]
    radii = rng.uniform(0.05, 0.22, (count, 1)) * spread
    green = random_ink(rng, (58, 84, 44), 18)
    inks = [random_ink(rng, green, 12) for _ in range(count)]
    gust = rng.uniform(1.0, 4.0)
    angle = 2 * np.pi * times_s[:, None] / rng.uniform(0.9, 2.5) + rng.uniform(0, 6, 2)
    sway = gust * (np.sin(angle) + 0.5 * np.sin(2.3 * angle))
    return Leaves(np.hstack([inward, radii]), sway, inks)
