"""JSON Lines: one JSON object a line and video, readable while a run goes on."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from vidlabel.results.record import Format, RunInfo, record
from vidlabel.specs import Prediction


def chunks(rows: Iterable[Prediction], run: RunInfo) -> Iterator[bytes]:
    """One line a row."""
    for row in rows:
        line = json.dumps(record(row, run), ensure_ascii=False, allow_nan=False)
        yield f"{line}\n".encode()


FORMAT = Format("jsonl", streams=True, chunks=chunks)
