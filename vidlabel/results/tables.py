"""Tables of predictions: CSV, JSON, JSON Lines and Parquet, written and read with pandas.

Rows are written in groups, each a DataFrame, so that memory holds one group however long the table
is.

CSV is UTF-8 with `\\n` line ends; missing values are empty cells. A file may be called `NA`: read
the table with `pandas.read_csv(path, keep_default_na=False)`, or pandas makes it a NaN. A file may
also be called `=cmd|...`, and a spreadsheet runs a cell that starts so. Texts are exact all the
same, for programs; with `TableInfo.excel_safe` a text that starts as in `FORMULA_STARTS` gets a `'`
before it, and so does one that starts with `'`, so that `text.removeprefix("'")` is the exact
inverse. Numbers stay. Such a file begins with a UTF-8 mark, or Excel, opening it by a double click,
takes its bytes for the machine's old encoding.

JSON is one object, `{"vidlabel": version, "model": name, "videos": [records]}`; JSON Lines has one
record a line. Parquet has the same fields, typed.
"""

from __future__ import annotations

import codecs
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from vidlabel.errors import Reason, UsageError
from vidlabel.files.text_file import as_utf8
from vidlabel.files.write import replacing
from vidlabel.results.formats.kinds import TIMELINE_FORMATS
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_file import SUFFIX
from vidlabel.results.record import Record, TableInfo, check_record, record
from vidlabel.specs import Prediction
from vidlabel.text import PathText, safe, text_path

FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20\t\r\n")
"""A spreadsheet takes a text that starts with one of these for a formula: signs, their full-width
forms, and blanks that it skips before a sign."""

FORMATS = ("csv", "json", "jsonl", "parquet")
"""Also the suffixes, without their dot."""

_BY_SUFFIX = {
    each.suffix.removeprefix("."): each.name
    for each in TIMELINE_FORMATS.values() if each.named_by_suffix
}  # fmt: skip

STREAMED = ("csv", "jsonl")
"""Formats in which a row is complete as soon as it is written, so that stdout can take them."""

STDOUT = "-"
"""What `--out` is for standard output."""

GROUP_ROWS = 10_000
"""Rows of a file that are written at a time."""

_UNREADABLE = (pa.ArrowException, pd.errors.EmptyDataError, pd.errors.ParserError)
_TIMES = ("start_s", "end_s", "duration_s")
_Groups: TypeAlias = Iterable[list[Record]]


@dataclass(frozen=True)
class PredictedLabels:
    """A table as it was read."""

    rows: tuple[Record, ...]
    """In the order of the table; at least one. Texts may hold surrogates for bytes that are not
    UTF-8."""
    classes: tuple[str, ...]
    """All class names in the table, sorted."""
    digest: str
    """SHA-256 of the rows, hexadecimal: the same for the same labels, in whatever format."""


def pick_format(out: str, format_name: str | None = None) -> str:
    """The format of an output, of FORMATS or TIMELINE_FORMATS: --format where given, otherwise the
    suffix, in any case.

    Raises:
        UsageError: the format is not known, or cannot be written to stdout.
    """
    if format_name is not None:
        name, source = format_name.lower(), f"--format {format_name}"
    elif out == STDOUT:
        name, source = "csv", "stdout"
    else:
        suffix, source = Path(out).suffix.lower().removeprefix("."), f"--out {out}"
        name = _BY_SUFFIX.get(suffix, suffix if suffix in FORMATS else "")
    if name not in (*FORMATS, *TIMELINE_FORMATS):
        raise UsageError(
            f"{source}: unknown format; use a suffix of {', '.join((*FORMATS, *_BY_SUFFIX))}, "
            f"or --format with one of {', '.join((*FORMATS, *TIMELINE_FORMATS))}"
        )
    if out == STDOUT and name not in STREAMED:
        raise UsageError(
            f"--format {name} cannot be written to stdout; use {' or '.join(STREAMED)}"
        )
    return name


# --- writing --------------------------------------------------------------------------------------


def columns(top_k: int) -> list[str]:
    """The columns of a CSV table whose rows show `top_k` classes (from 1)."""
    more = [f"top{rank}_{what}" for rank in range(2, top_k + 1) for what in ("label", "confidence")]
    before = ["path", "status", "label", "confidence", "top1_label"]
    return [*before, *more, *_TIMES, "frames_used", "model", "reason"]


def data_frame(rows: Iterable[Prediction], info: TableInfo) -> pd.DataFrame:
    """One row per prediction, as `Predictions.to_dataframe` describes it."""
    return _flat([record(row, info) for row in rows], info.top_k)


def write_table(
    rows: Iterable[Prediction],
    out: Path,
    format_name: str,
    info: TableInfo,
    group_rows: int = GROUP_ROWS,
) -> None:
    """Replace `out` by a table of these rows; the file is never half written.

    The rows are read once and not kept, so there may be any number of them.

    Raises:
        OutputError: the system refused to write.
    """
    with replacing(out) as temporary, temporary.open("wb") as file:
        write_rows(rows, file, format_name, info, group_rows)


