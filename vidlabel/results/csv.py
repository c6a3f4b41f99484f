"""CSV: one line a video, a table that any tool opens.

UTF-8, `\\n` line ends, quotes only where needed. Missing values are empty cells. A file may be
called `NA`: read with `pandas.read_csv(path, keep_default_na=False)`, or pandas makes it a NaN.

A file may also be called `=cmd|...`, and a spreadsheet runs a cell that starts so. Texts are exact
all the same, as programs read them; with `RunInfo.excel_safe` a text that starts with `= + - @`,
their full-width forms, a tab, a line end or `'` gets a `'` before it. `text.removeprefix("'")` is
its exact inverse for every text, since what starts with `'` gets one more. Numbers stay.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator

from vidlabel.results.record import Format, Record, RunInfo, record
from vidlabel.specs import Prediction
from vidlabel.text import safe

_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20", "\t", "\r", "\n", "'")


def columns(top_k: int) -> list[str]:
    """The header, for rows that show `top_k` classes (from 1)."""
    more = [f"top{rank}_{what}" for rank in range(2, top_k + 1) for what in ("label", "confidence")]
    before = ["path", "status", "label", "confidence"]
    after = ["start_s", "end_s", "duration_s", "frames_used", "model", "reason"]
    return before + more + after


def chunks(rows: Iterable[Prediction], run: RunInfo) -> Iterator[bytes]:
    """The header, then one line a row."""
    yield _line(columns(run.top_k))
    for row in rows:
        yield _line(_cells(record(row, run), run.top_k, _harmless if run.excel_safe else str))


def _cells(values: Record, top_k: int, text: Callable[[str], str]) -> list[str]:
    cells = [
        text(values["path"]),
        values["status"],
        text(values["label"] or ""),
        _number(values["confidence"], 6),
    ]
    for rank in range(1, top_k):
        if rank < len(values["top"]):
            top = values["top"][rank]
            cells += [text(top["label"]), _number(top["confidence"], 6)]
        else:
            cells += ["", ""]
    cells += [_number(values[key], 3) for key in ("start_s", "end_s", "duration_s")]
    reason = ": ".join(filter(None, (values["reason"], safe(values["detail"] or ""))))
    return [*cells, str(values["frames_used"]), text(values["model"] or ""), text(reason)]


def _harmless(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text


def _number(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:.{decimals}f}"


def _line(cells: list[str]) -> bytes:
    # Before Python 3.13 the csv module quotes a lone \r only if it is part of the line end, and
    # a reader would take an unquoted one for the end of the row.
    text = io.StringIO()
    csv.writer(text, lineterminator="\r\n").writerow(cells)
    return (text.getvalue().removesuffix("\r\n") + "\n").encode()


FORMAT = Format("csv", streams=True, chunks=chunks)
