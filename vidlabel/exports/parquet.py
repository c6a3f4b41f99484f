"""Parquet: a typed table, for large runs; needs pyarrow."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any

from vidlabel.errors import UsageError
from vidlabel.exports.record import Format, RunInfo, record
from vidlabel.files import text_path
from vidlabel.specs import Prediction


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
    """The whole file at once; model, top_k and vidlabel's version are in the schema's metadata.

    Raises:
        UsageError: pyarrow is not installed.
    """
    pa, parquet = load_pyarrow()
    metadata = {
        "vidlabel": run.version,
        "model": text_path(run.model),
        "top_k": str(run.top_k),
    }
    table = pa.Table.from_pylist(
        [record(row, run) for row in rows], schema=_schema(pa).with_metadata(metadata)
    )
    buffer = pa.BufferOutputStream()
    parquet.write_table(table, buffer)
    yield buffer.getvalue().to_pybytes()


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
