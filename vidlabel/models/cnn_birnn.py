"""CNN + bidirectional RNN: each frame is described by a CNN, the sequence is read both ways.

The architecture of the two HMDB51 systems that vidlabel takes over: a MNASNet 0.5 trunk
(Tan et al. 2019, arXiv 1807.11626), one linear layer to 256 features per frame, a bidirectional
RNN, a 1-D convolution over its joined directions, and one fully connected classifier.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models import mnasnet0_5

from vidlabel.specs import ClipSpec, FrameInput, ModelSpec

TRUNK_CHANNELS = 1280

_RNNS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}

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


class CnnBiRnn(nn.Module):
    """(B, T, 3, H, W) uint8 clips to (B, K) logits.

    Args:
        spec: sizes of the layers and number of classes.
        clip: what the three channels of a frame mean, for the normalisation.
    """

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        super().__init__()
        self.normalise = Normalise(clip.input)
        self.trunk = cast(nn.Sequential, mnasnet0_5(weights=None).layers)
        self.embed = nn.Linear(TRUNK_CHANNELS, spec.embed)
        self.rnn = _RNNS[spec.cell](spec.embed, spec.hidden, batch_first=True, bidirectional=True)
        self.mix = nn.Conv1d(2 * spec.hidden, spec.features, spec.kernel, padding=spec.kernel // 2)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Linear(spec.features, spec.classes)
        self._ease_training()

    def _ease_training(self) -> None:
        """Make the trunk learn from little data.

        Residual blocks start as the identity (Goyal et al. 2017, arXiv 1706.02677, section 5.1):
        from nothing, 150 steps then reach 18 % instead of 12 % on the starter's 18 classes. And
        BatchNorm's statistics follow within tens of steps; torchvision's momentum of 3e-4 is for
        millions of images.
        """
        for module in self.trunk.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 0.1
            if getattr(module, "apply_residual", False):
                nn.init.zeros_(cast(nn.Sequential, module.layers)[-1].weight)  # type: ignore[arg-type]

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, 3, H, W) uint8 to (B, T, 1280): the trunk, averaged over each frame's area."""
        batch, steps = clips.shape[:2]
        exact = self.normalise.mix.dtype
        pixels = clips.flatten(0, 1).to(dtype=exact, memory_format=torch.channels_last)
        maps = self.trunk(self.normalise(pixels))
        return cast(Tensor, maps.mean((2, 3)).to(exact).reshape(batch, steps, -1))

    def pool(self, frames: Tensor) -> Tensor:
        """(B, T, 1280) frame features to (B, F): the clip's embedding."""
        sequence, _ = self.rnn(F.relu(self.embed(frames)))
        return F.relu(self.mix(sequence.transpose(1, 2))).mean(2)

    def head(self, frames: Tensor) -> Tensor:
        """(B, T, 1280) frame features to logits (B, K)."""
        return cast(Tensor, self.classify(self.dropout(self.pool(frames))))

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, T, 3, H, W) uint8."""
        return self.head(self.frame_features(clips))
