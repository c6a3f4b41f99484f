"""Data in a CSV table: `path,label[,group][,split]`."""

from __future__ import annotations

import codecs
import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from vidlabel.datasets.folder import guess_group
from vidlabel.datasets.samples import Sample, Split
from vidlabel.errors import UsageError
from vidlabel.text import safe

_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_UTF8 = "save it as `CSV UTF-8`"  # what spreadsheets call it


def read_table(table: Path) -> list[Sample]:
    """The samples of a CSV file with a header line, in UTF-8 with or without a mark before it.

    Blanks around values other than paths, empty lines, and upper case in the header and in `split`
    mean nothing. Relative paths are relative to the table's folder. `split` is `train`, `val`,
    `test` or empty; a row may stand several times, to be seen as many times as often in training.

    Raises:
        UsageError: the file cannot be read, a column or value is missing or wrong, or a video's
            rows contradict each other; with the line.
    """
    found: dict[str, tuple[int, Sample]] = {}
    samples = []
    for line, row in _rows(table):
        sample = _sample(table, line, row)
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
        raise UsageError(f"{table}: has no rows")
    return samples


def _rows(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows that are not empty, each with its line."""
    try:
        with table.open("rb") as file:
            if file.read(2) in _UTF16:
                raise UsageError(f"{table}: is in UTF-16; {_UTF8}")
        with table.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            names = [name.strip().lower() for name in reader.fieldnames or ()]
            _check_columns(table, names)
            reader.fieldnames = names
            for row in reader:
                values = _values(f"{table}:{reader.line_num}", row)
                if any(values.values()):
                    yield reader.line_num, values
    except (OSError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read: {error}") from error


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


def _values(where: str, row: Mapping[str | Any, str | Any]) -> dict[str, str]:
    """The values of the named columns, without blanks around them; a path may have some."""
    if any(row.get(None) or ()):  # what DictReader calls values beyond the last column
        raise UsageError(
            f"{where}: has more values than the first line has columns; a value with a comma "
            "needs quotes around it"
        )
    values = {name: value or "" for name, value in row.items() if name is not None}
    return {name: v if name == "path" and v.strip() else v.strip() for name, v in values.items()}


def _sample(table: Path, line: int, row: Mapping[str, str]) -> Sample:
    path, label, split = row["path"], row["label"], row.get("split", "").lower()
    if not path or not label:
        raise UsageError(f"{table}:{line}: path or label is empty")
    if safe(label) != label:
        utf8 = not any("\ud800" <= c <= "\udfff" for c in label)
        what = "has a line break or a control character" if utf8 else f"is not in UTF-8; {_UTF8}"
        raise UsageError(f"{table}:{line}: label '{safe(label)}' {what}")
    if split not in ("train", "val", "test", ""):
        raise UsageError(
            f"{table}:{line}: split is {split!r}; it must be train, val, test or empty"
        )
    group = row.get("group") or guess_group(path, label)
    return Sample(str(table.parent / path), label, group, cast(Split, split))
