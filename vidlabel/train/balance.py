"""Class balance: how much a clip counts, where some classes have far more clips than others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from vidlabel.train.recipes import TrainSpec

UNBALANCED = 3
"""From how many times the clips of the smallest class the largest one counts as too large."""


def is_balanced(labels: Sequence[int], spec: TrainSpec) -> bool:
    """Whether clips are to count by their class: as `spec.balance` says, for `auto` if the largest
    class has over UNBALANCED times the clips of the smallest."""
    counts = Counter(labels).values()
    return spec.balance == "on" or (
        spec.balance == "auto" and max(counts) > UNBALANCED * min(counts)
    )


def clip_weights(labels: Sequence[int], spec: TrainSpec) -> Tensor:
    """(N,) float64 with mean 1: what each clip counts, by its class; all 1 without balance."""
    if not is_balanced(labels, spec):
        return torch.ones(len(labels), dtype=torch.float64)
    counts = Counter(labels)
    share = len(labels) / len(counts)
    return torch.tensor([share / counts[label] for label in labels], dtype=torch.float64)


def balance_line(labels: Sequence[str], spec: TrainSpec) -> str:
    """One line, if clips count by their class; else empty."""
    counts = Counter(labels).most_common()
    numbers = {label: n for n, (label, _) in enumerate(counts)}
    if not is_balanced([numbers[label] for label in labels], spec):
        return ""
    (largest, most), (smallest, least) = counts[0], counts[-1]
    return (
        f"classes are balanced: {largest} has {most:,} clips and {smallest} {least:,}, and each "
        "class counts alike (--balance off: each clip does)"
    )
