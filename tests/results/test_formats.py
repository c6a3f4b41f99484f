"""Tables, JSON and embeddings: exact, valid UTF-8, never half written."""

from __future__ import annotations

import csv
import io
import json
import math
import os
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vidlabel.errors import OutputError, UsageError
from vidlabel.results.embeddings import check_embeddings, write_embeddings
from vidlabel.results.record import TableInfo
from vidlabel.results.tables import (
    FORMATS,
    STREAMED,
    data_frame,
    pick_format,
    read_labels,
    write_rows,
    write_table,
)
from vidlabel.results.topk import shown
from vidlabel.specs import Prediction, Status

RUN = TableInfo("starter@12345678", 3, "0.1.0")

OK = Prediction(
    "clips/wave.mp4",
    Status.OK,
    "wave",
    0.91234567,
    (("wave", 0.91234567), ("run", 0.05), ("jump", 1 / 3), ("sit", 0.001)),
    0.0,
    2.0,
    2.00049,
    16,
    "starter@12345678",
    embedding=(0.5, -1.25, 3.0),
)
FAILED = Prediction(
    "bad.mp4",
    Status.FAILED,
    model="starter@12345678",
    reason="not_video",
    detail="bad.mp4: moov missing",
)

NAMES = [
    "a,b.mp4",
    'say "hi".mp4',
    "two\nlines.mp4",
    "a\rreturn.mp4",
    "crlf\r\n.mp4",
    "tab\t.mp4",
    "esc\x1b[31m.mp4",
    "=1+1.mp4",
    "@x.mp4",
    "-rf.mp4",
    "NA",
    " space .mp4",
    "видео 動画 é.mp4",
    "e\u0301.mp4",
    "👩‍👩‍👧.mp4",
    "[/].mp4",
    "a;b|c'd.mp4",
]


def named(path: str) -> Prediction:
    return Prediction(path, Status.OK, "wave", 0.5, (("wave", 0.5),), model="m")


def data_of(name: str, rows: Iterable[Prediction], run: TableInfo = RUN) -> bytes:
    file = io.BytesIO()
    write_rows(rows, file, name, run, group_rows=2)
    return file.getvalue()


def read_csv(data: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(data.decode(), newline="")))


def test_csv_is_exactly_this() -> None:
    assert data_of("csv", [OK, FAILED]).decode() == (
        "path,status,label,confidence,top1_label,top2_label,top2_confidence,top3_label,"
        "top3_confidence,start_s,end_s,duration_s,frames_used,model,reason\n"
        "clips/wave.mp4,ok,wave,0.912346,wave,run,0.050000,jump,0.333333,"
        "0.000,2.000,2.000,16,starter@12345678,\n"
        "bad.mp4,failed,,,,,,,,,,,0,starter@12345678,not_video: moov missing\n"
    )


@pytest.mark.parametrize(("top_k", "extra"), [(1, []), (2, ["top2_label", "top2_confidence"])])
def test_csv_has_columns_for_top_k(top_k: int, extra: list[str]) -> None:
    header = data_of("csv", [OK], TableInfo("m", top_k, "0")).decode().splitlines()[0].split(",")
    assert header[:5] == ["path", "status", "label", "confidence", "top1_label"]
    assert header[5:-6] == extra


def test_csv_leaves_cells_empty_where_the_model_has_fewer_classes() -> None:
    (row,) = read_csv(data_of("csv", [named("x")], TableInfo("m", 5, "0")))
    assert (row["label"], row["top2_label"], row["top5_confidence"]) == ("wave", "", "")
    assert row["reason"] == ""


@pytest.mark.parametrize("name", NAMES)
def test_every_name_comes_back_from_every_format(name: str) -> None:
    rows = [named("before"), named(name), named("after")]
    expected = ["before", name, "after"]
    assert [row["path"] for row in read_csv(data_of("csv", rows))] == expected
    lines = data_of("jsonl", rows).decode().split("\n")
    assert [json.loads(line)["path"] for line in lines[:-1]] == expected
    assert [v["path"] for v in json.loads(data_of("json", rows))["videos"]] == expected
    table = pq.read_table(io.BytesIO(data_of("parquet", rows)))
    assert table.column("path").to_pylist() == expected


