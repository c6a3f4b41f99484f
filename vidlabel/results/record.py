"""One row of a table as plain values: made from a prediction, or checked after it was read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypedDict

from vidlabel.errors import Reason, UsageError
from vidlabel.specs import UNCERTAIN, Prediction, Status
from vidlabel.text import text_path
from vidlabel.version import __version__

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


@dataclass(frozen=True)
class TableInfo:
    """What is true of all rows of a table."""

    model: str
    top_k: int
    """How many classes a row shows, from 1."""
    version: str = __version__
    """Of vidlabel."""
    excel_safe: bool = False
    """Whether CSV has a UTF-8 mark, and texts in it that a spreadsheet would run as a formula get a
    leading `'`."""


class Top(TypedDict):
    """One of the most likely classes."""

    label: str
    confidence: float | None


class Record(TypedDict):
    """One row; None where there is no value. Texts are valid UTF-8, numbers are finite.

    `top` starts with the most likely class, also where the status is `uncertain`.
    """

    path: str
    status: str
    label: str | None
    confidence: float | None
    top: list[Top]
    start_s: float | None
    end_s: float | None
    duration_s: float | None
    frames_used: int
    model: str | None
    reason: str | None
    detail: str | None


def record(row: Prediction, info: TableInfo) -> Record:
    """A prediction as plain values, with at most `info.top_k` classes in `top`."""
    path = text_path(row.path)
    # The detail is a message for a person, so it names the file; here the path stands beside it.
    detail = text_path(row.detail).removeprefix(f"{path}: ")
    return Record(
        path=path,
        status=row.status.value,
        label=text_path(row.label) or None,
        confidence=_finite(row.confidence),
        top=[
            Top(label=text_path(label), confidence=_finite(confidence))
            for label, confidence in row.top[: info.top_k]
        ],
        start_s=_seconds(row.start_s),
        end_s=_seconds(row.end_s),
        duration_s=_seconds(row.duration_s),
        frames_used=row.frames_used,
        model=text_path(row.model) or None,
        reason=text_path(row.reason) or None,
        detail=detail or None,
    )


def from_record(row: Record) -> Prediction:
    """The prediction that a row shows; NaN and empty text where it has no value."""
    return Prediction(
        path=row["path"],
        status=Status(row["status"]),
        label=row["label"] or "",
        confidence=_or_nan(row["confidence"]),
        top=tuple((top["label"], _or_nan(top["confidence"])) for top in row["top"]),
        start_s=_or_nan(row["start_s"]),
        end_s=_or_nan(row["end_s"]),
        duration_s=_or_nan(row["duration_s"]),
        frames_used=row["frames_used"],
        model=row["model"] or "",
        reason=row["reason"] or "",
        detail=row["detail"] or "",
    )


def _or_nan(value: float | None) -> float:
    return math.nan if value is None else value


def to_dict(value: Prediction | DataclassInstance) -> dict[str, Any]:
    """A prediction as plain values, as a line of a .jsonl table has them; None where there is no
    value. Of any other dataclass, such as `PredictSpec` or `Limits`, its fields."""
    if not isinstance(value, Prediction):
        return asdict(value)
    return dict(record(value, TableInfo(value.model, len(value.top))))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _seconds(value: float) -> float | None:
    """To a microsecond: sums of times have more decimals, such as 1.9200000000000002."""
    return round(value, 6) if math.isfinite(value) else None


def was_uncertain(label: str, best: str, reason: str) -> bool:
    """Whether a row is uncertain by its label, its most likely class ("" if not given) and its
    reason, as in tables that were written before that was a status."""
    low = reason.startswith(Reason.LOW_CONFIDENCE)
    return label == UNCERTAIN and (low or best not in ("", label))


def check_record(values: Any, where: str) -> Record:
    """A row that has every value, each of its type; the table may come from anywhere. Before
    `uncertain` was a status, it was only a label: such rows get the status.

    Args:
        values: the row as it was read; what is missing becomes None.
        where: file and place, for the message.

    Raises:
        UsageError: a value is missing or wrong; the message names the place.
    """
    if not isinstance(values, dict) or not isinstance(values.get("path"), str):
        raise UsageError(f"{where}: no path")
    if not values["path"]:
        raise UsageError(f"{where}: path is empty")
    status = values.get("status") or Status.OK.value
    if status not in {each.value for each in Status}:
        raise UsageError(f"{where}: status is {status!r}; it must be {', '.join(Status)}")
    label = _text(values, "label", where)
    if not label and status != Status.FAILED:
        raise UsageError(f"{where}: label is empty, but status is {status}")
    top = [_top(each, where) for each in values.get("top") or []]
    reason = _text(values, "reason", where)
    if was_uncertain(label or "", top[0]["label"] if top else "", reason or ""):
        status = Status.UNCERTAIN.value
    return Record(
        path=values["path"],
        status=status,
        label=label,
        confidence=_share(values, where),
        top=top,
        start_s=_number(values, "start_s", where),
        end_s=_number(values, "end_s", where),
        duration_s=_number(values, "duration_s", where),
        frames_used=int(_number(values, "frames_used", where) or 0),
        model=_text(values, "model", where),
        reason=reason,
        detail=_text(values, "detail", where),
    )


def _top(values: Any, where: str) -> Top:
    if not isinstance(values, dict) or not isinstance(values.get("label"), str):
        raise UsageError(f"{where}: a class of `top` has no label")
    return Top(label=values["label"], confidence=_share(values, where))


def _text(values: Mapping[str, Any], key: str, where: str) -> str | None:
    value = values.get(key)
    if value is not None and not isinstance(value, str):
        raise UsageError(f"{where}: {key} is {value!r}; it must be text")
    return value or None


def _number(values: Mapping[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{where}: {key} is {value!r}; it must be a number")
    return float(value)


def _share(values: Mapping[str, Any], where: str) -> float | None:
    value = _number(values, "confidence", where)
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{where}: confidence is {value:g}; it must be 0 to 1")
    return value
