"""One prediction as plain values: what every output format writes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypedDict

from vidlabel.specs import Prediction
from vidlabel.text import text_path


@dataclass(frozen=True)
class RunInfo:
    """What is true of all rows of a run."""

    model: str
    top_k: int
    """How many classes a row shows, from 1."""
    version: str
    """Of vidlabel."""
    excel_safe: bool = False
    """Whether texts in CSV that a spreadsheet would run as a formula get a leading `'`."""


def _nothing_to_check() -> None:
    """Most formats need no package."""


@dataclass(frozen=True)
class Format:
    """One output format."""

    name: str
    """Also the suffix, without its dot."""
    streams: bool
    """True if a row is complete as soon as it is written, so that stdout can take it."""
    chunks: Callable[[Iterable[Prediction], RunInfo], Iterator[bytes]]
    """The bytes of a file with these rows."""
    check: Callable[[], None] = _nothing_to_check
    """Raises UsageError, saying what to install, when a package is missing."""


class Top(TypedDict):
    """One of the likeliest classes."""

    label: str
    confidence: float | None


class Record(TypedDict):
    """One row; None where there is no value. Texts are valid UTF-8, numbers are finite."""

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


def record(row: Prediction, run: RunInfo) -> Record:
    """A prediction as plain values, with at most `run.top_k` classes in `top`."""
    path = text_path(row.path)
    # The detail is one line for a person and so names the file; here the path stands beside it.
    detail = text_path(row.detail).removeprefix(f"{path}: ")
    return Record(
        path=path,
        status=row.status.value,
        label=text_path(row.label) or None,
        confidence=_finite(row.confidence),
        top=[
            Top(label=text_path(label), confidence=_finite(confidence))
            for label, confidence in row.top[: run.top_k]
        ],
        start_s=_finite(row.start_s),
        end_s=_finite(row.end_s),
        duration_s=_finite(row.duration_s),
        frames_used=row.frames_used,
        model=text_path(row.model) or None,
        reason=text_path(row.reason) or None,
        detail=detail or None,
    )


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
