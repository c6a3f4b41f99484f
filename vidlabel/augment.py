"""Clip augmentation: random moments, crops, mirror images, light and noise.

Everything is drawn once per clip, so that all its frames change alike and motion stays motion.
It runs on the CPU while the model trains, so it is kept cheap: light is a table from old to new
pixel values, and noise comes from a fixed supply at a random place.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from vidlabel.specs import ClipSpec


class Augment:
    """Makes a training clip of a video's steps.

    Args:
        spec: what the clip must look like.
        generator: the source of all randomness.
    """

    def __init__(self, spec: ClipSpec, generator: torch.Generator) -> None:
        self._spec = spec
        self._random = generator
        self._noise = torch.randn(4 * int(np.prod(spec.shape)), generator=generator)

    def __call__(self, steps: Tensor) -> Tensor:
        """Steps (K, 3, H, W) uint8, K >= T, to a clip (T, 3, S, S) float32, 0..255."""
        box = self._crop(steps[self._moments(len(steps))])
        size = (self._spec.size_px, self._spec.size_px)
        square = F.interpolate(box, size, mode="bilinear", align_corners=False)
        if self._chance(0.5):
            square = square.flip(-1)
        clip = torch.from_numpy(self._light(square.numpy()))
        if self._chance(0.5):
            clip = clip + self._uniform(0, 6) * self._some_noise(clip)
        return clip.clamp_(0, 255)

    def _uniform(self, low: float, high: float) -> float:
        return low + (high - low) * float(torch.rand((), generator=self._random))

    def _chance(self, share: float) -> bool:
        return self._uniform(0, 1) < share

    def _moments(self, count: int) -> Tensor:
        """T ascending indices: one from each equal part of a random window of the video."""
        window = self._uniform(0.6, 1.0) * count
        start = self._uniform(0, count - window)
        offsets = torch.rand(self._spec.frames, generator=self._random)
        parts = (torch.arange(self._spec.frames) + offsets) / self._spec.frames
        return (start + parts * window).long().clamp_(0, count - 1)

    def _crop(self, frames: Tensor) -> Tensor:
        """A random box, 70 to 100 % of the shorter side high, and nearly square."""
        height, width = frames.shape[-2:]
        side = self._uniform(0.7, 1.0) * min(height, width)
        stretch = self._uniform(0.85, 1.18)
        box_h, box_w = min(height, round(side)), min(width, round(side * stretch))
        top = round(self._uniform(0, height - box_h))
        left = round(self._uniform(0, width - box_w))
        return frames[..., top : top + box_h, left : left + box_w]

    def _light(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Gamma, contrast and brightness; for RGB also a colour cast, and sometimes no colour."""
        gamma = self._uniform(0.75, 1.33)
        contrast, shift = self._uniform(0.7, 1.3), self._uniform(-0.12, 0.12)
        levels = (np.arange(256, dtype=np.float32) / 255) ** gamma
        middle = (float(frames[0].mean()) / 255) ** gamma
        table = (((levels - middle) * contrast + middle + shift) * 255).astype(np.float32)
        if self._spec.input == "motion":
            return np.take(table, frames)
        if self._chance(0.2):
            frames = frames.mean(1, keepdims=True).astype(np.uint8).repeat(3, axis=1)
        casts = [self._uniform(0.85, 1.15) for _ in range(3)]
        return np.stack([(table * cast)[frames[:, i]] for i, cast in enumerate(casts)], axis=1)

    def _some_noise(self, clip: Tensor) -> Tensor:
        start = int(self._uniform(0, len(self._noise) - clip.numel()))
        return self._noise[start : start + clip.numel()].reshape(clip.shape)
