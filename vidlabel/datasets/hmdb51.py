"""HMDB51 in its official layout: class folders of clips, and three lists for each class.

H. Kuehne et al., "HMDB: a large video database for human motion recognition", ICCV 2011: 6,766
clips, 51 classes, three splits of 70 training and 30 test clips for each class. A name is
`<film>_<class>_<visible>_<camera>_np<people>_<view>_<quality>_<number>.avi`, and all clips of one
film in one class are in the same part of a split.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from vidlabel.datasets.layout import compare, find_clips, find_lists, read_lines
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError

SPLITS = (1, 2, 3)

_LIST = re.compile(r"(?P<label>.+)_test_split(?P<number>[123])\.txt")
_TAGS = re.compile(r"_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+$")
_PARTS = {"0": "", "1": "train", "2": "test"}
_EXAMPLE = "brush_hair_test_split1.txt"


def read_hmdb51(root: Path, splits: Path | None = None) -> Dataset:
    """HMDB51 on disk. A clip's group is its source: see `source_of`.

    Args:
        root: the class folders, or up to two folders above them.
        splits: folder of the `<class>_test_split{1,2,3}.txt`, or up to two above it; without it
            they are looked for in `root`, below and beside it.

    Raises:
        UsageError: a folder, a list or all clips are missing, a list is damaged, a folder is no
            class of the lists, or two clips have one name.
    """
    lists = find_lists(root, splits, _is_list, _EXAMPLE)
    official, listed, classes = _read_lists(lists)
    samples = find_clips(root, classes, source_of)
    return compare("hmdb51", root, samples, official, listed, classes)


def hmdb51_from_lists(splits: Path) -> Dataset:
    """HMDB51 as its lists alone describe it: leaks can be counted without one clip on disk.

    The paths of the samples are their ids, and nothing is called missing.

    Raises:
        UsageError: as `read_hmdb51` for the lists.
    """
    official, listed, classes = _read_lists(find_lists(splits, splits, _is_list, _EXAMPLE))
    pairs = sorted(tuple(clip.split("/", 1)) for clip in listed)
    samples = tuple(Sample(f"{k}/{name}", k, source_of(k, name)) for k, name in pairs)
    return Dataset("hmdb51", samples, official, (), (), classes)


def source_of(label: str, name: str) -> str:
    """`label/film`: the source video of a clip, from which other clips of its class come too."""
    return f"{label}/{film_of(label, name) or Path(name).stem}"


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


def _is_list(name: str) -> bool:
    return _LIST.fullmatch(name) is not None


def _read_lists(folder: Path) -> tuple[dict[int, Mapping[str, str]], set[str], tuple[str, ...]]:
    """The splits, all ids in the lists, and the classes."""
    names = {path.name for path in folder.iterdir()}
    found = [match for match in map(_LIST.fullmatch, sorted(names)) if match]
    classes = tuple(sorted({match["label"] for match in found}))
    wanted = {(k, n): f"{k}_test_split{n}.txt" for k in classes for n in SPLITS}
    absent = [name for name in wanted.values() if name not in names]
    if absent:
        more = f" and {len(absent) - 1} more lists are" if len(absent) > 1 else " is"
        raise UsageError(f"{folder}: the split list {absent[0]}{more} missing")
    official: dict[int, dict[str, str]] = {number: {} for number in SPLITS}
    listed: set[str] = set()
    for (label, number), name in wanted.items():
        parts = _read_list(folder / name, label)
        listed |= parts.keys()
        official[number] |= {clip: part for clip, part in parts.items() if part}
    if not listed:
        raise UsageError(f"{folder}: the split lists are empty")
    return dict(official), listed, classes


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
