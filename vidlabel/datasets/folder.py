"""Data in a folder with one sub-folder per class."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidlabel.datasets.complete import source_in
from vidlabel.datasets.public import videos_below
from vidlabel.datasets.samples import Sample
from vidlabel.errors import UsageError

_BLOCKS = re.compile(r"blocks:(\d+)")


def read_folder(root: Path, group_pattern: str | None = None) -> list[Sample]:
    """The videos below each sub-folder of `root`, labelled with the sub-folder's name.

    Args:
        group_pattern: a regular expression that is searched in a video's path below `root`; the
            text of its groups, joined, is the video's group. Or `blocks:N`, for names that are
            only running numbers, where neighbours may come from one camera: the videos of each
            class, sorted by number, are divided into N groups of neighbours, `block-01` and so on.
            Without a pattern, `guess_group`.

    Raises:
        UsageError: there is no folder or no class in it, the pattern is invalid or does not match
            a video, or videos are too few for the blocks or have no numbers.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder")
    blocks = _BLOCKS.fullmatch(group_pattern or "")
    try:
        pattern = re.compile(group_pattern) if group_pattern and not blocks else None
    except re.error as error:
        raise UsageError(f"--group-pattern: {error}") from error
    samples = []
    for folder in sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith(".")):
        for path in videos_below(folder):
            below = str(path.relative_to(root))
            group = _match(pattern, below) if pattern else guess_group(below, folder.name)
            samples.append(Sample(str(path), folder.name, group))
    if not samples:
        raise UsageError(f"{root}: no videos in its sub-folders; there must be one per class")
    return _in_blocks(samples, int(blocks[1])) if blocks else samples


def guess_group(path: str, label: str) -> str:
    """The group that a video's name suggests: its source, without the number of the take.

    HMDB51's names give the film, UCF-101's the group; otherwise it is the name without the class
    and without a number at its end, when `_`, `-`, `.` or a space separates that
    (`anna_walk_03` and `anna_run_1`: `anna`). A name without anything else is its own group.
    """
    stem = Path(path).stem
    if known := source_in(label, Path(path).name):
        return known
    rest = re.sub(r"[_\-. ]+\d+$", "", stem)
    rest = re.sub(rf"(^|[_\-. ]){re.escape(label)}([_\-. ]|$)", " ", rest, flags=re.IGNORECASE)
    return re.sub(r"[_\-. ]+\d+$", "", rest.strip()).strip() or stem


def _match(pattern: re.Pattern[str], path: str) -> str:
    match = pattern.search(path)
    if match is None:
        raise UsageError(f"--group-pattern {pattern.pattern!r} does not match {path}")
    return "/".join(match.groups("")) or match[0]


def _in_blocks(samples: Sequence[Sample], blocks: int) -> list[Sample]:
    """The samples, each class divided by number into consecutive blocks of nearly equal size."""
    flag = f"--group-pattern blocks:{blocks}"
    if blocks < 2:
        raise UsageError(f"{flag}: must be at least 2")
    classes: dict[str, list[Sample]] = defaultdict(list)
    for sample in samples:
        if not re.search(r"\d", Path(sample.path).stem):
            raise UsageError(f"{flag}: no number in the name of {sample.path}")
        classes[sample.label].append(sample)
    done = []
    for label, members in classes.items():
        if len(members) < blocks:
            raise UsageError(f"{flag}: class {label} has only {len(members)} videos")
        members.sort(key=lambda s: _by_number(s.path))
        done += [
            replace(sample, group=f"block-{i * blocks // len(members) + 1:02}")
            for i, sample in enumerate(members)
        ]
    return done


def _by_number(path: str) -> list[tuple[int, str]]:
    """A sort key by which a2 comes before a10."""
    parts = re.split(r"(\d+)", Path(path).stem)
    return [(int(part), "") if i % 2 else (0, part) for i, part in enumerate(parts)]
