"""CNN + bidirectional RNN: a CNN describes each frame, an RNN reads the sequence both ways.

The architecture of two reimplemented HMDB51 systems: a MNASNet 0.5 trunk (Tan et al. 2019, arXiv
1807.11626), one linear layer to 256 features per frame, a bidirectional RNN, a 1-D convolution over
its concatenated directions, and one fully connected classifier. The trunk can be any of `trunks`.

With `spec.statistics` a linear classifier beside the RNN sees the mean and standard deviation of
the trunk's features over time (statistics pooling: Snyder et al. 2018, "X-vectors"), and the mean
of their absolute change from step to step. Both are trained to be right alone, and the mean of
their logits is the answer. On a frozen ImageNet trunk and a few hundred clips the RNN alone
overfits; see weights/README.md.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.trunks import input_scale, make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

EPS = 1e-6
"""Added to a variance, so that its root has a slope everywhere."""
RNNS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class CnnBiRnn(ClipModel):
    """See the module."""

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        trunk, width = make_trunk(
            spec.trunk, clip.size_px, clip.channels, intermediate=spec.intermediate
        )
        super().__init__(Normalise(clip, *input_scale(spec.trunk)), trunk, spec.trunk)
        self.embed = nn.Linear(width, spec.embed)
        self.rnn = RNNS[spec.cell](spec.embed, spec.hidden, batch_first=True, bidirectional=True)
        self.mix = nn.Conv1d(2 * spec.hidden, spec.features, spec.kernel, padding=spec.kernel // 2)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Linear(spec.features, spec.classes)
        if spec.statistics:
            self.scale = nn.BatchNorm1d(3 * width)
            self.classify = nn.ModuleDict(
                {"rnn": self.classify, "statistics": nn.Linear(3 * width, spec.classes)}
            )

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = self.pool(frames)
        return features, self._both(features, frames).mean(1)

    def step_logits(self, frames: Tensor) -> Tensor:
        """(B, T, F) to (B, A, K): the RNN's answer, and that of the statistics if there are any."""
        return self._both(self.pool(frames), frames)

    def _both(self, features: Tensor, frames: Tensor) -> Tensor:
        if not isinstance(self.classify, nn.ModuleDict):
            return cast(Tensor, self.classify(self.dropout(features)))[:, None]
        deviation = (frames.var(1, correction=0) + EPS).sqrt()
        # A single step does not change; the mean of nothing is not a number.
        change = frames.diff(dim=1).abs().sum(1) / max(1, frames.shape[1] - 1)
        seen = self.scale(torch.cat([frames.mean(1), deviation, change], 1))
        parts = {"rnn": features, "statistics": seen}
        return torch.stack([self.classify[name](self.dropout(parts[name])) for name in parts], 1)

    def pool(self, frames: Tensor) -> Tensor:
        sequence, _ = self.rnn(F.relu(self.embed(frames)))
        return F.relu(self.mix(sequence.transpose(1, 2))).mean(2)