def write_rows(
    rows: Iterable[Prediction], file: BinaryIO, format_name: str, info: TableInfo, group_rows: int
) -> None:
    """Write a table to an open file, `group_rows` rows at a time, flushed after each group."""
    records = (record(row, info) for row in rows)
    groups = iter(lambda: list(islice(records, group_rows)), [])
    if format_name == "parquet":
        _write_parquet(groups, file, info)
        return
    write = {"csv": _csv, "json": _json, "jsonl": _jsonl}[format_name]
    for text in write(groups, info):
        file.write(text.encode())
        file.flush()


def _csv(groups: _Groups, info: TableInfo) -> Iterator[str]:
    mark = codecs.BOM_UTF8.decode() if info.excel_safe else ""
    yield mark + _csv_lines(_flat([], info.top_k), info, header=True)
    for group in groups:
        yield _csv_lines(_flat(group, info.top_k), info, header=False)


def _flat(records: Sequence[Record], top_k: int) -> pd.DataFrame:
    names = columns(top_k)
    numbers = {name: float for name in names if name in _TIMES or name.endswith("confidence")}
    frame = pd.DataFrame([_cells(values) for values in records], columns=names)
    return frame.astype(numbers | {"frames_used": int})


def _cells(values: Record) -> dict[str, Any]:
    cells: dict[str, Any] = dict(values)
    reason = filter(None, (values["reason"], safe(values["detail"] or "")))
    cells["reason"] = ": ".join(reason) or None
    for rank, top in enumerate(values["top"], 1):
        cells |= {f"top{rank}_{what}": value for what, value in top.items()}
    return cells


def _csv_lines(frame: pd.DataFrame, info: TableInfo, *, header: bool) -> str:
    for name in frame.columns:
        if name in _TIMES or name.endswith("confidence"):
            shown = "{:.3f}" if name in _TIMES else "{:.6f}"
            frame[name] = frame[name].map(shown.format, na_action="ignore")
        elif info.excel_safe and name not in ("status", "frames_used"):
            frame[name] = frame[name].map(_harmless, na_action="ignore")
    # Before Python 3.13 the csv module, which pandas writes with, quotes a lone \r only if it is
    # part of the line end, and a reader would take an unquoted one for the end of the row.
    text = frame.to_csv(index=False, header=header, lineterminator="\r\0\n")
    return text.replace("\r\0\n", "\n")


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith((*FORMULA_STARTS, "'")) else text


# JSON is not left to pandas: `to_json` rounds to 15 decimals and writes `\/` for `/`, and
# `read_json` does not say in which line an error is.
def _json(groups: _Groups, info: TableInfo) -> Iterator[str]:
    head = _dumps({"vidlabel": info.version, "model": text_path(info.model)})
    yield f'{head.removesuffix("}")}, "videos": ['
    separator = "\n"
    for group in groups:
        yield separator + ",\n".join(map(_dumps, group))
        separator = ",\n"
    yield "\n]}\n"


def _jsonl(groups: _Groups, info: TableInfo) -> Iterator[str]:
    for group in groups:
        yield "".join(f"{_dumps(values)}\n" for values in group)


def _dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _write_parquet(groups: _Groups, file: BinaryIO, info: TableInfo) -> None:
    """A row group for each group; model, top_k and version are in the schema's metadata."""
    metadata = {"vidlabel": info.version, "model": text_path(info.model), "top_k": str(info.top_k)}
    with pq.ParquetWriter(file, _SCHEMA.with_metadata(metadata)) as writer:
        for group in groups:
            frame = pd.DataFrame(group)
            writer.write_table(pa.Table.from_pandas(frame, schema=_SCHEMA, preserve_index=False))


_TOP = [("label", pa.string()), ("confidence", pa.float64())]
_SCHEMA = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),
        *_TOP,
        pa.field("top", pa.list_(pa.struct(_TOP)), nullable=False),
        *((name, pa.float64()) for name in _TIMES),
        pa.field("frames_used", pa.int32(), nullable=False),
        *((name, pa.string()) for name in ("model", "reason", "detail")),
    ]
)


# --- reading --------------------------------------------------------------------------------------


def is_table(path: Path) -> bool:
    """Whether `read_labels` reads files with the suffix of this one."""
    return path.suffix.lower() in _READERS


def read_labels(table: PathText) -> PredictedLabels:
    """The rows of a table, or of a ledger's latest run.

    A CSV file needs only the columns `path` and `label`; what else is missing is empty.

    Args:
        table: .csv, .json, .jsonl, .parquet or .ledger.

    Raises:
        UsageError: the file cannot be read, has another format, or has no rows; with the place.
        OutputError: the ledger is damaged.
    """
    table = Path(table)
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise UsageError(f"{table}: unknown format; the file must end in {', '.join(_READERS)}")
    if not table.is_file():
        raise UsageError(f"{table}: there is no such file")
    try:
        rows, names = reader(table)
    except (OSError, UnicodeDecodeError, *_UNREADABLE) as error:
        raise UsageError(f"{table}: cannot be read: {error}") from error
    if not rows:
        raise UsageError(f"{table}: has no rows")
    told = {top["label"] for row in rows for top in row["top"]} | set(names)
    text = json.dumps(rows, sort_keys=True)
    return PredictedLabels(
        tuple(rows), tuple(sorted(told)), hashlib.sha256(text.encode()).hexdigest()
    )


