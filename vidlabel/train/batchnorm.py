"""BatchNorm's statistics in training."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

B = TypeVar("B")


@torch.no_grad()
def recompute_batchnorm(
    network: nn.Module, forward: Callable[[B], object], batches: Iterable[B]
) -> None:
    """Replace the running averages of BatchNorm by plain averages over some batches.

    Running averages lag behind weights that change quickly, and over the 52 layers of MNASNet the
    lag adds up to a useless network. PreciseBN: Wu and Johnson 2021, arXiv 2105.07576, section 3.
    Frozen layers keep their statistics. The network is in evaluation mode afterwards, except for
    these layers. `forward` passes a batch through the network.
    """
    norms = [
        module
        for module in network.modules()
        if isinstance(module, _BatchNorm) and module.weight.requires_grad
    ]
    network.eval()
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.train()
        norm.reset_running_stats()
    for count, batch in enumerate(batches, 1):
        for norm in norms:
            # A plain average over all batches. momentum=None is the same, but waits for the GPU.
            norm.momentum = 1 / count
        forward(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def count_batches_on_cpu(network: nn.Module) -> None:
    """Move the batch counters of BatchNorm to the CPU: on a GPU each of them would be one more
    operation per layer and step."""
    for module in network.modules():
        if isinstance(module, _BatchNorm) and module.num_batches_tracked is not None:
            module.num_batches_tracked = module.num_batches_tracked.cpu()


def keep_batchnorm(network: nn.Module) -> None:
    """Let BatchNorm use the statistics that it has, until the next `train()` of the network."""
    for module in network.modules():
        if isinstance(module, _BatchNorm):
            module.eval()
