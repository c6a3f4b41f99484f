"""`vidlabel sort`: each video in the folder of its class, and back again."""

from __future__ import annotations

import errno
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from program import Invoke

from vidlabel.datasets.folder import read_folder
from vidlabel.files.names import class_folder
from vidlabel.sort import place as placing
from vidlabel.sort.job import SortSpec, sort_table, undo_sort
from vidlabel.sort.log import LOG_NAME

TABLE = """path,status,label,confidence,top1_label
a/clip.mp4,ok,walk,0.9,walk
b/clip.mp4,ok,walk,0.9,walk
b/run.mp4,partial,run,0.8,run
b/what.mp4,uncertain,uncertain,0.3,run
b/bad.mp4,failed,,,
"""
"""Two files of one name and class, and rows of each status."""

SORTED = {
    "walk/clip.mp4": "a/clip.mp4",
    "walk/clip~2.mp4": "b/clip.mp4",
    "run/run.mp4": "b/run.mp4",
    "_uncertain/what.mp4": "b/what.mp4",
    "_failed/bad.mp4": "b/bad.mp4",
}


def contents(folder: Path) -> dict[str, str]:
    """The text of each file below a folder, links read through; without the log."""
    return {
        os.fsencode(path.relative_to(folder)).decode("utf-8", "backslashreplace"): path.read_text()
        for path in folder.rglob("*")
        if path.is_file() and path.name != LOG_NAME
    }


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A table, and the files that it names beside it; the text of each is its own path."""
    for name in SORTED.values():
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    out = tmp_path / "data" / "labels.csv"
    out.write_text(TABLE)
    return out


@pytest.mark.parametrize("how", [(), ("--copy",), ("--link",), ("--move",)])
def test_each_video_goes_to_the_folder_of_its_class_and_back(
    how: tuple[str, ...], vidlabel: Invoke, table: Path, tmp_path: Path
) -> None:
    before, into = contents(tmp_path), tmp_path / "sorted"
    code, _, told = vidlabel("sort", table, "--into", into, *how)
    assert code == 0
    assert contents(into) == SORTED
    assert "folders in" in told
    assert "_failed 1, _uncertain 1, run 1, walk 2" in told
    assert all((into / name).is_symlink() == (how == ("--link",)) for name in SORTED)
    assert (table.parent / "a/clip.mp4").exists() == (how != ("--move",))
    log = (into / LOG_NAME).read_bytes()
    code, _, told = vidlabel("sort", table, "--into", into, *how)
    assert (code, contents(into), (into / LOG_NAME).read_bytes()) == (0, SORTED, log)
    assert "5 there before" in told
    code, _, told = vidlabel("sort", "--undo", into)
    assert code == 0
    assert "5 videos taken back" in told
    assert not into.exists()
    assert contents(tmp_path) == before


def test_a_folder_that_was_there_stays_and_nothing_in_it_is_overwritten(
    table: Path, tmp_path: Path
) -> None:
    (tmp_path / "sorted/walk").mkdir(parents=True)
    (tmp_path / "sorted/walk/clip.mp4").write_text("another")
    spec = SortSpec(table, tmp_path / "sorted")
    assert sort_table(spec, quiet=True) == 0
    assert contents(tmp_path / "sorted/walk") == {
        "clip.mp4": "another", "clip~2.mp4": "a/clip.mp4", "clip~3.mp4": "b/clip.mp4"
    }  # fmt: skip
    assert undo_sort(tmp_path / "sorted" / LOG_NAME, quiet=True) == 0
    assert [p.name for p in (tmp_path / "sorted").rglob("*")] == ["walk", "clip.mp4"]


@pytest.mark.parametrize("how", ["copy", "link", "move", "move across file systems"])
def test_killed_at_any_moment(
    how: str, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before each operation on the file system in turn; then run again, killed, and undone."""
    table.write_text("\n".join(TABLE.splitlines()[:3]))
    before = contents(tmp_path)
    if "across" in how:
        rename = Path.rename

        def within(source: Path, target: Path) -> Path:
            if source.parent != target.parent:
                raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
            return rename(source, target)

        monkeypatch.setattr(Path, "rename", within)
    kills = Kills(monkeypatch)
    spec = SortSpec(table, tmp_path / "sorted", how.split()[0])
    for number in range(1, 1000):
        alive = kills.run(number, lambda: sort_table(spec, quiet=True))
        assert sort_table(spec, quiet=True) == 0
        assert set(contents(spec.into)) == {"walk/clip.mp4", "walk/clip~2.mp4"}
        undone = kills.run(number, lambda: undo_sort(spec.into, quiet=True))
        if spec.into.exists():
            if (spec.into / LOG_NAME).exists():
                assert undo_sort(spec.into, quiet=True) == 0
            else:
                assert {path.name for path in spec.into.iterdir()} <= {f".{LOG_NAME}.lock"}
                shutil.rmtree(spec.into)
        assert contents(tmp_path) == before
        if alive and undone:
            break
    assert number > 10


