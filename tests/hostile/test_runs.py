"""Runs that are stopped, killed, starved of disk space or doubled: nothing done is lost, nothing
half done is shown."""

from __future__ import annotations

import csv
import io
import json
import os
import random
import shutil
import signal
import sqlite3
import tempfile
import time
from pathlib import Path

import pytest
from fakes import colour_video, random_checkpoint
from program import Done, Program, gone
from safetensors.torch import load_file, save_file

from vidlabel.models.checkpoint import read_header

EAGER = "import vidlabel.results.ledger as ledger; ledger.COMMIT_S = 0.0\n"
"""Each result is committed as it comes, so that a kill hits every stage."""

SLOW = EAGER + (
    "import time, vidlabel.results.ledger as ledger\n"
    "record = ledger.Ledger.record\n"
    "def slowly(self, row):\n"
    "    record(self, row)\n"
    "    time.sleep(0.05)\n"
    "ledger.Ledger.record = slowly\n"
)

STUCK = EAGER + (
    "import time, vidlabel.predict.runner as inference\n"
    "collect = inference.Runner.collect\n"
    "calls = []\n"
    "def stick(self):\n"
    "    calls.append(1)\n"
    "    if len(calls) > 3:  # the first is the self-test\n"
    "        open({mark!r}, 'w').close()\n"
    "        time.sleep(60)\n"
    "    return collect(self)\n"
    "inference.Runner.collect = stick\n"
)
"""Its third batch takes a minute, as the file `mark` then says."""


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "labels.csv"


@pytest.fixture(scope="session")
def whole(
    program: Program, clips: Path, model: Path, tmp_path_factory: pytest.TempPathFactory
) -> bytes:
    """The table of a run that nothing interrupted."""
    out = tmp_path_factory.mktemp("whole") / "labels.csv"
    done = program.run("predict", clips, "-m", model, "-o", out)
    assert done.code == 1, done.err
    assert len(rows_of(out)) == 44
    return out.read_bytes()


def rows_of(path: Path) -> list[dict[str, str]]:
    text = path.read_bytes().decode()
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert not any(None in row or None in row.values() for row in rows), "cells are missing"
    return rows


def recorded(out: Path) -> int:
    """Results in the ledger that are committed."""
    try:
        with sqlite3.connect(f"file:{out.with_suffix('.ledger')}?mode=ro", uri=True) as ledger:
            return int(ledger.execute("SELECT count(*) FROM results").fetchone()[0])
    except sqlite3.OperationalError:  # not there yet, or busy
        return 0
    finally:
        if "ledger" in locals():
            ledger.close()


def until_recorded(out: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while recorded(out) < count:
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)


def until_there(mark: Path) -> None:
    deadline = time.monotonic() + 30
    while not mark.exists():
        assert time.monotonic() < deadline, "the run makes no progress"
        time.sleep(0.01)


