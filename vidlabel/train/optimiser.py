"""The optimizer, its learning rate schedule, and the moving average of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vidlabel.train.recipes import TrainSpec

FLOOR = 0.01
"""Final learning rate of the cosine schedule, as a share of the peak."""


def make_optimiser(
    network: nn.Module, trunk: nn.Module | None, spec: TrainSpec
) -> torch.optim.Optimizer:
    """The optimizer that `spec` names, for all parameters that are not frozen.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Adam: Kingma and Ba 2015, arXiv 1412.6980.
    SGD with Nesterov momentum: Sutskever et al. 2013.

    Args:
        trunk: the part of the network with `spec.trunk_lr` times the learning rate.
    """
    inner = {id(p) for p in trunk.parameters()} if trunk is not None else set()
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for parameter in network.parameters():
        if parameter.requires_grad:
            key = (id(parameter) in inner, parameter.ndim > 1)
            groups.setdefault(key, []).append(parameter)
    options: list[dict[str, Any]] = [
        {
            "params": parameters,
            "lr": spec.lr * (spec.trunk_lr if of_trunk else 1.0),
            # No weight decay of norms and biases, which does not regularise.
            "weight_decay": spec.weight_decay if weights else 0.0,
        }
        for (of_trunk, weights), parameters in groups.items()
    ]
    if spec.optimiser == "sgd":
        nesterov = spec.momentum > 0
        return torch.optim.SGD(
            options, lr=spec.lr, momentum=spec.momentum, nesterov=nesterov, fused=True
        )
    kind = torch.optim.AdamW if spec.optimiser == "adamw" else torch.optim.Adam
    return kind(options, lr=spec.lr, fused=True)


def rate_over_time(spec: TrainSpec, steps: int) -> Callable[[int], float]:
    """The factor of the learning rate at each of `steps` optimizer steps: a linear warm-up over the
    share `spec.warmup` of them, then half a cosine down to FLOOR (Loshchilov and Hutter 2017, arXiv
    1608.03983), or a constant 1."""
    warm = math.ceil(spec.warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if spec.schedule == "constant":
            return 1.0
        part = min(1.0, (step - warm) / max(1, steps - warm))
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * part))

    return factor


class MovingAverage(AveragedModel):
    """The exponential moving average of a network's weights (Polyak and Juditsky 1992), except for
    frozen ones. The decay is smaller at first, so that the random initial weights do not dominate a
    short training.

    It lacks two costs of torch's own, which waits for a GPU in every update, and copies all
    buffers: BatchNorm's statistics are recomputed for the averaged weights.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        super().__init__(network)
        self._decay = decay
        self._kept: list[Tensor] = [p for p in self.module.parameters() if p.requires_grad]
        self._now: list[Tensor] = [p for p in network.parameters() if p.requires_grad]
        for module in self.module.modules():
            if isinstance(module, nn.RNNBase):
                module.flatten_parameters()  # into one block of memory, which cuDNN needs

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Add the weights of `model`, the network that was averaged from the start."""
        count = int(self.n_averaged)  # on the CPU
        self.n_averaged += 1
        if count:
            share = 1 - min(self._decay, (1 + count) / (10 + count))
            torch._foreach_lerp_(self._kept, self._now, share)
        else:
            torch._foreach_copy_(self._kept, self._now)
