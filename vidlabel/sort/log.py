"""The log of `vidlabel sort`: what it places where, written before it is done.

It lies in the folder of the classes, with a JSON object on each line: an `Entry`, or `{"made":
NAME}` for a folder that did not exist before. Nothing in it says whether an entry has been done:
that is seen from the files, so that a run can be killed at any moment. JSON escapes bytes of names
that are not UTF-8.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from vidlabel.errors import UsageError
from vidlabel.files.write import cannot_write, flush, sync_folder, write_bytes

LOG_NAME = "vidlabel_sort.jsonl"

Action: TypeAlias = Literal["copy", "link", "move"]


@dataclass(frozen=True)
class Entry:
    """One video, and its place."""

    action: Action
    source: str
    """Absolute path."""
    place: str
    """`CLASS/NAME`, below the folder of the log."""
    size: int
    """Of the source when it was logged, bytes."""
    mtime_ns: int
    """Modification time of the source when it was logged."""

    @property
    def identity(self) -> tuple[int, int]:
        """By which the source is known again, as `find.identity` gives it."""
        return self.size, self.mtime_ns


class SortLog:
    """The log in a folder; empty where there is none.

    Raises:
        UsageError: the file is there and is not such a log.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / LOG_NAME
        self.entries: list[Entry] = []
        self.made: list[str] = []
        """Folders that were made, by their path below the folder of the log; `.` is that."""
        self._good_bytes = 0
        try:
            data = self.path.read_bytes() if self.path.exists() else b""
        except OSError as error:
            raise UsageError(f"{self.path}: cannot be read: {error.strerror}") from error
        # The last line may be half written; what it announces has not been begun.
        for number, line in enumerate(data.split(b"\n")[:-1], 1):
            self._take(line, number)
            self._good_bytes += len(line) + 1

    def _take(self, line: bytes, number: int) -> None:
        try:
            values: dict[str, Any] = json.loads(line)
            if set(values) == {"made"}:
                self.made.append(str(values["made"]))
                return
            entry = Entry(**values)
            parts = Path(entry.place).parts
            right = (
                entry.action in get_args(Action)
                and Path(entry.source).is_absolute()
                and len(parts) == 2
                and not {"/", ".."} & {*parts}
                and isinstance(entry.size, int)
                and isinstance(entry.mtime_ns, int)
            )
        except (ValueError, TypeError):
            right = False
        if not right:
            raise UsageError(f"{self.path}:{number}: is not a line that vidlabel sort has written")
        self.entries.append(entry)

    def append(self, entries: Sequence[Entry], made: Sequence[str]) -> None:
        """Add lines and flush them to the disk. Raises OutputError."""
        lines = [{"made": name} for name in made] + [asdict(entry) for entry in entries]
        data = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        try:
            with self.path.open("ab") as file:
                os.ftruncate(file.fileno(), self._good_bytes)
                file.write(data)
                file.flush()
                flush(file.fileno())
            sync_folder(self.folder)
        except OSError as error:
            raise cannot_write(self.path, error) from error
        self._good_bytes += len(data)
        self.entries += entries
        self.made += made

    def keep(self, entries: Sequence[Entry]) -> None:
        """Replace the log by one of these entries, with all folders; remove it if there are none.

        Raises:
            OutputError: the system refused.
        """
        if not entries:
            try:
                self.path.unlink(missing_ok=True)
            except OSError as error:
                raise cannot_write(self.path, error) from error
            return
        lines = [{"made": name} for name in self.made] + [asdict(entry) for entry in entries]
        write_bytes(self.path, [f"{json.dumps(line)}\n".encode() for line in lines])
