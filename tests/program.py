"""The program, started as often as a test likes: each run is a process forked from one that has
imported torch already, which takes seconds."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

SERVER = """
import json, os, signal, sys
import vidlabel.cli.main, vidlabel.evaluate.report, vidlabel.predict.job, vidlabel.train.job
import torch
torch.set_num_threads(1)

for line in sys.stdin:
    order = json.loads(line)
    if "wait" in order:
        answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        print(json.dumps(answer), flush=True)
        continue
    pid = os.fork()
    if pid:
        print(json.dumps(pid), flush=True)
        continue
    for number, mode in ((1, os.O_WRONLY), (2, os.O_WRONLY)):
        os.dup2(os.open(order["streams"][number - 1], mode), number)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(order["cwd"])
    os.environ.update(order["env"])
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler if number == 2 else signal.SIG_DFL)
    sys.argv = ["vidlabel", *order["arguments"]]
    exec(order["before"])
    try:
        vidlabel.cli.main.main()
    except SystemExit as end:  # without the second that torch takes to tidy up
        sys.stdout.flush()
        os._exit(end.code)
"""


@dataclass(frozen=True)
class Done:
    """How a run ended. A negative code is the number of the signal that ended it."""

    code: int
    out: str
    err: str


class Program:
    """Runs of vidlabel, one process each; a context manager."""

    def __init__(self) -> None:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self._server = subprocess.Popen(
            [sys.executable, "-c", SERVER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=os.environ | threads | {"PYTHONPATH": str(Path(__file__).parent)},
            text=True,
        )

    def __enter__(self) -> Program:
        return self

    def __exit__(self, *exception: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait()
        self._server.stdout.close()

    def start(
        self,
        *arguments: object,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        before: str = "",
        stdout: str | None = None,
        stderr: str | None = None,
    ) -> Run:
        """Begin a run.

        Args:
            arguments: of the command line.
            cwd: where it runs.
            env: added to its environment.
            before: Python code run in the process first, to inject faults.
            stdout: where its standard output goes; None keeps it for `Run.wait`.
            stderr: likewise.
        """
        streams = []
        for given in (stdout, stderr):
            if given is None:
                handle, given = tempfile.mkstemp()
                os.close(handle)
            streams.append(given)
        pid = self.ask(
            {
                "arguments": [str(each) for each in arguments],
                "cwd": str(cwd or Path.cwd()),
                "env": dict(env or {}),
                "before": before,
                "streams": streams,
            }
        )
        return Run(self, pid, [Path(each) for each in streams])

    def run(self, *arguments: object, **how: object) -> Done:
        """A run from beginning to end."""
        return self.start(*arguments, **how).wait()  # type: ignore[arg-type]

    def ask(self, order: object) -> int:
        """One order to the server, and its answer."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(order) + "\n")
        self._server.stdin.flush()
        return int(self._server.stdout.readline())


@dataclass(frozen=True)
class Run:
    """A run that has begun."""

    program: Program
    pid: int
    streams: list[Path]

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it is still there."""
        os.kill(self.pid, number)  # until it has been waited for, its number is its own

    def wait(self) -> Done:
        """Wait for its end."""
        code = self.program.ask({"wait": self.pid})
        texts = []
        for path in self.streams:
            if path.is_file():
                texts.append(path.read_bytes().decode())
                path.unlink()
            else:
                texts.append("")
        return Done(code, *texts)

    def decoders(self) -> list[int]:
        """The process numbers of its decoder processes."""
        return [pid for pid, (parent, _) in processes().items() if parent == self.pid]


class Invoke(Protocol):
    """Runs a command line; exit code, stdout, stderr."""

    def __call__(
        self, *arguments: object, stdin: bytes = b"", cwd: Path | None = None
    ) -> tuple[int, str, str]: ...


def processes() -> dict[int, tuple[int, str]]:
    """Parent and state of every process, by number."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        found[int(entry.parent.name)] = (int(fields[1]), fields[0])
    return found


def gone(pids: list[int], within_s: float = 10.0) -> bool:
    """True as soon as none of the processes is there any more (or all are zombies)."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        alive = processes()
        if all(pid not in alive or alive[pid][1] == "Z" for pid in pids):
            return True
        time.sleep(0.02)
    return False
