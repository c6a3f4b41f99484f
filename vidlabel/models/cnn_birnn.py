"""CNN + bidirectional RNN: a CNN describes each frame, an RNN reads the sequence both ways.

The architecture of two reimplemented HMDB51 systems: a MNASNet 0.5 trunk (Tan et al. 2019, arXiv
1807.11626), one linear layer to 256 features per frame, a bidirectional RNN, a 1-D convolution over
its concatenated directions, and one fully connected classifier. The trunk can be any of `trunks`.

With `spec.statistics` a linear classifier beside the RNN sees the mean and standard deviation of
the trunk's features over time (statistics pooling: Snyder et al. 2018, "X-vectors"), and the mean
of their absolute change from step to step. Both are trained to be right alone, and the mean of
their logits is the answer. On a frozen ImageNet trunk and a few hundred clips the RNN alone
overfits; see weights/README.md. Without `spec.rnn`, the statistics alone give the answer.

Of clips with RGB frames and difference pictures, the same trunk describes the pictures of each step
and, since what things look like hardly changes, the RGB frame of every third.
"""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.trunks import input_scale, make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

EPS = 1e-6
"""Added to a variance, so that its root has a slope everywhere."""
RGB_EVERY = 3
"""Of so many time steps, the middle one's RGB frame stands for all, beside difference pictures."""
RNNS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class CnnBiRnn(ClipModel):
    """See the module. Raises UsageError without both RNN and statistics."""

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        if not (spec.rnn or spec.statistics):
            raise UsageError("--no-rnn needs --statistics")
        channels = 3 if clip.has_both else clip.channels
        trunk, width = make_trunk(
            spec.trunk, clip.size_px, channels, intermediate=spec.intermediate
        )
        scale = input_scale(spec.trunk)
        super().__init__(Normalise(clip, *scale), trunk, spec.trunk)
        self.normalise_rgb = (
            Normalise(replace(clip, input="rgb"), *scale) if clip.has_both else None
        )
        self.framewise = not clip.has_both
        width *= 2 if clip.has_both else 1
        self.dropout = nn.Dropout(spec.dropout)
        parts = {}
        if spec.rnn:
            self.embed = nn.Linear(width, spec.embed)
            self.rnn = RNNS[spec.cell](
                spec.embed, spec.hidden, batch_first=True, bidirectional=True
            )
            self.mix = nn.Conv1d(
                2 * spec.hidden, spec.features, spec.kernel, padding=spec.kernel // 2
            )
            parts["rnn"] = nn.Linear(spec.features, spec.classes)
        if spec.statistics:
            self.scale = nn.BatchNorm1d(3 * width)
            parts["statistics"] = nn.Linear(3 * width, spec.classes)
        self._has_rnn = spec.rnn
        self.classify = nn.ModuleDict(parts) if spec.statistics else parts["rnn"]

    def frame_features(self, clips: Tensor) -> Tensor:
        """(B, T, C, H, W) uint8 to (B, T, F); of difference pictures first, then of RGB frames."""
        if self.normalise_rgb is None:
            return super().frame_features(clips)
        steps = clips.shape[1]
        seen = clips[:, min(RGB_EVERY // 2, steps - 1) :: RGB_EVERY, :3]
        rgb = self.described(seen, self.normalise_rgb).repeat_interleave(RGB_EVERY, 1)
        last = rgb[:, -1:].expand(-1, max(0, steps - rgb.shape[1]), -1)
        # The difference pictures come last: their maps are those that attention shows.
        moving = self.described(clips[:, :, 3:], self.normalise)
        return torch.cat([moving, torch.cat([rgb, last], 1)[:, :steps]], 2)

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        features = self.pool(frames)
        return features, self._answers(features, frames).mean(1)

    def step_logits(self, frames: Tensor) -> Tensor:
        """(B, T, F) to (B, A, K): the RNN's answer, and that of the statistics if there are any."""
        return self._answers(self.pool(frames), frames)

    def _answers(self, features: Tensor, frames: Tensor) -> Tensor:
        if not isinstance(self.classify, nn.ModuleDict):
            return cast(Tensor, self.classify(self.dropout(features)))[:, None]
        parts = {"rnn": features, "statistics": self.scale(statistics_of(frames))}
        return torch.stack(
            [part(self.dropout(parts[name])) for name, part in self.classify.items()], 1
        )

    def pool(self, frames: Tensor) -> Tensor:
        """See `ClipModel`; without the RNN, the mean of the features over time."""
        if not self._has_rnn:
            return frames.mean(1)
        sequence, _ = self.rnn(F.relu(self.embed(frames)))
        return F.relu(self.mix(sequence.transpose(1, 2))).mean(2)


def statistics_of(frames: Tensor) -> Tensor:
    """Features (B, T, F) to (B, 3 F): their mean and standard deviation over time, and the mean of
    their absolute change from step to step."""
    deviation = (frames.var(1, correction=0) + EPS).sqrt()
    # A single step does not change; the mean of nothing is not a number.
    change = frames.diff(dim=1).abs().sum(1) / max(1, frames.shape[1] - 1)
    return torch.cat([frames.mean(1), deviation, change], 1)
