"""Rows of a table that `vidlabel predict` has written: which of them may be taken as the truth."""

from __future__ import annotations

from collections.abc import Mapping

from vidlabel.errors import UsageError
from vidlabel.results.record import was_uncertain
from vidlabel.specs import UNCERTAIN, Status

NOT_REVIEWED = "not reviewed"
_YES = {"yes", "true", "1", "x", "y"}
_NO_CLASS = {UNCERTAIN, "other"}
"""Labels of a table that stand for no class, unless a person has chosen them."""


def why_left_out(row: Mapping[str, str], least: float | None, where: str) -> str | None:
    """Why the label of a row is not taken; None if it is, as in every row of any other table.

    A person has looked at a row that says so in a column `reviewed`, or whose label is not the one
    that predict has written. Other rows of a table of predictions are taken only from the
    confidence `least` on, if it is given (pseudo-labels: Lee 2013, "Pseudo-Label: The Simple and
    Efficient Semi-Supervised Learning Method for Deep Neural Networks"), and only where the status
    is ok or partial and the label is a class.

    Args:
        row: values by the name of the column; those of a table of predictions have `status` and
            `confidence`, or `reviewed`.
        where: file and line, for the message.

    Raises:
        UsageError: the confidence of a row is not a number.
    """
    status, label, best = row.get("status"), row["label"], row.get("top1_label", "")
    if status == Status.FAILED and not label:
        return Status.FAILED
    if label == UNCERTAIN and status in tuple(Status):
        was = was_uncertain(label, best, row.get("reason", ""))
        if status == Status.UNCERTAIN or was:
            return Status.UNCERTAIN
    reviewed = row.get("reviewed")
    if reviewed is None and not {"status", "confidence"} <= row.keys():
        return None
    edited = label and (status in (Status.FAILED, Status.UNCERTAIN) or best not in ("", label))
    if edited or (reviewed or "").lower() in _YES:
        return None
    if least is None:
        return NOT_REVIEWED
    if status not in (Status.OK, Status.PARTIAL) or label.lower() in _NO_CLASS:
        return label if label.lower() in _NO_CLASS else status or "without a status"
    try:
        sure = float(row.get("confidence") or 0) >= least
    except ValueError:
        raise UsageError(
            f"{where}: confidence is {row['confidence']!r}; it must be a number"
        ) from None
    return None if sure else f"below --pseudo-labels {least:g}"
