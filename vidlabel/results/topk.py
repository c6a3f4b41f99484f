"""From the probabilities of a video to the label and classes of its row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vidlabel.errors import Reason, UsageError
from vidlabel.specs import UNCERTAIN, Prediction, Status
from vidlabel.text import first_few, plural, with_hint

_NAMED = 8
"""Classes in the name of a model that is restricted to some."""


def ranked(
    classes: Sequence[str], probabilities: NDArray[np.float32]
) -> tuple[tuple[str, float], ...]:
    """All (class, probability) pairs, most likely first, of K names and probabilities (K,)."""
    # Sorted as they are written: probabilities that look equal keep the order of the classes.
    order = np.argsort(-probabilities.astype(np.float64).round(6), kind="stable")
    return tuple((classes[i], float(probabilities[i])) for i in order)


def choose_classes(asked: Sequence[str], known: Sequence[str], model: str) -> tuple[str, ...]:
    """The classes of a model that --classes asks for, in the order of the model's outputs; () for
    all of them.

    Args:
        asked: names, also several in one text with commas between them.
        known: the K classes of the model.
        model: its name, for the message.

    Raises:
        UsageError: the model does not know a class, or fewer than two are asked for.
    """
    names = {
        name
        for text in asked
        for name in ([text] if text in known else (part.strip() for part in text.split(",")))
    }
    if strange := sorted(names - set(known)):
        which = first_few([with_hint(name, known) for name in strange])
        raise UsageError(
            f"--classes: {model} does not know {which}; it knows {len(known)}: {first_few(known)}"
        )
    if len(names) == 1:
        raise UsageError("--classes: name two or more; one alone would have probability 1 always")
    return tuple(name for name in known if name in names) if len(names) < len(known) else ()


def model_name(model: str, classes: Sequence[str]) -> str:
    """The name of a model in a table, with the classes that it is restricted to, if any:
    `starter@3c7bf515[hug,kick]`."""
    return f"{model}[{first_few(classes, _NAMED, ',')}]" if classes else model


def choice_told(chosen: Sequence[str], known: Sequence[str]) -> str:
    """A line on what answers of a model are restricted to; "" for all of its classes."""
    if not chosen:
        return ""
    return (
        f"among {len(chosen)} of {plural(len(known), 'class')}, whose probabilities are scaled to "
        f"a sum of 1: {first_few(chosen)}"
    )


def scaled(probabilities: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Probabilities (..., S) of some of the classes, scaled to a sum of 1; equal ones, if all are
    0."""
    exact = probabilities.astype(np.float64)
    total = exact.sum(-1, keepdims=True)
    shares: NDArray[np.float64] = np.full_like(exact, 1 / exact.shape[-1])
    np.divide(exact, total, out=shares, where=total > 0)
    return shares.astype(np.float32)


def shown(
    row: Prediction, top_k: int, min_confidence: float, classes: Sequence[str] = ()
) -> Prediction:
    """The row that the table shows, of a row with all classes in `top`: with `top_k` of them.

    With `classes`, only they are answers, and their probabilities are scaled to a sum of 1. Below
    `min_confidence` (0..1) status and label are `uncertain`, and `top` still starts with the most
    likely class. A row that failed is returned as it is.
    """
    if not row.top:
        return row
    if classes:
        of = dict(row.top)
        top = ranked(classes, scaled(np.array([of[name] for name in classes])))
        row = replace(row, top=top)
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
