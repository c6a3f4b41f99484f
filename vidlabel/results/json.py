"""JSON: one object, `{"vidlabel": version, "model": name, "videos": [records]}`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator

from vidlabel.results.record import Format, RunInfo, record
from vidlabel.specs import Prediction
from vidlabel.text import text_path


def chunks(rows: Iterable[Prediction], run: RunInfo) -> Iterator[bytes]:
    """The object's start, one line a record, and its end."""
    head = _dumps({"vidlabel": run.version, "model": text_path(run.model)})
    yield f'{head.removesuffix("}")}, "videos": ['.encode()
    separator = "\n"
    for row in rows:
        yield f"{separator}{_dumps(record(row, run))}".encode()
        separator = ",\n"
    yield b"\n]}\n"


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


FORMAT = Format("json", streams=False, chunks=chunks)
