"""Protocols: which clips to train on, which to select the model by, and which to test on."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError
from vidlabel.spans import VideoSpan


@dataclass(frozen=True)
class Fold:
    """One training run and its test. The samples have no split; a clip is in several parts only
    under a leaky protocol."""

    name: str
    """Usable as a folder name; unique among the folds, ignoring case."""
    train: tuple[Sample, ...]
    """To be divided further, by group, if `val` is empty."""
    val: tuple[Sample, ...]
    """The validation set that the protocol prescribes; usually empty."""
    test: tuple[Sample, ...]
    """Each clip once."""


@dataclass(frozen=True)
class Protocol:
    """A way to divide a data set."""

    leaky: bool
    """Training, validation and test set share clips or source videos."""
    summary: str
    """One line: what it does and who used it."""


PROTOCOLS = {
    "official": Protocol(False, "train on split k, test on split k; validation by source video"),
    "leaky-123": Protocol(
        True,
        "train on split 1, select on the test part of split 2, test on that of split 3: as "
        "reshalfahsi/action-recognition",
    ),
    "random-80-20": Protocol(
        True,
        "test on a random fifth of the clips, whatever their source video: as "
        "eriklindernoren/Action-Recognition",
    ),
    "split1-select-on-test": Protocol(
        True,
        "train on split 1, select and test on its test part: as "
        "giocoal/hmdb51-two-stream-action-recognition",
    ),
    "group-kfold": Protocol(False, "k folds of whole groups, classes balanced"),
    "leave-one-group-out": Protocol(False, "as many folds as groups, each tested on one of them"),
}


def make_folds(
    dataset: Dataset, protocol: str, *, folds: int = 5, seed: int = 0, tests_only: bool = False
) -> list[Fold]:
    """The folds of a data set under a protocol; the same for the same arguments.

    Splits in a table are ignored.

    Args:
        dataset: only the clips that were found are used.
        protocol: a name among `PROTOCOLS`.
        folds: of group-kfold, at least 2.
        seed: of group-kfold and random-80-20.
        tests_only: the training clips of official splits need not be on disk.

    Raises:
        UsageError: there is no such protocol, or it does not fit the data set: no official splits,
            a part without clips, too few groups, or a class to test on that is not trained on.
    """
    if protocol not in PROTOCOLS:
        raise UsageError(f"--protocol {protocol}: must be one of {', '.join(PROTOCOLS)}")
    dataset = replace(dataset, samples=tuple(replace(s, split="") for s in dataset.samples))
    part = partial(_part, dataset, protocol)
    if protocol == "official":
        numbers = sorted(dataset.official) or [1]  # for the message
        learned = [part(n, "train", needed=not tests_only) for n in numbers]
        tests = [part(n, "test") for n in numbers]
        return [
            Fold(f"split-{n}", train, (), test)
            for n, train, test in zip(numbers, learned, tests, strict=True)
        ]
    if protocol == "leaky-123":
        return [Fold(protocol, part(1, "train"), part(2, "test"), part(3, "test"))]
    if protocol == "split1-select-on-test":
        test = part(1, "test")
        return [Fold(protocol, part(1, "train"), test, test)]
    if protocol == "random-80-20":
        tested = {protocol: _random_fifth(dataset, seed)}
    else:
        counts = _groups(dataset, protocol)
        kfold = protocol == "group-kfold"
        names = deal(counts, folds, seed) if kfold else _folder_names(counts)
        tested = {name: set() for name in names.values()}
        for sample in dataset.samples:
            tested[names[sample.group]].add(sample.video)
    return [_fold(dataset, protocol, name, videos) for name, videos in tested.items()]


def doubt_groups(dataset: Dataset) -> str | None:
    """A warning if folds by group are no better than folds by clip, since the names in a folder or
    table do not tell the source of a clip; None otherwise."""
    clips = {sample.video for sample in dataset.samples}
    groups = {sample.group for sample in dataset.samples}
    if dataset.name not in ("folder", "table") or len(groups) < len(clips) or len(clips) < 2:
        return None
    return (
        f"each of the {len(clips)} clips is a group of its own: clips of one person, film or "
        "camera may be in both the training and the test set; see --group-pattern"
    )


def doubt_classes(dataset: Dataset) -> str | None:
    """A warning if two classes differ only in case or spaces; None otherwise."""
    alike: dict[str, list[str]] = defaultdict(list)
    for label in dataset.classes:
        alike["".join(label.split()).casefold()].append(label)
    pairs = [" and ".join(map(repr, labels)) for labels in alike.values() if len(labels) > 1]
    if not pairs:
        return None
    return f"classes {pairs[0]} differ only in case or spaces; give the same class one name"


def _part(
    dataset: Dataset, protocol: str, number: int, part: str, needed: bool = True
) -> tuple[Sample, ...]:
    """The clips on disk of one part of one official split."""
    if number not in dataset.official:
        what = f"official split {number}" if dataset.official else "official splits"
        raise UsageError(
            f"--protocol {protocol}: {dataset.name} data has no {what}; group-kfold and "
            "leave-one-group-out need none"
        )
    parts = dataset.official[number]
    samples = tuple(s for s in dataset.samples if parts.get(s.id) == part)
    if needed and not samples:
        listed = sum(p == part for p in parts.values())
        raise UsageError(
            f"--protocol {protocol}: none of the {listed} {part} clips of {dataset.name} split "
            f"{number} is on disk"
        )
    return samples


def _random_fifth(dataset: Dataset, seed: int) -> set[VideoSpan]:
    videos = sorted({sample.video for sample in dataset.samples})
    order = np.random.default_rng(seed).permutation(len(videos))
    return {videos[i] for i in order[: round(len(videos) / 5)]}


def deal(counts: Mapping[str, Counter[str]], folds: int, seed: int) -> dict[str, str]:
    """The fold of each group, in the order of the folds: large groups are dealt first, each to the
    fold with least of its classes.

    Like scikit-learn's StratifiedGroupKFold, with the squares of the classes' shares instead of
    their deviations.
    """
    if not 2 <= folds <= len(counts):
        raise UsageError(f"--folds must be 2 to {len(counts)} (groups in the data), got {folds}")
    labels = sorted({label for group in counts.values() for label in group})
    table = np.array([[group[label] for label in labels] for group in counts.values()], float)
    shares = table / table.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(counts))
    order = order[np.argsort(-table[order].sum(axis=1), kind="stable")]
    held, size = np.zeros((folds, len(labels))), np.zeros(folds)
    groups, dealt = list(counts), [list[str]() for _ in range(folds)]
    for i in order:
        cost = 2 * held @ shares[i]  # growth of the squares, without what all folds share
        best = min(range(folds), key=lambda n: (round(float(cost[n]), 12), size[n], n))
        held[best] += shares[i]
        size[best] += table[i].sum()
        dealt[best].append(groups[i])
    return {group: f"fold-{n}" for n, fold in enumerate(dealt, 1) for group in fold}


def _groups(dataset: Dataset, protocol: str) -> dict[str, Counter[str]]:
    """Clips of each class in each group, groups sorted."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for sample in dict.fromkeys(dataset.samples):
        counts[sample.group][sample.label] += 1
    if len(counts) < 2:
        raise UsageError(f"--protocol {protocol}: all clips are of one group; see --group-pattern")
    return dict(sorted(counts.items()))


def _folder_names(groups: Iterable[str]) -> dict[str, str]:
    """A short, safe, unique file name for each group."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for group in groups:
        stem = re.sub(r"[^A-Za-z0-9_+.-]+", "-", group)[:80].strip("-.") or "group"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names[group] = name
    return names


def _fold(dataset: Dataset, protocol: str, name: str, tested: Collection[VideoSpan]) -> Fold:
    """The fold that tests these videos, or spans of such, and trains on the others."""
    test = tuple(dict.fromkeys(s for s in dataset.samples if s.video in tested))
    train = tuple(s for s in dataset.samples if s.video not in tested)
    if not test or not train:
        raise UsageError(f"--protocol {protocol}: {len(dataset.samples)} clips are too few")
    unknown = sorted({s.label for s in test} - {s.label for s in train})
    if unknown:
        raise UsageError(
            f"--protocol {protocol}: fold {name} tests class {unknown[0]} and has no other clips "
            "to train on; a class needs clips of at least 2 groups, see --group-pattern"
        )
    return Fold(name, train, (), test)
