"""Runs on several devices, each with a process of its own."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest
from program import Program, gone


def test_the_table_of_two_devices_is_that_of_one(
    program: Program, clips: Path, model: Path, whole: Path, tmp_path: Path
) -> None:
    out = tmp_path / "labels.csv"
    command = ("predict", clips, "-m", model, "-o", out, "--device")
    done = program.run(*command, "cpu,cpu", "--sidecar", "srt")
    assert done.code == 1, done.err
    assert "on cpu + cpu " in done.err
    assert out.read_bytes() == whole.read_bytes()
    assert len(list(tmp_path.rglob("*.srt"))) == 20
    again = program.run(*command, "cpu")  # any number of devices goes on with the same ledger
    assert "all done before" in again.err


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_device_that_is_killed_costs_only_what_it_had_begun(
    program: Program, clips: Path, model: Path, tmp_path: Path
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for i in range(300):
        (many / f"{i:03}.mp4").symlink_to(clips / f"{i % 2}" / f"{i % 20:02}.mp4")
    assert program.run("predict", many, "-m", model, "-o", tmp_path / "w.csv").code == 0
    whole = (tmp_path / "w.csv").read_bytes()
    noise = random.Random(0)
    killed = 0
    for attempt in range(12):
        out = tmp_path / f"{attempt}.csv"
        command = ("predict", many, "-m", model, "-o", out, "--batch-size", 4)
        run = program.start(*command, "--device", "cpu,cpu")
        while len(processes := run.decoders()) < 2:  # its only children are these two
            time.sleep(0.01)
        time.sleep(noise.uniform(1, 8))
        for process in processes[: 1 + attempt % 2]:  # one, or both
            with suppress(ProcessLookupError):  # a fast machine has ended the run
                os.kill(process, signal.SIGKILL)
        done = run.wait()
        if done.code == 3:
            killed += 1
            assert "its process ended (signal 9)" in done.err
            assert "run the same command to resume" in done.err or "while it started" in done.err
        assert program.run(*command, "--device", "cpu").code == 0
        assert out.read_bytes() == whole
        assert gone(processes)
    assert killed >= 3
