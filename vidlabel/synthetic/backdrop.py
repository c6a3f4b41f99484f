"""Backgrounds: walls, lawns, streets, rooms, car parks, drawn once per clip on the whole canvas;
and props that move before them.

Ground and walls follow the camera, so that feet stand on what looks like the floor.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageDraw

from vidlabel.synthetic.camera import Camera
from vidlabel.synthetic.skeleton import Array

Ink = tuple[int, int, int]
Prop = Callable[[ImageDraw.ImageDraw, int], None]
"""Draws something that moves behind the actors, as it is at one moment of the clip."""


@dataclass(frozen=True)
class View:
    """What a background is drawn for: the camera and the size of its canvas in pixels."""

    camera: Camera
    width_px: int
    height_px: int

    def row_px(self, y_m: float, z_m: float = 0.0) -> float:
        """Canvas row of points `y_m` behind the actors and `z_m` above the ground."""
        return float(self.camera.project((0.0, y_m, z_m))[0][1])

    def on_ground(self, corners_m: Array) -> list[tuple[float, float]]:
        """Canvas points of ground points (N, 2)."""
        flat = np.column_stack([corners_m, np.zeros(len(corners_m))])
        return [(float(x), float(y)) for x, y in self.camera.project(flat)[0]]


def clouds(rng: Generator, view: View, cells: tuple[int, ...], stretch: float = 1.0) -> Array:
    """Random blotches (H, W) around 0, about -1..1; `cells` across for each size of blotch."""
    size = (view.width_px, view.height_px)
    total = np.zeros(size[::-1])
    for count in cells:
        rows = max(2, round(count * size[1] / size[0] * stretch))
        grid = Image.fromarray(rng.normal(0.0, 1.0, (rows, max(2, count))).astype(np.float32))
        total += np.asarray(grid.resize(size, Image.Resampling.BICUBIC))
    blotches: Array = total / np.sqrt(len(cells))
    return blotches


def _shade(image: Image.Image, relief: Array, strength: float) -> Image.Image:
    """Darken and lighten a picture by a relief (H, W); `strength` is in grey levels."""
    pixels = np.asarray(image, dtype=np.float32) + strength * relief[..., None]
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def random_ink(rng: Generator, base: tuple[float, float, float], spread: float = 12.0) -> Ink:
    """A colour near `base`; `spread` is in grey levels, mostly of brightness."""
    red, green, blue = np.clip(np.array(base) + rng.normal(0, 0.3 * spread, 3)
                               + rng.normal(0, spread), 5, 250)  # fmt: skip
    return (int(red), int(green), int(blue))


def _scaled(colour: Ink, factor: float) -> Ink:
    red, green, blue = (int(min(255, max(0, factor * part))) for part in colour)
    return (red, green, blue)


def _box(
    draw: ImageDraw.ImageDraw,
    edges: tuple[float, float, float, float],
    fill: Ink,
    outline: Ink | None = None,
    width: int = 1,
) -> None:
    """A rectangle (left, top, right, bottom); nothing if it lies outside and so comes out empty."""
    if edges[2] > edges[0] and edges[3] > edges[1]:
        draw.rectangle(edges, fill=fill, outline=outline, width=width)


def _wall_ink(rng: Generator) -> Ink:
    grey = rng.uniform(110, 210)
    warm = rng.normal(2, 7)
    return random_ink(rng, (grey + warm, grey, grey - warm), 8)


def _ground_ink(rng: Generator) -> Ink:
    kinds = ((112, 110, 104), (150, 146, 136), (76, 92, 48), (90, 84, 62), (84, 84, 90))
    return random_ink(rng, kinds[rng.integers(len(kinds))], 14)


def _halves(rng: Generator, view: View, row: float, upper: Ink, lower: Ink) -> Image.Image:
    """Two areas that meet at a canvas row."""
    image = Image.new("RGB", (view.width_px, view.height_px), upper)
    _box(ImageDraw.Draw(image), (0, row, view.width_px, view.height_px), fill=lower)
    return image


def plain_wall(rng: Generator, view: View) -> Image.Image:
    """A wall with faint stains and slabs, a kerb, and a strip of ground."""
    behind = rng.uniform(0.4, 1.6)
    foot = view.row_px(behind)
    wall = _wall_ink(rng)
    image = _halves(rng, view, foot, wall, _scaled(wall, rng.uniform(0.45, 0.9)))
    relief = clouds(rng, view, (9, 25, 60), stretch=rng.uniform(0.4, 1.0))
    blocks = np.sign(clouds(rng, view, (34,), stretch=0.5)) * rng.uniform(0.0, 0.8)
    image = _shade(image, relief + blocks, rng.uniform(1.0, 7.0))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        kerb = foot + rng.uniform(0.1, 0.5) * (view.row_px(0.0) - foot)
        kerb = max(kerb, view.row_px(-0.25))
        tone = _scaled(wall, rng.uniform(0.3, 0.8))
        _box(draw, (0, kerb, view.width_px, kerb + 0.02 * view.height_px), fill=tone)
    for _ in range(rng.integers(0, 3)):
        left = rng.choice([0.0, 0.92]) * view.width_px + rng.uniform(-6, 6)
        bottom = rng.uniform(0.15, 1.0) * foot
        _box(draw, (left, 0, left + 0.07 * view.width_px, bottom),
                       fill=random_ink(rng, (60, 75, 70), 25))  # fmt: skip
    return image


def brick_wall(rng: Generator, view: View) -> Image.Image:
    """Bricks or tiles down to the ground."""
    behind = rng.uniform(0.4, 1.5)
    foot = view.row_px(behind)
    tile = rng.random() < 0.4
    base = _wall_ink(rng) if tile else random_ink(rng, (150, 95, 75), 20)
    image = _halves(rng, view, foot, base, _ground_ink(rng))
    draw = ImageDraw.Draw(image)
    scale = view.camera.scale_px
    high = (rng.uniform(0.2, 0.5) if tile else rng.uniform(0.09, 0.16)) * scale
    wide = high * (1.0 if tile else 2.4)
    joint = _scaled(base, rng.uniform(0.7, 1.25))
    for number in range(int(foot / high) + 2):
        y = foot - number * high
        offset = 0.0 if tile or number % 2 else wide / 2
        for column in range(-1, int(view.width_px / wide) + 2):
            x = column * wide + offset
            brick = _scaled(base, float(rng.normal(1.0, 0.05)))
            _box(draw, (x, y - high, x + wide, y), fill=brick, outline=joint)
    return _shade(image, clouds(rng, view, (8, 50)), rng.uniform(1.0, 5.0))


def _sky(rng: Generator, view: View, horizon: float, ground: Ink) -> Image.Image:
    top = np.array(random_ink(rng, (130, 165, 215), 25), dtype=np.float64)
    low = np.array(random_ink(rng, (205, 215, 225), 12), dtype=np.float64)
    share = np.clip(np.arange(view.height_px) / max(horizon, 1.0), 0, 1)[:, None]
    rows = top + share * (low - top)
    rows[np.arange(view.height_px) > horizon] = ground
    pixels = np.repeat(rows[:, None], view.width_px, axis=1)
    return Image.fromarray(pixels.astype(np.uint8))


def field(rng: Generator, view: View) -> Image.Image:
    """Sky over grass, sand or asphalt, with hedges and trees far away."""
    horizon = view.camera.horizon_px
    ground = _ground_ink(rng)
    image = _sky(rng, view, horizon, ground)
    image = _shade(image, clouds(rng, view, (5, 40, 120), 2.0), rng.uniform(2.0, 8.0))
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.8:
        tree = random_ink(rng, (60, 80, 48), 16)
        base = max(horizon, view.row_px(30.0))
        for _ in range(rng.integers(5, 25)):
            x, size = rng.uniform(0, view.width_px), rng.uniform(0.04, 0.16) * view.width_px
            box = (x - size, base - 1.3 * size, x + size, base + 0.1 * size)
            draw.ellipse(box, fill=_scaled(tree, float(rng.uniform(0.75, 1.25))))
    return _shade(image, clouds(rng, view, (60, 140)), 3.0)


def street(rng: Generator, view: View) -> Image.Image:
    """Houses with windows and doors behind a pavement."""
    behind = rng.uniform(1.2, 5.0)
    foot = view.row_px(behind)
    image = _halves(rng, view, foot, _wall_ink(rng), _ground_ink(rng))
    draw = ImageDraw.Draw(image)
    scale = float(view.camera.scale_at(np.array(view.camera.distance_m + behind)))
    x = rng.uniform(-3.0, 0.0) * scale
    while x < view.width_px:
        house, wide = random_ink(rng, (145, 130, 120), 35), rng.uniform(2.5, 7.0) * scale
        _box(draw, (x, 0, x + wide, foot), fill=house)
        _windows(rng, draw, (x, x + wide), foot, scale, house)
        x += wide
    kerb = view.row_px(-rng.uniform(0.6, 1.5))
    _box(draw, (0, kerb, view.width_px, view.height_px), fill=random_ink(rng, (80, 80, 84), 12))
    draw.line((0, kerb, view.width_px, kerb), fill=random_ink(rng, (160, 160, 156)), width=3)
    if rng.random() < 0.4:
        draw_car(
            draw, view, rng.uniform(-2.5, 2.5), behind - 0.8, random_ink(rng, (120, 120, 125), 60)
        )
    return _shade(image, clouds(rng, view, (7, 50, 120)), rng.uniform(1.5, 5.0))


def _windows(rng: Generator, draw: ImageDraw.ImageDraw, span: tuple[float, float], foot: float,
             scale: float, house: Ink) -> None:  # fmt: skip
    glass = random_ink(rng, (70, 80, 95), 20)
    step = rng.uniform(1.1, 1.8) * scale
    x = span[0] + 0.3 * scale
    while x + 0.8 * scale < span[1]:
        door = rng.random() < 0.25
        sill = foot if door else foot - 0.9 * scale
        _box(draw, (x, foot - 2.1 * scale, x + 0.8 * scale, sill),
                       fill=_scaled(glass, float(rng.uniform(0.6, 1.5))),
                       outline=_scaled(house, 1.3), width=2)  # fmt: skip
        x += step


def draw_car(draw: ImageDraw.ImageDraw, view: View, x_m: float, y_m: float, paint: Ink) -> None:
    """A car seen from its side, its middle at `x_m` and `y_m` on the ground."""
    (x, y), depth = view.camera.project((x_m, y_m, 0.0))
    s = float(view.camera.scale_at(depth))
    body = ((-2.1, 0.3), (-2.1, 0.8), (-1.3, 0.9), (-0.8, 1.4), (0.8, 1.4), (1.4, 0.9), (2.1, 0.7),
            (2.1, 0.3))  # fmt: skip
    glass = ((-1.1, 0.9), (-0.7, 1.3), (0.7, 1.3), (1.15, 0.9))
    for outline, tone in ((body, paint), (glass, _scaled(paint, 0.35))):
        draw.polygon([(x + right * s, y - up * s) for right, up in outline], fill=tone)
    for wheel in (-1.35, 1.35):
        centre = x + wheel * s
        draw.ellipse((centre - 0.33 * s, y - 0.66 * s, centre + 0.33 * s, y), fill=(24, 24, 26))


def yard(rng: Generator, view: View) -> Image.Image:
    """Asphalt, concrete or lawn seen from above, filling most of the picture."""
    lawn = rng.random() < 0.45
    ground = random_ink(rng, (84, 84, 56) if lawn else (140, 136, 126), 15)
    image = Image.new("RGB", (view.width_px, view.height_px), ground)
    if view.camera.horizon_px > 0:
        image = _sky(rng, view, view.camera.horizon_px, ground)
    relief = clouds(rng, view, (4, 12), 2.5) + clouds(rng, view, (60, 150), 1.8)
    image = _shade(image, relief, rng.uniform(5.0, 14.0) if lawn else rng.uniform(2.0, 6.0))
    draw = ImageDraw.Draw(image)
    if not lawn:
        _ground_lines(rng, draw, view, ground)
    spots = rng.integers(5, 40)
    corners = np.column_stack([rng.uniform(-6, 6, spots), rng.uniform(-3, 8, spots)])
    for x, y in view.on_ground(corners):
        size = rng.uniform(0.5, 3.0)
        draw.ellipse((x - size, y - size / 2, x + size, y + size / 2), fill=_scaled(ground, 0.6))
    return image


def _ground_lines(rng: Generator, draw: ImageDraw.ImageDraw, view: View, ground: Ink) -> None:
    """Cracks between slabs, or the marks of parking bays."""
    painted = rng.random() < 0.35
    tone = _scaled(ground, 1.45 if painted else rng.uniform(0.6, 0.9))
    across = rng.uniform(-0.3, 0.3)
    step = rng.uniform(2.2, 2.8) if painted else rng.uniform(1.5, 4.0)
    for number in range(-5, 6):
        x = number * step + across
        ends = np.array([[x, -2.5], [x + across, 3.5 if painted else 14.0]])
        if painted or rng.random() < 0.6:
            draw.line(view.on_ground(ends), fill=tone, width=3 if painted else 1)
    for y in rng.uniform(-2, 9, rng.integers(1, 4)):
        ends = np.array([[-12.0, y], [12.0, y + across]])
        draw.line(view.on_ground(ends), fill=tone, width=2)


def room(rng: Generator, view: View) -> Image.Image:
    """A room or lobby: tiled floor, back wall, door, pictures, tables and sofas."""
    behind = rng.uniform(1.5, 4.0)
    foot = view.row_px(behind)
    floor = random_ink(rng, (150, 140, 125), 30)
    image = _halves(rng, view, foot, _wall_ink(rng), floor)
    draw = ImageDraw.Draw(image)
    if rng.random() < 0.6:
        _floor_tiles(rng, draw, view, behind, _scaled(floor, rng.uniform(0.75, 1.2)))
    scale = float(view.camera.scale_at(np.array(view.camera.distance_m + behind)))
    for _ in range(rng.integers(1, 6)):
        x, wide = rng.uniform(0, view.width_px), rng.uniform(0.4, 1.4) * scale
        top = foot - rng.uniform(1.4, 2.2) * scale
        low = foot if rng.random() < 0.3 else top + rng.uniform(0.4, 1.0) * scale
        frame = random_ink(rng, (90, 75, 60), 40)
        _box(draw, (x, top, x + wide, low), fill=random_ink(rng, (130, 120, 115), 45),
                       outline=frame, width=2)  # fmt: skip
    for _ in range(rng.integers(1, 5)):
        _block(rng, draw, view, rng.uniform(-3.5, 3.5), rng.uniform(0.9, 1.0) * behind)
    return _shade(image, clouds(rng, view, (3, 30, 100)), rng.uniform(2.0, 6.0))


def _floor_tiles(rng: Generator, draw: ImageDraw.ImageDraw, view: View, behind_m: float,
                 tone: Ink) -> None:  # fmt: skip
    step = rng.uniform(0.4, 1.0)
    for x in np.arange(-7.0, 7.0, step):
        draw.line(view.on_ground(np.array([[x, -2.5], [x, behind_m]])), fill=tone, width=1)
    for y in np.arange(-2.5, behind_m, step):
        draw.line(view.on_ground(np.array([[-9.0, y], [9.0, y]])), fill=tone, width=1)


def _block(rng: Generator, draw: ImageDraw.ImageDraw, view: View, x_m: float, y_m: float) -> None:
    """A piece of furniture: a box with a lighter top."""
    wide, deep, high = rng.uniform(0.3, 1.0), rng.uniform(0.3, 0.6), rng.uniform(0.4, 1.0)
    paint = random_ink(rng, (100, 80, 70), 40)
    box = [(x_m + sx * wide, y_m - sy * deep, z)
           for sx, sy, z in ((-1, 1, 0), (1, 1, 0), (1, 1, high), (-1, 1, high),
                             (1, 0, high), (-1, 0, high))]  # fmt: skip
    corner = [(float(u), float(v)) for u, v in view.camera.project(box)[0]]
    draw.polygon([corner[i] for i in (0, 1, 2, 3)], fill=paint)
    draw.polygon([corner[i] for i in (3, 2, 4, 5)], fill=_scaled(paint, 1.35))


def car_park(rng: Generator, view: View) -> Image.Image:
    """A car park or street corner from a high camera, with cars and a kerb."""
    image = yard(rng, view)
    draw = ImageDraw.Draw(image)
    row = rng.uniform(2.5, 5.0)
    for number in range(-2, 3):
        if rng.random() < 0.6:
            paint = random_ink(rng, (115, 115, 120), 60)
            draw_car(draw, view, 4.6 * number + rng.uniform(-0.3, 0.3), row, paint)
    return image


def texture(rng: Generator, view: View) -> Image.Image:
    """Meaningless blotches in a few colours."""
    layers = [clouds(rng, view, (4, 12, 40)) for _ in range(3)]
    base = np.array(random_ink(rng, (120, 120, 120), 40))
    pixels = base + np.stack(layers, axis=-1) * rng.uniform(4, 18)
    image = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    return _shade(image, clouds(rng, view, (8, 90)), rng.uniform(2, 10))


BACKDROPS: dict[str, Callable[[Generator, View], Image.Image]] = {
    draw.__name__: draw
    for draw in (brick_wall, car_park, field, plain_wall, room, street, texture, yard)
}
"""Name of a background -> function that draws it for a view."""


def random_prop(rng: Generator, view: View, times_s: Array) -> Prop | None:
    """Mostly nothing; else a car or a branch that moves over the moments (M,)."""
    kind = rng.random()
    if kind < 0.12:
        return _passing_car(rng, view, times_s)
    return _branch(rng, view, times_s) if kind < 0.24 else None


def _passing_car(rng: Generator, view: View, times_s: Array) -> Prop:
    way = rng.choice([-1.0, 1.0])
    passing_s = rng.uniform(0.0, 1.0) * times_s[-1]
    x_m = way * rng.uniform(2.5, 9.0) * (times_s - passing_s)
    y_m, paint = rng.uniform(3.0, 7.0), random_ink(rng, (115, 115, 120), 55)
    return lambda draw, moment: draw_car(draw, view, float(x_m[moment]), y_m, paint)


def _branch(rng: Generator, view: View, times_s: Array) -> Prop:
    """Leaves that hang into the picture from an upper corner and swing in the wind."""
    count = int(rng.integers(15, 50))
    spread = rng.uniform(0.12, 0.3) * view.width_px
    inward = np.abs(rng.normal(0.0, 0.5, (count, 2))) * spread
    if rng.random() < 0.5:
        inward[:, 0] = view.width_px - inward[:, 0]
    radii = rng.uniform(0.05, 0.22, count) * spread
    green = random_ink(rng, (58, 84, 44), 18)
    inks = [random_ink(rng, green, 12) for _ in range(count)]
    gust = rng.uniform(1.0, 4.0)
    angle = 2 * np.pi * times_s[:, None] / rng.uniform(0.9, 2.5) + rng.uniform(0, 6, 2)
    sway_px = gust * (np.sin(angle) + 0.5 * np.sin(2.3 * angle))

    def draw_leaves(draw: ImageDraw.ImageDraw, moment: int) -> None:
        # Small leaves, at the ends of the twigs, swing further.
        middles = inward + (6.0 / (2.0 + radii))[:, None] * sway_px[moment]
        for (x, y), radius, ink in zip(middles.tolist(), radii.tolist(), inks, strict=True):
            left, top = x - radius, y - radius
            draw.ellipse((left, top, left + 2 * radius, top + 2 * radius), fill=ink)

    return draw_leaves
