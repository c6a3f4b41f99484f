"""The ledger: which run an output names, and which results are still valid."""

from __future__ import annotations

import csv
import json
import shutil
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from fakes import colour_video, random_checkpoint
from program import Invoke

from vidlabel.errors import OutputError
from vidlabel.results.ledger import Ledger
from vidlabel.results.ledger_run import LastRun, RunSettings
from vidlabel.results.tables import read_labels
from vidlabel.results.window_scores import PartScores
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Limits, Prediction, Status, VideoItem

SETTINGS = RunSettings("m", 1, "fp32")
RUN = LastRun("m@1", ("run", "walk"), 2, 0.0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("walk/1.mp4", "walk/2.mp4", "run/1.mp4"):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"the content of {name}, of its own length: {'x' * ord(name[0])}")
    return tmp_path / "data"


def _begin(ledger: Ledger, folder: Path, output: str = "labels.csv") -> list[str]:
    """Begin a run of a folder; the videos without a result."""
    paths = sorted(folder.rglob("*.mp4"))
    items = [VideoItem(i, str(path)) for i, path in enumerate(paths)]
    pending = ledger.begin(items, SETTINGS, RUN, Limits(), output=output)
    return [str(Path(item.path).relative_to(folder)) for item in pending]


def _label(ledger: Ledger, folder: Path, pending: Sequence[str], share: float) -> None:
    for name in pending:
        top = (("walk", share), ("run", 1 - share))
        ledger.record(Prediction(str(folder / name), Status.OK, "walk", share, top))
    ledger.commit()


def _shares(ledger: Ledger, output: str | None) -> list[float]:
    """The confidence of each row of a run."""
    return [round(row.confidence, 2) for row in ledger.shown_rows(ledger.last_run(output))]


@pytest.mark.field
def test_an_export_is_of_the_run_whose_output_it_names(vidlabel: Invoke, tmp_path: Path) -> None:
    """Field 7: two outputs shared one ledger, which knew only its latest run."""
    model = random_checkpoint(tmp_path / "tiny.safetensors")
    for name, colour in (("a", "red"), ("b", "blue")):
        colour_video(tmp_path / name / f"{name}.mp4", colour)
        out = f"labels.{'csv' if name == 'a' else 'json'}"
        assert vidlabel("predict", name, "-m", model, "-o", out, "-q", cwd=tmp_path)[0] == 0

    def exported(source: str) -> tuple[str, list[str]]:
        code, _, told = vidlabel("export", source, "-o", "again.csv", cwd=tmp_path)
        assert code == 0, told
        with (tmp_path / "again.csv").open(newline="") as file:
            return told, [row["path"] for row in csv.DictReader(file)]

    assert exported("labels.csv")[1] == ["a/a.mp4"]
    assert exported("labels.json")[1] == ["b/b.mp4"]
    told, paths = exported("labels.ledger")
    assert paths == ["b/b.mp4"]
    assert "warning: labels.ledger: has the runs of several tables; this is the last, of" in told
    code, _, told = vidlabel("export", "labels.parquet", "-o", "again.csv", cwd=tmp_path)
    assert code == 3
    assert "has no run that wrote labels.parquet, only labels.csv and labels.json" in told


