"""The camera: where it stands, what it sees, and how it moves while it films.

Camera movement is small and is done by cropping a larger canvas, so one projection serves the
whole clip and the background has to be drawn only once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike

from vidlabel.synthetic.skeleton import Array


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
