"""The tables of a ledger, and the questions that are asked of them, in SQL.

A result belongs to a file of a name, size and modification time, made with some settings; the
folder tells apart files that are alike in all of these, and follows a file that is moved.
"""

from __future__ import annotations

import json
import os
import sqlite3
from pathlib import Path

from vidlabel.errors import OutputError, Reason

APPLICATION = 0x76696C62  # "vilb", in the file's header
VERSION = 3

PASSING = (Reason.NOT_FOUND, Reason.NOT_REGULAR, Reason.PERMISSION, Reason.READ_ERROR)
"""Failures that may be gone in the next run although the file has not changed."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE results (
    file BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, settings INTEGER NOT NULL,
    folder BLOB NOT NULL,
    limits TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, detail BLOB NOT NULL,
    duration_s REAL, start_s REAL, end_s REAL, frames_used INTEGER NOT NULL,
    probabilities BLOB, embedding BLOB,
    PRIMARY KEY (file, size, mtime_ns, settings, folder)
) WITHOUT ROWID;
CREATE TABLE windows (
    file BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, settings INTEGER NOT NULL,
    folder BLOB NOT NULL, part INTEGER NOT NULL,
    parts INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, detail BLOB NOT NULL,
    duration_s REAL, start_s REAL, end_s REAL, frames_used INTEGER NOT NULL, scores BLOB NOT NULL,
    PRIMARY KEY (file, size, mtime_ns, settings, folder, part)
) WITHOUT ROWID;
CREATE TABLE runs (id INTEGER PRIMARY KEY, output BLOB NOT NULL UNIQUE, description TEXT NOT NULL);
CREATE TABLE videos (
    run INTEGER NOT NULL, place INTEGER NOT NULL, name BLOB NOT NULL,
    file BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, folder BLOB NOT NULL,
    PRIMARY KEY (run, place)
) WITHOUT ROWID;
CREATE INDEX files ON videos (file, size, mtime_ns);
"""
_SAME_FILE = """
    results.file = videos.file AND results.size = videos.size
    AND results.mtime_ns = videos.mtime_ns AND results.settings = :settings
"""
MATCH = f"{_SAME_FILE} AND results.folder = videos.folder"
VALID = f"""
    SELECT place FROM videos JOIN results ON {MATCH}
    WHERE videos.run = :run AND videos.size >= 0 AND (
        results.status != 'failed' AND (results.embedding IS NOT NULL OR NOT :embeddings)
        OR results.status = 'failed' AND NOT :retry_failed AND results.limits = :limits
        AND results.reason NOT IN ({", ".join(f"'{r}'" for r in PASSING)})
    )
"""
ELSEWHERE = f"""
    SELECT videos.file, videos.size, videos.mtime_ns, videos.folder, results.folder
    FROM videos JOIN results ON {_SAME_FILE}
    WHERE videos.run = :run AND videos.size >= 0
    AND NOT EXISTS (SELECT 1 FROM results WHERE {MATCH})
"""


_ONE_VIDEO = "file = ? AND size = ? AND mtime_ns = ? AND folder = ? AND settings = ?"
PARTS = f"SELECT part, parts FROM windows WHERE {_ONE_VIDEO}"
WINDOWS = f"""
    SELECT part, parts, status, reason, detail, duration_s, start_s, end_s, frames_used, scores
    FROM windows WHERE {_ONE_VIDEO} ORDER BY part
"""


def create(db: sqlite3.Connection) -> None:
    """Make the tables, in a transaction of their own."""
    with db:
        db.execute("BEGIN IMMEDIATE")
        _make(db)


def upgrade(db: sqlite3.Connection, version: int) -> None:
    """Turn the tables of an older version into these.

    Version 2 had no windows. Version 1 had one run, of an output whose name it did not know: that
    becomes the empty text.
    """
    if version == 2:
        with db:
            db.execute("BEGIN IMMEDIATE")
            db.execute(next(each for each in SCHEMA.split(";") if "TABLE windows" in each))
            db.execute(f"PRAGMA user_version = {VERSION}")
        return
    db.create_function("basename", 1, os.path.basename)
    db.create_function("dirname", 1, os.path.dirname)
    with db:
        db.execute("BEGIN IMMEDIATE")
        for table in ("results", "videos"):
            db.execute(f"ALTER TABLE {table} RENAME TO {table}_1")
        _make(db)
        db.execute(
            """
            INSERT INTO results
            SELECT basename(path), size, mtime_ns, settings, dirname(path), limits, status, reason,
                   detail, duration_s, start_s, end_s, frames_used, probabilities, embedding
            FROM results_1
            """
        )
        db.execute(
            """
            INSERT INTO videos SELECT 1, place, name, basename(path), size, mtime_ns, dirname(path)
            FROM videos_1
            """
        )
        run = {key: json.loads(value) for key, value in db.execute("SELECT key, value FROM run")}
        if run:
            db.execute("INSERT INTO runs VALUES (1, ?, ?)", (b"", json.dumps(run)))
        for table in ("results_1", "videos_1", "run"):
            db.execute(f"DROP TABLE {table}")


def _make(db: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        db.execute(statement)
    db.execute(f"PRAGMA application_id = {APPLICATION}")
    db.execute(f"PRAGMA user_version = {VERSION}")


def check_is_ledger(path: Path) -> None:
    """Refuse any other file: SQLite would write into it, and `discard` would delete it. Raises
    OutputError."""
    if not path.exists():
        return
    if not path.is_file():
        raise OutputError(f"{path}: the ledger goes here, but this is not a file")
    try:
        with path.open("rb") as file:
            head = file.read(100)
    except OSError as error:
        raise OutputError(f"{path}: cannot be read: {error.strerror}") from error
    # https://www.sqlite.org/fileformat.html: the magic text, and the application id at byte 68. A
    # run that was killed right after its start leaves an empty file.
    ours = head[:16] == b"SQLite format 3\0" and head[68:72] == APPLICATION.to_bytes(4, "big")
    if head and not ours:
        raise OutputError(
            f"{path}: this file is not a ledger of vidlabel, but has the name of one; "
            "move it away, or choose another --out"
        )
