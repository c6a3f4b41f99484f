"""Data in a CSV table: `path,label[,group][,split][,start_s,end_s]`."""

from __future__ import annotations

import io
import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

from vidlabel.datasets.folder import guess_group
from vidlabel.datasets.predicted import why_left_out
from vidlabel.datasets.samples import Sample, Split
from vidlabel.errors import UsageError
from vidlabel.files.spelling import Spellings, path_from_text
from vidlabel.files.text_file import as_utf8, encoding_of
from vidlabel.spans import WHOLE, Span, VideoSpan
from vidlabel.specs import Status
from vidlabel.text import plural, safe

COLUMNS = "path,label[,group][,split][,start_s,end_s]"
"""Of a table, in messages."""

_LINE_BREAK = re.compile(r"\r\n|\r|\n")
_STATES = {"uncertain", "other", "failed", "unknown"}
_SPARE = 16
"""Values beyond the last column that a line may have; they must be empty."""


def read_table(
    table: Path, remarks: list[str] | None = None, pseudo_labels: float | None = None
) -> list[Sample]:
    """The samples of a CSV file with a header line, in UTF-8 or, as Excel's Unicode text, UTF-16.

    Spaces around values other than paths, empty lines, and upper case in the header and in `split`
    are ignored; no value means "not available". Relative paths are relative to the table's folder.
    `split` is `train`, `val`, `test` or empty. A row that is repeated is seen as many times as
    often in training. A video that lies there only under another spelling of its path is taken so.
    With `start_s` or `end_s` (seconds) a row is a segment of its video, and has no group unless the
    table gives one (see `segments.with_groups`); rows of predict for whole videos are none.
    Of a table that predict has written, only the rows that a person has looked at are taken, and
    those of at least the confidence `pseudo_labels`, if it is given: see `predicted`. For both, and
    for labels that may stand for no class, `remarks` gets a line.

    Raises:
        UsageError: the file cannot be read, a column or value is missing or wrong, or a video's
            rows contradict each other; with the line.
    """
    found: dict[VideoSpan, tuple[int, Sample]] = {}
    samples = []
    spellings = Spellings()
    without: Counter[str] = Counter()
    for line, row in _rows(table):
        if why := why_left_out(row, pseudo_labels, f"{table}:{line}"):
            without[why] += 1
            continue
        sample = _sample(table, line, row, spellings)
        place = sample.video._replace(path=os.path.normpath(sample.path))
        earlier, first = found.setdefault(place, (line, sample))
        for what in ("label", "group", "split"):
            here, there = getattr(sample, what), getattr(first, what)
            if here != there:
                kind = "segment" if sample.is_segment else "video"
                raise UsageError(
                    f"{table}:{line}: {row['path']}{sample.video.fragment} has {what} '{here}', "
                    f"and '{there}' in line {earlier}; a {kind} has one"
                )
        samples.append(sample)
    if not samples:
        raise UsageError(f"{table}: {_why_none(without)}")
    if remarks is not None:
        each = (spellings.told(), _told(without), _doubt(samples))
        remarks += [f"{table}: {told}" for told in each if told]
    return samples


def _why_none(without: Counter[str]) -> str:
    """Why a table has no samples."""
    if not without:
        return "has no rows"
    if without.keys() <= {Status.FAILED, Status.UNCERTAIN}:
        return "has no rows with a label; all have failed or are uncertain"
    return (
        f"holds what a model has predicted, not the truth: of {plural(without.total(), 'row')}, "
        f"none can be taken ({_counts(without)}); look through it with `vidlabel review` and train "
        "on the table saved there, or take rows as they are with --pseudo-labels 0.9"
    )


def _told(without: Counter[str]) -> str:
    """How many rows are left out, and why; "" if none is."""
    return f"rows that are not taken as the truth: {_counts(without)}" if without else ""


def _counts(without: Counter[str]) -> str:
    return ", ".join(f"{count} {why}" for why, count in without.items())


