"""Negatives: clips that show none of the classes, learned as a class of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vidlabel.datasets.folder import guess_group
from vidlabel.datasets.leaks import tell_apart
from vidlabel.datasets.public import videos_below
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError
from vidlabel.files.find import LeftOut, did_you_mean
from vidlabel.specs import OTHER


def with_negatives(dataset: Dataset, folder: Path) -> Dataset:
    """The data set with all videos below a folder as class OTHER; their groups are guessed from
    their names.

    Raises:
        UsageError: the folder has no videos, or the data set has such a class or official splits.
    """
    if dataset.official:
        raise UsageError(f"--other: {dataset.name} has official splits, which do not know it")
    if OTHER in dataset.classes:
        raise UsageError(f"--other: the data have a class {OTHER} already; put the clips there")
    if not folder.is_dir():
        raise UsageError(f"--other {folder}: no such folder{did_you_mean(str(folder))}")
    left_out = LeftOut()
    known = {Path(sample.path).resolve() for sample in dataset.samples}
    paths = [path for path in videos_below(folder, left_out) if path.resolve() not in known]
    if not paths:
        raise UsageError(f"--other {folder}: no videos that are not clips of the classes")
    others = [
        Sample(str(path), OTHER, guess_group(str(path.relative_to(folder)), folder.name))
        for path in paths
    ]
    return replace(
        dataset,
        samples=tuple(tell_apart([*dataset.samples, *others])),
        classes=tuple(sorted({*dataset.classes, OTHER})),
        remarks=(*dataset.remarks, *left_out.lines()),
    )
