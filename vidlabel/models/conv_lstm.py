"""ResNet-152 + bidirectional LSTM + attention: the UCF-101 system that vidlabel takes over.

A frozen ResNet-152 (He et al. 2016, arXiv 1512.03385) describes each frame by 2048 numbers; a
linear layer makes them 512, a bidirectional LSTM reads the sequence, attention weighs its steps
(a score for each from a linear layer, softmax over time), and two layers classify. The original
put a softmax before its loss, which has one already; here the loss is taken of logits.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.cnn_birnn import RNNS
from vidlabel.models.trunks import make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

MOMENTUM = 0.01
"""Of both BatchNorm layers, as in the original."""


class ConvLstm(ClipModel):
    """See the module.

    `spec.summary` says how the steps become one: `attention`; `last`, the last step; `committee`,
    each step decides by itself and the class that most of them chose is the clip's (in training,
    each of them has to be right).
    """

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        trunk, width = make_trunk(spec.trunk, clip.size_px, clip.channels)
        super().__init__(Normalise(clip), trunk, spec.trunk)
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
        chances = self._decisions(sequence).log_softmax(2)
        # Shares of the votes; where they are equal, who is surer on average comes first.
        votes = nn.functional.one_hot(chances.argmax(2), chances.shape[2]).to(chances.dtype)
        shares = 0.99 * votes.mean(1) + 0.01 * chances.exp().mean(1)
        return features, shares.log()

    def answers(self, frames: Tensor) -> Tensor:
        if self._summary != "committee":
            return super().answers(frames)
        return self._decisions(self._sequence(frames))

    def _decisions(self, sequence: Tensor) -> Tensor:
        """(B, T, 2 x hidden) to logits (B, T, K) of each step."""
        steps = cast(Tensor, self.classify(self.dropout(sequence.flatten(0, 1))))
        return steps.reshape(*sequence.shape[:2], -1)

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
