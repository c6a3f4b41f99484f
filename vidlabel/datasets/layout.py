"""Where the clips and the official lists of a public data set lie on disk."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from vidlabel.errors import UsageError
from vidlabel.files.find import find_videos

_DEPTH = 2
"""How many folders deep clips and lists are searched: archives unpack into folders of their own."""
_MOST_FOLDERS = 5000
"""Limit of the search beside ROOT, whose parent folder may hold anything."""
_ARCHIVES = (".rar", ".zip")

LabelOf = Callable[[str], str | None]
"""The class of a clip that lies in no class folder, from its file name; None: not a clip."""


def find_lists(root: Path, splits: Path | None, name: re.Pattern[str], like: str) -> Path:
    """The folder with a data set's official lists.

    Args:
        root: of the data set; searched are this folder, those below it, and those beside it.
        splits: the folder to search instead (`--splits`).
        name: matches the file names of lists.
        like: one of them, for the message.

    Raises:
        UsageError: there are no lists, or a folder does not exist.
    """
    for folder in (root, splits or root):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    beside = dict.fromkeys((root.absolute().parent, root.resolve().parent))
    for place in (splits,) if splits else (root, *beside):
        for level in _levels(place):
            for folder in level:
                if any(map(name.fullmatch, _scan(folder)[1])):
                    return folder
    where = f"in {splits}" if splits else f"in {root} or beside it"
    raise UsageError(
        f"no split lists such as {like} {where}; name their folder with --splits{_packed(root)}"
    )


def find_clips(root: Path, classes: Collection[str], label_of: LabelOf) -> list[tuple[str, Path]]:
    """Class and path of each video of a data set.

    Args:
        root: holds, itself or up to two folders deeper, one folder per class, and these hold the
            videos, at any depth. A folder that is no class and holds videos counts as a class.
        classes: the classes in the official lists.
        label_of: for videos beside the class folders.

    Raises:
        UsageError: there is no class folder.
    """
    for level in _levels(root):
        if homes := [f for f in level if _is_home(f, classes, label_of)]:
            return [pair for home in homes for pair in _clips(home, label_of)]
    raise UsageError(
        f"{root}: no class folder such as {min(classes)}, nor up to {_DEPTH} folders deeper"
        f"{_packed(root)}"
    )


def videos_below(folder: Path) -> list[Path]:
    """All videos in a folder, at any depth."""
    return [Path(item.path) for item in find_videos([str(folder)]) if item.problem is None]


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a list that are not blank, stripped, each with `path:number` for messages.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    lines = [(f"{path}:{number}", line.strip()) for number, line in enumerate(text.split("\n"), 1)]
    return [(where, line) for where, line in lines if line]


def _levels(root: Path) -> Iterator[list[Path]]:
    """The folder, then its sub-folders, then theirs; sorted, without hidden ones."""
    level, seen = [root], 1
    for _ in range(_DEPTH + 1):
        yield level
        level = [below for folder in level for below in _scan(folder)[0]][: _MOST_FOLDERS - seen]
        seen += len(level)


def _scan(folder: Path) -> tuple[list[Path], list[str]]:
    """Sub-folders, and names of files, without hidden ones; nothing if it cannot be read."""
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208
    except OSError:
        return [], []
    seen = [folder / name for name in names if not name.startswith(".")]
    folders = [path for path in seen if os.path.isdir(path)]  # noqa: PTH112  (False, never raises)
    inside = set(folders)
    return folders, [path.name for path in seen if path not in inside]


def _is_home(folder: Path, classes: Collection[str], label_of: LabelOf) -> bool:
    folders, files = _scan(folder)
    return any(f.name in classes for f in folders) or any(label_of(n) is not None for n in files)


def _clips(home: Path, label_of: LabelOf) -> Iterator[tuple[str, Path]]:
    folders, files = _scan(home)
    for name in files:
        label = label_of(name)
        if label is not None:
            yield label, home / name
    for folder in folders:
        yield from ((folder.name, path) for path in videos_below(folder))


def _packed(root: Path) -> str:
    """What to do where only archives are found."""
    packed = [name for name in _scan(root)[1] if name.lower().endswith(_ARCHIVES)]
    return f"; unpack {packed[0]} first, see vidlabel data --help" if packed else ""
