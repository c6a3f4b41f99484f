"""What all networks have in common: clips in, frame features, one embedding, logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.models.trunks import ease_training, make_trunk
from vidlabel.specs import ClipSpec, FrameInput, ModelSpec

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
LUMA_MEAN, LUMA_STD = 0.45, 0.25
MOTION_GAIN = 8.0
"""Frame differences are small next to luma; this brings both to a similar spread."""


class Normalise(nn.Module):
    """Pixels (N, 3, H, W), 0..255, to the trunk's input: a fixed 1x1 convolution.

    RGB gets ImageNet's mean and deviation, channel by channel. The luma of three successive frames
    (before, now, after) becomes (now, now - before, after - now): what is there and what moves.
    """

    def __init__(self, kind: FrameInput) -> None:
        super().__init__()
        if kind == "rgb":
            mix = torch.diag(1 / torch.tensor(IMAGENET_STD))
            shift = -torch.tensor(IMAGENET_MEAN) / torch.tensor(IMAGENET_STD)
        else:
            gain = MOTION_GAIN
            mix = torch.tensor([[0.0, 1 / LUMA_STD, 0.0], [-gain, gain, 0.0], [0.0, -gain, gain]])
            shift = torch.tensor([-LUMA_MEAN / LUMA_STD, 0.0, 0.0])
        self.register_buffer("mix", (mix / 255).reshape(3, 3, 1, 1), persistent=False)
        self.register_buffer("shift", shift, persistent=False)
        self.mix: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        return F.conv2d(pixels, self.mix, self.shift)


class ClipModel(nn.Module, ABC):
    """(B, T, 3, H, W) uint8 clips to (B, K) logits, in two steps.

    The trunk sees frame by frame, and most of the work is its; what follows sees the sequence.
    `classify` alone depends on the classes.

    Args:
        spec: the trunk, and what a subclass adds.
        clip: what the three channels of a frame mean, for the normalisation; and their size.

    Raises:
        UsageError: there is no such trunk, or it takes no frames of this size.
    """

    dropout: nn.Module
    classify: nn.Module

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        super().__init__()
        self.normalise = Normalise(clip.input)
        self.trunk, self.width = make_trunk(spec.trunk, clip.size_px)
        ease_training(self.trunk)

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) uint8 to (B, T, F): the trunk, averaged over each frame's area."""
        batch, steps = clips.shape[:2]
        exact = self.normalise.mix.dtype
        pixels = clips.flatten(0, 1).to(dtype=exact, memory_format=torch.channels_last)
        found = self.trunk(self.normalise(pixels))
        if found.ndim == 4:
            found = found.mean((2, 3))
        return cast(Tensor, found.to(exact).reshape(batch, steps, -1))

    @abstractmethod
    def pool(self, frames: Tensor) -> Tensor:
        """(B, T, F) frame features to (B, E): the clip's embedding."""

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) frame features to the clips' embeddings (B, E) and logits (B, K)."""
        features = self.pool(frames)
        return features, self.classify(self.dropout(features))

    def head(self, frames: Tensor) -> Tensor:
        """(B, T, F) frame features to logits (B, K)."""
        return self.read(frames)[1]

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, T, 3, H, W) uint8."""
        return self.head(self.frame_features(clips))
