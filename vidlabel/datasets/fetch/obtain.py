"""HMDB51 and UCF-101 from their official archives: fetched, unpacked class by class, counted.

    ROOT/archives/                  what was downloaded; no longer needed afterwards
    ROOT/hmdb51_org/CLASS/*.avi     the clips; a class folder is there as a whole or not at all
    ROOT/testTrainMulti_7030_splits/CLASS_test_splitN.txt

and UCF-101 likewise in UCF-101/ and ucfTrainTestlist/, the names in its archives. Class folders
right in ROOT, and lists elsewhere in it, are good as well.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from vidlabel.datasets.fetch import archives as packed
from vidlabel.datasets.fetch.archives import Archive, Budget, Entry, open_archive, room_for
from vidlabel.datasets.fetch.download import Expected, Patience, check_url, download, sha256
from vidlabel.datasets.hmdb51 import hmdb51_from_lists
from vidlabel.datasets.samples import Dataset
from vidlabel.datasets.ucf101 import ucf101_from_lists
from vidlabel.errors import OutputError, RunError, UsageError
from vidlabel.files.lock import holding

Note = Callable[[str], None]


@dataclass(frozen=True)
class DataSet:
    """Where a data set comes from, what its files are called, and how many there must be."""

    name: str
    title: str
    home: str
    splits_urls: tuple[str, ...]
    clips_urls: tuple[str, ...]
    clips_folder: str
    splits_folder: str
    clip_name: re.Pattern[str]
    list_name: re.Pattern[str]
    read_lists: Callable[[Path], Dataset]
    clips: int
    classes: int
    size_bytes: int  # of all clips, roughly

    @property
    def budget(self) -> Budget:
        """What its archives may hold; rars in rars count twice."""
        return Budget(entries=5 * self.clips, size_bytes=5 * self.size_bytes)


_BROWN = "https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/"
_UCF = "https://www.crcv.ucf.edu/data/UCF101/"
_UCF_NEW = "https://www.crcv.ucf.edu/datasets/human-actions/ucf101/"

DATA_SETS = {
    "hmdb51": DataSet(
        name="hmdb51",
        title="HMDB51",
        home="https://serre-lab.clps.brown.edu/resource/hmdb-a-large-human-motion-database/",
        splits_urls=(_BROWN + "test_train_splits.rar",),
        clips_urls=(_BROWN + "hmdb51_org.rar",),
        clips_folder="hmdb51_org",
        splits_folder="testTrainMulti_7030_splits",
        clip_name=re.compile(r".+_[a-z]_[a-z]{2}_np\d+_[a-z]{2}_[a-z]{3}_\d+\.avi"),
        list_name=re.compile(r".+_test_split[123]\.txt"),
        read_lists=hmdb51_from_lists,
        clips=6766,
        classes=51,
        size_bytes=2_200_000_000,
    ),
    "ucf101": DataSet(
        name="ucf101",
        title="UCF-101",
        home="https://www.crcv.ucf.edu/data/UCF101.php",
        splits_urls=(
            _UCF + "UCF101TrainTestSplits-RecognitionTask.zip",
            _UCF_NEW + "UCF101TrainTestSplits-RecognitionTask.zip",
        ),
        clips_urls=(_UCF + "UCF101.rar", _UCF_NEW + "UCF101.rar"),
        clips_folder="UCF-101",
        splits_folder="ucfTrainTestlist",
        clip_name=re.compile(r"v_\w+_g\d+_c\d+\.avi"),
        list_name=re.compile(r"(train|test)list0[123]\.txt|classInd\.txt"),
        read_lists=ucf101_from_lists,
        clips=13320,
        classes=101,
        size_bytes=7_100_000_000,
    ),
}


@dataclass(frozen=True)
class Findings:
    """What is there of a data set. Clips are named `class/name`."""

    clips: int
    classes: int
    missing: list[str]
    extra: list[str]
    has_lists: bool  # all of the official lists; without them nobody knows what is missing

    def complete(self, data: DataSet) -> bool:
        """Nothing of it is missing."""
        numbers = (self.clips, self.classes) == (data.clips, data.classes)
        return self.has_lists and numbers and not self.missing


@dataclass
class _Run:
    """One call of `obtain`, under way."""

    data: DataSet
    root: Path
    note: Note
    budget: Budget
    listed: dict[str, set[str]] = field(default_factory=dict)
    differing: list[str] = field(default_factory=list)

    @property
    def clips(self) -> Path:
        return _clips_folder(self.data, self.root, self.listed)

    @property
    def stage(self) -> Path:
        return self.root / ".unpacking"


class Steps:
    """Says how far something is: at each tenth, and at least each minute."""

    def __init__(self, what: str, note: Note, show: Callable[[int], str] = str) -> None:
        self._what, self._note, self._show = what, note, show
        self._tenth: int | None = None
        self._said_s = time.monotonic()

    def __call__(self, done: int, total: int | None) -> None:
        """`total` None: unknown; then each minute only."""
        now_s = time.monotonic()
        tenth = 10 * done // total if total else 0
        if self._tenth is None:
            self._tenth = tenth
        elif tenth > self._tenth or now_s > self._said_s + 60:
            self._tenth, self._said_s = tenth, now_s
            share = f" of {self._show(total)}, {done / total:.0%}" if total else ""
            self._note(f"{self._what}: {self._show(done)}{share}")


def obtain(
    data: DataSet,
    root: Path,
    urls: Iterable[str] = (),
    archives: Iterable[Path] = (),
    checksums: Iterable[str] = (),
    note: Note = lambda line: None,
    patience: Patience | None = None,
) -> Findings:
    """Have a data set below `root`: fetch and unpack what is not there yet, and look it over.

    Files that are there are never replaced, except empty ones. May be stopped at any time and
    called again.

    Args:
        data: which one.
        root: made if it is not there.
        urls: addresses of archives, instead of the data set's own.
        archives: archive files, or folders of them, instead of a download.
        checksums: SHA-256, in hexadecimal; an archive with none of these is refused.
        note: is told what happens.
        patience: how long to try an address.

    Raises:
        UsageError: an address, checksum or file is no such thing.
        RunError: an archive cannot be had, is damaged, or not what it should be.
        OutputError: the disk is full, or `root` cannot be written to or is in use.
    """
    urls, allowed = tuple(urls), {text.lower() for text in checksums}
    names = [check_url(url) for url in urls]
    if bad := [text for text in allowed if not re.fullmatch("[0-9a-f]{64}", text)]:
        raise UsageError(f"--sha256 {bad[0]}: not 64 hexadecimal digits")
    given = _archive_files(archives)
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{root}: cannot be made: {error.strerror}") from error
    with holding(root / "data"):
        run = _Run(data, root, note, data.budget)
        found = examine(data, root)
        if found.complete(data):
            return found
        _clear(run.stage)
        # The lists first, where it is known which these are: they may show that all is there.
        wanted: list[tuple[tuple[str, ...], str]]
        wanted = [((url,), name) for url, name in zip(urls, names, strict=True)]
        if not urls and not found.has_lists:
            wanted.append((data.splits_urls, check_url(data.splits_urls[0])))
        if not urls:
            wanted.append((data.clips_urls, check_url(data.clips_urls[0])))
        given.sort(key=lambda path: path.stat().st_size)
        for path in given or (_fetch(run, *each, patience) for each in wanted):
            _check_sum(path, allowed)
            run.listed = read_listed(data, root)
            unpack(run, path)
            if examine(data, root).complete(data):
                break
        _clear(run.stage)
        if run.differing:
            some = ", ".join(run.differing[:5])
            note(
                f"left as they are, but not as long as in the archive: {len(run.differing)} files "
                f"({some}); delete them and run this again to have the archive's"
            )
        return examine(data, root)


def _archive_files(paths: Iterable[Path]) -> list[Path]:
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix.lower() in packed.SUFFIXES)
            if not inside:
                raise UsageError(f"--from {path}: no .rar or .zip in this folder")
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise UsageError(f"--from {path}: no such file")
    return found


def _fetch(run: _Run, urls: tuple[str, ...], name: str, patience: Patience | None) -> Path:
    folder = run.root / "archives"
    folder.mkdir(exist_ok=True)
    target = folder / name
    if target.exists():
        run.note(f"{target}: downloaded before")
        return target
    run.note(f"downloading {urls[0]}")
    limit = max(3 * run.data.size_bytes // 2, 1 << 20)
    room = run.data.size_bytes if urls == run.data.clips_urls else 0
    steps = Steps(name, run.note, megabytes)
    expected = Expected(limit, room, packed.MAGIC)
    try:
        download(urls, target, expected, patience, steps, run.note)
    except OutputError:
        raise
    except RunError as error:
        raise RunError(
            f"{error}. Get {name} by hand, from {run.data.home} or from someone who has it, and "
            f"run: vidlabel data {run.data.name} --root {run.root} --from FILE --from FILE"
        ) from error
    run.note(f"{name}: {megabytes(target.stat().st_size)}, SHA-256 {sha256(target)}")
    return target


def megabytes(size_bytes: int) -> str:
    """A size for people."""
    return f"{size_bytes / 1e6:,.1f} MB"


def _check_sum(path: Path, allowed: set[str]) -> None:
    if allowed and (found := sha256(path)) not in allowed:
        raise RunError(f"{path}: refused, its SHA-256 is {found}, none of those given")


def unpack(run: _Run, path: Path, outer: str = "") -> None:
    """Put an archive's clips and lists, and those of archives in it, where they belong.

    Raises:
        RunError: see `open_archive`; or nothing in it belongs to the data set.
    """
    inner = bool(outer)
    _make(run.stage)
    with open_archive(path, run.budget, run.stage) as archive:
        groups: dict[Path, dict[str, Entry]] = {}
        nested: list[Entry] = []
        label = path.stem
        for entry in archive.entries:
            if entry.name.startswith(".") or "__MACOSX" in entry.parts:
                continue
            if not inner and entry.name.lower().endswith(packed.SUFFIXES):
                nested.append(entry)
                continue
            if run.data.list_name.fullmatch(entry.name):
                folder = run.root / run.data.splits_folder
            elif run.data.clip_name.fullmatch(entry.name):
                folder = run.clips / (entry.parts[-2] if len(entry.parts) > 1 else label)
            else:
                continue
            if entry.name in groups.setdefault(folder, {}):
                raise RunError(f"{path}: refused, holds {folder.name}/{entry.name} twice")
            groups[folder][entry.name] = entry
        if not groups and not nested:
            raise RunError(
                f"{outer or path}: no clips or lists of {run.data.title} in it; is it the "
                "right archive?"
            )
        _place_all(run, archive, groups, quiet=inner)
        _unpack_nested(run, archive, nested)


def _place_all(
    run: _Run, archive: Archive, groups: Mapping[Path, Mapping[str, Entry]], quiet: bool
) -> None:
    todo = {folder: _not_there(run, folder, files) for folder, files in groups.items()}
    total = sum(entry.size_bytes for files in todo.values() for entry in files.values())
    if not total:
        return
    room_for(run.root, total, archive.path.name)
    steps = Steps(f"unpacking {archive.path.name}", run.note, megabytes)
    if not quiet:
        steps(0, total)
    done = 0
    for folder, files in todo.items():
        stage = run.stage / folder.name
        _make(stage)
        for name, entry in files.items():
            archive.copy(entry, stage / name)
            done += entry.size_bytes
            if not quiet:
                steps(done, total)
        _move_in(stage, folder)


def _not_there(run: _Run, folder: Path, files: Mapping[str, Entry]) -> dict[str, Entry]:
    there = _sizes(folder)
    run.differing += [
        f"{folder.name}/{name}" for name, entry in files.items()
        if there.get(name) and there[name] != entry.size_bytes
    ]  # fmt: skip
    return {name: entry for name, entry in files.items() if not there.get(name)}


def _move_in(stage: Path, folder: Path) -> None:
    """Make a staged folder the one it is for: at once, or file by file if that one exists."""
    try:
        folder.parent.mkdir(exist_ok=True)
        if folder.exists():
            for path in stage.iterdir():
                path.replace(folder / path.name)
            stage.rmdir()
        else:
            stage.rename(folder)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written: {error.strerror}") from error


def _unpack_nested(run: _Run, archive: Archive, nested: list[Entry]) -> None:
    """Archives in an archive: HMDB51 has one for each class."""
    steps = Steps("unpacking classes", run.note)
    todo = [entry for entry in nested if not _has_class(run, Path(entry.name).stem)]
    steps(0, len(todo))
    room_for(run.root, 2 * sum(entry.size_bytes for entry in todo), archive.path.name)
    for number, entry in enumerate(todo, 1):
        _make(run.stage)
        inside = run.stage / entry.name
        archive.copy(entry, inside)
        unpack(run, inside, f"{archive.path}: {'/'.join(entry.parts)}")
        inside.unlink()
        steps(number, len(todo))


def _has_class(run: _Run, label: str) -> bool:
    there = {name for name, size in _sizes(run.clips / label).items() if size}
    return bool(there) and run.listed.get(label, set()) <= there


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: cannot be made: {error.strerror}") from error


def _clear(stage: Path) -> None:
    if stage.is_symlink():
        stage.unlink()
    shutil.rmtree(stage, ignore_errors=True)


def _sizes(folder: Path) -> dict[str, int]:
    """Names and sizes of the files in a folder; none if there is no folder."""
    try:
        with os.scandir(folder) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}
    except OSError:
        return {}


def read_listed(data: DataSet, root: Path) -> dict[str, set[str]]:
    """The clips in the official lists below `root`, by class; empty unless all lists are there."""
    listed: dict[str, set[str]] = {}
    with suppress(UsageError):
        for sample in data.read_lists(root).samples:
            listed.setdefault(sample.label, set()).add(Path(sample.path).name)
    return listed


def _clips_folder(data: DataSet, root: Path, listed: Mapping[str, set[str]]) -> Path:
    own = root / data.clips_folder
    here = not own.exists() and any((root / label).is_dir() for label in listed)
    return root if here else own


def examine(data: DataSet, root: Path) -> Findings:
    """Count what is there of a data set below `root`, against its lists."""
    by_class = read_listed(data, root)
    listed = {f"{label}/{name}" for label, names in by_class.items() for name in names}
    there: set[str] = set()
    folder = _clips_folder(data, root, by_class)
    if folder.is_dir():
        for place in (p for p in folder.iterdir() if p.is_dir() and p.name[0] != "."):
            names = [name for name, size in _sizes(place).items() if size]
            there |= {f"{place.name}/{name}" for name in names if name.lower().endswith(".avi")}
    right = there & listed if listed else there
    return Findings(
        clips=len(right),
        classes=len({name.split("/")[0] for name in right}),
        missing=sorted(listed - there),
        extra=sorted(there - listed) if listed else [],
        has_lists=len(listed) == data.clips,
    )