@pytest.mark.parametrize("name", FORMATS)
def test_a_name_that_is_not_utf8_stays_readable(name: str) -> None:
    path = os.fsdecode(b"caf\xe9.mp4")
    row = Prediction(path, Status.FAILED, reason="empty", detail=f"{path}: the file is empty")
    data = data_of(name, [row])
    if name == "parquet":
        (found,) = pq.read_table(io.BytesIO(data)).to_pylist()
        assert (found["path"], found["detail"]) == ("caf\\xe9.mp4", "the file is empty")
    else:
        assert "caf\\xe9.mp4" in data.decode().replace("\\\\", "\\")


def test_a_detail_is_one_harmless_line_in_csv_and_exact_in_json() -> None:
    detail = "bad\x1b[2J\nnews\x9b\u202e"
    row = Prediction("x", Status.FAILED, reason="crashed", detail=f"x: {detail}")
    (cells,) = read_csv(data_of("csv", [row]))
    assert cells["reason"] == "crashed: bad\\x1b[2J\\x0anews\\x9b\\u202e"
    assert json.loads(data_of("jsonl", [row]))["detail"] == detail


def test_a_reason_without_detail_stands_alone() -> None:
    row = Prediction("x", Status.OK, "wave", 1.0, reason="padded")
    assert read_csv(data_of("csv", [row]))[0]["reason"] == "padded"


def test_json_records() -> None:
    first, second = json.loads(data_of("json", [OK, FAILED]))["videos"]
    assert first == {
        "path": "clips/wave.mp4",
        "status": "ok",
        "label": "wave",
        "confidence": 0.91234567,
        "top": [
            {"label": "wave", "confidence": 0.91234567},
            {"label": "run", "confidence": 0.05},
            {"label": "jump", "confidence": 1 / 3},
        ],
        "start_s": 0.0,
        "end_s": 2.0,
        "duration_s": 2.00049,
        "frames_used": 16,
        "model": "starter@12345678",
        "reason": None,
        "detail": None,
    }
    assert second["label"] is second["confidence"] is second["duration_s"] is None
    assert second["top"] == []
    assert (second["reason"], second["detail"]) == ("not_video", "moov missing")
    lines = data_of("jsonl", [OK, FAILED]).splitlines()
    assert [json.loads(line) for line in lines] == [first, second]


@pytest.mark.field
@pytest.mark.parametrize(
    ("time_s", "written"),
    [(48 * 0.04, "1.92"), (0.1 + 0.2, "0.3"), (1.23456789, "1.234568"), (7.0, "7.0")],
)
def test_times_have_no_rounding_errors(time_s: float, written: str) -> None:
    """field 18: JSON had times such as 1.9200000000000002."""
    row = replace(OK, end_s=time_s, duration_s=time_s)
    for name in ("json", "jsonl"):
        assert f'"end_s": {written}, "duration_s": {written},' in data_of(name, [row]).decode()
    assert data_frame([row], RUN).duration_s.tolist() == [float(written)]


@pytest.mark.parametrize("rows", [[], [OK], [OK, FAILED]])
def test_json_is_one_object(rows: list[Prediction]) -> None:
    found = json.loads(data_of("json", rows))
    assert (found["vidlabel"], found["model"]) == ("0.1.0", "starter@12345678")
    assert len(found["videos"]) == len(rows)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_no_format_writes_what_is_not_a_number(value: float) -> None:
    row = Prediction("x", Status.OK, "wave", value, (("wave", value), ("run", value)), end_s=value)
    for name in ("csv", "json", "jsonl"):
        text = data_of(name, [row]).decode().lower()
        assert "nan" not in text
        assert "inf" not in text
    (found,) = pq.read_table(io.BytesIO(data_of("parquet", [row]))).to_pylist()
    assert found["confidence"] is found["end_s"] is found["top"][0]["confidence"] is None


