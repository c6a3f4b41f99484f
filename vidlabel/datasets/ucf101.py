"""UCF-101 in its official layout: class folders of clips, or one flat folder, and its lists.

K. Soomro et al., "UCF101: a dataset of 101 human actions classes from videos in the wild",
CRCV-TR-12-01, 2012: 13,320 clips, 101 classes. A name is `v_<class>_g<NN>_c<NN>.avi`; the clips of
one of a class's 25 groups come from one source video, and no official split divides them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vidlabel.datasets.public import (
    LabelOf,
    OfficialLists,
    PublicDataset,
    check_present,
    read_lines,
)
from vidlabel.errors import UsageError
from vidlabel.files.find import VIDEO_SUFFIXES

SPLITS = (1, 2, 3)

_CLIP = re.compile(r"v_(?P<label>\w+)_(?P<group>g\d+)_c\d+")
_CLASSES = "classInd.txt"
_LISTS = {(n, part): f"{part}list{n:02}.txt" for n in SPLITS for part in ("train", "test")}


def group_of(label: str, name: str) -> str | None:
    """`gNN` of a clip's name, whatever its class; None for a name that is not of UCF-101's form."""
    match = _CLIP.fullmatch(Path(name).stem)
    return match["group"] if match else None


def _label_of(lists: OfficialLists) -> LabelOf:
    # Handstand clips are v_HandStandPushups_* in a class HandstandPushups: the lists know better.
    labels = {Path(clip).stem: clip.split("/", 1)[0] for clip in lists.clips}
    folded = {label.casefold(): label for label in lists.classes}

    def label_of(name: str) -> str | None:
        stem = Path(name).stem
        if Path(name).suffix.lower() not in VIDEO_SUFFIXES:
            return None
        match = _CLIP.fullmatch(stem)
        return labels.get(stem) or (folded.get(match["label"].casefold()) if match else None)

    return label_of


def _listed_classes(folder: Path) -> set[str]:
    lists = [folder / name for name in _LISTS.values() if (folder / name).is_file()]
    lines = [line for path in lists for _, line in read_lines(path)]
    return {line.partition("/")[0] for line in lines if "/" in line}


def _parse_lists(folder: Path) -> OfficialLists:
    check_present(folder, (_CLASSES, *_LISTS.values()))
    numbers = _read_classes(folder / _CLASSES)
    splits: dict[int, dict[str, str]] = {number: {} for number in SPLITS}
    for (number, part), name in _LISTS.items():
        for where, clip in _read_list(folder / name, numbers):
            if clip in splits[number]:
                raise UsageError(f"{where}: {clip} is listed twice in split {number}")
            splits[number][clip] = part
    listed = frozenset(clip for parts in splits.values() for clip in parts)
    if not listed:
        raise UsageError(f"{folder}: the split lists are empty")
    return OfficialLists(splits, listed, tuple(sorted(numbers)))


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


_SITES = (
    "https://www.crcv.ucf.edu/data/UCF101/",
    "https://www.crcv.ucf.edu/datasets/human-actions/ucf101/",
)

UCF101 = PublicDataset(
    name="ucf101",
    title="UCF-101",
    clips=13320,
    classes=101,
    clip_name=re.compile(r"v_\w+_g\d+_c\d+\.(avi|mkv|mov|mp4|webm)"),
    list_name=re.compile(r"(train|test)list0[123]\.txt|classInd\.txt"),
    split_list_name=re.compile(r"(train|test)list0[123]\.txt"),
    example_list="trainlist01.txt",
    parse_lists=_parse_lists,
    listed_classes=_listed_classes,
    source_in=group_of,
    home="https://www.crcv.ucf.edu/data/UCF101.php",
    splits_urls=tuple(site + "UCF101TrainTestSplits-RecognitionTask.zip" for site in _SITES),
    clips_urls=tuple(site + "UCF101.rar" for site in _SITES),
    clips_folder="UCF-101",
    splits_folder="ucfTrainTestlist",
    size_bytes=7_100_000_000,
    label_of=_label_of,
)
