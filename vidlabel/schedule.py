"""How weights are changed: the optimiser, its learning rate over time, averages of the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from vidlabel.recipes import TrainSpec

FLOOR = 0.01
"""Where the cosine ends, as a share of the peak."""


def make_optimiser(
    network: nn.Module, trunk: nn.Module | None, spec: TrainSpec
) -> torch.optim.Optimizer:
    """The optimiser that `spec` names, for all parameters that are not frozen.

    AdamW: Loshchilov and Hutter 2019, arXiv 1711.05101. Adam: Kingma and Ba 2015, arXiv 1412.6980.
    SGD with Nesterov's momentum: Sutskever et al. 2013.

    Args:
        network: what to train.
        trunk: the part of it whose learning rate is `spec.trunk_lr` times the others'.
        spec: optimiser, rates, momentum and decay.
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
            # Norms and biases are not decayed: shrinking them regularises nothing.
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
    """What the learning rate is multiplied by at each of `steps` steps: a linear rise over the
    first `spec.warmup` of them, then half a cosine down to FLOOR (Loshchilov and Hutter 2017,
    arXiv 1608.03983), or a constant 1."""
    warm = math.ceil(spec.warmup * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        if spec.schedule == "constant":
            return 1.0
        part = min(1.0, (step - warm) / max(1, steps - warm))
        return FLOOR + (1 - FLOOR) * 0.5 * (1 + math.cos(math.pi * part))

    return factor


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """The exponential moving average of a network's weights (Polyak and Juditsky 1992).

    It forgets faster at first, so that a short training is not one of its random beginning.
    """

    @torch.no_grad()
    def update(kept: Any, now: Any, count: Tensor | int) -> None:
        early = (1 + int(count)) / (10 + int(count))
        torch._foreach_lerp_(list(kept), list(now), 1 - min(decay, early))

    return AveragedModel(network, multi_avg_fn=update)
