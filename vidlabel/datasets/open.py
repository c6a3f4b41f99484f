"""Data sets: public ones, labelled videos from folders and tables, and generated ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from vidlabel.datasets.class_map import read_map
from vidlabel.datasets.complete import PUBLIC
from vidlabel.datasets.folder import read_folder
from vidlabel.datasets.leaks import tell_apart
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.datasets.segments import with_groups
from vidlabel.datasets.table import COLUMNS, read_table
from vidlabel.errors import UsageError
from vidlabel.files.find import did_you_mean, why_absent
from vidlabel.machine import worker_count


def open_dataset(
    data: str,
    out: Path,
    *,
    group_pattern: str | None = None,
    splits: Path | None = None,
    mapped: Sequence[str] = (),
    pseudo_labels: float | None = None,
    per_class: int = 100,
    seed: int = 0,
    on_clip: Callable[[], None] = lambda: None,
) -> Dataset:
    """The data set that a DATA argument names.

    Args:
        data: `hmdb51:ROOT`, `ucf101:ROOT`, a folder with one sub-folder per class, a .csv table,
            or `synthetic`.
        out: folder of the run; generated clips are written to its sub-folder `synthetic`.
        group_pattern: for a folder, see `read_folder`.
        splits: for `hmdb51:` and `ucf101:`, the folder of the official lists.
        mapped: new names of its classes, see `read_map`.
        pseudo_labels: for a table of predictions, see `read_table`.
        per_class, seed, on_clip: for `synthetic`, see `generate_clips`.

    Raises:
        UsageError: it is none of these, or what it names cannot be read.
    """
    renamed = read_map(mapped)
    if pseudo_labels is not None and Path(data).suffix.lower() != ".csv":
        raise UsageError("--pseudo-labels works only with a .csv table that predict has written")
    name = data.partition(":")[0]
    if name in PUBLIC:
        if group_pattern:
            raise UsageError(f"--group-pattern: the groups of {name} are its source videos")
        return renamed.dataset(PUBLIC[name].read(_root_of(data), splits))
    if splits:
        raise UsageError(f"--splits works only with {' and '.join(f'{n}:ROOT' for n in PUBLIC)}")
    path, remarks = Path(data), list[str]()
    table = path.suffix.lower() == ".csv"
    if group_pattern and (data == "synthetic" or table):
        raise UsageError("--group-pattern works only with a folder; a table has a column group")
    if data == "synthetic":
        kind, found = data, _generated(out / data, per_class, seed, on_clip)
    elif table:
        kind, found = "table", read_table(path, remarks, pseudo_labels)
    elif path.is_dir():
        kind, found = "folder", read_folder(path, group_pattern, remarks)
    else:
        raise UsageError(
            f"{data}: {why_absent(data, 'no such folder')}{did_you_mean(data)}; "
            f"DATA is a folder with one sub-folder per class, a .csv table {COLUMNS}, "
            f"{', '.join(f'{n}:ROOT' for n in PUBLIC)}, or synthetic"
        )
    remarks += renamed.told(sample.label for sample in found)
    samples = with_groups(tell_apart(renamed.samples(found)), remarks)
    labels = tuple(sorted({sample.label for sample in samples}))
    return Dataset(kind, tuple(samples), {}, (), (), labels, tuple(remarks))


def _generated(
    folder: Path, per_class: int, seed: int, on_clip: Callable[[], None]
) -> list[Sample]:
    """The generated clips. Raises UsageError for less than one per class."""
    if per_class < 1:
        raise UsageError(f"--per-class must be at least 1, got {per_class}")
    from vidlabel.datasets.generate import generate_clips

    return generate_clips(folder, per_class, seed, processes=worker_count(None), on_clip=on_clip)


def _root_of(data: str) -> Path:
    """The folder of a public data set, `NAME:ROOT`. Raises UsageError if it is not named."""
    name, _, root = data.partition(":")
    if not root:
        raise UsageError(f"{data}: name its folder too, as {name}:ROOT")
    try:
        return Path(root).expanduser()
    except RuntimeError as error:  # there is no such user, or this one has no home folder
        raise UsageError(f"{data}: ~ cannot be resolved; name the folder in full") from error
