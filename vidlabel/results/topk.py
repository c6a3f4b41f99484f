"""From the probabilities of a video to the label and classes of its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.errors import Reason
from vidlabel.specs import UNCERTAIN, Prediction, Status


def ranked(
    classes: Sequence[str], probabilities: NDArray[np.float32]
) -> tuple[tuple[str, float], ...]:
    """All (class, probability) pairs, most likely first, of K names and probabilities (K,)."""
    # Sorted as they are written: probabilities that look equal keep the order of the classes.
    order = np.argsort(-probabilities.astype(np.float64).round(6), kind="stable")
    return tuple((classes[i], float(probabilities[i])) for i in order)


def shown(row: Prediction, top_k: int, min_confidence: float) -> Prediction:
    """The row that the table shows, of a row with all classes in `top`: with `top_k` of them.

    Below `min_confidence` (0..1) status and label are `uncertain`, and `top` still starts with the
    most likely class. A row that failed is returned as it is.
    """
    if not row.top:
        return row
    label, confidence = row.top[0]
    if confidence < min_confidence:
        row = replace(
            row,
            status=Status.UNCERTAIN,
            reason=row.reason or Reason.LOW_CONFIDENCE,
            detail=row.detail or f"best guess {label}",
        )
        label = UNCERTAIN
    return replace(row, label=label, confidence=confidence, top=row.top[:top_k])
