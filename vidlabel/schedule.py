"""How weights are changed: the optimiser, and its learning rate over time."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn


def make_optimiser(network: nn.Module, lr: float, weight_decay: float) -> torch.optim.Optimizer:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101)."""
    # Norms and biases are not decayed: shrinking them regularises nothing.
    decay = [p for p in network.parameters() if p.ndim > 1]
    plain = [p for p in network.parameters() if p.ndim <= 1]
    groups = [
        {"params": decay, "weight_decay": weight_decay},
        {"params": plain, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=lr)


def cosine(steps: int) -> Callable[[int], float]:
    """Linear warm-up over a twentieth of the steps, then half a cosine down to a hundredth."""
    warm = max(1, steps // 20)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        part = min(1.0, (step - warm) / max(1, steps - warm))
        return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * part))

    return factor
