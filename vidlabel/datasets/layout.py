"""Where the clips and the official lists of a public data set lie, and which of them agree."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path

from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError
from vidlabel.files.find import find_videos

_DEPTH = 2
"""How many folders deep clips and lists are looked for: archives unpack into folders of theirs."""
_MOST_FOLDERS = 5000
"""Where the search beside ROOT ends: ROOT may lie in a folder that holds everything."""
_ARCHIVES = (".rar", ".zip")


def find_lists(root: Path, splits: Path | None, is_list: Callable[[str], bool], like: str) -> Path:
    """The folder with a data set's official lists.

    Args:
        root: of the data set; the lists are looked for in it, below it, and then beside it.
        splits: where to look instead (`--splits`).
        is_list: is this the name of a list?
        like: name of one, for the message.

    Raises:
        UsageError: there is none, or a folder does not exist.
    """
    for folder in (root, splits or root):
        if not folder.is_dir():
            raise UsageError(f"{folder}: no such folder")
    beside = dict.fromkeys((root.absolute().parent, root.resolve().parent))
    for place in (splits,) if splits else (root, *beside):
        for level in _levels(place):
            for folder in level:
                if any(map(is_list, _scan(folder)[1])):
                    return folder
    where = f"in {splits}" if splits else f"in {root} or beside it"
    raise UsageError(
        f"no split lists such as {like} {where}; name their folder with --splits{_packed(root)}"
    )


def find_clips(
    root: Path,
    classes: Collection[str],
    source_of: Callable[[str, str], str],
    label_of: Callable[[str], str | None] = lambda _: None,
) -> list[Sample]:
    """All videos of a data set, sorted by class and name.

    Args:
        root: holds, itself or up to two folders deeper, one folder for each class, and these the
            videos, themselves or deeper.
        classes: that the official lists name.
        source_of: the source video (group) of a clip, from its class and name.
        label_of: class of a clip that lies in no class folder, from its name; None for a video of
            no class, which is left alone.

    Raises:
        UsageError: no class folder, a folder of videos that is no class, or two clips of one name.
    """
    homes: list[Path] = []
    for level in _levels(root):
        homes = [f for f in level if _is_home(f, classes, label_of)]
        if homes:
            break
    else:
        example = min(classes)
        raise UsageError(
            f"{root}: no class folder such as {example}, nor up to {_DEPTH} folders deeper"
            f"{_packed(root)}"
        )
    found: dict[str, Sample] = {}
    for label, path in (pair for home in homes for pair in _clips(home, classes, label_of)):
        sample = Sample(path, label, source_of(label, Path(path).name))
        if sample.id in found:
            raise UsageError(
                f"two clips are called {sample.id}: {found[sample.id].path} and {path}; "
                "remove one, or name the folder of one as ROOT"
            )
        found[sample.id] = sample
    return sorted(found.values(), key=lambda s: (s.label, Path(s.path).name))


def compare(
    name: str,
    root: Path,
    samples: list[Sample],
    official: Mapping[int, Mapping[str, str]],
    listed: Collection[str],
    classes: tuple[str, ...],
) -> Dataset:
    """The data set, with what its lists (`listed`: all ids in them) have more or less than `root`.

    Raises:
        UsageError: the lists name none of the clips found.
    """
    here = {sample.id for sample in samples}
    if here.isdisjoint(listed):
        example = f", such as {min(here)}" if here else ""
        raise UsageError(
            f"{root}: of the {len(listed)} clips in the split lists, such as {min(listed)}, none "
            f"is here; found {len(here)} other videos{example}"
        )
    missing, extra = sorted(set(listed) - here), sorted(here - set(listed))
    return Dataset(name, tuple(samples), official, tuple(missing), tuple(extra), classes)


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
    """The folder, then those in it, then those in these; sorted, without hidden ones."""
    level, seen = [root], 1
    for _ in range(_DEPTH + 1):
        yield level
        level = [below for folder in level for below in _scan(folder)[0]][: _MOST_FOLDERS - seen]
        seen += len(level)


def _scan(folder: Path) -> tuple[list[Path], list[str]]:
    """Folders in a folder, and names of files; hidden ones left out, nothing if unreadable."""
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208
    except OSError:
        return [], []
    seen = [folder / name for name in names if not name.startswith(".")]
    folders = [path for path in seen if os.path.isdir(path)]  # noqa: PTH112  (False, never raises)
    inside = set(folders)
    return folders, [path.name for path in seen if path not in inside]


def _is_home(folder: Path, classes: Collection[str], label_of: Callable[[str], str | None]) -> bool:
    folders, files = _scan(folder)
    return any(f.name in classes for f in folders) or any(label_of(n) is not None for n in files)


def _clips(
    home: Path, classes: Collection[str], label_of: Callable[[str], str | None]
) -> Iterator[tuple[str, str]]:
    """(class, path) of each video in the class folders of `home`, and in `home` itself."""
    folders, files = _scan(home)
    for name in files:
        label = label_of(name)
        if label is not None:
            yield label, str(home / name)
    for folder in folders:
        paths = [item.path for item in find_videos([str(folder)]) if item.problem is None]
        if paths and folder.name not in classes:
            raise UsageError(
                f"{folder}: {folder.name} is not one of the {len(classes)} classes of the split "
                "lists; move it away, or rename it"
            )
        yield from ((folder.name, path) for path in paths)


def _packed(root: Path) -> str:
    """What to do where archives lie and nothing else."""
    packed = [name for name in _scan(root)[1] if name.lower().endswith(_ARCHIVES)]
    return f"; unpack {packed[0]} first, see vidlabel data --help" if packed else ""