@pytest.mark.parametrize("name", STREAMED)
def test_rows_leave_as_they_come(name: str) -> None:
    seen: list[str] = []

    def rows() -> Iterator[Prediction]:
        for path in ("a", "b"):
            seen.append(path)
            yield named(path)

    class Pipe(io.BytesIO):
        def flush(self) -> None:
            lines = self.getvalue().decode().splitlines(keepends=True)
            assert all(line.endswith("\n") for line in lines)
            left.append((len(seen), len(lines)))

    left: list[tuple[int, int]] = []
    write_rows(rows(), Pipe(), name, RUN, group_rows=1)
    header = [(0, 1)] if name == "csv" else []
    assert left == [*header, (1, 1 + len(header)), (2, 2 + len(header))]


@pytest.mark.parametrize("count", [0, 1, 6, 7])
def test_parquet_leaves_in_groups(count: int) -> None:
    rows = [named(str(i)) for i in range(count)]
    data = io.BytesIO()
    write_rows(rows, data, "parquet", RUN, group_rows=3)
    file = pq.ParquetFile(data)
    assert file.num_row_groups == math.ceil(count / 3)
    assert file.read().column("path").to_pylist() == [row.path for row in rows]
    assert file.schema_arrow.metadata[b"model"] == b"starter@12345678"


@pytest.mark.parametrize("name", FORMATS)
def test_a_long_table_takes_no_more_memory_than_a_short_one(name: str, tmp_path: Path) -> None:
    def peak(count: int) -> int:
        rows = (replace(OK, path=f"clips/{i:09}.mp4") for i in range(count))
        tracemalloc.start()
        write_table(rows, tmp_path / f"x.{name}", name, RUN, group_rows=250)
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(250)  # what is imported and made once
    assert peak(5000) < 1.3 * peak(500)


def test_a_table_is_written_from_a_stream(tmp_path: Path) -> None:
    for name in FORMATS:
        out = tmp_path / f"x.{name}"
        write_table(iter([OK, FAILED]), out, name, RUN, group_rows=2)
        assert out.read_bytes() == data_of(name, [OK, FAILED])


def test_parquet_has_types_and_says_where_it_is_from() -> None:
    table = pq.read_table(io.BytesIO(data_of("parquet", [OK, FAILED])))
    types = {field.name: str(field.type) for field in table.schema}
    assert types["confidence"] == types["start_s"] == "double"
    assert (types["frames_used"], types["path"]) == ("int32", "string")
    assert types["top"].startswith("list<")
    assert table.schema.metadata[b"model"] == b"starter@12345678"
    assert table.column("frames_used").to_pylist() == [16, 0]
    assert pq.read_table(io.BytesIO(data_of("parquet", []))).num_rows == 0


@pytest.mark.parametrize(
    ("out", "name", "expected"),
    [
        ("labels.csv", None, "csv"),
        ("LABELS.JSON", None, "json"),
        ("dir.csv/labels.JsonL", None, "jsonl"),
        ("labels.parquet", None, "parquet"),
        ("labels.txt", "csv", "csv"),
        ("labels.csv", "JSON", "json"),
        ("-", None, "csv"),
        ("-", "jsonl", "jsonl"),
    ],
)
def test_pick_format(out: str, name: str | None, expected: str) -> None:
    assert pick_format(out, name) == expected


