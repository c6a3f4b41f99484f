"""Clip augmentation: random moments, crops, mirror images, light, noise, and mixed clips.

What happens to a clip is drawn once for all its frames, so that they change alike and motion
stays motion. It is drawn on the CPU for a whole batch, before the batch is divided among processes
or pieces: what a clip looks like depends on the seed and on its place, not on the hardware.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Self

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from vidlabel.clips.flow_stacks import mirror
from vidlabel.specs import ClipSpec
from vidlabel.train.recipes import TrainSpec

CURVE, CONTRAST, SHIFT, CAST = 0.35, 0.3, 0.12, 0.15
"""Largest changes of light and colour at strength 1."""
GREY = 0.2
"""Share of RGB clips that lose their colour, at strength 1."""


@dataclass(frozen=True)
class Draw:
    """What happens to each of B clips; `draw[a:b]` is that of some of them.

    Lengths are shares of the frame's shorter side, places shares of what is left; cut boxes are
    shares of the clip's side.
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


class Augment:
    """Makes training clips of videos' frames; of those in a GPU's memory, `GpuClips` does.

    Args:
        clip: what a clip must look like.
        spec: how much is changed.
        device: where the frames are.
    """

    def __init__(self, clip: ClipSpec, spec: TrainSpec, device: torch.device) -> None:
        self._clip = clip
        self._spec = spec
        self._supply = noise_supply(clip).to(device)

    def draw(self, count: int, steps: int, random: torch.Generator) -> Draw:
        """Draw for `count` clips of videos with `steps` frames each."""
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

    def __call__(self, videos: Sequence[Tensor], draw: Draw) -> Tensor:
        """Clips (B, T, C, S, S) float32, 0..255, of frames B times (T, C, H, W) uint8.

        Clip 2i and clip 2i + 1 are partners: where clips are mixed, B must be even.
        """
        device = videos[0].device
        clips = torch.empty((len(videos), *self._clip.shape), device=device)
        for clip, frames, box, flip in zip(
            clips, videos, draw.box.tolist(), draw.flip.tolist(), strict=True
        ):
            square = self._resized(frames, box)
            clip.copy_(mirror(square, self._clip) if flip else square)
        # On the CPU one clip at a time stays in the cache; elsewhere every call costs the same.
        at_once = 1 if device.type == "cpu" else len(clips)
        for start in range(0, len(clips), at_once) if self._clip.input != "flow" else ():
            part = slice(start, start + at_once)
            self._light(clips[part, :, :3], draw[part])
        if self._spec.mixup or self._spec.cutmix:
            self._mix(clips, draw)
        return clips

    def _moments(self, count: int, steps: int, random: torch.Generator) -> Tensor:
        """(B, T) ascending indices: one from each equal part of a random window of the video; at
        `clip.fps`, a random place of the clip among the steps."""
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

    def _resized(self, frames: Tensor, box: Sequence[float]) -> Tensor:
        """Box (height, width, down, across) of (T, C, H, W) uint8, as (T, C, S, S)."""
        top, left, height, width = crop_of(frames.shape[-2:], box)
        part = frames[..., top : top + height, left : left + width]
        if part.device.type != "cpu":  # which alone resizes uint8
            part = part.float()
        size = (self._clip.size_px, self._clip.size_px)
        return F.interpolate(part, size, mode="bilinear", align_corners=False)

    def _light(self, clips: Tensor, draw: Draw) -> None:
        """Change light, colour and noise of clips (B, T, 3, S, S), 0..255, in place."""
        device = clips.device

        def each(values: Tensor) -> Tensor:
            return values.to(device).reshape(len(clips), 1, -1, 1, 1)

        if self._spec.colour:
            curve, contrast, shift = (each(values) for values in draw.light.T)
            gain = 1 + contrast
            if self._clip.has_rgb:
                for number in draw.grey.nonzero().flatten().tolist():
                    clips[number] = clips[number].mean(1, keepdim=True)
                gain = gain * each(draw.cast)
            clips *= 1 / 255
            clips *= (1 + curve) - curve * clips  # x + c x (1 - x), much like a gamma curve
            middle = clips[:, :1].mean((1, 2, 3, 4), keepdim=True)
            offset = shift - middle * contrast
            if self._clip.has_rgb:
                offset = offset * each(draw.cast)
            clips *= 255 * gain
            clips += 255 * offset
        for clip, (deviation, place) in zip(clips, draw.noise.tolist(), strict=True):
            if deviation:
                start = int(place * (len(self._supply) - clip.numel()))
                noise = self._supply[start : start + clip.numel()].reshape(clip.shape)
                clip.add_(noise, alpha=deviation)
        clips.clamp_(0, 255)

    def _mix(self, clips: Tensor, draw: Draw) -> None:
        """Mix the clips of each pair, in place."""
        size = self._clip.size_px
        boxes = (draw.cut[::2] * size).round().long().tolist()
        shares = draw.own[::2].tolist()
        for first, second, box, own in zip(clips[::2], clips[1::2], boxes, shares, strict=True):
            if any(box):
                top, left, bottom, right = box
                inside = (..., slice(top, bottom), slice(left, right))
                kept = first[inside].clone()
                first[inside] = second[inside]
                second[inside] = kept
            elif own < 1:
                middle = (1 - own) * (second - first)
                first += middle
                second -= middle


def crop_of(size: Sequence[int], box: Sequence[float]) -> tuple[int, int, int, int]:
    """Top, left, height and width, pixels, of a `Draw.box` in frames of some height and width."""
    height, width = size
    short = min(height, width)
    box_h, box_w = min(height, round(box[0] * short)), min(width, round(box[1] * short))
    return round(box[2] * (height - box_h)), round(box[3] * (width - box_w)), box_h, box_w


def noise_supply(clip: ClipSpec) -> Tensor:
    """Normal noise for four clips. To draw it costs more than everything else; random places in a
    supply do as well."""
    random = torch.Generator().manual_seed(0)
    return torch.randn(4 * clip.frames * 3 * clip.size_px**2, generator=random)


def _beta(alpha: float, count: int, random: torch.Generator) -> Tensor:
    """(count,) draws from Beta(alpha, alpha); ones for alpha 0. NumPy's, as torch's take no
    generator."""
    seed = int(torch.randint(2**62, (), generator=random))
    if not alpha:
        return torch.ones(count)
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count)).float()
