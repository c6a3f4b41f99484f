"""Clip augmentation: random moments, crops, mirror images, light and noise.

Everything is drawn once per clip, so that all its frames change alike and motion stays motion.
"""

from __future__ import annotations

import torch
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

    def __call__(self, steps: Tensor) -> Tensor:
        """Steps (K, 3, H, W) uint8, K >= T, to a clip (T, 3, S, S) float32, 0..255."""
        clip = self._crop(steps[self._moments(len(steps))].float())
        if self._chance(0.5):
            clip = clip.flip(-1)
        return self._noise(self._light(clip)).clamp_(0, 255)

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
        """A random box, 70 to 100 % of the shorter side high, resized to the clip's square."""
        height, width = frames.shape[-2:]
        side = self._uniform(0.7, 1.0) * min(height, width)
        stretch = self._uniform(0.85, 1.18)
        box_h, box_w = min(height, round(side)), min(width, round(side * stretch))
        top = round(self._uniform(0, height - box_h))
        left = round(self._uniform(0, width - box_w))
        box = frames[..., top : top + box_h, left : left + box_w]
        size = (self._spec.size_px, self._spec.size_px)
        return F.interpolate(box, size, mode="bilinear", align_corners=False, antialias=False)

    def _light(self, clip: Tensor) -> Tensor:
        """Contrast, brightness and gamma; for RGB also a colour cast, and sometimes no colour."""
        if self._spec.input == "rgb":
            cast = 0.85 + 0.3 * torch.rand((1, 3, 1, 1), generator=self._random)
            clip = clip * cast
            if self._chance(0.2):
                clip = clip.mean(1, keepdim=True).expand_as(clip).clone()
        gamma = self._uniform(0.75, 1.33)
        unit = (clip / 255).clamp_(0, 1) ** gamma
        middle = unit.mean()
        contrast, shift = self._uniform(0.7, 1.3), self._uniform(-0.12, 0.12)
        return ((unit - middle) * contrast + middle + shift).mul_(255)

    def _noise(self, clip: Tensor) -> Tensor:
        if self._chance(0.5):
            return clip
        strength = self._uniform(0, 6)
        return clip + strength * torch.randn(clip.shape, generator=self._random)
