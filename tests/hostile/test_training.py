"""Trainings that are killed, and two that want the same folder."""

from __future__ import annotations

import csv
import random
import signal
import time
from pathlib import Path

import pytest
from fakes import colour_video
from program import Program

from vidlabel.models.checkpoint import load_checkpoint

PLODDING = (
    "import os, stat, time\n"
    "sync = os.fsync\n"
    "def slowly(handle):\n"
    "    sync(handle)\n"
    "    if stat.S_ISREG(os.fstat(handle).st_mode):\n"
    "        time.sleep(0.02)\n"
    "os.fsync = slowly\n"
)
"""Saving takes so long that many a kill comes in the middle of it."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    clips = tmp_path_factory.mktemp("classes")
    for colour in ("red", "blue"):
        for number in range(6):
            colour_video(clips / colour / f"place{number}_1.mp4", colour, 8, seed=number)
    return clips


def _command(folder: Path, out: Path) -> tuple[object, ...]:
    return (
        "train", folder, "--out", out, "--epochs", 3, "--batch-size", 4, "--frames", 4,
        "--size", 32, "--hidden", 16, "--ema", 0.5, "--mixup", 0.2, "--device", "cpu",
        "--val-fraction", 0.3, "--group-pattern", "(place[0-9])_", "--workers", 1,
        "--cache", folder.parent / "cache", "--epoch-steps", 1, "--trunk-weights", "none",
    )  # fmt: skip


def _log(out: Path) -> list[dict[str, str]]:
    with (out / "log.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k != "seconds"} for row in csv.DictReader(file)]


def test_b2_53_killed_at_20_random_moments(program: Program, folder: Path, tmp_path: Path) -> None:
    """However often it is killed, also in the middle of a save: the same weights in the end."""
    whole, out = tmp_path / "whole", tmp_path / "killed"
    program.run(*_command(folder, tmp_path / "first"))  # decodes the clips, for all others
    started = time.monotonic()
    done = program.run(*_command(folder, whole), before=PLODDING)
    assert done.code == 0, done.err
    whole_s = time.monotonic() - started
    assert load_checkpoint(str(whole / "last.safetensors"))
    noise = random.Random(53)
    kills = within_save = finished = 0
    epochs = set()
    while kills < 20:
        run = program.start(*_command(folder, out), before=PLODDING)
        time.sleep(noise.uniform(0.15, 0.75) * whole_s)
        if noise.random() < 0.3:
            _until_a_save(out)
        run.signal(signal.SIGKILL)
        done = run.wait()
        if done.code == -signal.SIGKILL:
            kills += 1
            within_save += any(out.glob(".vidlabel-*"))
            epochs.add(len(_log(out)) if (out / "log.csv").exists() else 0)
            continue
        assert done.code == 0, done.err
        _same(out, whole)
        finished += 1
        out = tmp_path / f"killed{finished}"
    assert program.run(*_command(folder, out)).code == 0
    _same(out, whole)
    assert within_save >= 2, "no kill came within a save"
    assert len(epochs) >= 2, "all kills came at the same stage"


def _until_a_save(out: Path) -> None:
    """Wait for the next file that is being written, until the training is complete."""
    deadline = time.monotonic() + 30
    while not any(out.glob(".vidlabel-*")) and not (out / "result.json").exists():
        assert time.monotonic() < deadline, "the training makes no progress"
        time.sleep(0.002)


def _same(out: Path, whole: Path) -> None:
    assert _log(out) == _log(whole)
    assert {p.name for p in out.iterdir()} == {p.name for p in whole.iterdir()}, "nothing is left"
    for name in ("best.safetensors", "last.safetensors"):
        assert (out / name).read_bytes() == (whole / name).read_bytes(), name


def test_b2_36_a_second_training_says_who_holds_the_folder(
    program: Program, folder: Path, tmp_path: Path
) -> None:
    slow = PLODDING.replace("0.02", "0.5")
    first = program.start(*_command(folder, tmp_path / "run"), before=slow)
    deadline = time.monotonic() + 60
    while not (tmp_path / "run" / "split.csv").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    second = program.run(*_command(folder, tmp_path / "run"))
    assert second.code == 3
    assert f"in use by process {first.pid} on " in second.err
    first.signal(signal.SIGKILL)
    first.wait()
    assert program.run(*_command(folder, tmp_path / "run")).code == 0, "a lock ends with its holder"
