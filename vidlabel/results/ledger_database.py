"""The database of a ledger: a SQLite file, opened, checked, committed and closed.

SQLite's journal (https://www.sqlite.org/atomiccommit.html) makes a kill at any moment harmless. On
a file system that has no locks, or cannot flush a file to the disk, SQLite does without.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from vidlabel.errors import OutputError
from vidlabel.files.write import abilities
from vidlabel.results.ledger_tables import VERSION, check_is_ledger, create, upgrade


class LedgerDatabase:
    """An open database, a new one with empty tables if there is no file; a context manager.

    Raises:
        OutputError: by any method, when the file is not a ledger, is damaged, or the system
            refuses to read or write it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._committed = time.monotonic()
        self._reading: sqlite3.Cursor | None = None
        check_is_ledger(path)
        locks, flushes = abilities(path.parent)
        with self._mapped():
            url = f"file://{quote(os.fsencode(path.absolute()))}?nolock={int(not locks)}"
            self._db = sqlite3.connect(url, timeout=30.0, isolation_level=None, uri=True)
        try:
            if not flushes:
                self._db.execute("PRAGMA synchronous = OFF")
            self._prepare()
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        try:
            # The results are committed also when an error ends the run; that error is reported.
            with suppress(OutputError) if error else nullcontext():
                self.commit()
        finally:
            if self._reading is not None:  # an unfinished query would keep the file locked
                self._reading.close()
            self._db.close()

    def commit(self) -> None:
        """Write what was recorded to the disk."""
        with self._mapped():
            self._db.commit()
        self._committed = time.monotonic()

    def _prepare(self) -> None:
        with self._mapped():
            (tables,) = self._one("SELECT count(*) FROM sqlite_master")
            if not tables:
                create(self._db)
            (found,) = self._one("PRAGMA user_version")
            (state,) = self._one("PRAGMA quick_check(1)")
            if found in (1, 2) and state == "ok":
                upgrade(self._db, found)
                found = VERSION
        if found != VERSION:
            raise OutputError(
                f"{self.path}: written by another version of vidlabel; use --restart to begin again"
            )
        if state != "ok":
            raise OutputError(f"{self.path}: damaged; use --restart to begin again")

    def _one(self, statement: str, values: Any = ()) -> Any:
        return self._db.execute(statement, values).fetchone()

    @contextmanager
    def _mapped(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.OperationalError as error:  # the disk, a lock, permissions
            raise OutputError(
                f"{self.path}: {error}; the results so far are kept: run the same command to "
                "resume. If it fails again, name an --out on a local disk"
            ) from error
        except sqlite3.DatabaseError as error:
            message = f"{self.path}: damaged ({error}); use --restart to begin again"
            raise OutputError(message) from error
