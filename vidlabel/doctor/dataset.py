"""Is a folder a usable data set: one folder per class, HMDB51 or UCF-101?"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from vidlabel.datasets.complete import PUBLIC, check_complete, recognise
from vidlabel.doctor.finding import Finding
from vidlabel.files.find import VIDEO_SUFFIXES, find_videos
from vidlabel.text import first_few

_ARCHIVES = frozenset((".rar", ".zip", ".tar", ".gz", ".7z"))


def examine_dataset(root: Path) -> list[Finding]:
    """What is there and what is missing. Problems are findings, never exceptions."""
    try:
        return list(_findings(root))
    except OSError as error:
        return [Finding("data set", f"{root}: {error}", False, "make it readable")]


def _findings(root: Path) -> Iterator[Finding]:
    if not root.is_dir():
        yield Finding("data set", f"{root}: not a folder", False, "name the folder of a data set")
        return
    top, counts = _classes(root)
    full = sorted(name for name, count in counts.items() if count)
    if not full:
        packed = [p.name for p in root.iterdir() if p.suffix.lower() in _ARCHIVES]
        advice = (
            f"unpack {first_few(packed)}" if packed else "give each class a folder of its videos"
        )
        yield Finding("data set", f"{root}: no class folder with videos", False, advice)
        return
    videos = [counts[name] for name in full]
    size = f"{len(full)}, with {sum(videos)} videos, {min(videos)} to {max(videos)} each"
    if len(full) < 2:
        yield Finding("classes", size, False, "a model needs at least 2")
    else:
        yield Finding("classes", size, True, "" if top == root else f"give {top} to vidlabel train")
    empty = [name for name, count in counts.items() if not count]
    if empty:
        advice = "add their videos or remove the folders"
        yield Finding("classes without videos", f"{len(empty)}: {first_few(empty)}", False, advice)
    stray = [path.name for place in dict.fromkeys((root, top)) for path in _videos_in(place)]
    if stray:
        advice = "move them into class folders"
        yield Finding("videos without class", f"{len(stray)}: {first_few(stray)}", False, advice)
    yield _layout(root, full)


def _classes(root: Path) -> tuple[Path, dict[str, int]]:
    """The folder that holds the class folders, and how many videos each of them has.

    That is the root, or its only sub-folder with videos where these lie deeper, as with UCF-101.
    """
    counts = _count_videos(root)
    full = [name for name, count in counts.items() if count]
    if len(full) == 1 and not _videos_in(root / full[0]):
        return root / full[0], _count_videos(root / full[0])
    return root, counts


def _count_videos(top: Path) -> dict[str, int]:
    """Videos below each sub-folder; without folders of lists, such as HMDB51's splits."""
    folders = sorted(p for p in top.iterdir() if p.is_dir() and not p.name.startswith("."))
    counts = {
        folder.name: sum(item.problem is None for item in find_videos([str(folder)]))
        for folder in folders
    }
    return {n: count for n, count in counts.items() if count or not any((top / n).glob("*.txt"))}


def _videos_in(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_file() and p.suffix.lower() in VIDEO_SUFFIXES)


def _layout(root: Path, classes: list[str]) -> Finding:
    """Which public data set this is, and whether it is complete."""
    data = recognise(root, classes)
    if data is None:
        advice = next((
            f"if this is {data.title}: put its split lists ({data.example_list}, ...) into a "
            "folder beside it" for data in PUBLIC.values() if data.classes == len(classes)
        ), "")  # fmt: skip
        return Finding("layout", "one folder per class, no official splits", None, advice)
    found = check_complete(data, root)
    if found.complete:
        return Finding("layout", f"{data.title} with splits 1, 2 and 3", True)
    return Finding("layout", f"{data.title}, incomplete", False, "; ".join(found.problems))