def _doubt(samples: Sequence[Sample]) -> str:
    """A warning of labels that may say that a video has no class; "" if there is none."""
    labels = [sample.label for sample in samples if sample.label.lower() in _STATES]
    names, rows = " or ".join(sorted({*labels})), "row has" if len(labels) == 1 else "rows have"
    if not labels:
        return ""
    return (
        f"{len(labels)} {rows} the label {names}, which is taken as a class; if it stands for "
        "videos without a class, remove these rows"
    )


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows that are not empty, each with the number of the line that it ends in."""
    from vidlabel.results.tables import is_excel_safe  # pandas and pyarrow, only when needed

    rows, columns = read_values(table)
    names = [name.strip().lower() for name in rows[0][:columns]] if rows else []
    _check_columns(table, names)
    texts = [row[k] for row in rows[1:] for k in (names.index("path"), names.index("label"))]
    if is_excel_safe(table, texts):
        rows = [[value.removeprefix("'") for value in row] for row in rows]
    line = 0
    for number, values in enumerate(rows):
        line += 1 + sum(len(_LINE_BREAK.findall(value)) for value in values)
        if number == 0 or not any(values):
            continue
        if any(values[columns:]):
            raise UsageError(
                f"{table}:{line}: has more values than the first line has columns; a value with a "
                "comma needs quotes around it"
            )
        row = {
            name: value if name == "path" and value.strip() else value.strip()
            for name, value in zip(names, values, strict=False)
        }
        if any(row.values()):
            yield line, row


def read_values(table: Path) -> tuple[list[list[str]], int]:
    """The values of each line, and how many of them are columns."""
    import pandas

    try:
        data = table.read_bytes()
        text = as_utf8(data, str(table))
        header = text.splitlines()[0] if text else b""
        mark = "\t" if encoding_of(data) == "utf-16" and b"\t" in header else ","
        columns = header.count(mark.encode()) + 1
        frame = pandas.read_csv(
            io.BytesIO(text), sep=mark, header=None, names=range(columns + _SPARE), index_col=False,
            dtype=object, keep_default_na=False, skip_blank_lines=False,
            encoding_errors="surrogateescape",
        )  # fmt: skip
    except UsageError:
        raise
    except (OSError, ValueError) as error:  # pandas' own are ValueErrors
        if row := re.search(r"EOF inside string starting at row (\d+)", str(error)):
            raise UsageError(
                f"{table}:{int(row[1]) + 1}: has a quote that is not closed"
            ) from error
        raise UsageError(f"{table}: cannot be read: {str(error).strip()}") from error
    return frame.to_numpy().tolist(), columns


def _check_columns(table: Path, names: Sequence[str]) -> None:
    missing = sorted({"path", "label"} - set(names))
    if not missing:
        return
    for mark, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(names) == 1 and mark in names[0]:
            raise UsageError(
                f"{table}:1: its columns are separated by {word}; save it with commas instead"
            )
    shown = ", ".join(names[:6]) if any(names) else "empty"
    raise UsageError(
        f"{table}:1: no column {' and '.join(missing)}; the first line must be "
        f"{COLUMNS}, and is {safe(shown)}"
    )


def _sample(table: Path, line: int, row: Mapping[str, str], spellings: Spellings) -> Sample:
    path, label, split = row["path"], row["label"], row.get("split", "").lower()
    if not path or not label:
        raise UsageError(f"{table}:{line}: path or label is empty")
    if safe(label) != label:
        utf8 = not any("\ud800" <= c <= "\udfff" for c in label)
        what = "has a line break or a control character"
        raise UsageError(
            f"{table}:{line}: label '{safe(label)}' "
            + (what if utf8 else "is not in UTF-8; save it as `CSV UTF-8`")  # in spreadsheets
        )
    if split not in ("train", "val", "test", ""):
        raise UsageError(
            f"{table}:{line}: split is {split!r}; it must be train, val, test or empty"
        )
    span = _span(f"{table}:{line}", row)
    group = row.get("group") or (guess_group(path, label) if span == WHOLE else "")
    place = str(table.parent / path_from_text(path))
    place = spellings.find(place) or place
    return Sample(place, label, group, cast(Split, split), start_s=span[0], end_s=span[1])


def _span(where: str, row: Mapping[str, str]) -> Span:
    """The span of a row's video, to the millisecond. Raises UsageError."""
    values = []
    for name, otherwise in zip(("start_s", "end_s"), WHOLE, strict=True):
        try:
            values.append(round(float(row.get(name) or otherwise), 3))
        except (ValueError, OverflowError) as error:
            raise UsageError(
                f"{where}: {name} is {row[name]!r}; it must be a number of seconds, such as 12.5"
            ) from error
    start_s, end_s = values
    if not 0 <= start_s < end_s or start_s == math.inf:
        raise UsageError(
            f"{where}: the segment from {start_s:g} s to {end_s:g} s must begin at 0 s or later, "
            "and end after its start"
        )
    with suppress(ValueError):  # a table of predict has the length of the video
        if start_s == 0 and end_s >= round(float(row.get("duration_s") or math.inf), 3):
            return WHOLE
    return start_s, end_s
