"""The networks. A checkpoint names one of `MODELS`; `build_model` makes it."""

from __future__ import annotations

from vidlabel.errors import UsageError
from vidlabel.models.cnn_birnn import CnnBiRnn
from vidlabel.specs import ClipSpec, ModelSpec

MODELS = {
    "cnn-birnn": CnnBiRnn,
}


def build_model(spec: ModelSpec, clip: ClipSpec) -> CnnBiRnn:
    """A network with fresh weights. Raises UsageError for an unknown `spec.arch`."""
    if spec.arch not in MODELS:
        raise UsageError(f"there is no model {spec.arch}; known: {', '.join(sorted(MODELS))}")
    return MODELS[spec.arch](spec, clip)
