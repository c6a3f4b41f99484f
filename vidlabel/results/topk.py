"""From the probabilities of a video to what its row says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.errors import Reason
from vidlabel.specs import Prediction

UNCERTAIN = "uncertain"
"""The label of a video whose best class is less likely than --min-confidence."""


def ranked(
    classes: Sequence[str], probabilities: NDArray[np.float32]
) -> tuple[tuple[str, float], ...]:
    """All (class, probability) pairs, most likely first.

    Args:
        classes: K names.
        probabilities: (K,), 0..1, in the order of the classes.
    """
    # A stable sort on what is written: equal probabilities stand in the order of the classes.
    order = np.argsort(-probabilities.astype(np.float64).round(6), kind="stable")
    return tuple((classes[i], float(probabilities[i])) for i in order)


def shown(row: Prediction, top_k: int, min_confidence: float) -> Prediction:
    """A row with all its classes in `top`, as it goes into the table.

    Args:
        row: a prediction; one that failed stays as it is.
        top_k: how many classes to show, from 1.
        min_confidence: below, the label is `uncertain`; 0..1.
    """
    if not row.top:
        return row
    label, confidence = row.top[0]
    if confidence < min_confidence:
        row = replace(
            row,
            reason=row.reason or Reason.LOW_CONFIDENCE,
            detail=row.detail or f"best guess {label}",
        )
        label = UNCERTAIN
    return replace(row, label=label, confidence=confidence, top=row.top[:top_k])
