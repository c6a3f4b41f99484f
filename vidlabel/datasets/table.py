"""Data in a CSV table: `path,label[,group][,split]`."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import cast

from vidlabel.datasets.folder import guess_group
from vidlabel.datasets.samples import Sample, Split
from vidlabel.errors import UsageError


def read_table(table: Path) -> list[Sample]:
    """The samples of a CSV file with a header line.

    Relative paths are relative to the table's folder. `split` is `train`, `val`, `test` or empty; a
    row may stand several times, to be seen as many times as often in training.

    Raises:
        UsageError: the file cannot be read, a column or value is missing or wrong; with the line.
    """
    try:
        with table.open(encoding="utf-8", newline="", errors="surrogateescape") as file:
            reader = csv.DictReader(file)
            missing = {"path", "label"} - set(reader.fieldnames or ())
            if missing:
                raise UsageError(f"{table}: no column {' and '.join(sorted(missing))}")
            samples = [_sample(table, reader.line_num, row) for row in reader]
    except (OSError, csv.Error) as error:
        raise UsageError(f"{table}: cannot be read: {error}") from error
    if not samples:
        raise UsageError(f"{table}: has no rows")
    return samples


def _sample(table: Path, line: int, row: dict[str, str | None]) -> Sample:
    path, label = row["path"] or "", row["label"] or ""
    split = row.get("split") or ""
    if not path or not label:
        raise UsageError(f"{table}:{line}: path or label is empty")
    if split not in ("train", "val", "test", ""):
        raise UsageError(
            f"{table}:{line}: split is {split!r}; it must be train, val, test or empty"
        )
    group = row.get("group") or guess_group(path, label)
    return Sample(str(table.parent / path), label, group, cast(Split, split))
