"""A public data set: what its clips and official lists are called, where they lie on disk, and how
they are read."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from vidlabel.datasets.samples import Dataset, Sample
from vidlabel.errors import UsageError
from vidlabel.files.find import VIDEO_SUFFIXES, LeftOut, find_videos
from vidlabel.files.text_file import as_utf8
from vidlabel.text import first_few

_DEPTH = 2
"""How many folders deep clips and lists are searched: archives unpack into folders of their own."""
_MOST_FOLDERS = 5000
"""Limit of the search beside ROOT, whose parent folder may hold anything."""
ARCHIVES = (".rar", ".zip")

LabelOf = Callable[[str], str | None]
"""The class of a clip that lies in no class folder, from its file name; None: not a clip."""


@dataclass(frozen=True)
class OfficialLists:
    """What the official lists of a data set say. Clips are named by id, `class/name`."""

    splits: Mapping[int, Mapping[str, str]]
    """Split number -> {id: `train` or `test`}, without the clips that a split does not use."""
    clips: frozenset[str]
    """Every id in them."""
    classes: tuple[str, ...]
    """Sorted."""

    def renamed(self, there: Iterable[str]) -> dict[str, str]:
        """The ids of clips on disk that differ from one in the lists only in the suffix, as those
        of clips that were converted do; each with that id. A clip with the official name goes
        first."""
        ids = set(there)
        stems = {Path(clip).with_suffix(""): clip for clip in self.clips - ids}
        others = ((clip, Path(clip).with_suffix("")) for clip in ids - self.clips)
        return {clip: stems[stem] for clip, stem in others if stem in stems}


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
    source_in: Callable[[str, str], str | None]
    """The source video in the name of a clip, from its class and name; None for other names."""
    home: str
    """Its web page."""
    splits_urls: tuple[str, ...]
    """Addresses of one archive: that of the lists."""
    clips_urls: tuple[str, ...]
    clips_folder: str
    """The folder of the class folders in the archive, and below ROOT."""
    splits_folder: str
    size_bytes: int
    """Of all clips, roughly."""
    label_of: Callable[[OfficialLists], LabelOf] = lambda lists: lambda name: None

    def source_of(self, label: str, name: str) -> str:
        """`label/source`: the group of a clip. Other clips of its class have the same source."""
        return f"{label}/{self.source_in(label, name) or Path(name).stem}"

    def find_lists(self, root: Path, splits: Path | None = None) -> Path:
        """The folder with the official lists: `root`, one below it, or one beside it; or one below
        `splits`, if it is given.

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
                    if any(map(self.split_list_name.fullmatch, _scan(folder)[1])):
                        return folder
        where = f"in {splits}" if splits else f"in {root} or beside it"
        raise UsageError(
            f"no split lists such as {self.example_list} {where}; name their folder with --splits"
            f"{_packed(root)}"
        )

    def find_clips(self, root: Path, lists: OfficialLists) -> list[tuple[str, Path]]:
        """Class and path of each video. A folder beside the class folders that holds videos counts
        as a class; videos beside them are named by `label_of`.

        Raises:
            UsageError: there is no class folder in `root`, nor up to two folders deeper.
        """
        label_of = self.label_of(lists)
        for level in _levels(root):
            homes = [_clips_in(folder, lists.classes, label_of) for folder in level]
            if any(clips is not None for clips in homes):
                return [clip for clips in homes for clip in clips or ()]
        raise UsageError(
            f"{root}: no class folder such as {min(lists.classes)}, nor up to {_DEPTH} folders "
            f"deeper{_packed(root)}"
        )

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
        clips = self.find_clips(root, lists)
        renamed = lists.renamed(f"{label}/{path.name}" for label, path in clips)
        for label, path in clips:
            if label not in lists.classes:
                raise UsageError(
                    f"{next(p for p in path.parents if p.name == label)}: {label} is not one of "
                    f"the {len(lists.classes)} classes of the split lists; move it away, or rename "
                    "it"
                )
            own = f"{label}/{path.name}"
            name = renamed[own].partition("/")[2] if own in renamed else ""
            sample = Sample(str(path), label, self.source_of(label, path.name), name=name)
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
        remarks: tuple[str, ...] = ()
        if renamed:
            own, official = min(renamed.items())
            remarks = (
                f"{self.name}: {len(renamed):,} clips have the names in the official lists but for "
                f"the suffix: {own} is {official}",
            )
        return Dataset(
            self.name, tuple(samples), lists.splits, tuple(missing), tuple(extra), lists.classes,
            remarks,
        )  # fmt: skip

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


def videos_below(folder: Path, left_out: LeftOut | None = None) -> list[Path]:
    """All videos in a folder, at any depth; `left_out` is told what else is there."""
    items = find_videos([str(folder)], left_out=left_out)
    return [Path(item.path) for item in items if item.problem is None]


def videos_in(folder: Path) -> list[Path]:
    """The videos in a folder itself, not in its sub-folders; sorted."""
    files = (path for path in folder.iterdir() if path.suffix.lower() in VIDEO_SUFFIXES)
    return sorted(path for path in files if path.is_file() and not path.name.startswith("."))


def check_present(folder: Path, names: Iterable[str]) -> None:
    """Check that a folder has these official lists. Raises UsageError."""
    if absent := [name for name in names if not (folder / name).exists()]:
        verb = "list is" if len(absent) == 1 else "lists are"
        raise UsageError(f"{folder}: split {verb} missing: {first_few(absent)}")


def read_lines(path: Path) -> list[tuple[str, str]]:
    """The lines of a list that are not blank, stripped, each with `path:number` for messages.
    Raises UsageError."""
    try:
        text = as_utf8(path.read_bytes(), str(path)).decode("utf-8", "surrogateescape")
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


def _clips_in(
    folder: Path, classes: Collection[str], label_of: LabelOf
) -> list[tuple[str, Path]] | None:
    """Class and path of each video in a folder of class folders; None if it is no such folder."""
    folders, files = _scan(folder)
    loose = [(label, folder / name) for name in files if (label := label_of(name)) is not None]
    if not loose and not any(below.name in classes for below in folders):
        return None
    return loose + [(below.name, path) for below in folders for path in videos_below(below)]


def _packed(root: Path) -> str:
    """What to do where only archives are found."""
    packed = [name for name in _scan(root)[1] if name.lower().endswith(ARCHIVES)]
    return f"; unpack {packed[0]} first, see vidlabel data --help" if packed else ""
