"""Accuracy and calibration."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def top1(logits: Tensor, labels: Tensor) -> float:
    """Share of rows of (N, K) whose largest logit is at `labels` (N,); 0..1."""
    return float((logits.argmax(1) == labels).float().mean())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """The temperature that makes held-out probabilities most likely.

    Temperature scaling, Guo et al. 2017, arXiv 1706.04599. One parameter and a convex problem in
    its inverse: a fine grid between 0.2 and 10 finds it without an optimiser's moods.

    Args:
        logits: (N, K), of clips that were not trained on.
        labels: (N,) class indices.
    """
    candidates = torch.logspace(torch.log10(torch.tensor(0.2)).item(), 1.0, 400)
    losses = torch.stack([F.cross_entropy(logits / t, labels) for t in candidates])
    return round(float(candidates[int(losses.argmin())]), 4)


def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 10) -> float:
    """Expected calibration error of (N, K) probabilities: the mean gap between the confidence of
    the best class and how often it is right, over equal-width bins (Guo et al. 2017); 0..1."""
    confidence, best = probabilities.max(1)
    right = (best == labels).float()
    place = (confidence * bins).long().clamp_(max=bins - 1)
    gap = 0.0
    for b in range(bins):
        inside = place == b
        if bool(inside.any()):
            share = float(inside.float().mean())
            gap += share * abs(float(right[inside].mean()) - float(confidence[inside].mean()))
    return gap
