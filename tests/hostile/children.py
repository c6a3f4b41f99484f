"""Read files in processes of their own: what a hostile file may kill, hang or swell is not ours.

The tests start one server, a single-threaded process that has imported what reading needs, and it
forks a child for every file. The child tells what came of the file, as JSON, and the server adds
how the child ended, how long it took and how much memory it needed.
"""

from __future__ import annotations

import functools
import json
import os
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

CAP_S = 20.0
"""Longest time a child may take for one file."""

Row = dict[str, Any]


class Server:
    """Reads files, each in a child process; a context manager.

    A row says of a file: `reads`, one outcome for each of the `walk_bytes` asked for (`reason`,
    `detail`, `frames`, `damaged`, `duration_s`); `death`, how the child ended if not well;
    `stderr`, what it wrote there; `seconds`, of a processor, which other processes do not change;
    and `grown_mb`, by how much its memory peaked over what it began with.
    """

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.communicate()

    def read(self, path: Path, **options: object) -> Row:
        """What reading a file gives. Options: see `_read_one`."""
        job = {"path": os.fsencode(path).hex()} | options
        self._process.stdin.write(json.dumps(job).encode() + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the server died: {self._process.stderr.read()!r}")
        return json.loads(line)


@functools.cache
def server() -> Server:
    """The one for all tests, since importing what reading needs takes longer than most files."""
    return Server()


def read_all(paths: Sequence[Path], **options: object) -> list[Row]:
    """The outcome of each file, read once, as one row; a test fails if any child ended badly."""
    rows = []
    for path in paths:
        row = server().read(path, **options)
        assert not row["death"], f"{path}: {row}"
        assert not row["stderr"], f"{path}: {row}"
        rows.append(row | row["reads"][0])
    return rows


# --- in the server and its children -----------------------------------------------------------


def _serve() -> None:
    from vidlabel.clips import read  # noqa: F401  (imported once, before the forks)

    for line in sys.stdin:
        print(json.dumps(_watch(json.loads(line))), flush=True)


def _watch(job: Row) -> Row:
    """Fork a child for one file and say how it went."""
    results, results_end = os.pipe()
    errors, errors_end = os.pipe()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        _child(job, results_end, errors_end)
    os.close(results_end)
    os.close(errors_end)
    output: dict[int, bytes] = {results: b"", errors: b""}
    pending = {results, errors}
    death = ""
    while pending:
        left_s = begun + CAP_S - time.monotonic()
        ready = select.select(list(pending), [], [], max(0.0, left_s))[0]
        if not ready:
            death = f"still busy after {CAP_S:.0f} s"
            os.kill(child, signal.SIGKILL)
            break
        for pipe in ready:
            data = os.read(pipe, 65536)
            output[pipe] += data
            if not data:
                pending.discard(pipe)
    _, status, usage = os.wait4(child, 0)
    seconds = usage.ru_utime + usage.ru_stime
    for pipe in (results, errors):
        os.close(pipe)
    if not death and (code := os.waitstatus_to_exitcode(status)):
        death = signal.Signals(-code).name if code < 0 else f"exit {code}"
    lines = [json.loads(line) for line in output[results].splitlines()]
    base_kib = lines[0] if lines else 0
    return {
        "reads": lines[1:],
        "death": death,
        "stderr": output[errors].decode("utf-8", "replace")[-2000:],
        "seconds": round(seconds, 3),
        "grown_mb": round((_peak_kib(usage) - base_kib) / 1024, 1),
    }


def _child(job: Row, results: int, errors: int) -> None:
    try:
        os.dup2(errors, 2)
        with os.fdopen(results, "w") as out:
            print(_peak_kib(resource.getrusage(resource.RUSAGE_SELF)), file=out, flush=True)
            _limit_memory()
            for row in _read_one(**job):
                print(json.dumps(row), file=out, flush=True)
    except BaseException:  # noqa: BLE001  (nothing may reach the server's own loop)
        import traceback

        traceback.print_exc()
        os._exit(1)
    os._exit(0)


def _limit_memory() -> None:
    """As in a decoder process: a net below the tests, which hold files to far less."""
    from vidlabel.specs import Limits

    if sys.platform == "linux":
        size = Limits().memory_mb * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (size, size))


def _read_one(
    path: str,
    walk_bytes: Sequence[int] = (2**25,),
    views: int = 0,
    frames: int = 6,
    kind: str = "rgb",
    formats: Sequence[str] = (),
    pixels: int = 8192 * 8192,
) -> Iterator[Row]:
    """Read a file once for each of `walk_bytes` (the value of `reader.WALK_BYTES`).

    `views` 0 takes `clips.read.read_time_steps`, as training does; more take `read_clip`.
    """
    from vidlabel.clips.read import read_clip, read_time_steps
    from vidlabel.errors import VideoError
    from vidlabel.specs import ClipSpec, Limits
    from vidlabel.video import reader as video

    spec = ClipSpec(frames=frames, size_px=64, resize_px=72, input=kind)
    limits = Limits(pixels=pixels, formats=tuple(formats))
    name = os.fsdecode(bytes.fromhex(path))
    for size in walk_bytes:
        video.WALK_BYTES = size
        try:
            if views:
                clip = read_clip(name, spec, views, limits)
            else:
                clip = read_time_steps(name, spec, 1, limits)
        except VideoError as error:
            yield {"frames": 0, "reason": error.reason, "detail": error.detail}
            continue
        assert clip.clips.dtype == "uint8"
        assert clip.clips.shape[1:3] == (frames, 3)
        assert 0 <= clip.duration_s <= limits.duration_s, clip.duration_s
        yield {
            "frames": clip.frames_used,
            "reason": "",
            "damaged": clip.damaged,
            "duration_s": clip.duration_s,
        }


def _peak_kib(usage: resource.struct_rusage) -> int:
    """Peak memory; macOS counts bytes."""
    return usage.ru_maxrss // 1024 if sys.platform == "darwin" else usage.ru_maxrss


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _serve()
