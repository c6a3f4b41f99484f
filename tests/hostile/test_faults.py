"""Every operation on the file system fails in turn; whatever fails, nothing is lost or torn.

The method is SQLite's (https://www.sqlite.org/testing.html, section 3.2): let the Nth operation
fail for N = 1, 2, 3, ... until a run meets no failure any more, and look at the files each time.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from vidlabel.errors import OutputError
from vidlabel.predict.job import RunOptions, label_videos
from vidlabel.predict.labeller import PredictSpec
from vidlabel.predict.output import TableOutput
from vidlabel.results import ledger
from vidlabel.specs import Prediction, Status, VideoItem

CLASSES = ("run", "walk")
OLD = "the table of an earlier run"


class StubLabeller:
    """Labels by the name of the file, at once; counts what it was asked for."""

    classes = CLASSES
    precision = "fp32"
    device = "cpu fp32"
    checkpoint = SimpleNamespace(id="stub@0", digest="0" * 64)

    def __init__(self) -> None:
        self.asked: list[str] = []

    def predict(self, items: Iterable[VideoItem], *_: Any, **__: Any) -> Iterator[Prediction]:
        for item in items:
            self.asked.append(item.path)
            if "bad" in item.path:
                detail = f"{item.path}: not a video"
                yield Prediction(item.path, Status.FAILED, reason="not_video", detail=detail)
                continue
            share = float(Path(item.path).stat().st_size % 7) / 8
            top = tuple(sorted(zip(CLASSES, (share, 1 - share), strict=True), key=lambda p: -p[1]))
            yield Prediction(
                item.path, Status.OK, top[0][0], top[0][1], top, 0.0, 1.0, 1.0, 4, "stub@0",
                embedding=(share, 0.5),
            )  # fmt: skip

    def min_confidence(self, spec: PredictSpec) -> float:
        return 0.0

    def chosen(self, spec: PredictSpec) -> tuple[str, ...]:
        return ()

    def warnings(self) -> list[str]:
        return []


class Faults:
    """Counts operations on the file system and lets chosen ones fail."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.fails: Callable[[int], bool] = lambda number: False
        self.met = False
        for module, names in (
            (os, ("fsync", "open", "ftruncate", "write", "scandir")),
            (Path, ("open", "chmod", "replace", "unlink")),
        ):
            for name in names:
                patch.setattr(module, name, self._faulty(getattr(module, name)))
        check = self._check

        class Connection(sqlite3.Connection):
            def __init__(self, *arguments: Any, **named: Any) -> None:
                super().__init__(*arguments, **named)
                super().execute("PRAGMA synchronous = OFF")  # a thousand runs wait for the disk

            def execute(self, *arguments: Any) -> Any:
                check(sqlite3.OperationalError("disk I/O error"))
                return super().execute(*arguments)

            def executemany(self, *arguments: Any) -> Any:
                check(sqlite3.OperationalError("database or disk is full"))
                return super().executemany(*arguments)

            def commit(self) -> None:
                check(sqlite3.OperationalError("disk I/O error"))
                super().commit()

            def __exit__(self, kind: Any, error: Any, trace: Any) -> Any:
                try:
                    if kind is None:  # the block commits
                        check(sqlite3.OperationalError("database or disk is full"))
                except sqlite3.OperationalError:
                    super().rollback()
                    raise
                return super().__exit__(kind, error, trace)

        connect = sqlite3.connect
        patch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **k, factory=Connection))

    def arm(self, fails: Callable[[int], bool]) -> None:
        """From now on, operations whose number satisfies `fails` do."""
        self.count, self.met, self.fails = 0, False, fails

    def disarm(self) -> None:
        self.fails = lambda number: False

    def _faulty(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            self._check(OSError(errno.ENOSPC, "No space left on device"))
            result = real(*arguments, **named)
            if real is _open and arguments[1:] and "w" in arguments[1]:
                return _FaultyFile(result, self._check)
            return result

        return call

    def _check(self, error: Exception) -> None:
        self.count += 1
        if self.fails(self.count):
            self.met = True
            raise error


_open = Path.open


class _FaultyFile:
    """A file whose writes and whose closing may fail, as on a disk that fills up."""

    def __init__(self, file: Any, check: Callable[[Exception], None]) -> None:
        self._file = file
        self._check = check

    def __enter__(self) -> _FaultyFile:
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.close()
        self._check(OSError(errno.ENOSPC, "No space left on device"))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def write(self, data: bytes) -> int:
        try:
            self._check(OSError(errno.ENOSPC, "No space left on device"))
        except OSError:
            self._file.write(data[: len(data) // 2])  # torn
            raise
        return int(self._file.write(data))


@pytest.fixture
def items(tmp_path: Path) -> list[VideoItem]:
    folder = tmp_path / "clips"
    folder.mkdir()
    for i in range(6):
        (folder / f"{'bad' if i == 3 else 'clip'}{i}.mp4").write_bytes(b"x" * (i + 1))
    return [VideoItem(i, str(path)) for i, path in enumerate(sorted(folder.iterdir()))]


def label(items: list[VideoItem], folder: Path) -> tuple[str, list[str]]:
    """Run once: the error that ended it, "" for none, and what was labelled."""
    out = folder / "labels.csv"
    labeller = StubLabeller()
    output = TableOutput(str(out), embeddings=folder / "features.npz")
    try:
        label_videos(labeller, items, PredictSpec(), output, RunOptions(quiet=True))  # type: ignore[arg-type]
    except OutputError as error:
        return str(error), labeller.asked
    return "", labeller.asked


@pytest.mark.parametrize("persistent", [False, True], ids=["once", "from then on"])
@pytest.mark.parametrize("fresh", [True, False], ids=["first run", "second run"])
def test_b2_33_every_operation_fails_in_turn(
    fresh: bool,
    persistent: bool,
    items: list[VideoItem],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ledger, "COMMIT_S", 0.0)
    reference = tmp_path / "reference"
    reference.mkdir()
    assert not label(items, reference)[0]
    expected = {name: (reference / name).read_bytes() for name in ("labels.csv", "features.npz")}
    faults = Faults(monkeypatch)
    for number in range(1, 1000):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        old = {name: OLD.encode() for name in expected}
        if not fresh:  # half of it is done already
            label(items[:3], folder)
            old = {name: (folder / name).read_bytes() for name in expected}
        else:
            for name in expected:
                (folder / name).write_text(OLD)
        faults.arm(lambda n, at=number: n >= at if persistent else n == at)  # type: ignore[misc]
        failure, asked = label(items, folder)
        faults.disarm()
        for name, whole in expected.items():
            content = (folder / name).read_bytes()
            assert content in (old[name], whole), f"operation {number}: {name} is torn"
            assert failure or content == whole
        assert not failure or str(folder) in failure
        again, asked_again = label(items, folder)
        assert not again, f"operation {number}: {failure}; the run does not recover"
        for name, whole in expected.items():
            assert (folder / name).read_bytes() == whole
        # Of what was labelled, at most the result that was being recorded is done again.
        assert len(set(asked) & set(asked_again)) <= 1 + (asked_again == asked)
        assert sorted(path.name for path in folder.iterdir()) == [
            "features.npz", "labels.csv", "labels.ledger",
        ]  # fmt: skip
        if not faults.met:
            break
    assert number > 60, "the faults did not reach the file system"
