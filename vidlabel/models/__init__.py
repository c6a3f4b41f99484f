"""The networks. A checkpoint names one of `MODELS`; `build_model` makes it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, cast

from vidlabel.errors import UsageError
from vidlabel.specs import ClipSpec, ModelSpec

if TYPE_CHECKING:
    from vidlabel.models.base import ClipModel

# Imported when one is made: `vidlabel.models.kinetics` can then be read without torch.
MODELS = {
    "cnn-birnn": "cnn_birnn.CnnBiRnn",
    "conv-lstm": "conv_lstm.ConvLstm",
    "spatial": "streams.Stream",
    "temporal": "streams.Stream",
    "two-stream": "streams.TwoStream",
    "video-net": "video_net.VideoNet",
}
"""Module and class of each."""


def build_model(spec: ModelSpec, clip: ClipSpec) -> ClipModel:
    """A network with fresh weights. Raises UsageError for an unknown architecture or trunk."""
    if spec.arch not in MODELS:
        raise UsageError(f"there is no model {spec.arch}; known: {', '.join(sorted(MODELS))}")
    module, _, name = MODELS[spec.arch].partition(".")
    make = getattr(import_module(f"{__name__}.{module}"), name)
    return cast("ClipModel", make(spec, clip))
