"""What a sort has to do: the place of each video, and what of it has been done before."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from vidlabel.errors import UsageError
from vidlabel.files.find import identity, why_absent
from vidlabel.files.names import STATE_FOLDERS, class_folder, fitting
from vidlabel.files.spelling import Spellings
from vidlabel.results.record import Record
from vidlabel.sort.log import LOG_NAME, Action, Entry, SortLog
from vidlabel.sort.place import is_placed
from vidlabel.specs import Status
from vidlabel.text import text_path


@dataclass(frozen=True)
class Step:
    """One video: what to take back first, then what to do."""

    entry: Entry
    stale: tuple[Entry, ...] = ()
    """Earlier places of the same video, as by another label."""
    is_new: bool = False
    """Whether the entry is to be logged."""
    is_done: bool = False

    @property
    def folder(self) -> str:
        """That of its class, or one of STATE_FOLDERS."""
        return self.entry.place.partition("/")[0]


@dataclass
class Plan:
    """All that is to be done for a table."""

    steps: list[Step] = field(default_factory=list)
    folders: Counter[str] = field(default_factory=Counter)
    """Videos by the folder that they belong to."""
    missing: list[str] = field(default_factory=list)
    """Lines on videos that are not there, or are no files."""

    @property
    def new(self) -> list[Entry]:
        """The entries to log."""
        return [step.entry for step in self.steps if step.is_new]

    @property
    def copied_bytes(self) -> int:
        """Size of all that is still to be copied."""
        left = (step.entry for step in self.steps if not step.is_done)
        return sum(entry.size for entry in left if entry.action == "copy")


def sources_of(
    rows: Sequence[Record], roots: Sequence[Path], log: SortLog, spellings: Spellings
) -> list[tuple[str, str]]:
    """Absolute path and folder for each row: that of its class, or one of STATE_FOLDERS.

    Relative paths are below the first of the `roots` where there is such a file, or was one until
    the log says that it was moved.

    Raises:
        UsageError: a video has several rows.
    """
    before = {_key(entry.source): entry.source for entry in log.entries}
    found = []
    for row in rows:
        path, _ = spellings.find_below(row["path"], roots)
        if not os.path.lexists(path):
            places = (_key(os.path.abspath(root / row["path"])) for root in roots)  # noqa: PTH100
            path = next((before[place] for place in places if place in before), path)
        found.append((path, _folder(row)))
    path, count = Counter(path for path, _ in found).most_common(1)[0]
    if count > 1:
        raise UsageError(
            f"the table has {count} rows for {path}; sort needs one row for each video, and no "
            "segments"
        )
    return found


def _key(path: str) -> str:
    """The same for the spellings of a path in tables of several machines."""
    return unicodedata.normalize("NFC", text_path(path)).replace("\\", "/")


def _folder(row: Record) -> str:
    if row["status"] in (Status.UNCERTAIN, Status.FAILED):
        return STATE_FOLDERS[row["status"] == Status.FAILED]
    return class_folder(row["label"] or "", reserved=(LOG_NAME,))


def plan_of(sources: Sequence[tuple[str, str]], log: SortLog, action: Action) -> Plan:
    """The plan for videos and their folders, given what the log has of earlier runs."""
    plan = Plan()
    logged: defaultdict[str, list[Entry]] = defaultdict(list)
    for entry in log.entries:
        logged[entry.source].append(entry)
    free_place = _FreePlaces(log)
    for source, wished in sources:
        folder = fitting(log.folder, log.folder / wished).name
        now = identity(source)
        known = _of_same_file(logged[source], now, log.folder)
        if now is None and not known:
            why = "is not a file" if os.path.lexists(source) else why_absent(source, "no such file")
            plan.missing.append(f"{source}: {why}")
            continue
        plan.folders[folder] += 1
        size, mtime_ns = now or known[-1].identity
        if now and Path(source).parent.resolve() == (log.folder / folder).resolve():
            there = Entry(action, source, f"{folder}/{Path(source).name}", size, mtime_ns)
            plan.steps.append(Step(there, is_done=True))
            continue
        wanted = [e for e in known if e.action == action and e.place.startswith(f"{folder}/")]
        stale = tuple(e for e in known if e not in wanted[-1:] and is_placed(e, log.folder))
        if wanted:
            entry = wanted[-1]
        else:
            place = free_place(folder, Path(source).name)
            entry = Entry(action, source, place, size, mtime_ns)
        half_moved = action == "move" and now is not None  # killed with both files there
        done = is_placed(entry, log.folder) and not half_moved and not stale
        plan.steps.append(Step(entry, stale, not wanted, done))
    return plan


def _of_same_file(
    entries: Sequence[Entry], now: tuple[int, int] | None, folder: Path
) -> list[Entry]:
    """The entries of one path that are about the file that is there now; where there is none, the
    file that was placed last. A path may be used again for another file, as cameras do."""
    if now is None:
        now = next((e.identity for e in reversed(entries) if is_placed(e, folder)), None)
    return [e for e in entries if now == e.identity or (now and e.action == "link")]


class _FreePlaces:
    """Finds places that no video has, on the disk or by the log."""

    def __init__(self, log: SortLog) -> None:
        self._root = log.folder
        # In lower case, as some disks do not tell cases apart.
        self._taken = {entry.place.casefold() for entry in log.entries}
        self._numbers: Counter[str] = Counter()

    def __call__(self, folder: str, name: str) -> str:
        """`FOLDER/NAME`; where that is taken, with ~2, ~3 and so on before the suffix."""
        stem, suffix = os.path.splitext(name)  # noqa: PTH122
        key = f"{folder}/{name}".casefold()
        while True:
            self._numbers[key] += 1
            number = self._numbers[key]
            numbered = f"{stem}~{number}{suffix}" if number > 1 else name
            place = fitting(self._root, self._root / folder / numbered)
            text = f"{folder}/{place.name}"
            if text.casefold() not in self._taken and not os.path.lexists(place):
                self._taken.add(text.casefold())
                return text
