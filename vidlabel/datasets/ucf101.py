"""UCF-101 in its official layout: class folders of clips, or one flat folder, and its lists.

K. Soomro et al., "UCF101: a dataset of 101 human actions classes from videos in the wild",
CRCV-TR-12-01, 2012: 13,320 clips, 101 classes. A name is `v_<class>_g<NN>_c<NN>.avi`; the clips of
one of a class's 25 groups come from one source video, and no official split divides them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vidlabel.datasets.layout import compare, find_clips, find_lists, read_lines
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError

SPLITS = (1, 2, 3)

_CLIP = re.compile(r"v_(?P<label>\w+)_(?P<group>g\d+)_c\d+")
_CLASSES = "classInd.txt"
_LISTS = {(n, part): f"{part}list{n:02}.txt" for n in SPLITS for part in ("train", "test")}


def read_ucf101(root: Path, splits: Path | None = None) -> Dataset:
    """UCF-101 on disk. A clip's group is its source: see `source_of`.

    Args:
        root: the class folders or the flat folder of `v_*.avi`, or up to two folders above.
        splits: folder of classInd.txt, trainlist0N.txt and testlist0N.txt, or up to two above it;
            without it they are looked for in `root`, below and beside it.

    Raises:
        UsageError: a folder, a list or all clips are missing, a list is damaged or names a class
            that classInd.txt does not, a folder is no class, or two clips have one name.
    """
    lists = find_lists(root, splits, _is_list, "trainlist01.txt")
    official, listed, classes = _read_lists(lists)
    # Handstand clips are v_HandStandPushups_* in a class HandstandPushups: the lists know better.
    labels = {clip.split("/", 1)[1]: clip.split("/", 1)[0] for clip in listed}
    folded = {label.casefold(): label for label in classes}

    def label_of(name: str) -> str | None:
        match = _CLIP.fullmatch(Path(name).stem)
        return labels.get(name) or (folded.get(match["label"].casefold()) if match else None)

    samples = find_clips(root, classes, source_of, label_of)
    return compare("ucf101", root, samples, official, listed, classes)


def ucf101_from_lists(splits: Path) -> Dataset:
    """UCF-101 as its lists alone describe it: leaks can be counted without one clip on disk.

    The paths of the samples are their ids, and nothing is called missing.

    Raises:
        UsageError: as `read_ucf101` for the lists.
    """
    lists = find_lists(splits, splits, _is_list, "trainlist01.txt")
    official, listed, classes = _read_lists(lists)
    pairs = sorted(tuple(clip.split("/", 1)) for clip in listed)
    samples = tuple(Sample(f"{k}/{name}", k, source_of(k, name)) for k, name in pairs)
    return Dataset("ucf101", samples, official, (), (), classes)


def source_of(label: str, name: str) -> str:
    """`label/gNN`: the source video of a clip, from which other clips of its class come too."""
    return f"{label}/{group_of(name) or Path(name).stem}"


def group_of(name: str) -> str | None:
    """`gNN` of a clip's name; None for a name that is not of UCF-101's form."""
    match = _CLIP.fullmatch(Path(name).stem)
    return match["group"] if match else None


def _is_list(name: str) -> bool:
    return name in _LISTS.values()


def _read_lists(folder: Path) -> tuple[dict[int, Mapping[str, str]], set[str], tuple[str, ...]]:
    """The splits, all ids in the lists, and the classes."""
    absent = [n for n in (_CLASSES, *_LISTS.values()) if not (folder / n).is_file()]
    if absent:
        raise UsageError(f"{folder}: missing of the split lists: {', '.join(absent)}")
    numbers = _read_classes(folder / _CLASSES)
    official: dict[int, dict[str, str]] = {number: {} for number in SPLITS}
    for (number, part), name in _LISTS.items():
        for where, clip in _read_list(folder / name, numbers):
            if clip in official[number]:
                raise UsageError(f"{where}: {clip} is listed twice in split {number}")
            official[number][clip] = part
    listed = {clip for parts in official.values() for clip in parts}
    if not listed:
        raise UsageError(f"{folder}: the split lists are empty")
    return dict(official), listed, tuple(sorted(numbers))


def _read_classes(path: Path) -> dict[str, str]:
    """Number of each class, as text."""
    numbers: dict[str, str] = {}
    for where, line in read_lines(path):
        number, _, label = line.partition(" ")
        if not number.isdecimal() or not label.strip():
            raise UsageError(f"{where}: is not a number and a class: {line!r}")
        numbers[label.strip()] = number
    return numbers


def _read_list(path: Path, numbers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Ids in a list, each with `path:line`. Training lists have the class's number behind it."""
    clips = []
    for where, line in read_lines(path):
        clip, _, number = line.partition(".avi")
        label, _, name = clip.partition("/")
        if not name:
            raise UsageError(f"{where}: is not CLASS/NAME.avi: {line!r}")
        if label not in numbers:
            raise UsageError(f"{where}: {label} is no class of {_CLASSES}")
        if number.strip() not in ("", numbers[label]):
            raise UsageError(
                f"{where}: class {label} has number {number.strip()} here and {numbers[label]} in "
                f"{_CLASSES}"
            )
        clips.append((where, f"{clip}.avi"))
    return clips