@pytest.mark.field
def test_a_choice_of_classes_needs_no_labelling(vidlabel: Invoke, tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for i, colour in enumerate(("red", "green")):
        colour_video(folder / f"{i}.mp4", colour)
    model = random_checkpoint(tmp_path / "m.safetensors")
    table, other = tmp_path / "labels.csv", tmp_path / "other.csv"
    command = ("predict", folder, "-o", table, "-m", model, "--device", "cpu")
    assert vidlabel(*command)[0] == 0
    plain = table.read_bytes()
    code, _, stderr = vidlabel(*command, "--classes", "red,blue")
    assert code == 0
    assert "all done before with m@" in stderr
    assert "among 2 of 3 classes, whose probabilities are scaled to a sum of 1: blue, red" in stderr
    some = table.read_bytes()
    rows = read_labels(table).rows
    assert all((row["model"] or "").endswith("[blue,red]") for row in rows)
    for row in rows:
        assert {top["label"] for top in row["top"]} == {"blue", "red"}
        assert sum(top["confidence"] or 0 for top in row["top"]) == pytest.approx(1, abs=2e-6)
    piped = vidlabel("predict", folder, "-m", model, "--device", "cpu", "--classes", "red,blue")
    assert piped[1].encode() == some
    assert vidlabel("export", table, "-o", other)[0] == 0
    assert other.read_bytes() == some, "as in the run"
    vidlabel("export", table, "-o", other, "--classes", "red, blue", "--classes", "green")
    assert other.read_bytes() == plain, "all of them"
    assert read_labels(tmp_path / "labels.ledger").classes == ("blue", "red")
    assert vidlabel(*command)[0] == 0
    assert table.read_bytes() == plain
    for classes, told in (("red", "name two or more"), ("red,geen", "geen (did you mean green?)")):
        code, _, stderr = vidlabel(*command, "--classes", classes)
        assert (code, told in stderr) == (2, True)


def test_a_run_keeps_its_rows_when_a_video_changes_for_another(
    folder: Path, tmp_path: Path
) -> None:
    """Field 7: the result of the file as it was belongs to the run that labelled it."""
    with Ledger(tmp_path / "labels.ledger") as ledger:
        _label(ledger, folder, _begin(ledger, folder), 0.75)
        (folder / "walk/1.mp4").write_text("another film")
        changed = _begin(ledger, folder, "labels.json")
        assert changed == ["walk/1.mp4"]
        _label(ledger, folder, changed, 0.9)
        assert _shares(ledger, "labels.json") == [0.75, 0.9, 0.75]
        assert _shares(ledger, "labels.csv") == [0.75, 0.75, 0.75]
        assert ledger.count() == (3, 3)


@pytest.mark.field
def test_the_same_output_again_replaces_its_own_run_only(folder: Path, tmp_path: Path) -> None:
    """Field 7: a smaller run of one output leaves that of the other as it is."""
    with Ledger(tmp_path / "labels.ledger") as ledger:
        for output in ("labels.csv", "labels.json"):
            _label(ledger, folder, _begin(ledger, folder, output), 0.75)
        assert _begin(ledger, folder / "run", "labels.csv") == []
        assert len(_shares(ledger, "labels.csv")) == 1
        assert len(_shares(ledger, "labels.json")) == 3
        assert ledger.outputs() == ["labels.json", "labels.csv"]
        with pytest.raises(OutputError, match=r"no run that wrote x\.csv, only labels\.json and"):
            ledger.last_run("x.csv")


@pytest.mark.field
@pytest.mark.parametrize("to", ["elsewhere", "data/deeper"])
def test_moved_videos_keep_their_results(to: str, folder: Path, tmp_path: Path) -> None:
    """Field 5: a result belongs to name, size and time of a file, not to its absolute path."""
    with Ledger(tmp_path / "labels.ledger") as ledger:
        for output in ("labels.csv", "labels.json"):
            _label(ledger, folder, _begin(ledger, folder, output), 0.75)
        place = tmp_path / "moving"
        folder.rename(place)
        (tmp_path / to).parent.mkdir(exist_ok=True)
        place.rename(tmp_path / to)
        (tmp_path / to / "walk/2.mp4").write_text("another film")
        assert _begin(ledger, tmp_path / to) == ["walk/2.mp4"]
        assert len(_shares(ledger, "labels.csv")) == 2
        assert len(_shares(ledger, "labels.json")) == 3, "of the files as they were"


@pytest.mark.field
def test_copies_and_namesakes_are_not_moved_files(folder: Path, tmp_path: Path) -> None:
    """Field 5: nothing is taken for a moved file that may be another."""
    with Ledger(tmp_path / "labels.ledger") as ledger:
        (folder / "run/1.mp4").unlink()
        shutil.copy2(folder / "walk/1.mp4", folder / "run/1.mp4")  # alike, but for the folder
        _label(ledger, folder, _begin(ledger, folder), 0.75)
        copied = tmp_path / "copied"
        shutil.copytree(folder, copied)
        everything = ["run/1.mp4", "walk/1.mp4", "walk/2.mp4"]
        assert _begin(ledger, copied) == everything
        shutil.rmtree(folder)
        assert _begin(ledger, copied) == everything[:2], "which of the two cannot be known"


VERSION_1 = """
CREATE TABLE settings (id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE);
CREATE TABLE results (
    path BLOB NOT NULL, settings INTEGER NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    limits TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, detail BLOB NOT NULL,
    duration_s REAL, start_s REAL, end_s REAL, frames_used INTEGER NOT NULL,
    probabilities BLOB, embedding BLOB,
    PRIMARY KEY (path, settings)
) WITHOUT ROWID;
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE videos (
    place INTEGER PRIMARY KEY, path BLOB NOT NULL, name BLOB NOT NULL,
    size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL
);
PRAGMA application_id = 1986620514;
PRAGMA user_version = 1;
"""


def test_a_ledger_of_version_1_keeps_its_results(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.ledger"
    video = folder / "run/1.mp4"
    status = video.stat()
    file = (str(video).encode(), status.st_size, status.st_mtime_ns)
    packed = np.array([0.25, 0.75], np.float32).tobytes()
    db = sqlite3.connect(path)
    db.executescript(VERSION_1)
    known = ("model", "views", "precision", "strategy", "numbers")
    settings = {key: value for key, value in asdict(SETTINGS).items() if key in known}
    db.execute("INSERT INTO settings VALUES (1, ?)", (json.dumps(settings, sort_keys=True),))
    db.execute(
        "INSERT INTO results VALUES (?, 1, ?, ?, '{}', 'ok', '', x'', 1, 0, 1, 4, ?, NULL)",
        (*file, packed),
    )
    db.execute("INSERT INTO videos VALUES (0, ?, x'61', ?, ?)", file)
    for key, value in (asdict(RUN) | {"settings": 1}).items():
        db.execute("INSERT INTO run VALUES (?, ?)", (key, json.dumps(value)))
    db.commit()
    db.close()
    with Ledger(path) as ledger:
        assert _shares(ledger, None) == _shares(ledger, "labels.csv") == [0.75]
    with Ledger(path) as ledger:
        assert _begin(ledger, folder) == ["walk/1.mp4", "walk/2.mp4"]
        assert ledger.outputs() == ["labels.csv"]


def test_a_ledger_of_version_2_gets_windows(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "labels.ledger"
    with Ledger(path) as ledger:
        _label(ledger, folder, _begin(ledger, folder), 0.75)
    with sqlite3.connect(path) as db:
        db.execute("DROP TABLE windows")
        db.execute("PRAGMA user_version = 2")
    db.close()
    with Ledger(path) as ledger:
        assert _begin(ledger, folder) == []
        assert len(_shares(ledger, "labels.csv")) == 3
    with Ledger(path) as ledger:
        timeline = TimelineSpec(2.0, 1.0)
        run, settings = replace(RUN, timeline=timeline), replace(SETTINGS, window_s=2.0)
        (item,) = [VideoItem(0, str(folder / "run/1.mp4"))]
        assert ledger.begin([item], settings, run, Limits(), output="t.csv") == [item]
        assert ledger.missing_parts(item) == [item]
        row = Prediction(item.path, Status.OK, start_s=0.0, end_s=6.0, duration_s=6.0)
        scores = np.tile(np.float32([[0.9, 0.1]]), (3, 1))
        assert ledger.record_part(PartScores(0, row, scores, 0, 2)) is None
    with Ledger(path) as ledger:
        assert ledger.begin([item], settings, run, Limits(), output="t.csv") == [item]
        assert ledger.missing_parts(item) == [replace(item, part=1)]
        done = ledger.record_part(PartScores(0, row, scores[:2], 1))
        assert done is not None
        assert (done.status, ledger.count()) == (Status.OK, (1, 1))
        (segment,) = ledger.shown_rows(run)
        assert (segment.label, segment.start_s, segment.end_s) == ("run", 0.0, 6.0)
        ledger.commit()
        assert _begin(ledger, folder) == [], "other settings are kept apart"
