"""The public data sets, and whether one on disk is complete: all its lists, every clip in them."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vidlabel.datasets.hmdb51 import HMDB51
from vidlabel.datasets.public import OfficialLists, PublicDataset, videos_below
from vidlabel.datasets.ucf101 import UCF101
from vidlabel.errors import UsageError
from vidlabel.text import first_few

PUBLIC: dict[str, PublicDataset] = {data.name: data for data in (HMDB51, UCF101)}
"""Data sets with official splits, by name."""


def source_in(label: str, name: str) -> str | None:
    """The source video in a clip's name of HMDB51's or UCF-101's form; None for other names."""
    return next(filter(None, (data.source_in(label, name) for data in PUBLIC.values())), None)


@dataclass(frozen=True)
class Completeness:
    """What of a public data set is on disk. Clips are named by id, `class/name`."""

    clips: int
    """That are there and in the lists; without lists, all that are there."""
    classes: int
    """That have such clips."""
    missing: tuple[str, ...]
    """Clips in the lists that are not there, or are empty files. Sorted."""
    extra: tuple[str, ...]
    """Clips that are there and in no list. Sorted."""
    lists: OfficialLists | None
    """None where they cannot be used."""
    lists_problem: str
    """Why the official lists cannot be used or are not all there; empty if they are."""
    empty_classes: tuple[str, ...]
    """Classes in the lists without any clip on disk. Sorted."""

    @property
    def complete(self) -> bool:
        """All official lists are there, and every clip in them."""
        return not self.problems

    @property
    def problems(self) -> list[str]:
        """What is missing, in a few words each; empty if nothing is."""
        found = [self.lists_problem] if self.lists_problem else []
        if self.empty_classes:
            found.append(f"no videos of {first_few(self.empty_classes)}")
        rest = [clip for clip in self.missing if clip.split("/")[0] not in self.empty_classes]
        if rest:
            found.append(f"missing clips ({len(rest):,}): {first_few(rest)}")
        return found


def check_complete(data: PublicDataset, root: Path, splits: Path | None = None) -> Completeness:
    """Compare the clips of a data set below `root` with its official lists.

    Args:
        root: its class folders, or up to two folders above them.
        splits: folder of the lists; without it they are searched in `root` and beside it.
    """
    lists, problem = None, ""
    named: set[str] = set()
    try:
        folder = data.find_lists(root, splits)
        named = data.listed_classes(folder)
        lists = data.parse_lists(folder)
        if len(lists.clips) != data.clips:
            problem = f"the split lists name {len(lists.clips):,} of {data.clips:,} clips"
    except UsageError as error:
        problem = str(error)
    known = lists or OfficialLists({}, frozenset(), tuple(sorted(named)))
    there = {f"{label}/{path.name}" for label, path in _clips(data, root, known) if _is_full(path)}
    renamed = known.renamed(there)
    there = {renamed.get(clip, clip) for clip in there}
    right = there & known.clips if lists else there
    return Completeness(
        clips=len(right),
        classes=len(_classes(right)),
        missing=tuple(sorted(known.clips - there)),
        extra=tuple(sorted(there - known.clips)) if lists else (),
        lists=lists,
        lists_problem=problem,
        empty_classes=tuple(sorted(set(known.classes) - _classes(there))),
    )


def recognise(root: Path, classes: Collection[str]) -> PublicDataset | None:
    """The public data set that a folder with these classes seems to be: its lists are in `root` and
    name some of them, or they are beside `root`, and it has most of the classes in them."""
    for data in PUBLIC.values():
        with suppress(UsageError):
            folder = data.find_lists(root)
            listed = data.listed_classes(folder)
            common = listed.intersection(classes)
            if common and (folder.is_relative_to(root) or 2 * len(common) > len(listed)):
                return data
    return None


def _clips(data: PublicDataset, root: Path, lists: OfficialLists) -> list[tuple[str, Path]]:
    """Class and path of each video; without lists, the class is the name of its folder."""
    if not lists.classes:
        return [(path.parent.name, path) for path in videos_below(root)]
    with suppress(UsageError):
        return data.find_clips(root, lists)
    return []  # there is no class folder


def _classes(clips: Collection[str]) -> set[str]:
    return {clip.split("/")[0] for clip in clips}


def _is_full(path: Path) -> bool:
    """Whether a file holds anything: one that was not on the disk at a power cut does not."""
    try:
        return path.stat().st_size > 0
    except OSError:
        return False