class Kills:
    """Ends a run, in a process of its own, before its Nth operation on the file system."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self._left = -1
        for module, names in (
            (os, ("fsync", "open", "ftruncate")),
            (Path, ("rename", "unlink", "symlink_to", "mkdir", "rmdir", "replace", "touch")),
            (shutil, ("copyfile", "copystat")),
        ):
            for name in names:
                patch.setattr(module, name, self._deadly(getattr(module, name)))

    def _deadly(self, real: Callable[..., object]) -> Callable[..., object]:
        def operation(*arguments: object, **named: object) -> object:
            self._left -= self._left > 0
            if self._left == 0:
                os._exit(9)
            return real(*arguments, **named)

        return operation

    def run(self, number: int, work: Callable[[], int]) -> bool:
        """Whether the work has ended by itself, as it should."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # threads that the child needs not
            child = os.fork()
        if child == 0:
            self._left = number
            os._exit(work())
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert code in (0, 9)
        return code == 0


def test_another_label_goes_to_another_folder(table: Path, tmp_path: Path) -> None:
    spec = SortSpec(table, tmp_path / "sorted", "move")
    assert sort_table(spec, quiet=True) == 0
    table.write_text(TABLE.replace("b/what.mp4,uncertain,uncertain", "b/what.mp4,ok,jump"))
    assert sort_table(spec, quiet=True) == 0
    moved = {**SORTED, "jump/what.mp4": "b/what.mp4"}
    del moved["_uncertain/what.mp4"]
    assert contents(spec.into) == moved
    assert undo_sort(spec.into, quiet=True) == 0
    assert (table.parent / "b/what.mp4").exists()


def test_a_name_that_is_used_again_is_another_video(table: Path, tmp_path: Path) -> None:
    """As a camera counts from 1 each day."""
    spec = SortSpec(table, tmp_path / "sorted", "move")
    assert sort_table(spec, quiet=True) == 0
    (table.parent / "a/clip.mp4").write_text("of the second day")
    table.write_text("path,label\na/clip.mp4,walk\n")
    for _ in range(2):
        assert sort_table(spec, quiet=True) == 0
        assert contents(spec.into) == {**SORTED, "walk/clip~3.mp4": "of the second day"}
    assert undo_sort(spec.into, quiet=True) == 1, "both cannot have their old path"
    assert (table.parent / "a/clip.mp4").read_text() == "of the second day"
    assert contents(spec.into) == {"walk/clip.mp4": "a/clip.mp4"}


