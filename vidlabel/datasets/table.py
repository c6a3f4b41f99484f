"""Data in a CSV table: `path,label[,group][,split]`."""

from __future__ import annotations

import io
import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

from vidlabel.datasets.folder import guess_group
from vidlabel.datasets.predicted import why_left_out
from vidlabel.datasets.samples import Sample, Split
from vidlabel.errors import UsageError
from vidlabel.files.spelling import Spellings, path_from_text
from vidlabel.files.text_file import as_utf8, encoding_of
from vidlabel.specs import Status
from vidlabel.text import plural, safe

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
    Of a table that predict has written, only the rows that a person has looked at are taken, and
    those of at least the confidence `pseudo_labels`, if it is given: see `predicted`. For both, and
    for labels that may stand for no class, `remarks` gets a line.

    Raises:
        UsageError: the file cannot be read, a column or value is missing or wrong, or a video's
            rows contradict each other; with the line.
    """
    found: dict[str, tuple[int, Sample]] = {}
    samples = []
    spellings = Spellings()
    without: Counter[str] = Counter()
    for line, row in _rows(table):
        if why := why_left_out(row, pseudo_labels, f"{table}:{line}"):
            without[why] += 1
            continue
        sample = _sample(table, line, row, spellings)
        earlier, first = found.setdefault(os.path.normpath(sample.path), (line, sample))
        for what in ("label", "group", "split"):
            here, there = getattr(sample, what), getattr(first, what)
            if here != there:
                raise UsageError(
                    f"{table}:{line}: {row['path']} has {what} '{here}', and '{there}' in line "
                    f"{earlier}; a video has one"
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
        f"path,label[,group][,split], and is {safe(shown)}"
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
    group = row.get("group") or guess_group(path, label)
    place = str(table.parent / path_from_text(path))
    return Sample(spellings.find(place) or place, label, group, cast(Split, split))
