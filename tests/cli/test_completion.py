"""Tab completion, as real shells do it: each types a line, presses Tab and runs the command."""

from __future__ import annotations

import os
import pty
import select
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from places import ROOT

STARTS = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "--interactive"],
}
SETUPS = {
    "bash": 'eval "$(vidlabel completion bash)"',
    "zsh": 'eval "$(vidlabel completion zsh)"',
    "fish": "vidlabel completion fish | source",
}
STUB = """#!/bin/sh
if [ "$1" = completion ] || [ -n "$_VIDLABEL_COMPLETE" ]; then
    exec {python} -m vidlabel "$@"
fi
for word in "$@"; do printf '%s|' "$word"; done > ran.part
mv ran.part ran
"""

CASES = {
    "predict cli": ["predict", "clips"],
    "predict clips/my": ["predict", "clips/my clip, one.mp4"],
    "predict clips/my\\ c": ["predict", "clips/my clip, one.mp4"],
    "predict --model r2": ["predict", "--model", "r2plus1d_18"],
    "predict --model runs/m": ["predict", "--model", "runs/mine"],
    "predict --model=r2": ["predict", "--model=r2plus1d_18"],
    "predict --out=lab": ["predict", "--out=labels.csv"],
    "eval x --protocol grou": ["eval", "x", "--protocol", "group-kfold"],
    "train hmdb51:cli": ["train", "hmdb51:clips"],
    "train x --device cp": ["train", "x", "--device", "cpu"],
    "doc": ["doctor"],
    "predict --dry": ["predict", "--dry-run"],
}
"""What is typed before the Tab, and the arguments that the command then gets."""


class Shell:
    """An interactive shell on a terminal of its own, in a folder with the program's stub."""

    def __init__(self, name: str, folder: Path) -> None:
        self._folder = folder
        shell = shutil.which(name)
        assert shell is not None
        self._terminal, self._other = pty.openpty()
        # In a new session, the first terminal that a process opens is its own.
        opening = f'exec "$@" <>{os.ttyname(self._other)} >&0 2>&0'
        self._process = subprocess.Popen(
            ["sh", "-c", opening, "sh", shell, *STARTS[name]],
            env={
                "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "HOME": str(folder),
                "TERM": "dumb", "PYTHONPATH": str(ROOT),
            },
            cwd=folder, start_new_session=True,
        )  # fmt: skip

    def type(self, keys: str) -> None:
        os.write(self._terminal, keys.encode())

    def ran(self) -> list[str]:
        """The arguments of the command that was typed last; it waits for them."""
        result, shown, deadline = self._folder / "ran", b"", time.monotonic() + 30
        while not result.exists():
            if select.select([self._terminal], [], [], 0.05)[0]:
                shown += os.read(self._terminal, 4096)
            assert time.monotonic() < deadline, shown.decode(errors="replace")
        words = result.read_text().split("|")[:-1]
        result.unlink()
        return [word.removesuffix("/") for word in words]  # zsh removes it too

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._terminal)
        os.close(self._other)


@pytest.mark.field
@pytest.mark.parametrize("name", STARTS)
def test_a_shell_completes_files_and_names(name: str, tmp_path: Path) -> None:
    """field 17: file names, models, protocols and devices, in each shell that is here."""
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    for path in (
        "clips/my clip, one.mp4",
        "labels.csv",
        "runs/mine/best.safetensors",
        "bin/vidlabel",
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).touch()
    stub = tmp_path / "bin" / "vidlabel"
    stub.write_text(STUB.replace("{python}", shlex.quote(sys.executable)))
    stub.chmod(0o755)
    shell = Shell(name, tmp_path)
    try:
        shell.type(f"{SETUPS[name]}; vidlabel ready\r")
        assert shell.ran() == ["ready"]
        for line, words in CASES.items():
            shell.type(f"vidlabel {line}\t\r")
            assert shell.ran() == words, line
    finally:
        shell.close()
