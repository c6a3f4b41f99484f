"""ResNet-152 + bidirectional LSTM + attention: a reimplemented UCF-101 system.

A frozen ResNet-152 (He et al. 2016, arXiv 1512.03385) describes each frame by 2048 features; a
linear layer reduces them to 512, a bidirectional LSTM reads the sequence, attention weights its
time steps (scores from a linear layer, softmax over time), and two layers classify. The original
applies softmax before a loss that already has one; here the loss is computed from logits.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.cnn_birnn import RNNS
from vidlabel.models.trunks import input_scale, make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

MOMENTUM = 0.01
"""Momentum of both BatchNorm layers, as in the original."""


class ConvLstm(ClipModel):
    """See the module.

    `spec.summary` says how the time steps are combined: `attention`; `last`, the last time step;
    `committee`, a majority vote over the classes of the time steps (the loss is that of each time
    step).
    """

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        trunk, width = make_trunk(spec.trunk, clip.size_px, clip.channels)
        super().__init__(Normalise(clip, *input_scale(spec.trunk)), trunk, spec.trunk)
        self.embed = nn.Linear(width, spec.embed)
        self.norm = nn.BatchNorm1d(spec.embed, momentum=MOMENTUM)
        self.rnn = RNNS[spec.cell](spec.embed, spec.hidden, batch_first=True, bidirectional=True)
        self._summary = spec.summary
        if spec.summary == "attention":
            self.attend = nn.Linear(2 * spec.hidden, 1)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Sequential(
            nn.Linear(2 * spec.hidden, spec.features),
            nn.BatchNorm1d(spec.features, momentum=MOMENTUM),
            nn.ReLU(),
            nn.Linear(spec.features, spec.classes),
        )

    def pool(self, frames: Tensor) -> Tensor:
        return self._summarised(self._sequence(frames))

    def read(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        sequence = self._sequence(frames)
        features = self._summarised(sequence)
        if self._summary != "committee":
            return features, self.classify(self.dropout(features))
        logs = self._decisions(sequence).log_softmax(2)
        # Shares of the votes; the mean probability decides between classes with as many votes.
        votes = nn.functional.one_hot(logs.argmax(2), logs.shape[2]).to(logs.dtype)
        shares = 0.99 * votes.mean(1) + 0.01 * logs.exp().mean(1)
        return features, shares.log()

    def step_logits(self, frames: Tensor) -> Tensor:
        if self._summary != "committee":
            return super().step_logits(frames)
        return self._decisions(self._sequence(frames))

    def _decisions(self, sequence: Tensor) -> Tensor:
        """(B, T, 2 x hidden) to the logits (B, T, K) of each time step."""
        logits = cast(Tensor, self.classify(self.dropout(sequence.flatten(0, 1))))
        return logits.reshape(*sequence.shape[:2], -1)

    def _sequence(self, frames: Tensor) -> Tensor:
        """(B, T, F) to (B, T, 2 x hidden)."""
        narrow = self.norm(self.embed(frames.flatten(0, 1)))
        return cast(Tensor, self.rnn(narrow.reshape(*frames.shape[:2], -1))[0])

    def _summarised(self, sequence: Tensor) -> Tensor:
        """(B, T, 2 x hidden) to (B, 2 x hidden)."""
        if self._summary == "attention":
            weights = self.attend(sequence).softmax(1)
            return torch.sum(weights * sequence, 1)
        return sequence[:, -1] if self._summary == "last" else sequence.mean(1)
