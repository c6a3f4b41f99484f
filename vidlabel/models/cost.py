"""The size of a network, and its number of multiply-adds."""

from __future__ import annotations

import torch
from torch.utils.flop_counter import FlopCounterMode

from vidlabel.models.build import build_model
from vidlabel.specs import ClipSpec, ModelSpec


def cost_of(model: ModelSpec, clip: ClipSpec) -> tuple[int, float]:
    """Parameters, and multiply-adds per clip in billions, without computing anything. Raises
    UsageError for an unknown network."""
    with torch.device("meta"), torch.inference_mode():
        network = build_model(model, clip).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, *clip.shape, dtype=torch.uint8))
    parameters = sum(parameter.numel() for parameter in network.parameters())
    return parameters, counter.get_total_flops() / 2e9
