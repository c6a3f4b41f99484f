"""HMDB51 in its official layout: class folders of clips, and three lists for each class.

H. Kuehne et al., "HMDB: a large video database for human motion recognition", ICCV 2011: 6,766
clips, 51 classes, three splits of 70 training and 30 test clips for each class. A name is
`<film>_<class>_<visible>_<camera>_np<people>_<view>_<quality>_<number>.avi`, and all clips of one
film in one class are in the same part of a split.
"""

from __future__ import annotations

import re
from pathlib import Path

from vidlabel.datasets.public import OfficialLists, PublicDataset, check_present, read_lines
from vidlabel.errors import UsageError

SPLITS = (1, 2, 3)

_LIST = re.compile(r"(?P<label>.+)_test_split(?P<number>[123])\.txt")
_TAGS = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")
_PARTS = {"0": "", "1": "train", "2": "test"}


def film_of(label: str, name: str) -> str | None:
    """The film or upload in a clip's name: what stands before the class and the five tags.

    Where the class in the name is not `label`, its last word is left out. None for a name that is
    not of HMDB51's form.
    """
    stem = Path(name).stem
    rest = _TAGS.sub("", stem)
    if rest == stem:
        return None
    film = rest.removesuffix(f"_{label}")
    return film if film != rest else re.sub(r"_[a-z]+$", "", rest)


def _listed_classes(folder: Path) -> set[str]:
    return {match["label"] for p in folder.iterdir() if (match := _LIST.fullmatch(p.name))}


def _parse_lists(folder: Path) -> OfficialLists:
    classes = tuple(sorted(_listed_classes(folder)))
    wanted = {(k, n): f"{k}_test_split{n}.txt" for k in classes for n in SPLITS}
    check_present(folder, wanted.values())
    splits: dict[int, dict[str, str]] = {number: {} for number in SPLITS}
    listed: set[str] = set()
    for (label, number), name in wanted.items():
        parts = _read_list(folder / name, label)
        listed |= parts.keys()
        splits[number] |= {clip: part for clip, part in parts.items() if part}
    if not listed:
        raise UsageError(f"{folder}: the split lists are empty")
    return OfficialLists(splits, frozenset(listed), classes)


def _read_list(path: Path, label: str) -> dict[str, str]:
    """Part of each id: train, test, or empty where the split does not use the clip."""
    parts: dict[str, str] = {}
    for where, line in read_lines(path):
        name, _, mark = line.rpartition(" ")  # a name may hold spaces
        clip = f"{label}/{name.strip()}"
        if not name.strip() or mark not in _PARTS:
            raise UsageError(f"{where}: is not a clip's name and 0, 1 or 2: {line!r}")
        if clip in parts:
            raise UsageError(f"{where}: {name.strip()} is listed twice")
        parts[clip] = _PARTS[mark]
    return parts


_SITE = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/"

HMDB51 = PublicDataset(
    name="hmdb51",
    title="HMDB51",
    clips=6766,
    classes=51,
    clip_name=re.compile(r".+_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+\.(avi|mkv|mov|mp4|webm)"),
    list_name=_LIST,
    split_list_name=_LIST,
    example_list="brush_hair_test_split1.txt",
    parse_lists=_parse_lists,
    listed_classes=_listed_classes,
    source_in=film_of,
    home="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
    splits_urls=(_SITE + "test_train_splits.rar",),
    clips_urls=(_SITE + "hmdb51_org.rar",),
    clips_folder="hmdb51_org",
    splits_folder="testTrainMulti_7030_splits",
    size_bytes=2_200_000_000,
)