def _from_csv(table: Path) -> tuple[list[Record], Iterable[str]]:
    how: dict[str, Any] = {
        "dtype": object,
        "keep_default_na": False,  # a class or a file may be called NA
        "encoding_errors": "surrogateescape",
    }
    text = as_utf8(table.read_bytes(), str(table))
    names = pd.read_csv(io.BytesIO(text), nrows=0, **how).columns
    # With `usecols`, cells beyond the last column are left out.
    frame = pd.read_csv(io.BytesIO(text), usecols=range(len(names)), **how)
    missing = {"path", "label"} - set(frame.columns)
    if missing:
        raise UsageError(f"{table}: no column {' and '.join(sorted(missing))}")
    rows = frame.to_dict("records")
    if is_excel_safe(table, [*frame["path"], *frame["label"]]):
        rows = [{name: text.removeprefix("'") for name, text in row.items()} for row in rows]
    return [_csv_record(row, f"{table}: row {i}") for i, row in enumerate(rows, 1)], ()


def is_excel_safe(table: Path, texts: Iterable[str]) -> bool:
    """Whether a CSV file with these texts was written with `TableInfo.excel_safe`: each text that
    starts like a formula, or with `'`, has a `'` before it.

    Raises:
        OSError: the file cannot be read.
    """
    with table.open("rb") as file:
        marked = file.read(3) == codecs.BOM_UTF8
    found = [text for text in texts if text.startswith(("'", *FORMULA_STARTS))]
    # Without the mark, which vidlabel 0.1.0 did not write, a text that starts with '' may be exact.
    sure = marked or any(text[1:].startswith(FORMULA_STARTS) for text in found)
    return sure and all(
        text.startswith("'") and text[1:].startswith(("'", *FORMULA_STARTS)) for text in found
    )


def _csv_record(cells: Mapping[Any, str], where: str) -> Record:
    def number(key: str) -> float | None:
        text = cells.get(key, "")
        try:
            return float(text) if text else None
        except ValueError:
            raise UsageError(f"{where}: {key} is {text!r}; it must be a number") from None

    reason, _, detail = cells.get("reason", "").partition(": ")
    best = cells.get("top1_label") or cells["label"]
    if "top1_label" not in cells and reason == Reason.LOW_CONFIDENCE:  # vidlabel 0.1.0
        best = detail.removeprefix("best guess ")
    top = [{"label": best, "confidence": number("confidence")}] if best else []
    for rank in count(2):
        if not (label := cells.get(f"top{rank}_label")):
            break
        top.append({"label": label, "confidence": number(f"top{rank}_confidence")})
    values: dict[str, Any] = {key: cells.get(key) for key in ("path", "status", "label", "model")}
    values |= {key: number(key) for key in ("confidence", *_TIMES, "frames_used")}
    return check_record(values | {"reason": reason, "detail": detail, "top": top}, where)


def _from_json(table: Path) -> tuple[list[Record], Iterable[str]]:
    value = _parsed(_text_of(table), str(table))
    videos = value.get("videos") if isinstance(value, dict) else None
    if not isinstance(videos, list):
        raise UsageError(f"{table}: no list `videos`; was it written by vidlabel predict?")
    return [check_record(each, f"{table}: video {i}") for i, each in enumerate(videos, 1)], ()


def _from_jsonl(table: Path) -> tuple[list[Record], Iterable[str]]:
    lines = enumerate(_text_of(table).split("\n"), 1)
    places = ((f"{table}:{number}", line) for number, line in lines)
    return [check_record(_parsed(line, at), at) for at, line in places if line.strip()], ()


def _text_of(table: Path) -> str:
    return as_utf8(table.read_bytes(), str(table)).decode()


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: is not JSON: {error}") from error


def _from_parquet(table: Path) -> tuple[list[Record], Iterable[str]]:
    rows = pq.read_table(table).to_pylist()
    return [check_record(row, f"{table}: row {i}") for i, row in enumerate(rows, 1)], ()


def _from_ledger(table: Path) -> tuple[list[Record], Iterable[str]]:
    with Ledger(table) as ledger:
        run = ledger.last_run()
        return [record(row, run.info()) for row in ledger.shown_rows(run)], run.shown or run.classes


_READERS: dict[str, Callable[[Path], tuple[list[Record], Iterable[str]]]] = {
    ".csv": _from_csv,
    ".json": _from_json,
    ".jsonl": _from_jsonl,
    ".parquet": _from_parquet,
    SUFFIX: _from_ledger,
}
