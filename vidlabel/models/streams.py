"""Two-stream networks: a spatial or temporal stream by itself, and both together.

Simonyan and Zisserman 2014, "Two-Stream Convolutional Networks for Action Recognition in Videos",
arXiv 1406.2199: one CNN sees frames, another one stacks of optical flow; each time step of a clip
is classified by itself, and the probabilities are averaged over the time steps and then over the
streams. The training loss is that of each time step.

The reimplemented HMDB51 system has a frozen ResNet-50 for frames, and `cnn_m_2048` of `trunks`,
trained from scratch, for flow. A ResNet with ImageNet weights is smaller and better for both.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.trunks import CNN_M, input_scale, load_trunk, make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

TINY = 1e-12
"""Smallest probability, so that its logarithm is finite."""


class SingleStream(ClipModel):
    """A CNN and one linear layer; see the module."""

    any_time_steps = True

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        trunk, width = make_trunk(spec.trunk, clip.size_px, clip.channels)
        super().__init__(Normalise(clip, *input_scale(spec.trunk)), trunk, spec.trunk)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Linear(width, spec.classes)

    def pool(self, frames: Tensor) -> Tensor:
        return frames.mean(1)

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        return self.pool(frames), _logits_of(_probabilities(self.step_logits(frames)))

    def step_logits(self, frames: Tensor) -> Tensor:
        step_logits: Tensor = self.classify(self.dropout(frames))
        return step_logits


class SideBySide(nn.Module):
    """A module per stream: the input is split by channels, the outputs are concatenated.

    Args:
        spatial, temporal: (N, c, ...) to (N, f), or to maps (N, f, h, w) whose mean that is.
        cut: number of channels of the spatial stream.
    """

    def __init__(self, spatial: nn.Module, temporal: nn.Module, cut: int) -> None:
        super().__init__()
        self.spatial = spatial
        self.temporal = temporal
        self._cut = cut

    def forward(self, values: Tensor) -> Tensor:
        parts = self.spatial(values[:, : self._cut]), self.temporal(values[:, self._cut :])
        return torch.cat([part.mean((2, 3)) if part.ndim == 4 else part for part in parts], 1)


class TwoStream(ClipModel):
    """Both streams; `spec.flow_weight` is the weight of the temporal one in the mean.

    Raises:
        UsageError: the clips do not have both frames and flow.
    """

    any_time_steps = True
    classify: nn.ModuleDict

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        if clip.input != "rgb+flow":
            raise UsageError(f"two-stream needs --input rgb+flow, got {clip.input}")
        spatial, self._width = make_trunk(spec.trunk, clip.size_px)
        temporal, width = make_trunk(spec.flow_trunk, clip.size_px, clip.channels - 3)
        normalise = Normalise(clip, *input_scale(spec.trunk))
        super().__init__(normalise, SideBySide(spatial, temporal, 3), spec.trunk)
        self._flow_trunk = spec.flow_trunk
        self._flow_weight = spec.flow_weight
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.ModuleDict()
        self.classify["spatial"] = nn.Linear(self._width, spec.classes)
        self.classify["temporal"] = nn.Linear(width, spec.classes)

    def load_pretrained(self, weights: str) -> None:
        load_trunk(self.trunk.get_submodule("spatial"), self._trunk_name, weights)
        if self._flow_trunk == self._trunk_name or (
            weights == "imagenet" and self._flow_trunk != CNN_M
        ):
            load_trunk(self.trunk.get_submodule("temporal"), self._flow_trunk, weights)

    def pool(self, frames: Tensor) -> Tensor:
        return frames.mean(1)

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        spatial, temporal = self.step_logits(frames).chunk(2, 1)
        share = self._flow_weight
        probabilities = (1 - share) * _probabilities(spatial) + share * _probabilities(temporal)
        return self.pool(frames), _logits_of(probabilities)

    def step_logits(self, frames: Tensor) -> Tensor:
        """(B, T, F) to (B, 2 T, K): logits of the spatial stream, then of the temporal stream."""
        frames = self.dropout(frames)
        parts = frames[..., : self._width], frames[..., self._width :]
        streams = self.classify["spatial"], self.classify["temporal"]
        return torch.cat([stream(part) for stream, part in zip(streams, parts, strict=True)], 1)


def _probabilities(step_logits: Tensor) -> Tensor:
    """(B, T, K) logits to the mean of their probabilities, (B, K)."""
    return step_logits.softmax(2).mean(1)


def _logits_of(probabilities: Tensor) -> Tensor:
    """Logits with a softmax of these probabilities."""
    return probabilities.clamp_min(TINY).log()
