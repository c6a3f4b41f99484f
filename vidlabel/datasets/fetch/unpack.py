"""Unpack the archives of a data set, class by class, to where its clips and lists belong."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from vidlabel.datasets.fetch.archives import (
    Archive,
    Budget,
    Entry,
    Note,
    open_archive,
    room_for,
    write_errors,
)
from vidlabel.datasets.public import ARCHIVES, OfficialLists, PublicDataset
from vidlabel.errors import RunError
from vidlabel.files.write import make_folder


class Unpacker:
    """Unpacks archives below `root`. A class folder appears there as a whole, or not at all.

    `note` is called with lines that say how far it is.
    """

    def __init__(self, data: PublicDataset, root: Path, note: Note) -> None:
        self.differing: list[str] = []
        """Files that are there and have another size than in the archive: they are kept."""
        self._data, self._root, self._note = data, root, note
        # Archives in archives count twice.
        self._budget = Budget(entries=5 * data.clips, size_bytes=5 * data.size_bytes)
        self._stage = root / ".unpacking"
        self._lists = OfficialLists({}, frozenset(), ())

    def clear(self) -> None:
        """Remove what an interrupted run has left half unpacked."""
        if self._stage.is_symlink():
            self._stage.unlink()
        shutil.rmtree(self._stage, ignore_errors=True)

    def unpack(self, path: Path, lists: OfficialLists | None, inside: str = "") -> None:
        """Put an archive's clips and lists, and those of archives in it, where they belong.

        Args:
            lists: the official lists, if they are known already; a class that is there with all
                clips in them is not unpacked again.
            inside: which entry of which archive this archive is, for messages.

        Raises:
            RunError: see `open_archive`; or nothing in it belongs to the data set.
            OutputError: the disk is full or cannot be written to.
        """
        self._lists, data = lists or self._lists, self._data
        make_folder(self._stage)
        with open_archive(path, self._budget, self._stage) as archive:
            groups: dict[Path, dict[str, Entry]] = {}
            nested: list[Entry] = []
            for entry in archive.entries:
                if entry.name.startswith(".") or "__MACOSX" in entry.parts:
                    continue
                if not inside and entry.name.lower().endswith(ARCHIVES):
                    nested.append(entry)
                    continue
                if data.list_name.fullmatch(entry.name):
                    folder = self._root / data.splits_folder
                elif data.clip_name.fullmatch(entry.name):
                    label = entry.parts[-2] if len(entry.parts) > 1 else path.stem
                    folder = self._clips_folder / label
                else:
                    continue
                if entry.name in groups.setdefault(folder, {}):
                    raise RunError(f"{path}: refused, holds {folder.name}/{entry.name} twice")
                groups[folder][entry.name] = entry
            if not groups and not nested:
                raise RunError(
                    f"{inside or path}: contains no clips or lists of {data.title}; is it the "
                    "right archive?"
                )
            self._place_all(archive, groups, quiet=bool(inside))
            self._unpack_nested(archive, nested)

    @property
    def _clips_folder(self) -> Path:
        """The folder of the class folders: the archive's, unless class folders lie in the root."""
        own = self._root / self._data.clips_folder
        here = not own.exists() and any((self._root / k).is_dir() for k in self._lists.classes)
        return self._root if here else own

    def _place_all(
        self, archive: Archive, groups: Mapping[Path, Mapping[str, Entry]], quiet: bool
    ) -> None:
        todo = {folder: self._not_there(folder, files) for folder, files in groups.items()}
        total = sum(entry.size_bytes for files in todo.values() for entry in files.values())
        if not total:
            return
        room_for(self._root, total, archive.path.name)
        unpacking = f"unpacking {archive.path.name}"
        tenths = Tenths(unpacking, (lambda line: None) if quiet else self._note, megabytes)
        tenths(0, total)
        done = 0
        for folder, files in todo.items():
            stage = self._stage / folder.name
            make_folder(stage)
            for name, entry in files.items():
                archive.copy(entry, stage / name)
                done += entry.size_bytes
                tenths(done, total)
            _move_in(stage, folder)

    def _not_there(self, folder: Path, files: Mapping[str, Entry]) -> dict[str, Entry]:
        there = _sizes(folder)
        self.differing += [
            f"{folder.name}/{name}" for name, entry in files.items()
            if there.get(name) and there[name] != entry.size_bytes
        ]  # fmt: skip
        return {name: entry for name, entry in files.items() if not there.get(name)}

    def _unpack_nested(self, archive: Archive, nested: list[Entry]) -> None:
        """Archives in an archive: HMDB51 has one for each class."""
        todo = [entry for entry in nested if not self._has_class(Path(entry.name).stem)]
        tenths = Tenths("unpacking classes", self._note)
        tenths(0, len(todo))
        room_for(self._root, 2 * sum(entry.size_bytes for entry in todo), archive.path.name)
        for number, entry in enumerate(todo, 1):
            make_folder(self._stage)
            inner = self._stage / entry.name
            archive.copy(entry, inner)
            self.unpack(inner, None, f"{archive.path}: {'/'.join(entry.parts)}")
            inner.unlink()
            tenths(number, len(todo))

    def _has_class(self, label: str) -> bool:
        sizes = _sizes(self._clips_folder / label)
        there = {f"{label}/{name}" for name, size in sizes.items() if size}
        listed = {clip for clip in self._lists.clips if clip.startswith(f"{label}/")}
        return bool(there) and listed <= there


class Tenths:
    """Notes how far something is: at each tenth, and at least once a minute."""

    def __init__(self, what: str, note: Note, show: Callable[[int], str] = str) -> None:
        self._what, self._note, self._show = what, note, show
        self._tenth: int | None = None
        self._noted_s = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """`total` None: it is unknown, and only minutes count."""
        now_s = time.monotonic()
        tenth = 10 * done // total if total else 0
        if self._tenth is None:
            self._tenth = tenth
        elif tenth > self._tenth or now_s > self._noted_s + 60:
            self._tenth, self._noted_s = tenth, now_s
            share = f" of {self._show(total)}, {done / total:.0%}" if total else ""
            self._note(f"{self._what}: {self._show(done)}{share}")


def megabytes(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 1e6:,.1f} MB"


def _move_in(stage: Path, folder: Path) -> None:
    """Make a staged folder the one it is for: at once, or file by file if that one exists."""
    with write_errors(folder):
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            for path in stage.iterdir():
                path.replace(folder / path.name)
            stage.rmdir()
        else:
            stage.rename(folder)


def _sizes(folder: Path) -> dict[str, int]:
    """Names and sizes of the files in a folder; none if there is no folder."""
    return {path.name: path.stat().st_size for path in folder.glob("*") if path.is_file()}
