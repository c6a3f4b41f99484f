"""A public data set: what its clips and lists are called, how many there are, how it is read."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidlabel.datasets.layout import LabelOf, find_clips, find_lists
from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError


@dataclass(frozen=True)
class OfficialLists:
    """What the official lists of a data set say. Clips are named by id, `class/name`."""

    splits: Mapping[int, Mapping[str, str]]
    """Split number -> {id: `train` or `test`}, without the clips that a split does not use."""
    clips: frozenset[str]
    """Every id in them."""
    classes: tuple[str, ...]
    """Sorted."""


@dataclass(frozen=True)
class PublicDataset:
    """A data set with official splits, and how its files are recognised and read."""

    name: str
    title: str
    clips: int
    """How many clips all the official lists name together."""
    classes: int
    clip_name: re.Pattern[str]
    list_name: re.Pattern[str]
    """Of every official list."""
    split_list_name: re.Pattern[str]
    """Of the lists that the folder of lists is recognised by."""
    example_list: str
    """Name of one of these, for messages."""
    parse_lists: Callable[[Path], OfficialLists]
    """Reads all lists in a folder. Raises UsageError where one is missing or damaged."""
    listed_classes: Callable[[Path], set[str]]
    """The classes that the lists in a folder name, even where some lists are missing."""
    source_of: Callable[[str, str], str]
    """The source video (group) of a clip, from its class and name."""
    label_of: Callable[[OfficialLists], LabelOf] = lambda lists: lambda name: None

    def find_lists(self, root: Path, splits: Path | None = None) -> Path:
        """The folder with the official lists: see `layout.find_lists`. Raises UsageError."""
        return find_lists(root, splits, self.split_list_name, self.example_list)

    def find_clips(self, root: Path, lists: OfficialLists) -> list[tuple[str, Path]]:
        """Class and path of each video: see `layout.find_clips`. Raises UsageError."""
        return find_clips(root, lists.classes, self.label_of(lists))

    def read(self, root: Path, splits: Path | None = None) -> Dataset:
        """The data set on disk, sorted by class and name. A clip's group is its source video.

        Args:
            root: the class folders, or up to two folders above them.
            splits: folder of the official lists, or up to two folders above it; without it they
                are searched in `root`, below it and beside it.

        Raises:
            UsageError: a folder, a list or all clips are missing, a list is damaged, a folder of
                videos is no class of the lists, or two clips have one name.
        """
        lists = self.parse_lists(self.find_lists(root, splits))
        found: dict[str, Sample] = {}
        for label, path in self.find_clips(root, lists):
            if label not in lists.classes:
                raise UsageError(
                    f"{next(p for p in path.parents if p.name == label)}: {label} is not one of "
                    f"the {len(lists.classes)} classes of the split lists; move it away, or rename "
                    "it"
                )
            sample = Sample(str(path), label, self.source_of(label, path.name))
            if sample.id in found:
                raise UsageError(
                    f"two clips are called {sample.id}: {found[sample.id].path} and {path}; "
                    "remove one, or name the folder of one as ROOT"
                )
            found[sample.id] = sample
        if lists.clips.isdisjoint(found):
            example = f", such as {min(found)}" if found else ""
            raise UsageError(
                f"{root}: of the {len(lists.clips)} clips in the split lists, such as "
                f"{min(lists.clips)}, none is here; found {len(found)} other videos{example}"
            )
        samples = sorted(found.values(), key=lambda s: (s.label, Path(s.path).name))
        missing, extra = sorted(lists.clips - found.keys()), sorted(found.keys() - lists.clips)
        return Dataset(
            self.name, tuple(samples), lists.splits, tuple(missing), tuple(extra), lists.classes
        )

    def from_lists(self, splits: Path) -> Dataset:
        """The data set as its lists alone describe it: leaks can be counted without any clip.

        The paths of the samples are their ids, and no clip counts as missing.

        Raises:
            UsageError: as `read`, for the lists.
        """
        lists = self.parse_lists(self.find_lists(splits, splits))
        pairs = sorted(tuple(clip.split("/", 1)) for clip in lists.clips)
        samples = tuple(Sample(f"{k}/{name}", k, self.source_of(k, name)) for k, name in pairs)
        return Dataset(self.name, samples, lists.splits, (), (), lists.classes)
