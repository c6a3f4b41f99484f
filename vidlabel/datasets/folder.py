"""Data in a folder with one sub-folder per class, or per part and class."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from vidlabel.datasets.complete import source_in
from vidlabel.datasets.public import videos_below, videos_in
from vidlabel.datasets.samples import Sample, Split
from vidlabel.errors import UsageError
from vidlabel.files.find import LeftOut, did_you_mean
from vidlabel.files.names import STATE_FOLDERS
from vidlabel.text import first_few, plural

_BLOCKS = re.compile(r"blocks:(\d+)")


PARTS: dict[str, Split] = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip
"""Names, in lower case, of the folders of the parts of a data set."""

NO_VIDEOS = "left out, folders without videos"
NO_CLASS = "left out, videos in no class folder"
"""How the remarks on them begin."""


def read_folder(
    root: Path, group_pattern: str | None = None, remarks: list[str] | None = None
) -> list[Sample]:
    """The videos below each sub-folder of `root`, labelled with the sub-folder's name.

    Where all videos lie in folders with the names of parts, such as `train/walk/1.mp4` or
    `walk/train/1.mp4`, these are their split and not their class. Without a part `val`, videos of
    the part `train` have no split, so that the validation set is taken from them. The same guessed
    group in several parts is several groups: the parts are given, and the guess may be wrong. What
    `vidlabel sort` has put beside the classes, as it has none, is left out.

    Args:
        remarks: lines are added to it on what was left out.
        group_pattern: a regular expression that is searched in a video's path below `root`; the
            text of its groups, joined, is the video's group. Or `blocks:N`, for names that are
            only running numbers, where neighbours may come from one camera: the videos of each
            class, sorted by number, are divided into N groups of neighbours, `block-01` and so on.
            Without a pattern, `guess_group`.

    Raises:
        UsageError: there is no folder or no class in it, some folders are parts and others are
            not, the pattern is invalid or does not match a video, or videos are too few for the
            blocks or have no numbers.
    """
    if not root.is_dir():
        raise UsageError(f"{root}: no such folder{did_you_mean(str(root))}")
    blocks = _BLOCKS.fullmatch(group_pattern or "")
    try:
        pattern = re.compile(group_pattern) if group_pattern and not blocks else None
    except re.error as error:
        raise UsageError(f"--group-pattern: {error}") from error
    folders = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith("."))
    left_out = LeftOut()
    found = {folder.name: videos_below(folder, left_out) for folder in folders}
    unlabelled = {name: len(found.pop(name)) for name in STATE_FOLDERS if name in found}
    paths = [path.relative_to(root) for paths in found.values() for path in paths]
    if not paths:
        why = "; ".join([f"{root}: no videos in its sub-folders; there must be one per class",
                         *left_out.lines()])  # fmt: skip
        raise UsageError(why)
    samples = []
    for path, (label, split) in zip(paths, _divided(paths, root), strict=True):
        group = _match(pattern, str(path)) if pattern else guess_group(str(path), label)
        samples.append(Sample(str(root / path), label, group, split))
    if remarks is not None:
        remarks += left_out.lines()
        if unlabelled:
            counts = first_few([f"{name} {count}" for name, count in sorted(unlabelled.items())])
            remarks.append(f"left out, videos without a class: {counts}")
        if empty := [name for name, videos in found.items() if not videos]:
            remarks.append(f"{NO_VIDEOS}: {first_few(empty)}")
        if loose := [path.name for path in videos_in(root)]:
            remarks.append(f"{NO_CLASS}: {first_few(loose)}")
        if nested := _nested(samples, paths):
            remarks.append(f"sub-folders of a class are no classes: {nested}")
    if blocks:
        return _in_blocks(samples, int(blocks[1]))
    return samples if pattern else _groups_apart(samples)


def _divided(paths: Sequence[Path], root: Path) -> list[tuple[str, Split]]:
    """Class and split of each video, from its path below `root`. Raises UsageError."""
    for place in (0, 1):  # of the part among the folders of a path
        names = [path.parts[place] if len(path.parts) > place + 1 else "" for path in paths]
        parts = [PARTS.get(name.casefold()) for name in names]
        kinds = {part for part in parts if part}
        if all(parts):
            if lost := next((path for path in paths if len(path.parts) < 3), None):
                raise UsageError(
                    f"{root / lost}: has a part and no class; the folders must be "
                    f"{lost.parts[0]}/CLASS, or use a table path,label,split"
                )
            whole = "val" in kinds
            return [
                (path.parts[1 - place], "" if part == "train" and not whole else part or "")
                for path, part in zip(paths, parts, strict=True)
            ]
        if len(kinds) > 1:
            other = paths[parts.index(None)]
            raise UsageError(
                f"{root / other}: is in none of the parts {' and '.join(sorted(kinds))} of the "
                "data; move it away, or rename the folders if they are no parts"
            )
    return [(path.parts[0], "") for path in paths]


def _nested(samples: Sequence[Sample], paths: Sequence[Path]) -> str:
    """The sub-folders of classes that may be meant as classes: all videos of their class lie in
    them, and no other class has sub-folders of these names (of persons, say)."""
    inside: dict[str, set[str]] = defaultdict(set)
    for sample, path in zip(samples, paths, strict=True):
        steps = [step for step in path.parts[:-1] if step.casefold() not in PARTS]
        inside[sample.label].add(steps[1] if len(steps) > 1 else "")
    count = Counter(name for names in inside.values() for name in names)
    doubtful = [
        f"{label} has {first_few(sorted(names), 3)}"
        for label, names in inside.items()
        if len(names) > 1 and "" not in names and all(count[name] == 1 for name in names)
    ]
    return first_few(doubtful, 3, "; ")


def _groups_apart(samples: Sequence[Sample]) -> list[Sample]:
    """The samples, with groups of one name in several splits made several groups."""
    splits: dict[str, set[Split]] = defaultdict(set)
    for sample in samples:
        splits[sample.group].add(sample.split)
    return [
        replace(s, group=f"{s.split or 'train'}/{s.group}") if len(splits[s.group]) > 1 else s
        for s in samples
    ]


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
            raise UsageError(f"{flag}: class {label} has only {plural(len(members), 'video')}")
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
