"""The networks by name, as checkpoints name them."""

from __future__ import annotations

from collections.abc import Callable

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.models.conv_lstm import ConvLstm
from vidlabel.models.streams import SingleStream, TwoStream
from vidlabel.models.video_net import VideoNet
from vidlabel.specs import ClipSpec, ModelSpec

MODELS: dict[str, Callable[[ModelSpec, ClipSpec], ClipModel]] = {
    "cnn-birnn": CnnBiRnn,
    "conv-lstm": ConvLstm,
    "spatial": SingleStream,
    "temporal": SingleStream,
    "two-stream": TwoStream,
    "video-net": VideoNet,
}
"""The class of each network, made from a ModelSpec and a ClipSpec."""


def build_model(spec: ModelSpec, clip: ClipSpec) -> ClipModel:
    """A network with random weights. Raises UsageError for an unknown architecture or trunk."""
    if spec.arch not in MODELS:
        raise UsageError(f"there is no model {spec.arch}; known: {', '.join(sorted(MODELS))}")
    if clip.has_both and spec.arch != "cnn-birnn":
        raise UsageError(f"--input {clip.input}: only --model cnn-birnn sees both")
    return MODELS[spec.arch](spec, clip)
