"""The networks. A checkpoint names one of `MODELS`; `build_model` makes it."""

from __future__ import annotations

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.models.conv_lstm import ConvLstm
from vidlabel.specs import ClipSpec, ModelSpec

MODELS: dict[str, type[CnnBiRnn] | type[ConvLstm]] = {
    "cnn-birnn": CnnBiRnn,
    "conv-lstm": ConvLstm,
}


def build_model(spec: ModelSpec, clip: ClipSpec) -> ClipModel:
    """A network with fresh weights. Raises UsageError for an unknown architecture or trunk."""
    if spec.arch not in MODELS:
        raise UsageError(f"there is no model {spec.arch}; known: {', '.join(sorted(MODELS))}")
    return MODELS[spec.arch](spec, clip)
