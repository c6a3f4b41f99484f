"""Names and labels that a table's reader would take for something else.

The numbers are those of the failure matrix that the project is built on.
"""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pandas
import pytest

from vidlabel.results.record import TableInfo
from vidlabel.results.tables import FORMULA_STARTS, write_rows
from vidlabel.specs import Prediction, Status

FORMULAS = [
    "=cmd|'/c calc'!A0.mp4",
    '=HYPERLINK("http://127.0.0.1";"x").mp4',
    "+1+1.mp4",
    "-2+3.mp4",
    "@SUM(1,1).mp4",
    "\t=1+1.mp4",
    "\r=1+1.mp4",
    "\n=1+1.mp4",
    "\r\n=1+1.mp4",
    "\uff1d1+1.mp4",
    "'quoted.mp4",
    "''=twice.mp4",
    "'",
]
HARMLESS = ["a.mp4", "a=1.mp4", " =1.mp4", "NA", "1e5", "-".join("ab")]
TEXTS = ["path", "label", "top1_label", "top2_label", "model", "reason"]
NUMBERS = ["confidence", "top2_confidence", "start_s", "end_s", "duration_s", "frames_used"]


def _row(text: str) -> Prediction:
    top = ((text, 0.75), (f"{text}2", 0.25))
    return Prediction(
        text, Status.OK, text, 0.75, top, 0.0, 2.0, 2.0, 16, text, text, f"{text}: {text}"
    )


def _data(name: str, rows: list[Prediction], *, excel_safe: bool = False) -> bytes:
    file = io.BytesIO()
    write_rows(rows, file, name, TableInfo("m", 2, "0", excel_safe), group_rows=10)
    return file.getvalue()


def _by_csv(data: bytes) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(data.decode("utf-8-sig"), newline="")))


def _by_pandas(data: bytes) -> list[dict[str, Any]]:
    frame = pandas.read_csv(io.BytesIO(data), keep_default_na=False, dtype=str)
    return frame.to_dict("records")  # type: ignore[no-any-return]


READERS = [_by_csv, _by_pandas]


def test_b2_27_pandas_gives_back_names_and_numbers() -> None:
    names = ["NA", "nan", "None", "null", "", "-", "1e5", "007", "True", "a\rb", "a\nb", 'a"b,c']
    data = _data("csv", [_row(name) for name in names])
    frame = pandas.read_csv(io.BytesIO(data), keep_default_na=False, dtype=str)
    assert list(frame["path"]) == names
    assert list(frame["label"]) == names
    assert list(frame["confidence"].astype(float)) == [0.75] * len(names)
    typed = pandas.read_csv(io.BytesIO(_data("csv", [_row("NA")])), keep_default_na=False)
    assert typed["confidence"].dtype == float
    assert typed["frames_used"].dtype == int
    default = pandas.read_csv(io.BytesIO(_data("csv", [_row("NA")])))
    assert default["path"].isna().all(), "else the documented argument is not needed any more"


@pytest.mark.parametrize("name", [*FORMULAS, *HARMLESS])
@pytest.mark.parametrize("read", READERS)
def test_b2_28_by_default_texts_are_exact(name: str, read: Any) -> None:
    (row,) = read(_data("csv", [_row(name)]))
    assert (row["path"], row["label"], row["model"]) == (name, name, name)
    assert json.loads(_data("jsonl", [_row(name)]))["path"] == name


@pytest.mark.parametrize("name", FORMULAS)
@pytest.mark.parametrize("read", READERS)
def test_b2_28_excel_safe_texts_run_nothing_and_can_be_undone(name: str, read: Any) -> None:
    (exact,) = read(_data("csv", [_row(name)]))
    (row,) = read(_data("csv", [_row(name)], excel_safe=True))
    for column in TEXTS:
        assert row[column].startswith("'"), column
        assert row[column].removeprefix("'") == exact[column]
    for column in ["status", *NUMBERS]:
        assert row[column] == exact[column]
    assert not any(str(cell).startswith(FORMULA_STARTS) for cell in row.values())


def test_b2_28_excel_safe_changes_only_what_needs_it() -> None:
    rows = [_row(name) for name in HARMLESS]
    rows.append(Prediction("bad.mp4", Status.FAILED, reason="not_video", detail="bad.mp4: cut"))
    assert _data("csv", rows, excel_safe=True) == b"\xef\xbb\xbf" + _data("csv", rows)


def test_b2_28_excel_safe_is_for_csv_alone() -> None:
    rows = [_row(name) for name in FORMULAS]
    for name in ("json", "jsonl", "parquet"):
        assert _data(name, rows, excel_safe=True) == _data(name, rows)
