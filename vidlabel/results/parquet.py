"""Parquet: a typed table, for large runs; needs pyarrow.

Written in groups of rows, so that memory holds one group however long the table is.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from io import RawIOBase
from itertools import islice
from typing import Any

from vidlabel.errors import UsageError
from vidlabel.results.record import Format, RunInfo, record
from vidlabel.specs import Prediction
from vidlabel.text import text_path

GROUP_ROWS = 10_000


def load_pyarrow() -> tuple[Any, Any]:
    """The modules pyarrow and pyarrow.parquet.

    Raises:
        UsageError: pyarrow is not installed.
    """
    try:
        return import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise UsageError(
            "Parquet needs pyarrow, which is not installed; install vidlabel[parquet]"
        ) from error


def check() -> None:
    """Raises UsageError when pyarrow is missing."""
    load_pyarrow()


def chunks(rows: Iterable[Prediction], run: RunInfo) -> Iterator[bytes]:
    """A group of rows at a time; model, top_k and vidlabel's version are in the schema's metadata.

    Raises:
        UsageError: pyarrow is not installed.
    """
    pa, parquet = load_pyarrow()
    metadata = {
        "vidlabel": run.version,
        "model": text_path(run.model),
        "top_k": str(run.top_k),
    }
    schema = _schema(pa).with_metadata(metadata)
    records = (record(row, run) for row in rows)
    sink = _Sink()
    with parquet.ParquetWriter(sink, schema) as writer:
        while group := list(islice(records, GROUP_ROWS)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            yield sink.taken()
    yield sink.taken()


class _Sink(RawIOBase):
    """A file for pyarrow to write to, whose bytes are taken away as they come."""

    def __init__(self) -> None:
        self._new = bytearray()
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: Any) -> int:
        self._new += data
        self._written += len(data)
        return len(data)

    def taken(self) -> bytes:
        """What was written since the last call."""
        data = bytes(self._new)
        self._new.clear()
        return data


def _schema(pa: Any) -> Any:
    top = pa.struct([("label", pa.string()), ("confidence", pa.float64())])
    return pa.schema(
        [
            pa.field("path", pa.string(), nullable=False),
            pa.field("status", pa.string(), nullable=False),
            pa.field("label", pa.string()),
            pa.field("confidence", pa.float64()),
            pa.field("top", pa.list_(top), nullable=False),
            pa.field("start_s", pa.float64()),
            pa.field("end_s", pa.float64()),
            pa.field("duration_s", pa.float64()),
            pa.field("frames_used", pa.int32(), nullable=False),
            pa.field("model", pa.string()),
            pa.field("reason", pa.string()),
            pa.field("detail", pa.string()),
        ]
    )


FORMAT = Format("parquet", streams=False, chunks=chunks, check=check)
