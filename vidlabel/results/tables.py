"""Read back the tables that `results.formats` writes, and the ledger beside them."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vidlabel.errors import Reason, UsageError
from vidlabel.results.ledger import SUFFIX, Ledger
from vidlabel.results.parquet import load_pyarrow
from vidlabel.results.record import Record, RunInfo, Top, record
from vidlabel.results.topk import shown
from vidlabel.specs import Status
from vidlabel.version import __version__

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n")
_GUESS = "best guess "  # how `topk.shown` tells the class of a row that it calls uncertain


@dataclass(frozen=True)
class Labels:
    """A table as it was read."""

    rows: tuple[Record, ...]
    """In the order of the table; at least one. Texts may hold surrogates for bytes that are not
    UTF-8."""
    classes: tuple[str, ...]
    """All class names that the table tells, sorted."""
    digest: str
    """SHA-256 of the rows, hexadecimal: the same for the same labels, in whatever format."""


def read_labels(table: Path) -> Labels:
    """The rows of a table or of a ledger's latest run.

    A CSV file needs the columns `path` and `label` alone; what else is missing is empty.

    Args:
        table: .csv, .json, .jsonl, .parquet or .ledger.

    Raises:
        UsageError: the file cannot be read, is none of these, or has no rows; with the place.
        OutputError: the ledger is damaged.
    """
    reader = _READERS.get(table.suffix.lower())
    if reader is None:
        raise UsageError(f"{table}: no known format; it must end in {', '.join(_READERS)}")
    if not table.is_file():
        raise UsageError(f"{table}: there is no such file")
    try:
        rows, names = reader(table)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read: {error}") from error
    if not rows:
        raise UsageError(f"{table}: has no rows")
    told = {top["label"] for row in rows for top in row["top"]} | set(names)
    text = json.dumps(rows, sort_keys=True)
    return Labels(tuple(rows), tuple(sorted(told)), hashlib.sha256(text.encode()).hexdigest())


def _from_csv(table: Path) -> tuple[list[Record], Iterable[str]]:
    with table.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
        reader = csv.DictReader(file)
        missing = {"path", "label"} - set(reader.fieldnames or ())
        if missing:
            raise UsageError(f"{table}: no column {' and '.join(sorted(missing))}")
        lines = [(reader.line_num, row) for row in reader]
    # `results.csv` puts a ' before what a spreadsheet would run, if asked to; then nothing is bare.
    texts = [row[key] or "" for _, row in lines for key in ("path", "label")]
    quoted = any(text.startswith("'") and text[1:].startswith(_FORMULA) for text in texts)
    excel_safe = quoted and not any(text.startswith(_FORMULA) for text in texts)
    return [_csv_row(row, f"{table}:{line}", excel_safe) for line, row in lines], ()


def _csv_row(cells: Mapping[str, str | None], where: str, excel_safe: bool) -> Record:
    def text(key: str) -> str:
        value = cells.get(key) or ""
        return value.removeprefix("'") if excel_safe else value

    reason, _, detail = text("reason").partition(": ")
    values: dict[str, Any] = {key: text(key) for key in ("path", "status", "label", "model")}
    values |= {"reason": reason, "detail": detail}
    for key in ("confidence", "start_s", "end_s", "duration_s", "frames_used"):
        values[key] = _number(text(key), f"{where}: {key}")
    best = values["label"]
    if reason == Reason.LOW_CONFIDENCE:
        best = detail.removeprefix(_GUESS) if detail.startswith(_GUESS) else ""
    top = [{"label": best, "confidence": values["confidence"]}] if best else []
    rank = 2
    while label := text(f"top{rank}_label"):
        key = f"top{rank}_confidence"
        top.append({"label": label, "confidence": _number(text(key), f"{where}: {key}")})
        rank += 1
    return _checked(values | {"top": top}, where)


def _number(text: str, where: str) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        raise UsageError(f"{where} is {text!r}; it must be a number") from None


def _from_json(table: Path) -> tuple[list[Record], Iterable[str]]:
    value = _parsed(table.read_text(encoding="utf-8"), str(table))
    videos = value.get("videos") if isinstance(value, dict) else None
    if not isinstance(videos, list):
        raise UsageError(f"{table}: no list `videos`; was it written by vidlabel predict?")
    return [_checked(each, f"{table}: video {i + 1}") for i, each in enumerate(videos)], ()


def _from_jsonl(table: Path) -> tuple[list[Record], Iterable[str]]:
    with table.open(encoding="utf-8") as file:
        places = ((f"{table}:{number}", line) for number, line in enumerate(file, 1))
        return [_checked(_parsed(line, at), at) for at, line in places if line.strip()], ()


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: is not JSON: {error}") from error


def _from_parquet(table: Path) -> tuple[list[Record], Iterable[str]]:
    pa, parquet = load_pyarrow()
    try:
        rows = parquet.read_table(table).to_pylist()
    except pa.ArrowException as error:
        raise UsageError(f"{table}: cannot be read: {error}") from error
    return [_checked(row, f"{table}: row {i + 1}") for i, row in enumerate(rows)], ()


def _from_ledger(table: Path) -> tuple[list[Record], Iterable[str]]:
    with Ledger(table) as ledger:
        run = ledger.last_run()
        info = RunInfo(run.model, run.top_k, __version__)
        rows = [record(shown(r, run.top_k, run.min_confidence), info) for r in ledger.rows()]
    return rows, run.classes


_READERS: dict[str, Callable[[Path], tuple[list[Record], Iterable[str]]]] = {
    ".csv": _from_csv,
    ".json": _from_json,
    ".jsonl": _from_jsonl,
    ".parquet": _from_parquet,
    SUFFIX: _from_ledger,
}


def _checked(values: Any, where: str) -> Record:
    """A row that has every value, each of its type; a table may come from anywhere."""
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
    return Record(
        path=values["path"],
        status=status,
        label=label,
        confidence=_share(values, where),
        top=[_top(each, where) for each in values.get("top") or []],
        start_s=_finite(values, "start_s", where),
        end_s=_finite(values, "end_s", where),
        duration_s=_finite(values, "duration_s", where),
        frames_used=int(_finite(values, "frames_used", where) or 0),
        model=_text(values, "model", where),
        reason=_text(values, "reason", where),
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


def _finite(values: Mapping[str, Any], key: str, where: str) -> float | None:
    value = values.get(key)
    if value is None:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise UsageError(f"{where}: {key} is {value!r}; it must be a number")
    return float(value)


def _share(values: Mapping[str, Any], where: str) -> float | None:
    value = _finite(values, "confidence", where)
    if value is not None and not 0 <= value <= 1:
        raise UsageError(f"{where}: confidence is {value:g}; it must be 0 to 1")
    return value
