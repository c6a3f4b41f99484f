"""The ledger: the results so far, in a SQLite file beside the output.

Each result is recorded when it is ready, under the name, size, modification time and folder of the
video and the settings it was made with. A later run reuses the results that are still valid, also
those of files that have moved, and labels the other videos. Results of different settings are kept
apart and never mixed in one table.

Outputs whose names differ only in the suffix share a ledger and its results. Each has a run of its
own in it: the videos of its table, in order, and how the table shows them.

SQLite's journal (https://www.sqlite.org/atomiccommit.html) makes a kill at any moment harmless: a
later run repeats only what was not committed, a second's work at most. On a file system that has no
locks, or cannot flush a file to the disk, SQLite does without.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from vidlabel.errors import OutputError
from vidlabel.files.find import identity
from vidlabel.results.ledger_database import LedgerDatabase
from vidlabel.results.ledger_rows import (
    Key,
    as_bytes,
    as_text,
    part_numbers,
    plain,
    read_parts,
    row_of,
    write_part,
)
from vidlabel.results.ledger_run import LastRun, RunSettings, ShardOf
from vidlabel.results.ledger_tables import ELSEWHERE, MATCH, VALID
from vidlabel.results.segments import to_segments
from vidlabel.results.topk import shown
from vidlabel.results.window_scores import Collector, PartScores, ScoredVideo
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Limits, Prediction, VideoItem

COMMIT_S = 1.0
"""Seconds between commits: the work that a kill can cost."""

_NOWHERE = (-1, -1)  # the identity of what is not a regular file


class Ledger(LedgerDatabase):
    """An open ledger, a new one if there is no file; a context manager. Leaving it commits what was
    recorded.

    Raises:
        OutputError: by any method, when the file is not a ledger, is damaged, or the system
            refuses to read or write it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self._embeddings = False
        self._limits = ""
        self._settings = 0
        self._run: int | None = None
        self._classes: tuple[str, ...] = ()
        self._timeline: TimelineSpec | None = None
        self._parts: dict[str, tuple[int, set[int]]] = {}  # of videos that are begun
        self._keys: dict[str, Key] = {}

    def begin(
        self,
        items: Sequence[VideoItem],
        settings: RunSettings,
        run: LastRun,
        limits: Limits,
        *,
        embeddings: bool = False,
        retry_failed: bool = False,
        output: str = "",
    ) -> list[VideoItem]:
        """Start a run, and return the videos that have no valid result yet.

        A result is valid while the file has the same name, size and modification time, also after
        it was moved to another folder. A failure is valid only with the same limits, and never if
        its reason is one of `PASSING`.

        Args:
            items: all videos of the run, by ascending index: the order of its table.
            settings: only results made with these are valid.
            run: what `last_run` returns for its output from now on.
            limits: of the failures that are valid.
            embeddings: results without an embedding are not valid.
            retry_failed: failures are not valid.
            output: file name of the run's table; an earlier run of this name is replaced.
        """
        self._embeddings = embeddings
        self._classes, self._timeline = run.classes, run.timeline
        self._limits = json.dumps(asdict(limits), sort_keys=True)
        key = settings.key
        with self._mapped(), self._db:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR IGNORE INTO settings (key) VALUES (?)", (key,))
            (self._settings,) = self._one("SELECT id FROM settings WHERE key = ?", (key,))
            described = json.dumps(
                asdict(run)
                | {"settings": self._settings, "limits": asdict(limits), "embeddings": embeddings}
            )
            name = as_bytes(output)
            replaced = (name, b"")
            self._db.execute(
                "DELETE FROM videos WHERE run IN (SELECT id FROM runs WHERE output IN (?, ?))",
                replaced,
            )
            self._db.execute("DELETE FROM runs WHERE output IN (?, ?)", replaced)
            new = "INSERT INTO runs (output, description) VALUES (?, ?)"
            self._run = self._db.execute(new, (name, described)).lastrowid
            self._db.executemany(
                "INSERT INTO videos VALUES (?, ?, ?, ?, ?, ?, ?)", map(self._video, items)
            )
            self._follow_moved()
        valid = self._this | {
            "limits": self._limits,
            "embeddings": embeddings,
            "retry_failed": retry_failed,
        }
        with self._mapped():
            done = {place for (place,) in self._db.execute(VALID, valid)}
        return [item for item in items if item.index not in done]

    def record(self, row: Prediction) -> None:
        """Record the result of a video of this run: a row with all classes in `top`."""
        file, size, mtime_ns, folder = self._keys[row.path]
        embedding = np.array(row.embedding, np.float32).tobytes()
        values = (
            file, size, mtime_ns, self._settings, folder, self._limits, *plain(row),
            self._packed(row), embedding if self._embeddings and row.ok else None,
        )  # fmt: skip
        with self._writing():
            self._db.execute(
                f"INSERT OR REPLACE INTO results VALUES ({', '.join('?' * len(values))})", values
            )

    def finish(self) -> None:
        """Note that every video of the run has a result that is valid for it."""
        self.commit()
        with self._mapped():
            (described,) = self._one("SELECT description FROM runs WHERE id = :run", self._this)
            finished = json.dumps(json.loads(described) | {"finished": True})
            change = "UPDATE runs SET description = ? WHERE id = ?"
            self._db.execute(change, (finished, self._run))

    def outputs(self) -> list[str]:
        """File names of the tables of all runs, the latest last."""
        with self._mapped():
            found = self._db.execute("SELECT output FROM runs ORDER BY id")
            return [as_text(name) for (name,) in found]

    def last_run(self, output: str | None = None) -> LastRun:
        """The latest run, or the run of the table with this file name, as given to `begin`; `count`
        and `rows` are about it from now on. Raises OutputError if there is none."""
        names = self.outputs()
        if not names:
            raise OutputError(f"{self.path}: the ledger is empty; no run was recorded in it")
        name = names[-1] if output is None else output
        if name not in names and "" in names:  # a run of an older version, which has no name
            name = ""
        if name not in names:
            raise OutputError(
                f"{self.path}: has no run that wrote {name}, only {' and '.join(names)}"
            )
        with self._mapped():
            self._run, described = self._one(
                "SELECT id, description FROM runs WHERE output = ?", (as_bytes(name),)
            )
        values = json.loads(described)
        self._settings = values["settings"]
        timeline = TimelineSpec(**values["timeline"]) if values.get("timeline") else None
        self._classes, self._timeline = tuple(values["classes"]), timeline
        return LastRun(
            values["model"], self._classes, values["top_k"], values["min_confidence"],
            tuple(values.get("shown", ())),  # earlier versions had no such thing
            timeline,
            ShardOf(**values["shard"]) if values.get("shard") else None,
        )  # fmt: skip

    def count(self) -> tuple[int, int]:
        """Videos of the run: how many have a result, and how many there are."""
        with self._mapped():
            total, done = self._one(
                f"""
                SELECT count(*), count(results.file) FROM videos LEFT JOIN results ON {MATCH}
                WHERE videos.run = :run
                """,
                self._this,
            )
        return done, total

    def about_run(self) -> dict[str, Any]:
        """Of the run as plain values: the `settings` and `limits` that its results were made with,
        whether they have `embeddings`, and whether it is `finished`. Of a run that an older version
        recorded, there are no limits, and it is neither."""
        with self._mapped():
            (described,) = self._one("SELECT description FROM runs WHERE id = :run", self._this)
            (key,) = self._one("SELECT key FROM settings WHERE id = :settings", self._this)
        values = json.loads(described)
        return {
            "settings": json.loads(key),
            "limits": values.get("limits", {}),
            "embeddings": values.get("embeddings", False),
            "finished": values.get("finished", False),
        }

    def places(self) -> Iterator[tuple[int, str]]:
        """Index and path of the videos whose results `rows` gives, in the same order."""
        with self._mapped():
            found = self._db.execute(
                f"SELECT place, name FROM videos JOIN results ON {MATCH} "
                "WHERE videos.run = :run ORDER BY place",
                self._this,
            )
            with closing(found):
                yield from ((place, as_text(name)) for place, name in found)

    def rows(self, run: LastRun) -> Iterator[Prediction]:
        """The results of the run, in the order of its videos, with all classes in `top`."""
        with self._mapped():
            self._reading = self._db.execute(
                f"""
                SELECT name, status, reason, detail, duration_s, start_s, end_s, frames_used,
                       probabilities, embedding
                FROM videos JOIN results ON {MATCH} WHERE videos.run = :run ORDER BY place
                """,
                self._this,
            )
            for values in self._reading:
                yield row_of(values, run.classes, run.name)

    def shown_rows(self, run: LastRun) -> Iterator[Prediction]:
        """The results of the run as a table of `run` shows them."""
        if run.timeline is None:
            return (shown(row, run.top_k, run.min_confidence, run.shown) for row in self.rows(run))
        return self._segments(run)

    def missing_parts(self, item: VideoItem) -> list[VideoItem]:
        """What is left to do of a video of this run, as `Labeller.score_windows` takes it; nothing
        if only the row of the video is missing, which is recorded now."""
        with self._mapped():
            total, done = part_numbers(self._db, self._keys[item.path], self._settings)
        self._parts[item.path] = total, done
        if 0 not in done:
            return [item]
        self._finish(item.path)
        return [replace(item, part=part) for part in range(total) if part not in done]

    def parts_done(self, path: str) -> int:
        """Parts of a video of this run that are recorded; see `missing_parts`."""
        return len(self._parts[path][1])

    def record_part(self, part: PartScores) -> Prediction | None:
        """Record the scores of a part of a video of this run; returns the row of the video, without
        a label, if this was the last of its parts, or if it cannot be read."""
        path = part.row.path
        if part.part == 0 and not part.row.ok:
            self.record(part.row)
            return part.row
        with self._writing():
            write_part(self._db, self._keys[path], self._settings, part)
        total, done = self._parts[path]
        self._parts[path] = (part.parts if part.part == 0 else total), done | {part.part}
        return self._finish(path)

    def _finish(self, path: str) -> Prediction | None:
        """Record the row of a video, if all of its parts are there."""
        total, done = self._parts[path]
        if not total or len(done) < total:
            return None
        video = self._video_scores(self._keys[path], path, "")
        self.record(video.row)
        del self._parts[path]
        return video.row

    def _video_scores(self, key: Key, path: str, model: str) -> ScoredVideo:
        """The scores of a video, all of whose parts are there."""
        assert self._timeline is not None  # `begin` and `last_run` set it
        collector = Collector(self._timeline.window_s or 0, self._timeline.stride_s or 0)
        with self._mapped():
            parts = read_parts(self._db, key, self._settings, path, len(self._classes), model)
            joined = next(filter(None, map(collector.add, parts)), None)
        if joined is None:
            raise OutputError(f"{self.path}: damaged; use --restart to begin again")
        return joined

    def _segments(self, run: LastRun) -> Iterator[Prediction]:
        assert run.timeline is not None  # the caller has looked
        with self._mapped():
            keys = {
                as_text(name): key for name, *key in self._db.execute(
                    "SELECT name, file, size, mtime_ns, folder FROM videos WHERE run = ?",
                    (self._run,),
                )
            }  # fmt: skip
        for row in self.rows(run):
            if not row.ok:
                yield row
                continue
            video = self._video_scores(tuple(keys[row.path]), row.path, run.name)
            yield from to_segments(
                video, run.classes, run.timeline, run.top_k, run.min_confidence, run.shown
            )

    @property
    def _this(self) -> dict[str, Any]:
        """Parameters of the queries about the run."""
        return {"run": self._run, "settings": self._settings}

    def _follow_moved(self) -> None:
        """Note the new folder of files that have a result, but are in another folder now: one file
        of the same name, size and time has gone from where it was."""
        moved: dict[tuple[Any, ...], list[bytes]] = {}
        for *video, before in self._db.execute(ELSEWHERE, self._this):
            if not os.path.lexists(os.path.join(as_text(before), as_text(video[0]))):  # noqa: PTH118
                moved.setdefault(tuple(video), []).append(before)
        for (*file, folder), places in moved.items():
            if len(places) == 1:
                for table in (
                    "results",
                    "windows",
                    "videos",
                ):  # of all settings, and of the other runs
                    self._db.execute(
                        f"UPDATE OR REPLACE {table} SET folder = ? "
                        "WHERE file = ? AND size = ? AND mtime_ns = ? AND folder = ?",
                        (folder, *file, *places),
                    )

    def _video(self, item: VideoItem) -> tuple[Any, ...]:
        size, mtime_ns = (None if item.problem else identity(item.path)) or _NOWHERE
        folder, file = map(as_bytes, os.path.split(os.path.abspath(item.path)))  # noqa: PTH100
        self._keys[item.path] = (file, size, mtime_ns, folder)
        return self._run, item.index, as_bytes(item.path), *self._keys[item.path]

    def _packed(self, row: Prediction) -> bytes | None:
        if not row.top:
            return None
        of = dict(row.top)
        return np.array([of[name] for name in self._classes], dtype=np.float32).tobytes()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """What is written inside is committed within COMMIT_S."""
        with self._mapped():
            if not self._db.in_transaction:
                self._db.execute("BEGIN IMMEDIATE")
            yield
        if time.monotonic() > self._committed + COMMIT_S:
            self.commit()
