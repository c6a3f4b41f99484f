"""Late fusion: two trained streams to one two-stream model, and one stream of such a model."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from vidlabel.errors import UsageError
from vidlabel.models.base import ClipModel
from vidlabel.models.build import build_model
from vidlabel.models.checkpoint import Checkpoint, Header
from vidlabel.models.streams import TwoStream
from vidlabel.specs import StreamName


def take_stream(checkpoint: Checkpoint, name: StreamName) -> Checkpoint:
    """One stream of a two-stream model, as a model of its own with its own input.

    Raises:
        UsageError: the model has no streams.
    """
    header = checkpoint.header
    if header.model.arch != "two-stream":
        raise UsageError(
            f"--stream {name}: {checkpoint.name} is {header.model.arch}; "
            "only a two-stream model has streams"
        )
    spatial = name == "spatial"
    model = replace(
        header.model, arch=name, trunk=header.model.trunk if spatial else header.model.flow_trunk
    )
    clip = replace(header.clip, input="rgb" if spatial else "flow")
    state = {
        key.replace(f".{name}.", ".", 1): value
        for key, value in checkpoint.network.state_dict().items()
        if key.split(".")[1] == name
    }
    network = build_model(model, clip)
    network.load_state_dict(state)
    return Checkpoint(
        f"{checkpoint.name}:{name}",
        replace(header, model=model, clip=clip, metrics={}),
        network.eval(),
        hashlib.sha256(f"{checkpoint.digest} {name}".encode()).hexdigest(),
    )


def fuse(spatial: Checkpoint, temporal: Checkpoint, flow_weight: float) -> tuple[Header, ClipModel]:
    """A two-stream model of two trained streams.

    The temperature of each stream becomes part of its classifier, so that calibrated probabilities
    are averaged.

    Args:
        spatial: a model that classifies frame by frame.
        temporal: one that classifies stacks of flow, with the same classes and size.
        flow_weight: weight of the temporal stream in the mean of the probabilities, 0 to 1.

    Raises:
        UsageError: the streams do not fit together.
    """
    ours, theirs = spatial.header, temporal.header
    _check_fit(spatial, temporal)
    model = replace(
        ours.model, arch="two-stream", flow_trunk=theirs.model.trunk, flow_weight=flow_weight
    )
    frames = max(ours.clip.frames, theirs.clip.frames)  # each time step is classified by itself
    clip = replace(theirs.clip, input="rgb+flow", frames=frames)
    header = Header(
        model,
        clip,
        ours.classes,
        training={"fused": [ours.training, theirs.training]},
        trained_on=_both(ours.trained_on, theirs.trained_on),
        sources=_both(ours.sources, theirs.sources),
        selected_on=_both(ours.selected_on, theirs.selected_on),
    )
    network = cast(TwoStream, build_model(model, clip))
    state: dict[str, Tensor] = {}
    for name, checkpoint in (("spatial", spatial), ("temporal", temporal)):
        for key, value in checkpoint.network.state_dict().items():
            part, _, rest = key.partition(".")
            state[f"{part}.{name}.{rest}"] = value
    network.load_state_dict(state)
    with torch.no_grad():
        for name, checkpoint in (("spatial", spatial), ("temporal", temporal)):
            layer = cast(nn.Linear, network.classify[name])
            layer.weight.div_(checkpoint.header.temperature)
            layer.bias.div_(checkpoint.header.temperature)
    return header, network.eval()


def _check_fit(spatial: Checkpoint, temporal: Checkpoint) -> None:
    ours, theirs = spatial.header, temporal.header
    for checkpoint, wanted, seen in ((spatial, "spatial", "rgb"), (temporal, "temporal", "flow")):
        header = checkpoint.header
        if header.model.arch not in ("spatial", "temporal") or header.clip.input != seen:
            raise UsageError(
                f"{checkpoint.name} is {header.model.arch} with input {header.clip.input}; "
                f"train the {wanted} stream with `vidlabel train --model {wanted}`"
            )
    if ours.classes != theirs.classes:
        raise UsageError(
            f"{spatial.name} and {temporal.name} do not have the same classes: "
            f"{len(ours.classes)} and {len(theirs.classes)}"
        )
    for field, flag in (("size_px", "--size"), ("resize_px", "--resize"), ("aspect", "--aspect")):
        values = getattr(ours.clip, field), getattr(theirs.clip, field)
        if values[0] != values[1]:
            raise UsageError(
                f"{spatial.name} has {flag} {values[0]:g}, {temporal.name} {values[1]:g}; "
                "both streams must have the same frame size"
            )


def _both(first: tuple[str, ...], second: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sorted({*first, *second}))
