"""The base class of all networks: clips to frame features, an embedding, and logits."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.clips.read import NO_CHANGE
from vidlabel.models.trunks import IMAGENET_MEAN, IMAGENET_STD, load_trunk
from vidlabel.specs import ClipSpec

LUMA_MEAN, LUMA_STD = 0.45, 0.25
MOTION_GAIN = 8.0
"""Factor of frame differences, which brings them to a spread similar to that of luma."""
FLOW_STD = 8.0
"""Standard deviation of flow as bytes: 1.25 px, where 127.5 stand for 20 px."""


class Normalise(nn.Module):
    """Pixels (N, C, H, W), 0..255, to the trunk's input (N, C, H, W).

    RGB is normalised by a mean and deviation per channel; difference pictures by the deviation, so
    that no change is 0. The luma of three consecutive frames (before, now, after) becomes (now,
    now - before, after - now): appearance and motion. The mean
    of flow is subtracted, as it is mostly the camera's motion (Simonyan and Zisserman 2014, arXiv
    1406.2199, section 3.1).
    """

    def __init__(
        self, clip: ClipSpec, mean: tuple[float, ...] = IMAGENET_MEAN,
        std: tuple[float, ...] = IMAGENET_STD,
    ) -> None:  # fmt: skip
        super().__init__()
        self._has_flow, self._has_picture = clip.has_flow, clip.has_rgb or not clip.has_flow
        # On the device "meta", where networks are only described, arithmetic imports a compiler.
        with torch.device("cpu"):
            mix, shift = _scale(clip, mean, std)
        device = torch.get_default_device()
        self.register_buffer("mix", mix.to(device), persistent=False)
        self.register_buffer("shift", shift.to(device), persistent=False)
        self.mix: Tensor
        self.shift: Tensor

    def forward(self, pixels: Tensor) -> Tensor:
        if not self._has_flow:
            return F.conv2d(pixels, self.mix, self.shift)
        flow = pixels[:, 3:] if self._has_picture else pixels
        flow = (flow - flow.mean((2, 3), keepdim=True)) / FLOW_STD
        if not self._has_picture:
            return flow
        return torch.cat([F.conv2d(pixels[:, :3], self.mix, self.shift), flow], 1)


def _scale(
    clip: ClipSpec, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[Tensor, Tensor]:
    """The kernel (3, 3, 1, 1) and bias (3,) that normalise pixels 0..255."""
    if clip.input == "motion":
        gain = MOTION_GAIN
        mix = torch.tensor([[0.0, 1 / LUMA_STD, 0.0], [-gain, gain, 0.0], [0.0, -gain, gain]])
        shift = torch.tensor([-LUMA_MEAN / LUMA_STD, 0.0, 0.0])
    else:
        moving = clip.input in ("difference", "rgb+difference")
        middle = (NO_CHANGE / 255,) * 3 if moving else mean
        mix = torch.diag(1 / torch.tensor(std))
        shift = -torch.tensor(middle) / torch.tensor(std)
    return (mix / 255).reshape(3, 3, 1, 1), shift


def channels_last(network: nn.Module) -> None:
    """Lay out the weights of 2-D convolutions as their kernels read them fastest, in place.

    The weights of 3-D convolutions stay as they are: on the CPU it brings nothing for them.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.to(memory_format=torch.channels_last)


class ClipModel(nn.Module, ABC):
    """(B, T, C, H, W) uint8 clips to (B, K) logits, in two steps.

    The trunk sees one frame at a time (or, in some networks, the whole clip) and takes most of the
    time; the layers after it see the sequence. Only `classify` depends on the classes.

    Args:
        normalise: pixels to the trunk's input.
        trunk: (N, C, H, W) to (N, F), or to a map (N, F, h, w) whose mean that is.
        trunk_name: its name, for which there may be pretrained weights.
    """

    any_time_steps = False
    """Whether time steps are classified one by one, so that a clip may have any number of them."""
    fixed_time_steps = False
    """Whether the trunk sees the whole clip, which must have its exact number of time steps."""

    framewise = True
    """Whether the features of a time step depend on that step alone."""

    dropout: nn.Module
    classify: nn.Module

    def __init__(self, normalise: Normalise, trunk: nn.Module, trunk_name: str) -> None:
        super().__init__()
        self.normalise = normalise
        self.trunk = trunk
        self._trunk_name = trunk_name

    def load_pretrained(self, weights: str) -> None:
        """Load pretrained weights of the trunk: `imagenet`, or a file. Raises CheckpointError."""
        load_trunk(self.trunk, self._trunk_name, weights)

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, C, H, W) uint8 to (B, T, F): the output of the trunk, averaged over each frame."""
        return self.described(clips, self.normalise)

    def described(self, clips: Tensor, normalise: Normalise) -> Tensor:
        """`frame_features` of clips that are normalised in one way."""
        batch, steps = clips.shape[:2]
        exact = normalise.mix.dtype
        pixels = clips.flatten(0, 1).to(dtype=exact, memory_format=torch.channels_last)
        found = self.trunk(normalise(pixels))
        if found.ndim == 4:
            found = found.mean((2, 3))
        return cast(Tensor, found.to(exact).reshape(batch, steps, -1))

    def class_layers(self) -> dict[str, nn.Linear]:
        """The linear layers whose outputs are the classes, by name: one, or one per branch."""
        branches = {"classify": self.classify}
        if isinstance(self.classify, nn.ModuleDict):
            branches = {f"classify.{name}": part for name, part in self.classify.items()}
        found = {}
        for place, branch in branches.items():
            for name, module in branch.named_modules(prefix=place):
                if isinstance(module, nn.Linear):
                    found[place] = (name, module)  # the last of each branch
        return dict(found.values())

    @abstractmethod
    def pool(self, frames: Tensor) -> Tensor:
        """(B, T, F) frame features to (B, E): the embedding of the clip."""

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, F) frame features to the clips' embeddings (B, E) and logits (B, K)."""
        features = self.pool(frames)
        return features, self.classify(self.dropout(features))

    def step_logits(self, frames: Tensor) -> Tensor:
        """(B, T, F) frame features to logits (B, A, K), whose losses are averaged in training.

        A is 1, with the logits of `read`, unless a network classifies each time step by itself.
        """
        return self.read(frames)[1][:, None]

    def forward(self, clips: Tensor) -> Tensor:
        """Logits (B, K) of clips (B, T, C, H, W) uint8."""
        return self.read(self.frame_features(clips))[1]
