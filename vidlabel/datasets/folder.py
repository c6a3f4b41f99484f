"""Data in a folder with one sub-folder per class."""

from __future__ import annotations

import re
from pathlib import Path

from vidlabel.datasets.samples import Sample
from vidlabel.errors import UsageError
from vidlabel.files import find_videos

_HMDB51 = re.compile(r"^(?P<film>.+)_[a-z_]+_[a-z]_[a-z]{2}_np\d_[a-z]{2}_[a-z]{3}_\d+$")
_UCF101 = re.compile(r"^v_\w+_(?P<group>g\d+)_c\d+$")


def read_folder(root: Path, group_pattern: str | None = None) -> list[Sample]:
    """The videos below each sub-folder of `root`, labelled with the sub-folder's name.

    Args:
        root: the folder.
        group_pattern: a regular expression searched in a video's path below `root`; the text that
            its groups match, joined, is the video's group. Without one, `guess_group`.

    Raises:
        UsageError: no folder, no class in it, a bad pattern, or a video it does not match.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    try:
        pattern = re.compile(group_pattern) if group_pattern else None
    except re.error as error:
        raise UsageError(f"--group-pattern: {error}") from error
    samples = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for item in find_videos([str(folder)]):
            if item.problem is None:
                below = str(Path(item.path).relative_to(root))
                group = _match(pattern, below) if pattern else guess_group(below, folder.name)
                samples.append(Sample(item.path, folder.name, group))
    if not samples:
        raise UsageError(f"{root}: no videos in its sub-folders; there must be one for each class")
    return samples


def guess_group(path: str, label: str) -> str:
    """The group that a video's name suggests: where it comes from, without which take it is.

    HMDB51's names give the film, UCF-101's the group; otherwise it is the name without the class
    and without a number at its end, when `_`, `-`, `.` or a space separates that
    (`anna_walk_03` and `anna_run_1`: `anna`). A name that is nothing but those is its own group.
    """
    stem = Path(path).stem
    if match := _HMDB51.match(stem):
        return match["film"]
    if match := _UCF101.match(stem):
        return match["group"]
    rest = re.sub(r"[_\-. ]+\d+$", "", stem)
    rest = re.sub(rf"(^|[_\-. ]){re.escape(label)}([_\-. ]|$)", " ", rest, flags=re.IGNORECASE)
    return re.sub(r"[_\-. ]+\d+$", "", rest.strip()).strip() or stem


def _match(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path)
    if match is None:
        raise UsageError(f"--group-pattern {pattern.pattern!r} does not match {path}")
    return "/".join(match.groups("")) or match[0]
