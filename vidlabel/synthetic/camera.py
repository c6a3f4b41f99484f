"""The camera: where it stands, what it sees, how it moves while it films, and what its lens,
sensor and codec do to a picture.

Camera movement is small and is done by cropping a larger canvas, so one projection serves the
whole clip and the background has to be drawn only once.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from PIL import Image, ImageChops, ImageFilter

from vidlabel.synthetic.skeleton import Array

_NOISE_PICTURES = 5  # a few noise patterns, shown in random order, look like endless ones


@dataclass(frozen=True)
class Camera:
    """A pinhole camera that looks at the height `target_m` above the world's origin.

    `pitch_rad` is how far it looks down; the target is seen at `centre_px` (x, y) of the canvas,
    where one metre is `scale_px` pixels long.
    """

    distance_m: float
    pitch_rad: float
    target_m: float
    scale_px: float
    centre_px: tuple[float, float]

    def project(self, points: ArrayLike) -> tuple[Array, Array]:
        """Canvas points (..., 2) in pixels and depths (...,) in metres of world points (..., 3)."""
        world = np.asarray(points, dtype=np.float64)
        cos, sin = np.cos(self.pitch_rad), np.sin(self.pitch_rad)
        x, y, z = world[..., 0], world[..., 1], world[..., 2] - self.target_m
        depth = self.distance_m + cos * y - sin * z
        scale = self.scale_at(depth)
        across = self.centre_px[0] + scale * x
        down = self.centre_px[1] - scale * (sin * y + cos * z)
        return np.stack([across, down], axis=-1), depth

    def scale_at(self, depth_m: Array) -> Array:
        """Pixels per metre (...,) at depths (...,) in metres."""
        return self.scale_px * self.distance_m / np.maximum(depth_m, 0.3)

    @property
    def horizon_px(self) -> float:
        """Canvas row of the horizon; negative where the camera looks down on the ground only."""
        return float(
            self.centre_px[1] - self.scale_px * self.distance_m * np.tan(max(self.pitch_rad, 0.0))
        )


@dataclass(frozen=True)
class Movement:
    """The part of the canvas that each frame shows: boxes (F, 4) left, top, right, bottom."""

    boxes_px: Array
    margin_px: int


def film(rng: Generator, kind: str, size_px: tuple[int, int], times_s: Array) -> Movement:
    """Camera movement of one `kind`: `static`, `handheld`, `pan` or `zoom`.

    `size_px` is the width and height of what is shown; the canvas has `margin_px` more on each
    side.
    """
    width, height = size_px
    margin = 0 if kind == "static" else round(0.08 * min(size_px))
    span = times_s[-1] + 1e-3
    zoom = np.ones_like(times_s)
    shift = np.zeros((len(times_s), 2))
    if kind == "handheld":
        for axis in (0, 1):
            for period, weight in ((2.1, 0.5), (0.9, 0.28), (0.37, rng.uniform(0.02, 0.15))):
                angle = 2 * np.pi * (times_s / (period * rng.uniform(0.8, 1.2)) + rng.random())
                shift[:, axis] += weight * np.sin(angle)
        shift *= rng.uniform(0.2, 1.0)
    elif kind == "pan":
        way = rng.uniform(-1.0, 1.0, 2) * np.array([1.0, 0.3])
        shift = (times_s / span - 0.5)[:, None] * 2 * way
    elif kind == "zoom":
        first, last = rng.uniform(0.88, 1.12, 2)
        zoom = first + (last - first) * times_s / span
    centre = np.array([margin + width / 2, margin + height / 2]) + shift * margin * 0.95
    half = np.stack([width / 2 / zoom, height / 2 / zoom], axis=1)
    # A zoomed-out view may reach past the canvas; the resize needs a box within it.
    half = np.minimum(half, np.array([width / 2 + margin, height / 2 + margin]))
    boxes = np.concatenate([centre - half, centre + half], axis=1)
    limit = np.array([width + 2 * margin, height + 2 * margin] * 2)
    return Movement(np.clip(boxes, 0, limit), margin)


@dataclass(frozen=True)
class Optics:
    """The flaws of one camera; every one may be absent.

    `tone` maps each of 3 x 256 channel values; `flicker` (F,) multiplies each frame's brightness;
    `softness` is by how much the picture is scaled down and up again (1: not at all).
    """

    tone: tuple[int, ...]
    grey: bool
    vignette: Image.Image | None
    blur_px: float
    softness: float
    noise: NDArray[np.int16] | None
    order: NDArray[np.int64]
    flicker: NDArray[np.float64] | None
    jpeg_quality: int | None


def random_optics(rng: Generator, size_px: tuple[int, int], frames: int, poor: bool) -> Optics:
    """A camera of a good or (`poor`) surveillance kind for pictures of `size_px` (w, h)."""
    bad = 0.75 if poor else 0.3
    noise = flicker = None
    if rng.random() < bad + 0.2:
        noise = _noise(rng, size_px, rng.uniform(1.0, 9.0 if poor else 5.0))
    if rng.random() < 0.07:
        flicker = 1 + rng.uniform(0.01, 0.08) * rng.normal(0.0, 1.0, frames)
    return Optics(
        tone=_tone(rng, dark=poor and rng.random() < 0.3, strong_cast=rng.random() < 0.2),
        grey=bool(rng.random() < (0.25 if poor else 0.05)),
        vignette=_vignette(rng, size_px) if rng.random() < 0.2 else None,
        blur_px=float(rng.uniform(0.4, 1.0)) if rng.random() < 0.3 else 0.0,
        softness=float(rng.uniform(1.2, 2.0)) if rng.random() < 0.5 * bad else 1.0,
        noise=noise,
        flicker=flicker,
        order=rng.integers(0, _NOISE_PICTURES, frames),
        jpeg_quality=int(rng.integers(25, 85)) if rng.random() < bad else None,
    )


def _tone(rng: Generator, dark: bool, strong_cast: bool) -> tuple[int, ...]:
    gain = rng.uniform(0.6, 0.85) if dark else rng.uniform(0.85, 1.1)
    contrast, gamma = rng.uniform(0.7, 1.15), rng.uniform(0.75, 1.15)
    cast = rng.normal(1.0, 0.06 if strong_cast else 0.02, 3)
    level = np.linspace(0.0, 1.0, 256)
    curve = np.clip((level - 0.5) * contrast + 0.5 + rng.normal(0.0, 0.03), 0.0, 1.0) ** gamma
    values = np.clip(255 * gain * cast[:, None] * curve, 0, 255)
    return tuple(int(value) for value in values.ravel())


def _vignette(rng: Generator, size_px: tuple[int, int]) -> Image.Image:
    x, y = np.linspace(-1, 1, size_px[0]), np.linspace(-1, 1, size_px[1])
    fade = 1 - rng.uniform(0.15, 0.5) * (x[None] ** 2 + y[:, None] ** 2) / 2
    return Image.fromarray((255 * np.repeat(fade[..., None], 3, axis=2)).astype(np.uint8))


def _noise(rng: Generator, size_px: tuple[int, int], strength: float) -> NDArray[np.int16]:
    width, height = size_px
    grain = rng.normal(0.0, strength, (_NOISE_PICTURES, height, width, 1))
    colour = rng.normal(0.0, 0.4 * strength, (_NOISE_PICTURES, height, width, 3))
    return (grain + colour).astype(np.int16)


def expose(picture: Image.Image, optics: Optics, frame: int) -> NDArray[np.uint8]:
    """The picture (H, W, 3) that the camera records as its frame number `frame`."""
    if optics.softness > 1:
        small = (round(picture.width / optics.softness), round(picture.height / optics.softness))
        bilinear = Image.Resampling.BILINEAR
        picture = picture.resize(small, bilinear).resize(picture.size, bilinear)
    if optics.blur_px > 0:
        picture = picture.filter(ImageFilter.GaussianBlur(optics.blur_px))
    if optics.grey:
        picture = picture.convert("L").convert("RGB")
    picture = picture.point(optics.tone)
    if optics.vignette is not None:
        picture = ImageChops.multiply(picture, optics.vignette)
    pixels = np.asarray(picture)
    if optics.flicker is not None:
        pixels = np.clip(pixels * optics.flicker[frame], 0, 255).astype(np.uint8)
    if optics.noise is not None:
        noisy = pixels + optics.noise[optics.order[frame]]
        pixels = np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)
    if optics.jpeg_quality is not None:
        pixels = _compress(pixels, optics.jpeg_quality)
    return np.array(pixels, dtype=np.uint8)


def _compress(pixels: NDArray[np.uint8], quality: int) -> NDArray[np.uint8]:
    """The artefacts of compression, by way of JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    with Image.open(buffer) as decoded:
        return np.asarray(decoded)