def test_undo_never_loses_a_video(
    table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    spec = SortSpec(table, tmp_path / "sorted")
    assert sort_table(spec, quiet=True) == 0
    (spec.into / "walk/clip.mp4").write_text("changed by the user")
    (table.parent / "b/run.mp4").unlink()
    assert undo_sort(spec.into, quiet=True) == 1
    told = capfd.readouterr().err
    assert "is kept, as it has been changed" in told
    assert "is kept, as its original has been changed or removed" in told
    assert set(contents(spec.into)) == {"walk/clip.mp4", "run/run.mp4"}
    lines = (spec.into / LOG_NAME).read_text().splitlines()
    assert sum("action" in json.loads(line) for line in lines) == 2


def test_across_file_systems(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("needs a second file system at /dev/shm")
    into = memory / f"vidlabel-test-{os.getpid()}"
    os.utime(table.parent / "a/clip.mp4", (1e9, 1e9))
    try:
        assert sort_table(SortSpec(table, into, "move"), quiet=True) == 0
        assert contents(into) == SORTED
        assert (into / "walk/clip.mp4").stat().st_mtime == 1e9
        assert set(contents(table.parent)) == {"labels.csv"}
        assert undo_sort(into, quiet=True) == 0
        assert set(contents(table.parent)) == {"labels.csv", *SORTED.values()}
        assert not into.exists()
    finally:
        shutil.rmtree(into, ignore_errors=True)


def test_read_only_sources(
    table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    (table.parent / "a/clip.mp4").chmod(0o444)
    real = os.access  # for root, every folder can be written to
    monkeypatch.setattr(os, "access", lambda p, mode: Path(p).name != "b" and real(p, mode))
    assert sort_table(SortSpec(table, tmp_path / "moved", "move"), quiet=True) == 1
    assert contents(tmp_path / "moved") == {"walk/clip.mp4": "a/clip.mp4"}
    assert capfd.readouterr().err.count("its folder cannot be written to; use --copy") == 4
    assert undo_sort(tmp_path / "moved", quiet=True) == 0
    assert sort_table(SortSpec(table, tmp_path / "copied"), quiet=True) == 0
    assert contents(tmp_path / "copied") == SORTED
    assert undo_sort(tmp_path / "copied", quiet=True) == 0


def test_names_that_are_not_utf8(vidlabel: Invoke, tmp_path: Path) -> None:
    (tmp_path / os.fsdecode(b"caf\xe9.mp4")).write_text("film")
    (tmp_path / "labels.csv").write_bytes(b"path,label\ncaf\\xe9.mp4,walk\n")  # as predict writes
    for _ in range(2):
        code, _, told = vidlabel("sort", "labels.csv", "--into", "out", "--move", cwd=tmp_path)
        assert (code, contents(tmp_path / "out")) == (0, {"walk/caf\\xe9.mp4": "film"}), told
    assert vidlabel("sort", "--undo", "out", cwd=tmp_path)[0] == 0
    assert (tmp_path / os.fsdecode(b"caf\xe9.mp4")).exists()


@pytest.mark.parametrize(
    "label",
    ["../up", "/etc", ".", "..", ".hidden", "a/b", "nul\0", "_uncertain", "_FAILED", LOG_NAME,
     "x" * 300, "dot.", "tab\t", "\ud800"],
)  # fmt: skip
def test_a_class_cannot_leave_its_folder(label: str, table: Path, tmp_path: Path) -> None:
    rows = [{"path": "a/clip.mp4", "label": label}, {"path": "b/run.mp4", "label": "run"}]
    lines = (json.dumps(row) + "\n" for row in rows)
    jsonl = table.with_suffix(".jsonl")
    jsonl.write_text("".join(lines))
    assert sort_table(SortSpec(jsonl, tmp_path / "sorted"), quiet=True) == 0
    folders = {path.name for path in (tmp_path / "sorted").iterdir() if path.is_dir()}
    assert len(folders) == 2
    (name,) = folders - {"run"}
    assert name not in ("_uncertain", "_failed")
    assert not name.startswith(".")
    assert contents(tmp_path / "sorted" / name) == {"clip.mp4": "a/clip.mp4"}


def test_classes_keep_their_names_and_differ() -> None:
    usual = ["walk", "wave both hands", "übung", "walk|wave", "other", "uncertain", "C++", "-x"]
    assert [class_folder(label) for label in usual] == usual
    like = ["a/b", "a\0b", "a_b", "a\nb", ".a", "_a"]
    assert len({class_folder(label) for label in like}) == len(like)


def test_what_has_no_class_is_not_trained_on(table: Path, tmp_path: Path, vidlabel: Invoke) -> None:
    assert sort_table(SortSpec(table, tmp_path / "sorted"), quiet=True) == 0
    remarks: list[str] = []
    samples = read_folder(tmp_path / "sorted", remarks=remarks)
    assert {sample.label for sample in samples} == {"run", "walk"}
    assert "left out, videos without a class: _failed 1, _uncertain 1" in remarks


def test_a_dry_run_only_lists(vidlabel: Invoke, table: Path, tmp_path: Path) -> None:
    before = contents(tmp_path)
    code, out, _ = vidlabel("sort", table, "--into", tmp_path / "sorted", "--dry-run")
    assert code == 0
    assert [line.split()[1] for line in out.splitlines()[1:]] == list(SORTED)
    assert contents(tmp_path) == before
    assert not (tmp_path / "sorted").exists()


def test_a_table_of_another_machine(vidlabel: Invoke, table: Path, tmp_path: Path) -> None:
    """Relative paths are below the current folder, then the table's, or below --root."""
    text = TABLE.replace("/", "\\")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "labels.csv").write_text(text)
    words = ("sort", "labels.csv", "--into", "out", "--move")
    code, _, told = vidlabel(*words, cwd=elsewhere)
    assert code == 2
    assert "names no video that exists" in told
    assert "--root" in told
    assert not (elsewhere / "out").exists()
    for _ in range(2):
        assert vidlabel(*words, "--root", table.parent, cwd=elsewhere)[0] == 0
        assert contents(elsewhere / "out") == SORTED


def test_missing_videos_cost_a_line_each(vidlabel: Invoke, table: Path, tmp_path: Path) -> None:
    (table.parent / "a/clip.mp4").unlink()
    code, _, told = vidlabel("sort", table, "--into", tmp_path / "sorted")
    assert code == 1
    assert "a/clip.mp4: no such file" in told
    assert "5 videos: 4 copied, 1 failed" in told


def test_several_rows_of_a_video_are_refused(vidlabel: Invoke, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").touch()
    (tmp_path / "s.csv").write_text("path,label,start_s,end_s\na.mp4,walk,0,2\na.mp4,run,2,4\n")
    code, _, told = vidlabel("sort", tmp_path / "s.csv", "--into", tmp_path / "out")
    assert code == 2
    assert "has 2 rows for" in told
    assert "segments" in told
    assert not (tmp_path / "out").exists()


def test_wrong_usage(vidlabel: Invoke, table: Path, tmp_path: Path) -> None:
    assert vidlabel("sort", table)[0] == 2
    assert vidlabel("sort", "--into", tmp_path / "x")[0] == 2
    assert vidlabel("sort", table, "--undo", tmp_path)[0] == 2
    assert vidlabel("sort", table, "--into", tmp_path / "x.csv")[0] == 2
    code, _, told = vidlabel("sort", "--undo", table.parent)
    assert code == 2
    assert f"has no {LOG_NAME}" in told
    (table.parent / LOG_NAME).write_text('{"action": "copy", "source": "x"}\n')
    code, _, told = vidlabel("sort", table, "--into", table.parent)
    assert code == 2
    assert f"{LOG_NAME}:1: is not a line" in told


def test_a_full_disk_ends_the_run_before_it_begins(
    vidlabel: Invoke, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=3))
    code, _, told = vidlabel("sort", table, "--into", tmp_path / "sorted")
    assert code == 3
    assert "use --link or --move" in told
    assert contents(tmp_path / "sorted") == {}
    assert vidlabel("sort", table, "--into", tmp_path / "sorted", "--move")[0] == 0


def test_a_place_that_is_taken_meanwhile_is_kept(table: Path, tmp_path: Path) -> None:
    from vidlabel.sort.log import Entry

    source = table.parent / "b/run.mp4"
    (tmp_path / "run").mkdir()
    (tmp_path / "run/run.mp4").write_text("of another program")
    for action in ("copy", "move", "link"):
        entry = Entry(action, str(source), "run/run.mp4", 9, 0)
        with pytest.raises(placing.NotPlaced):
            placing.put(entry, tmp_path)
    assert (tmp_path / "run/run.mp4").read_text() == "of another program"
    assert source.exists()
