"""Labelled videos, and their division into training and validation set."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np

from vidlabel.errors import UsageError
from vidlabel.files.find import identity
from vidlabel.spans import WHOLE, VideoSpan
from vidlabel.text import first_few, plural, text_path

_MOST_TOLD = 60
"""Classes that are told of; the largest data sets have hundreds."""

Split = Literal["train", "val", "test", ""]


@dataclass(frozen=True)
class Sample:
    """One labelled video, or a segment: a labelled span of one. Samples of one `group` (a person, a
    film, a camera) are never divided between training and validation set; `split` is empty until it
    is decided."""

    path: str
    label: str
    group: str
    split: Split = ""
    name: str = ""
    """The end of its path, if the file name alone is not unique: see `leaks.tell_apart`."""
    start_s: float = 0.0
    end_s: float = math.inf

    @property
    def video(self) -> VideoSpan:
        """What it shows, without the label."""
        return VideoSpan(self.path, self.start_s, self.end_s)

    @property
    def is_segment(self) -> bool:
        """Whether it is a span of a video."""
        return self.video.span != WHOLE

    @property
    def file(self) -> str:
        """The file's name, or the end of its path if that alone is not unique."""
        return self.name or Path(self.path).name

    @property
    def id(self) -> str:
        """`label/file`, for a segment with `#t=START,END`: the same for the same clip, wherever the
        data set lies. A checkpoint keeps the ids of its training clips for the leak check."""
        return f"{self.label}/{self.file}{self.video.fragment}"


@dataclass(frozen=True)
class Dataset:
    """All clips of one data set, and what its official lists say about them."""

    name: str
    """hmdb51, ucf101, folder, table or synthetic."""
    samples: tuple[Sample, ...]
    """Every clip found; their split is empty except where a table gives one."""
    official: Mapping[int, Mapping[str, str]]
    """Split number -> {sample id: `train` or `test`}, without the clips that a split does not use.
    Empty where there are no official splits."""
    missing: tuple[str, ...]
    """Ids in the lists that were not found, sorted."""
    extra: tuple[str, ...]
    """Ids that were found and are in no list, sorted. They are in `samples`, not in `official`."""
    classes: tuple[str, ...]
    """Class names, sorted; with official lists, all classes in the lists."""
    remarks: tuple[str, ...] = ()
    """What the user should know about how it was read, a line each."""


def noun(samples: Sequence[Sample]) -> str:
    """What the samples are called in messages: `video`, or `segment` if one of them is one."""
    return "segment" if any(sample.is_segment for sample in samples) else "video"


def class_counts(samples: Sequence[Sample]) -> str:
    """One line: how many videos (or segments) each class has."""
    counts = Counter(label for _, label in {(s.video, s.label) for s in samples})
    each = [f"{label} {counts[label]:,}" for label in sorted(counts)]
    return f"{noun(samples)}s of each class: {first_few(each, _MOST_TOLD)}"


def file_identities(samples: Sequence[Sample]) -> dict[str, str]:
    """Size in bytes and modification time in nanoseconds of the file (or the copies) of each id,
    as text; "" if there is no file. The same for the same clips, wherever the data set lies."""
    found: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        found[sample.id].add(" ".join(map(str, identity(sample.path) or ())))
    return {text_path(clip): ", ".join(sorted(files)) for clip, files in found.items()}


def class_names(samples: Sequence[Sample]) -> tuple[str, ...]:
    """The labels, sorted: the order of a model's outputs. Raises UsageError if there are fewer
    than two."""
    names = tuple(sorted({sample.label for sample in samples}))
    if len(names) < 2:
        raise UsageError(f"training needs at least 2 classes, found {len(names)}")
    return names


def hold_out(samples: Sequence[Sample], fraction: float, seed: int) -> list[Sample]:
    """Divide samples without a split, by whole groups, into training and validation set.

    Groups are taken in random order, and each is held out for validation if that brings the number
    of held-out samples per class nearer to `fraction` of the class. Then each class without any
    gives its smallest group. The last group with a class stays in the training set, so that every
    class can be learned.

    Args:
        samples: those that already have a split keep it.
        fraction: share of the validation set, over 0 and under 1.
        seed: random seed of the order.

    Raises:
        UsageError: the fraction is out of range, a group has samples in both sets, or one of the
            sets would be empty.
    """
    if not 0 < fraction < 1:
        raise UsageError(f"--val-fraction must be between 0 and 1, got {fraction}")
    undecided = [sample for sample in samples if not sample.split]
    if not undecided:
        _check_given(samples)
        return _undivided(list(samples))
    open_groups: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in undecided:
        open_groups[sample.group][sample.label] += 1
    counts = Counter(sample.label for sample in undecided)
    groups_left = Counter(label for labels in open_groups.values() for label in labels)
    held = Counter(sample.label for sample in samples if sample.split == "val")
    chosen: set[str] = set()

    def nearer(labels: Counter[str]) -> bool:
        off = {k: fraction * counts[k] - held[k] for k in labels}
        return sum(off[k] ** 2 - (off[k] - n) ** 2 for k, n in labels.items()) > 0

    def missing(labels: Counter[str]) -> bool:
        return any(not held[k] for k in labels)

    order = [str(n) for n in np.random.default_rng(seed).permutation(sorted(open_groups))]
    by_size = sorted(order, key=lambda name: open_groups[name].total())
    for names, wish in ((order, nearer), (by_size, missing)):
        for name in names:
            labels = open_groups[name]
            if name not in chosen and wish(labels) and all(groups_left[k] > 1 for k in labels):
                chosen.add(name)
                held += labels
                groups_left -= Counter(dict.fromkeys(labels, 1))
    if not held:
        raise UsageError(_why_none(undecided))
    return _undivided(
        [replace(s, split=s.split or ("val" if s.group in chosen else "train")) for s in samples]
    )


def _check_given(samples: Sequence[Sample]) -> None:
    """Raises UsageError if one of the sets is empty. Every sample has a split."""
    for part, purpose in (("train", "train on"), ("val", "choose the epoch on")):
        if not any(sample.split == part for sample in samples):
            what = noun(samples)
            raise UsageError(
                f"no {what} to {purpose}: none has split {part}; leave split empty to have {what}s "
                "divided at random"
            )


def _why_none(samples: Sequence[Sample]) -> str:
    """Why no group can be held out: each is the only one of a class."""
    videos, what = Counter(sample.label for sample in samples), noun(samples)
    groups: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        groups[sample.label].add(sample.group)
    label = next(label for label in sorted(groups) if len(groups[label]) == 1)
    (group,) = groups[label]
    why = f"all {plural(videos[label], what)} of class {label} are of one group, {group}"
    if videos[label] == 1:
        why = f"class {label} has only one {what}"
    return (
        f"no {what} can be held out for validation: {why}; every class needs {what}s of at least "
        "2 groups, see "
        + ("the column group of the table" if what == "segment" else "--group-pattern")
    )


def _undivided(samples: list[Sample]) -> list[Sample]:
    """The samples. Raises UsageError if a group is in both sets."""
    parts: dict[str, set[str]] = defaultdict(set)
    for sample in samples:
        parts[sample.group].add(sample.split)
    if both := sorted(group for group, splits in parts.items() if len(splits) > 1):
        raise UsageError(f"group {both[0]} is in both the training and the validation set")
    return samples