@pytest.mark.parametrize(
    ("out", "name", "message"),
    [
        ("labels", None, "csv, json, jsonl, parquet"),
        ("labels.xlsx", None, "--out labels.xlsx"),
        ("labels.csv", "xml", "--format xml"),
        ("-", "parquet", "use csv or jsonl"),
        ("-", "json", "use csv or jsonl"),
    ],
)
def test_pick_format_refuses(out: str, name: str | None, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        pick_format(out, name)


def test_a_failed_write_leaves_the_old_table(tmp_path: Path) -> None:
    out = tmp_path / "labels.csv"
    write_table([OK], out, "csv", RUN)
    before = out.read_bytes()
    assert before == data_of("csv", [OK])
    broken = Prediction("x", Status.OK, "wave", 1.0, frames_used="many")  # type: ignore[arg-type]
    with pytest.raises(Exception, match="many"):
        write_table([OK, broken], out, "parquet", RUN)
    assert out.read_bytes() == before
    assert list(tmp_path.iterdir()) == [out]


def test_a_folder_that_is_missing_is_an_output_error(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="there is no folder"):
        write_table([OK], tmp_path / "no" / "x.csv", "csv", RUN)


def read_npz(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    with np.load(path, allow_pickle=False) as found:
        return list(found["paths"]), list(found["labels"]), found["embeddings"]


def read_parquet(path: Path) -> tuple[list[str], list[str], np.ndarray]:
    table = pq.read_table(path)
    assert str(table.schema.field("embedding").type) == "list<element: float>"
    vectors = np.array(table.column("embedding").to_pylist(), dtype=np.float32)
    return table.column("path").to_pylist(), table.column("label").to_pylist(), vectors


READERS = [("e.npz", read_npz), ("e.parquet", read_parquet), ("E.NPZ", read_npz)]
Reader = Callable[[Path], tuple[list[str], list[str], np.ndarray]]


@pytest.mark.parametrize(("name", "read"), READERS)
def test_embeddings_of_labelled_rows(tmp_path: Path, name: str, read: Reader) -> None:
    partial = Prediction("b", Status.PARTIAL, "run", 0.5, embedding=(1.0, 2.0, 3.0))
    write_embeddings([OK, FAILED, partial], tmp_path / name)
    paths, labels, vectors = read(tmp_path / name)
    assert (paths, labels) == (["clips/wave.mp4", "b"], ["wave", "run"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[0.5, -1.25, 3.0], [1.0, 2.0, 3.0]])


@pytest.mark.parametrize(("name", "read"), READERS[:2])
def test_embeddings_of_a_run_that_failed_are_empty(tmp_path: Path, name: str, read: Reader) -> None:
    write_embeddings([FAILED], tmp_path / name)
    paths, labels, vectors = read(tmp_path / name)
    assert paths == labels == []
    assert len(vectors) == 0


def test_embeddings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.npz or \.parquet"):
        check_embeddings(tmp_path / "e.csv")
    other = replace(OK, embedding=(1.0, 2.0))
    with pytest.raises(OutputError, match=r"different lengths, 3 and 2"):
        write_embeddings([OK, other], tmp_path / "e.npz")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("name", "read"), READERS[:2])
def test_embeddings_come_from_a_stream_of_any_sequences(
    tmp_path: Path, name: str, read: Reader
) -> None:
    array = np.array([7, 8, 9], dtype=np.float32)
    kinds = [OK, named("without"), replace(OK, path="b", embedding=array), FAILED, OK, OK, OK]
    write_embeddings(iter(kinds), tmp_path / name)
    paths, labels, vectors = read(tmp_path / name)
    assert paths == ["clips/wave.mp4", "b", *["clips/wave.mp4"] * 3]
    assert labels == ["wave"] * 5
    np.testing.assert_array_equal(vectors[:2], [[0.5, -1.25, 3.0], [7.0, 8.0, 9.0]])


@pytest.mark.parametrize("name", ["e.npz", "e.parquet"])
def test_embeddings_take_the_memory_of_their_numbers(tmp_path: Path, name: str) -> None:
    count, length = 20_000, 64
    rows = (replace(OK, embedding=tuple([i / 7] * length)) for i in range(count))
    tracemalloc.start()
    write_embeddings(rows, tmp_path / name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * (count * length * 4), "tuples of floats would take six times as much"


def test_a_data_frame_has_the_columns_of_the_csv_table() -> None:
    table = data_frame([OK, FAILED], RUN)
    assert list(table.columns) == list(read_csv(data_of("csv", [OK]))[0])
    assert table["path"].tolist() == ["clips/wave.mp4", "bad.mp4"]
    assert table["confidence"].tolist()[0] == OK.confidence
    assert table.isna().loc[1, ["label", "top1_label", "confidence", "start_s"]].all()
    assert table["reason"].isna().tolist() == [True, False]
    types = data_frame([FAILED], RUN).dtypes
    assert (types["confidence"], types["top2_confidence"], types["frames_used"]) == (
        np.float64, np.float64, np.int64,
    )  # fmt: skip
    assert data_frame([], RUN).dtypes["start_s"] == np.float64


WORDS = [
    "NA",
    "nan",
    "null",
    "None",
    "-",
    "1e5",
    "007",
    "True",
    "2020-01-01",
    "a\rb",
    "inf",
    "#N/A",
]


@pytest.mark.parametrize("excel_safe", [False, True])
@pytest.mark.parametrize("name", FORMATS)
def test_classes_and_files_may_be_called_anything(
    name: str, excel_safe: bool, tmp_path: Path
) -> None:
    rows = [
        Prediction(word, Status.OK, word, 0.5, ((word, 0.5), (f"{word}2", 0.25)), model="m")
        for word in [*WORDS, *NAMES]
    ]
    out = tmp_path / f"x.{name}"
    write_table(rows, out, name, replace(RUN, excel_safe=excel_safe))
    found = read_labels(out).rows
    assert [row["path"] for row in found] == [*WORDS, *NAMES]
    for row in found:
        labels = [top["label"] for top in row["top"]]
        assert [row["label"], *labels] == [row["path"], row["path"], f"{row['path']}2"]


@pytest.mark.parametrize("name", FORMATS)
def test_the_best_class_of_an_uncertain_row_is_read_back(name: str, tmp_path: Path) -> None:
    unsure = shown(replace(OK, reason="padded"), 2, 0.95)
    assert (unsure.label, unsure.reason, unsure.detail) == (
        "uncertain",
        "padded",
        "best guess wave",
    )
    out = tmp_path / f"x.{name}"
    write_table([unsure], out, name, RUN)
    (row,) = read_labels(out).rows
    assert row["label"] == "uncertain"
    assert [top["label"] for top in row["top"]] == ["wave", "run"]


@pytest.mark.field
@pytest.mark.parametrize("name", FORMATS)
def test_uncertain_is_a_status_that_no_class_can_be_taken_for(name: str, tmp_path: Path) -> None:
    """Field 9: only a label said that a video is uncertain, and a class may have the same name."""
    top = (("uncertain", 0.6), ("run", 0.4))
    rows = [replace(OK, label="uncertain", top=top, confidence=0.6)]
    rows = [*(shown(rows[0], 2, least) for least in (0.5, 0.7)), shown(OK, 2, 0.95)]
    out = tmp_path / f"x.{name}"
    write_table(rows, out, name, RUN)
    found = read_labels(out).rows
    assert [row["status"] for row in found] == ["ok", "uncertain", "uncertain"]
    assert [row["label"] for row in found] == ["uncertain"] * 3
    assert [row["top"][0]["label"] for row in found] == ["uncertain", "uncertain", "wave"]


@pytest.mark.field
def test_uncertain_rows_of_older_tables_get_the_status(tmp_path: Path) -> None:
    """Field 9: they have status `ok`, and another class in `top1_label`."""
    head = "path,status,label,confidence,top1_label,reason\n"
    lines = ["a,partial,uncertain,0.4,wave,damaged: x", "b,ok,uncertain,0.4,uncertain,",
             "c,ok,uncertain,0.4,uncertain,low_confidence: best guess uncertain"]  # fmt: skip
    (tmp_path / "x.csv").write_text(head + "\n".join(lines))
    found = [row["status"] for row in read_labels(tmp_path / "x.csv").rows]
    assert found == ["uncertain", "ok", "uncertain"]
    (tmp_path / "y.csv").write_text("path,label\na,uncertain\n")
    assert read_labels(tmp_path / "y.csv").rows[0]["status"] == "ok", "a class of that name"


def test_a_csv_table_of_the_first_version_is_read(tmp_path: Path) -> None:
    (tmp_path / "old.csv").write_text(
        "path,status,label,confidence,top2_label,top2_confidence,start_s,end_s,duration_s,"
        "frames_used,model,reason\n"
        "a.mp4,ok,wave,0.750000,run,0.250000,0.000,2.000,2.000,16,m,\n"
        "b.mp4,ok,uncertain,0.500000,run,0.250000,0.000,2.000,2.000,16,m,"
        "low_confidence: best guess wave\n"
        "c.mp4,failed,,,,,,,,0,m,not_video: moov missing\n"
    )
    found = read_labels(str(tmp_path / "old.csv"))
    assert [[top["label"] for top in row["top"]] for row in found.rows] == [
        ["wave", "run"], ["wave", "run"], [],
    ]  # fmt: skip
    assert found.rows[0]["duration_s"] == 2.0
    assert (found.rows[2]["reason"], found.rows[2]["detail"]) == ("not_video", "moov missing")


def test_cells_beyond_the_last_column_are_left_out(tmp_path: Path) -> None:
    for text in ("path,label\na,b,\nc,d,\n", "path,label\na,b\nc,d,e\n"):
        (tmp_path / "x.csv").write_text(text)
        rows = read_labels(tmp_path / "x.csv").rows
        assert [(row["path"], row["label"]) for row in rows] == [("a", "b"), ("c", "d")]


@pytest.mark.field
@pytest.mark.parametrize("name", ["gehör.mp4", "'zitat'.mp4", "=größe.mp4", "''.mp4"])
def test_a_csv_for_excel_says_that_it_is_utf_8_and_is_read_back(name: str, tmp_path: Path) -> None:
    """Field 16: `--excel-safe` without a mark became `gehÃ¶r.mp4` after a double click."""
    from vidlabel.datasets.table import read_table

    row = Prediction(name, Status.OK, "hören", 0.5, (("hören", 0.5),), model="m")
    for suffix, info in (("safe", replace(RUN, excel_safe=True)), ("exact", RUN)):
        write_table([row], tmp_path / f"{suffix}.csv", "csv", info)
    data = (tmp_path / "safe.csv").read_bytes()
    assert data.startswith(b"\xef\xbb\xbfpath,")
    assert data.count(b"\xef\xbb\xbf") == 1
    assert not (tmp_path / "exact.csv").read_bytes().startswith(b"\xef")
    assert read_labels(tmp_path / "safe.csv") == read_labels(tmp_path / "exact.csv")
    samples = read_table(tmp_path / "safe.csv", pseudo_labels=0)
    found = [(each.path, each.label) for each in samples]
    assert found == [(str(tmp_path / name), "hören")], "as data to train on too"


@pytest.mark.field
def test_only_a_table_for_excel_loses_apostrophes(tmp_path: Path) -> None:
    """Field 16: with the mark, or where all formulas have one; never a text that needs none."""
    for number, (data, path) in enumerate([
        (b"path,label\n'a.mp4,b\n", "'a.mp4"),
        (b"\xef\xbb\xbfpath,label\n'a.mp4,b\n", "'a.mp4"),  # saved by a spreadsheet
        (b"path,label\n''a.mp4,b\n", "''a.mp4"),
        (b"\xef\xbb\xbfpath,label\n''a.mp4,b\n", "'a.mp4"),
        (b"path,label\n'=a.mp4,b\n", "=a.mp4"),  # by vidlabel 0.1.0
        (b"path,label\n'=a.mp4,-b\n", "'=a.mp4"),
        (b"path,label\n'=\xff.mp4,b\n", "=\udcff.mp4"),
    ]):  # fmt: skip
        table = tmp_path / f"{number}.csv"
        table.write_bytes(data)
        assert read_labels(table).rows[0]["path"] == path, data


@pytest.mark.field
@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "utf-8-sig"])
@pytest.mark.parametrize("name", ["csv", "json", "jsonl"])
def test_tables_may_have_any_utf_encoding(tmp_path: Path, name: str, encoding: str) -> None:
    """Field 1: a table that an editor has saved in UTF-16."""
    table = tmp_path / f"labels.{name}"
    write_table([replace(OK, path="clips/é.mp4")], table, name, RUN)
    before = read_labels(table).rows
    table.write_text(table.read_text(encoding="utf-8"), encoding=encoding)
    assert read_labels(table).rows == before
    table.write_bytes(table.read_bytes()[4:].decode("utf-8", "replace").encode("utf-16-le"))
    with pytest.raises(UsageError, match="save it as UTF-8"):
        read_labels(table)
