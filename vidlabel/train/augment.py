"""Clip augmentation: what is drawn at random for each training clip.

Random moments, crops, mirror images, light, noise, and mixed clips. What happens to a clip is drawn
once for all its frames, so that they change alike and motion stays motion. It is drawn on the CPU
for a whole batch, before the batch is divided among processes or pieces: a clip depends on the seed
and its place in the batch, not on the hardware. `training_clips` applies it to the frames.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor

from vidlabel.specs import ClipSpec
from vidlabel.train.recipes import TrainSpec

CURVE, CONTRAST, SHIFT, CAST = 0.35, 0.3, 0.12, 0.15
"""Largest changes of light and colour at strength 1."""
GREY = 0.2
"""Share of RGB clips that lose their colour, at strength 1."""


@dataclass(frozen=True)
class Draw:
    """What happens to each of B clips; `draw[a:b]` is that of some of them.

    Lengths are shares of the frame's shorter side, places shares of the remaining length; cut boxes
    are shares of the clip's side.
    """

    moments: Tensor  # (B, T) int64, ascending
    box: Tensor  # (B, 4): height, width, and place down and across
    flip: Tensor  # (B,) bool
    light: Tensor  # (B, 3): curve, contrast, shift
    cast: Tensor  # (B, 3): a factor for red, green and blue
    grey: Tensor  # (B,) bool
    noise: Tensor  # (B, 2): deviation, and the place in the supply
    own: Tensor  # (B,): share of the clip itself; the rest is its partner's
    cut: Tensor  # (B, 4): top, left, bottom, right of what comes from the partner; 0 if nothing

    def __getitem__(self, part: slice) -> Self:
        return type(self)(*(getattr(self, field.name)[part] for field in fields(self)))

    def __len__(self) -> int:
        return len(self.moments)


class Augmentation:
    """Draws what happens to training clips.

    Args:
        clip: what a clip looks like.
        spec: how much is changed.
    """

    def __init__(self, clip: ClipSpec, spec: TrainSpec) -> None:
        self._clip = clip
        self._spec = spec

    def draw(self, count: int, steps: int, random: torch.Generator) -> Draw:
        """Draw for `count` clips of videos with `steps` time steps each."""
        spec = self._spec

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            return low + (high - low) * torch.rand(count, *shape, generator=random)

        side, stretch = uniform(spec.crop, 1), uniform(0.85, 1.18)
        box = torch.stack([side, side * stretch, uniform(0, 1), uniform(0, 1)], 1)
        if spec.crop == 1:
            centre = self._clip.size_px / self._clip.resize_px
            box = torch.tensor([centre, centre, 0.5, 0.5]).repeat(count, 1)
        limits = torch.tensor([CURVE, CONTRAST, SHIFT]) * spec.colour
        own, cut = self._mixture(count, random)
        return Draw(
            moments=self._moments(count, steps, random),
            box=box,
            flip=uniform(0, 1) < spec.flip,
            light=uniform(-1, 1, 3) * limits,
            cast=1 + uniform(-1, 1, 3) * CAST * spec.colour,
            grey=uniform(0, 1) < GREY * spec.colour,
            noise=torch.stack([uniform(0, spec.noise) * (uniform(0, 1) < 0.5), uniform(0, 1)], 1),
            own=own,
            cut=cut,
        )

    def _moments(self, count: int, steps: int, random: torch.Generator) -> Tensor:
        """(B, T) ascending indices: one from each equal part of a random window of the video; at
        `clip.fps`, a random place of the clip among the time steps."""
        frames = self._clip.frames
        if self._clip.fps:
            first = torch.randint(steps - frames + 1, (count, 1), generator=random)
            return first + torch.arange(frames)
        low = self._spec.window
        window = steps * (low + (1 - low) * torch.rand(count, 1, generator=random))
        start = torch.rand(count, 1, generator=random) * (steps - window)
        parts = torch.arange(frames) + torch.rand(count, frames, generator=random)
        return (start + parts / frames * window).long().clamp_(0, steps - 1)

    def _mixture(self, count: int, random: torch.Generator) -> tuple[Tensor, Tensor]:
        """Shares (B,) and cut boxes (B, 4). mixup: Zhang et al. 2018, arXiv 1710.09412; CutMix:
        Yun et al. 2019, arXiv 1905.04899. Both clips of a pair get the same."""
        spec, pairs = self._spec, (count + 1) // 2
        own, cut = torch.ones(pairs), torch.zeros(pairs, 4)
        if spec.mixup or spec.cutmix:
            cutting = torch.rand(pairs, generator=random) < (
                0.5 if spec.mixup and spec.cutmix else float(spec.cutmix > 0)
            )
            shares = torch.where(
                cutting, _beta(spec.cutmix, pairs, random), _beta(spec.mixup, pairs, random)
            )
            side = (1 - shares).sqrt()[:, None]
            centre = torch.rand(pairs, 2, generator=random)
            box = torch.cat([centre - side / 2, centre + side / 2], 1).clamp_(0, 1)
            # In whole pixels, so that the share is that of the pixels.
            box = (box * self._clip.size_px).round() / self._clip.size_px
            area = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
            own = torch.where(cutting, 1 - area, shares)
            cut = box * cutting[:, None]
        return own.repeat_interleave(2)[:count], cut.repeat_interleave(2, 0)[:count]


def _beta(alpha: float, count: int, random: torch.Generator) -> Tensor:
    """(count,) draws from Beta(alpha, alpha); ones for alpha 0. NumPy's, as torch's take no
    generator."""
    seed = int(torch.randint(2**62, (), generator=random))
    if not alpha:
        return torch.ones(count)
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