def one_line(done: Done) -> str:
    """The error of a run that failed: a single line, no traceback."""
    lines = [line for line in done.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.err
    assert "Traceback" not in done.err
    assert "internal error" not in done.err
    return lines[0]


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


# --- the same name, the full disk -------------------------------------------------------------


def test_b2_31_same_name_in_two_folders(program: Program, model: Path, tmp_path: Path) -> None:
    for folder, colour in (("a", "red"), ("b", "blue"), ("a/b", "green")):
        colour_video(tmp_path / folder / "x.mp4", colour)
    done = program.run("predict", tmp_path, "-m", model, "-o", tmp_path / "l.csv", cwd=tmp_path)
    assert done.code == 0, done.err
    rows = rows_of(tmp_path / "l.csv")
    assert sorted(row["path"].removeprefix(f"{tmp_path}/") for row in rows) == [
        "a/b/x.mp4", "a/x.mp4", "b/x.mp4",
    ]  # fmt: skip


def test_b2_32_full_stdout(program: Program, clips: Path, model: Path) -> None:
    done = program.run("predict", clips, "-m", model, stdout="/dev/full")
    assert done.code == 3
    assert "stdout" in one_line(done)
    assert "No space left" in done.err


def limited(file_bytes: int) -> str:
    """No file of ours may grow larger than this; the memory shared with decoders may."""
    return EAGER + (
        "import resource, vidlabel.decode.pool as workers\n"
        "make = workers._shared_file\n"
        "def limit(size):\n"
        f"    resource.setrlimit(resource.RLIMIT_FSIZE, (size, {2**40}))\n"
        "def unlimited(size):\n"
        f"    limit({2**40})\n"
        "    try:\n"
        "        return make(size)\n"
        "    finally:\n"
        f"        limit({file_bytes})\n"
        "workers._shared_file = unlimited\n"
        f"limit({file_bytes})\n"
    )


@pytest.mark.parametrize("file_bytes", [0, 600, 4096, 8192, 12288, 16384, 20000, 24576])
def test_b2_32_disk_full_at_any_size(
    file_bytes: int, program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    """SQLite and our own files meet real failures of write()."""
    out.write_text("old")
    command = ("predict", clips, "-m", model, "-o", out)
    done = program.run(*command, before=limited(file_bytes))
    if done.code == 3:
        assert not done.err or str(out.with_suffix("")) in one_line(done)
        assert out.read_text() == "old"
    else:  # it fitted
        assert done.code == 1
        assert out.read_bytes() == whole
    assert leftovers(out.parent) == []
    again = program.run(*command)
    assert again.code == 1, again.err
    assert out.read_bytes() == whole


def test_b2_32_read_only_folder(program: Program, clips: Path, model: Path) -> None:
    folder = Path(tempfile.mkdtemp())
    try:
        colour_video(folder / "a.mp4", "red")
        folder.chmod(0o555)
        nobody = "import os; os.geteuid() == 0 and (os.setgid(65534), os.setuid(65534))"
        done = program.run("predict", folder, "-m", model, "-o", folder / "l.csv", before=nobody)
        assert done.code == 3
        assert "cannot be written" in one_line(done)
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


def test_b2_32_output_folder_vanishes(
    program: Program, clips: Path, model: Path, tmp_path: Path, whole: bytes
) -> None:
    folder = tmp_path / "results"
    folder.mkdir()
    command = ("predict", clips, "-m", model, "-o", folder / "labels.csv")
    run = program.start(*command, before=SLOW)
    until_recorded(folder / "labels.csv", 5)
    shutil.rmtree(folder)
    done = run.wait()
    assert done.code == 3
    assert "labels" in one_line(done)
    folder.mkdir()
    assert program.run(*command).code == 1
    assert (folder / "labels.csv").read_bytes() == whole


# --- signals ----------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_b2_34_a_signal_keeps_what_is_done(
    number: signal.Signals, program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    command = ("predict", clips, "-m", model, "-o", out, "--batch-size", 2)
    run = program.start(*command, before=SLOW)
    until_recorded(out, 8)
    decoders = run.decoders()
    assert decoders
    run.signal(number)
    done = run.wait()
    assert done.code == 128 + number, done.err
    assert "stopped" in done.err
    rows = rows_of(out)
    assert 8 <= len(rows) == recorded(out) < 44
    complete = whole.splitlines()
    assert set(out.read_bytes().splitlines()) <= set(complete)
    assert gone(decoders)
    assert leftovers(out.parent) == []
    again = program.run(*command)
    assert again.code == 1
    assert "done before" in again.err
    assert out.read_bytes() == whole


@pytest.mark.field
def test_b2_34_a_second_signal_leaves_at_once(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    """field 18: the second Ctrl-C ended in silence."""
    command = ("predict", clips, "-m", model, "-o", out, "--batch-size", 2)
    out.write_text("old")
    mark = out.with_name("stuck")
    run = program.start(*command, before=STUCK.format(mark=str(mark)))
    until_there(mark)
    decoders = run.decoders()
    run.signal(signal.SIGINT)
    time.sleep(0.5)
    os.kill(run.pid, 0)  # it is finishing the batch in hand
    started = time.monotonic()
    run.signal(signal.SIGINT)
    done = run.wait()
    assert time.monotonic() - started < 5
    assert done.code == 130
    assert done.err == "stopped at once by a second signal; run the same command to resume\n"
    assert out.read_text() == "old"
    assert gone(decoders)
    assert program.run(*command).code == 1
    assert out.read_bytes() == whole


@pytest.mark.field
def test_b2_34_a_signal_before_the_run_begins_is_told(program: Program) -> None:
    """field 18"""
    before = (
        "import os, signal, vidlabel.predict.job as job\n"
        "job.choose_videos = lambda *args: os.kill(os.getpid(), signal.SIGINT)"
    )
    done = program.run("predict", "x", before=before)
    assert (done.code, done.err.strip()) == (130, "warning: stopped")


def test_b2_34_before_the_first_result_the_old_table_stays(
    program: Program, clips: Path, model: Path, out: Path
) -> None:
    out.write_text("old")
    before = "import vidlabel.results.ledger as l, os, signal\nbegin = l.Ledger.begin\n" + (
        "def signalled(*args, **kwargs):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return begin(*args, **kwargs)\n"
        "l.Ledger.begin = signalled\n"
    )
    done = program.run("predict", clips, "-m", model, "-o", out, before=before)
    assert done.code == 143
    assert "stopped" in done.err
    assert out.read_text() == "old"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_b2_34_a_signal_to_a_run_that_writes_to_stdout(
    number: signal.Signals, program: Program, clips: Path, model: Path, whole: bytes, out: Path
) -> None:
    mark = out.with_name("stuck")
    command = ("predict", clips, "-m", model, "--batch-size", 1)
    run = program.start(*command, before=STUCK.format(mark=str(mark)))
    until_there(mark)
    run.signal(number)
    time.sleep(0.2)
    run.signal(number)  # its batch takes a minute
    done = run.wait()
    assert done.code == 128 + number
    assert 1 <= len(done.out.splitlines()) < 44
    assert set(done.out.splitlines()) <= set(whole.decode().splitlines())


def test_b2_34_a_terminal_that_is_closed(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    """Its signal comes, and whatever is printed from then on is an error."""
    ours, theirs = os.openpty()
    command = ("predict", clips, "-m", model, "-o", out, "--batch-size", 2)
    # rich looks once, when it is imported, whether there is a terminal.
    on_terminal = SLOW + "import vidlabel.console as c; c.stderr.is_interactive = True"
    run = program.start(
        *command, before=on_terminal, stderr=os.ttyname(theirs), env={"TERM": "xterm"}
    )
    bar = ""
    while "/44" not in bar:
        bar += os.read(ours, 2**16).decode()
    until_recorded(out, 6)
    os.close(theirs)
    os.close(ours)
    run.signal(signal.SIGHUP)
    assert run.wait().code == 129
    assert 6 <= len(rows_of(out)) == recorded(out) < 44
    assert program.run(*command).code == 1
    assert out.read_bytes() == whole


def test_b2_34_ignored_signals_stay_ignored(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    """As under nohup, and for background jobs of a script."""
    ignore = SLOW + "import signal; signal.signal(signal.SIGHUP, signal.SIG_IGN)"
    run = program.start("predict", clips, "-m", model, "-o", out, before=ignore)
    until_recorded(out, 3)
    run.signal(signal.SIGHUP)
    assert run.wait().code == 1
    assert out.read_bytes() == whole


# --- devices and models -----------------------------------------------------------------------


def test_b2_44_a_broken_model_is_refused_before_anything_is_read(
    program: Program, clips: Path, model: Path, out: Path
) -> None:
    broken = out.with_name("broken.safetensors")
    broken.write_bytes(model.read_bytes()[:-100])
    done = program.run("predict", clips, "-m", broken, "-o", out)
    assert done.code == 3
    assert "broken.safetensors" in one_line(done)
    assert [path.name for path in out.parent.iterdir()] == ["broken.safetensors"]


def test_b2_46_a_model_that_overflows_is_refused_before_anything_is_read(
    program: Program, clips: Path, model: Path, out: Path
) -> None:
    weights = load_file(model)
    weights["embed.weight"].fill_(3e38)
    overflowing = out.with_name("overflowing.safetensors")
    save_file(weights, overflowing, metadata={"vidlabel": read_header(model).to_json()})
    done = program.run("predict", clips, "-m", overflowing, "-o", out)
    assert done.code == 3
    assert "overflowing@" in one_line(done)
    assert "not finite" in done.err
    assert not out.exists()


def test_b2_48_a_lost_gpu_keeps_what_is_done(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    lost = EAGER + (
        "import torch, vidlabel.predict.runner as inference\n"
        "forward, calls = inference.Runner._forward, []\n"
        "def lose(self, clips):\n"
        "    calls.append(1)\n"
        "    if len(calls) > 4:\n"
        "        raise torch.AcceleratorError('CUDA error: unspecified launch failure')\n"
        "    return forward(self, clips)\n"
        "inference.Runner._forward = lose\n"
    )
    command = ("predict", clips, "-m", model, "-o", out, "--batch-size", 4)
    done = program.run(*command, before=lost)
    assert done.code == 3
    assert "failed (CUDA error: unspecified launch failure); run the same" in one_line(done)
    assert 4 <= len(rows_of(out)) == recorded(out) < 44
    assert set(out.read_bytes().splitlines()) <= set(whole.splitlines())
    again = program.run(*command)
    assert again.code == 1
    assert "done before" in again.err
    assert out.read_bytes() == whole


def test_b2_50_batch_size_workers_and_order_change_no_byte(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    for arguments in (("--batch-size", 1, "-j", 1), ("--batch-size", 64, "-j", 3)):
        done = program.run("predict", clips, "-m", model, "-o", out, "--restart", *arguments)
        assert done.code == 1
        assert out.read_bytes() == whole
    backwards = [path for path in sorted(clips.iterdir(), reverse=True) if path.is_file()]
    assert program.run("predict", *backwards, "-m", model, "-o", out, "--restart").code == 1
    table = [line for line in whole.splitlines() if b"a folder" not in line]
    assert out.read_bytes().splitlines() == table[:1] + table[:0:-1]


# --- kill -9 ----------------------------------------------------------------------------------


@pytest.mark.timeout(400)  # half a minute on two free cores
def test_b2_35_killed_at_50_random_moments(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    """Runs are killed again and again until one comes through; its table is byte-identical."""
    command = ("predict", clips, "-m", model, "--include", "[01]*.mp4", "-o")
    program.run("-V")  # once it is up
    started = time.monotonic()
    assert program.run(*command, tmp_path / "whole.csv", before=EAGER).code == 1
    whole_s = time.monotonic() - started
    whole = (tmp_path / "whole.csv").read_bytes()
    assert len(whole.splitlines()) == 23
    noise = random.Random(35)
    kills = finished = 0
    stages = set()
    decoders: list[int] = []
    while kills < 50:
        out = tmp_path / f"{finished}" / "labels.csv"
        out.parent.mkdir(exist_ok=True)
        batch = ("--batch-size", noise.choice([1, 4]))
        run = program.start(*command, out, *batch, before=noise.choice([EAGER, ""]))
        time.sleep(noise.uniform(0.1, 1.1) * whole_s)
        decoders += run.decoders()
        run.signal(signal.SIGKILL)
        done = run.wait()
        if done.code == -signal.SIGKILL:
            kills += 1
            stages.add(min(recorded(out), 20) // 5)
            if out.exists():
                assert out.read_bytes() == whole
        if done.code == 1 or noise.random() < 0.2:
            assert program.run(*command, out).code == 1
            assert out.read_bytes() == whole
            assert leftovers(out.parent) == []
            finished += 1
    assert gone(decoders)
    assert finished >= 5
    assert len(stages) >= 2, "all kills came too early or too late to say anything"


# --- two runs, other inputs, other settings ---------------------------------------------------


def test_b2_36_a_second_run_says_who_holds_the_output(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    command = ("predict", clips, "-m", model, "-o")
    first = program.start(*command, out, before=SLOW)
    until_recorded(out, 2)
    second = program.run(*command, out)
    assert second.code == 3
    assert f"in use by process {first.pid} on " in one_line(second)
    other_format = program.run(*command, out.with_suffix(".json"))
    assert other_format.code == 3, "it would write into the same ledger"
    first.signal(signal.SIGKILL)
    first.wait()
    assert program.run(*command, out).code == 1, "a lock ends with who held it"
    assert out.read_bytes() == whole


def test_b2_36_two_runs_that_start_together(
    program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    command = ("predict", clips, "-m", model, "-o", out)
    runs = [program.start(*command) for _ in range(3)]
    done = [run.wait() for run in runs]
    assert {each.code for each in done} <= {1, 3}
    assert any(each.code == 1 for each in done)
    assert out.read_bytes() == whole
    assert leftovers(out.parent) == []


@pytest.fixture
def three(tmp_path: Path) -> Path:
    for name, colour in (("a", "red"), ("b", "green"), ("c", "blue")):
        colour_video(tmp_path / "three" / f"{name}.mp4", colour)
    return tmp_path / "three"


def test_b2_37_changed_and_new_files_are_labelled_again(
    program: Program, three: Path, model: Path, out: Path
) -> None:
    command = ("predict", three, "-m", model, "-o", out)
    assert program.run(*command).code == 0
    before = rows_of(out)
    assert "all done before" in program.run(*command).err
    colour_video(three / "b.mp4", "blue", seed=5)
    colour_video(three / "d.mp4", "red", seed=6)
    (three / "a.mp4").unlink()
    done = program.run(*command)
    assert "3 videos: 3 ok, 0 partial, 0 failed; 1 done before, 2 in " in done.err
    after = rows_of(out)
    assert [Path(row["path"]).stem for row in after] == ["b", "c", "d"]
    assert after[0]["confidence"] != before[1]["confidence"]
    assert after[1] == before[2]


def test_b2_37_other_settings_never_share_a_table(
    program: Program, three: Path, model: Path, out: Path, tmp_path: Path
) -> None:
    other = random_checkpoint(tmp_path / "other.safetensors", seed=9)
    command = ("predict", three, "-o", out, "-m")
    tables = {}
    for name, arguments in {
        "first": (model,),
        "other model": (other,),
        "views": (model, "--views", 2),
        "precision": (model, "--precision", "fp32"),
    }.items():
        assert program.run(*command, *arguments).code == 0
        tables[name] = rows_of(out)
        assert len({row["model"] for row in tables[name]}) == 1
    assert tables["first"] != tables["views"]
    # The results lie side by side: going back costs nothing and gives the same.
    done = program.run(*command, model, "--precision", "auto")
    assert "all done before" in done.err
    assert rows_of(out) == tables["first"]


def test_b2_37_failures_count_under_the_same_limits_only(
    program: Program, three: Path, model: Path, out: Path
) -> None:
    (three / "text.mp4").write_text("not a video")
    command = ("predict", three, "-m", model, "-o", out)
    small = (*command, "--max-pixels", 100)
    assert "4 failed" in program.run(*small).err
    assert "all done before" in program.run(*small).err
    assert "4 failed; 1 done before" not in (done := program.run(*command)).err
    assert "3 ok, 0 partial, 1 failed" in done.err
    assert "all done before" in program.run(*command).err
    assert "3 done before, 1 in" in program.run(*command, "--retry-failed").err


def test_b2_37_restart_forgets_and_only_what_is_ours(
    program: Program, three: Path, model: Path, out: Path
) -> None:
    command = ("predict", three, "-m", model, "-o", out)
    assert program.run(*command).code == 0
    assert "done before" not in program.run(*command, "--restart").err
    foreign = out.with_suffix(".ledger")
    foreign.write_text("2026/11/21 expenses:books  20 EUR\n")
    for flags in ((), ("--restart",)):
        done = program.run(*command, *flags)
        assert done.code == 3
        assert "not a ledger of vidlabel" in one_line(done)
    assert foreign.read_text().startswith("2026")


@pytest.mark.parametrize("damage", ["cut", "overwritten", "version"])
def test_a_damaged_ledger_is_named_and_restart_helps(
    damage: str, program: Program, clips: Path, model: Path, out: Path, whole: bytes
) -> None:
    command = ("predict", clips, "-m", model, "-o", out)
    assert program.run(*command).code == 1
    ledger = out.with_suffix(".ledger")
    data = bytearray(ledger.read_bytes())
    if damage == "cut":
        data = data[: len(data) // 2]
    elif damage == "overwritten":
        data[4096 : len(data) - 10] = b"\xff" * (len(data) - 4106)
    else:
        data[63] = 99
    ledger.write_bytes(data)
    done = program.run(*command)
    assert done.code == 3
    assert "--restart" in one_line(done)
    assert out.read_bytes() == whole
    assert program.run(*command, "--restart").code == 1
    assert out.read_bytes() == whole


def test_formats_come_from_the_ledger_without_labelling(
    program: Program, three: Path, model: Path, out: Path
) -> None:
    command = ("predict", three, "-m", model, "-o")
    features = out.with_suffix(".npz")
    assert program.run(*command, out, "-k", 2, "--embeddings", features).code == 0
    table, vectors = out.read_bytes(), features.read_bytes()
    assert "all done before" in program.run(*command, out.with_suffix(".json")).err
    shutil.rmtree(three)
    for source in (out, out.with_suffix(".ledger")):
        again = out.with_name("again.csv")
        done = program.run(
            "export", source, "-o", again, "--embeddings", out.with_name("again.npz"), "-k", 2
        )
        assert done.code == 0, done.err
        assert again.read_bytes() == table
        assert out.with_name("again.npz").read_bytes() == vectors
    exported = out.with_name("x.jsonl")
    assert program.run("export", out, "-o", exported, "-k", 1, "--min-confidence", 1.0).code == 0
    records = [json.loads(line) for line in exported.read_text().splitlines()]
    assert [len(record["top"]) for record in records] == [1, 1, 1]
    assert {record["label"] for record in records} == {"uncertain"}
    assert program.run("export", out.with_name("none.csv"), "-o", again).code == 3
    assert program.run("export", out, "-o", "-").code == 2


def test_results_without_embeddings_are_done_again_when_those_are_wanted(
    program: Program, three: Path, model: Path, out: Path
) -> None:
    command = ("predict", three, "-m", model, "-o", out)
    assert program.run(*command).code == 0
    done = program.run(*command, "--embeddings", out.with_suffix(".npz"))
    assert "done before" not in done.err
    assert "all done before" in program.run(*command, "--embeddings", out.with_suffix(".npz")).err
    assert "all done before" in program.run(*command).err
