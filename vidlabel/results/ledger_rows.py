"""Between the rows of a ledger's tables and what they stand for."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from vidlabel.results.ledger_tables import PARTS, WINDOWS
from vidlabel.results.topk import ranked
from vidlabel.results.window_scores import PartScores
from vidlabel.specs import Prediction, Status

Key = tuple[bytes, int, int, bytes]
"""Name, size, modification time and folder of a file."""


def row_of(values: Sequence[Any], classes: Sequence[str], model: str) -> Prediction:
    """The prediction of a row: name, status, reason, detail, times, frames, and the probabilities
    and the embedding as bytes, or None."""
    name, status, reason, detail, duration_s, start_s, end_s, frames, packed, embedding = values
    path, detail = as_text(name), as_text(detail)
    top = ranked(classes, np.frombuffer(packed, np.float32)) if packed else ()
    return Prediction(
        path=path,
        status=Status(status),
        label=top[0][0] if top else "",
        confidence=top[0][1] if top else math.nan,
        top=top,
        start_s=math.nan if start_s is None else start_s,
        end_s=math.nan if end_s is None else end_s,
        duration_s=math.nan if duration_s is None else duration_s,
        frames_used=frames,
        model=model,
        reason=reason,
        detail=f"{path}: {detail}" if detail and status == Status.FAILED else detail,
        embedding=tuple(np.frombuffer(embedding, np.float32).tolist()) if embedding else (),
    )


def plain(row: Prediction) -> tuple[Any, ...]:
    """Status, reason, detail, times and frames of a prediction, as `row_of` takes them."""
    return (
        row.status, row.reason, as_bytes(row.detail.removeprefix(f"{row.path}: ")),
        *(None if math.isnan(v) else v for v in (row.duration_s, row.start_s, row.end_s)),
        row.frames_used,
    )  # fmt: skip


def write_part(db: sqlite3.Connection, key: Key, settings: int, part: PartScores) -> None:
    """Record the scores of a part of a video."""
    file, size, mtime_ns, folder = key
    values = (
        file, size, mtime_ns, settings, folder, part.part, part.parts, *plain(part.row),
        part.scores.astype(np.float32).tobytes(),
    )  # fmt: skip
    marks = ", ".join("?" * len(values))
    db.execute(f"INSERT OR REPLACE INTO windows VALUES ({marks})", values)


def read_parts(
    db: sqlite3.Connection, key: Key, settings: int, path: str, classes: int, model: str
) -> Iterator[PartScores]:
    """The parts of a video that are recorded, in order; the video has the index 0."""
    for part, parts, *values, packed in db.execute(WINDOWS, (*key, settings)):
        row = row_of((as_bytes(path), *values, None, None), (), model)
        scores = np.frombuffer(packed, np.float32).reshape(-1, classes)
        yield PartScores(0, row, scores, part, parts)


def part_numbers(db: sqlite3.Connection, key: Key, settings: int) -> tuple[int, set[int]]:
    """How many parts a video has (0 if not known), and the numbers of those recorded."""
    found = dict(db.execute(PARTS, (*key, settings)).fetchall())
    return found.get(0, 0), set(found)


def as_bytes(text: str) -> bytes:
    """Text as bytes: SQLite's own text cannot hold file names that are not UTF-8."""
    return text.encode("utf-8", "surrogatepass")


def as_text(data: bytes) -> str:
    """The text that `as_bytes` has made these of."""
    return data.decode("utf-8", "surrogatepass")
