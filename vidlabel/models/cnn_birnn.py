"""CNN + bidirectional RNN: a CNN describes each frame, an RNN reads the sequence both ways.

The architecture of two reimplemented HMDB51 systems: a MNASNet 0.5 trunk (Tan et al. 2019, arXiv
1807.11626), one linear layer to 256 features per frame, a bidirectional RNN, a 1-D convolution over
its concatenated directions, and one fully connected classifier. The trunk can be any of `trunks`.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from vidlabel.models.base import ClipModel, Normalise
from vidlabel.models.trunks import make_trunk
from vidlabel.specs import ClipSpec, ModelSpec

RNNS = {"rnn": nn.RNN, "gru": nn.GRU, "lstm": nn.LSTM}


class CnnBiRnn(ClipModel):
    """See the module."""

    def __init__(self, spec: ModelSpec, clip: ClipSpec) -> None:
        trunk, width = make_trunk(spec.trunk, clip.size_px, clip.channels)
        super().__init__(Normalise(clip), trunk, spec.trunk)
        self.embed = nn.Linear(width, spec.embed)
        self.rnn = RNNS[spec.cell](spec.embed, spec.hidden, batch_first=True, bidirectional=True)
        self.mix = nn.Conv1d(2 * spec.hidden, spec.features, spec.kernel, padding=spec.kernel // 2)
        self.dropout = nn.Dropout(spec.dropout)
        self.classify = nn.Linear(spec.features, spec.classes)

    def pool(self, frames: Tensor) -> Tensor:
        sequence, _ = self.rnn(F.relu(self.embed(frames)))
        return F.relu(self.mix(sequence.transpose(1, 2))).mean(2)
