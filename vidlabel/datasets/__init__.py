"""Data sets: labelled videos from folders and tables, and generated ones."""

from __future__ import annotations

from pathlib import Path

from vidlabel.datasets.folder import read_folder
from vidlabel.datasets.samples import Sample
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError


def read_data(
    data: str, out: Path, group_pattern: str | None = None, per_class: int = 100, seed: int = 0
) -> list[Sample]:
    """The samples that a DATA argument names.

    Args:
        data: a folder with one sub-folder per class, a .csv table, or `synthetic`.
        out: folder of the run; generated clips are kept in its `synthetic`.
        group_pattern: for a folder, see `read_folder`.
        per_class, seed: for `synthetic`.

    Raises:
        UsageError: it is none of these, or what it names cannot be used.
    """
    if data == "synthetic":
        from vidlabel.datasets.generate import generate_clips
        from vidlabel.workers import worker_count

        return generate_clips(out / "synthetic", per_class, seed, processes=worker_count(None))
    path = Path(data)
    if path.suffix.lower() == ".csv":
        return read_table(path)
    if path.is_dir():
        return read_folder(path, group_pattern)
    raise UsageError(
        f"{data}: no such folder; DATA is a folder with one sub-folder per class, a .csv table "
        "path,label[,group][,split], or: synthetic"
    )
