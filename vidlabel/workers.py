"""Decoder processes: they read ahead of the model, and one that dies costs one file.

Each worker is a fresh Python process that never imports torch, connected by a socket of its own,
so that killing one leaves nothing locked for the others. Pixels come back through slots of one
shared, unnamed file (memory where the system has /dev/shm) that vanishes with its last user, even
after a kill -9. How much is decoded ahead is bounded by the number of slots.

Workers are started as plain programs instead of by multiprocessing, which would import the
caller's main script again in each.
"""

from __future__ import annotations

import mmap
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast

import numpy as np

from vidlabel.clips import ClipData, read_clip, read_steps, view_count
from vidlabel.errors import Reason, VideoError
from vidlabel.pixels import MAX_ASPECT
from vidlabel.specs import ClipSpec, Limits, VideoItem

DEPTH = 4
"""Files given to a worker at a time: enough that none waits while the model computes."""


START_S = 120.0
"""Longest time a worker may take to start."""


@dataclass(frozen=True)
class DecodeJob:
    """What every worker of a pool does with a file.

    With `cropped`, `views` as in `clips.read_clip`; otherwise `views` stretches of whole frames
    as in `clips.read_steps`, for training.
    """

    clip: ClipSpec
    views: int = 1
    limits: Limits = field(default_factory=Limits)
    cropped: bool = True

    @property
    def slot_bytes(self) -> int:
        """The most bytes that one file's clips can take."""
        spec = self.clip
        if self.cropped:
            return view_count(self.views) * spec.frames * 3 * spec.size_px**2
        return int(self.views * spec.frames * 3 * spec.resize_px**2 * MAX_ASPECT)

    def read(self, path: str) -> ClipData:
        """Decode one file. Raises VideoError."""
        read = read_clip if self.cropped else read_steps
        return read(path, self.clip, self.views, self.limits)


@dataclass(frozen=True)
class Decoded:
    """One file's outcome: `data`, or the `error` that explains why there is none."""

    item: VideoItem
    data: ClipData | None = None
    error: VideoError | None = None


@dataclass
class _Task:
    item: VideoItem
    slot: int
    retry: bool = False


class _Worker:
    """One decoder process and the tasks it holds, in the order it does them."""

    def __init__(self, job: DecodeJob, slots: BinaryIO, size: int) -> None:
        ours, theirs = socket.socketpair()
        package = str(Path(__file__).parent.parent)
        inherited = os.environ.get("PYTHONPATH")
        path = package if not inherited else os.pathsep.join([package, inherited])
        with theirs:
            # -P: a file called av.py in the user's folder must not be imported. A session of its
            # own: Ctrl-C is the parent's to handle.
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(theirs.fileno()), str(slots.fileno())],
                pass_fds=[theirs.fileno(), slots.fileno()],
                env=os.environ | {"PYTHONPATH": path},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.connection = Connection(ours.detach())
        self.tasks: deque[_Task] = deque()
        self.ready = False  # has it said that it is up?
        self.busy_since = time.monotonic()
        self.send((job, size))

    def send(self, message: object) -> None:
        with suppress(OSError):  # it died; the next wait() finds its connection at its end
            self.connection.send(message)

    def give(self, task: _Task) -> None:
        if not self.tasks:
            self.busy_since = time.monotonic()
        self.tasks.append(task)
        self.send((task.item.path, task.slot))

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class DecoderPool:
    """Decodes many files in several processes; a context manager.

    Args:
        job: what to do with each file.
        workers: number of processes, at least 1.
    """

    def __init__(self, job: DecodeJob, workers: int) -> None:
        self._job = job
        self._free = list(range(workers * DEPTH))
        size = len(self._free) * job.slot_bytes
        memory = Path("/dev/shm")
        usable = memory.is_dir() and os.access(memory, os.W_OK) and _room(memory) > 2 * size
        self._file = cast(
            BinaryIO,
            tempfile.TemporaryFile(dir=memory if usable else None),  # noqa: SIM115  (see __exit__)
        )
        self._file.truncate(size)
        self._slots = mmap.mmap(self._file.fileno(), size)
        self._workers = [self._start() for _ in range(workers)]
        self._again: deque[VideoItem] = deque()  # lost with a worker before they were begun
        self._retries: deque[VideoItem] = deque()  # their worker died or hung over them

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.stop()
        self._file.close()

    def run(self, items: Iterable[VideoItem]) -> Iterator[Decoded]:
        """Decode the items; outcomes come as they are ready, one for each item.

        The arrays of an outcome are valid until the next one is asked for: copy what you keep.
        """
        source = iter(items)
        more = True
        while True:
            while (more or self._again) and self._free and (worker := self._idlest()) is not None:
                item = self._again.popleft() if self._again else next(source, None)
                if item is None:
                    more = False
                elif item.problem is not None:
                    yield Decoded(item, error=VideoError(item.problem, item.detail))
                else:
                    worker.give(_Task(item, self._free.pop()))
            self._give_retries()
            busy = [w for w in self._workers if w.tasks]
            if not (busy or more or self._again or self._retries):
                return
            yield from self._collect(busy)

    def _collect(self, busy: list[_Worker]) -> Iterator[Decoded]:
        """Wait for replies, deaths or a deadline, and give what came of them."""
        patience = min((self._deadline(w) for w in busy), default=0.0) - time.monotonic()
        ready = wait([w.connection for w in busy], timeout=max(0.0, patience))
        for worker in busy:
            if worker.connection in ready:
                try:
                    reply = worker.connection.recv()
                except (EOFError, OSError):
                    yield from self._bury(worker, Reason.CRASHED)
                    continue
                worker.busy_since = time.monotonic()
                if not worker.ready:
                    worker.ready = True
                    continue
                task = worker.tasks.popleft()
                yield self._outcome(task, reply)
                self._free.append(task.slot)
            elif time.monotonic() > self._deadline(worker) and not worker.connection.poll():
                yield from self._bury(worker, Reason.TIMEOUT)

    def _deadline(self, worker: _Worker) -> float:
        """When a silent worker counts as hanging; starting up is not the file's fault."""
        return worker.busy_since + (self._job.limits.timeout_s if worker.ready else START_S)

    def _outcome(self, task: _Task, reply: tuple[str, Any]) -> Decoded:
        kind, content = reply
        if kind == "error":
            reason, detail = content
            return Decoded(task.item, error=VideoError(Reason(reason), detail))
        shape, values = content
        clips = np.frombuffer(
            self._slots,
            dtype=np.uint8,
            count=int(np.prod(shape)),
            offset=task.slot * self._job.slot_bytes,
        )
        return Decoded(task.item, data=ClipData(clips.reshape(shape), **values))

    def _bury(self, worker: _Worker, reason: Reason) -> Iterator[Decoded]:
        """Replace a dead or hanging worker. Its current file is tried once more, alone."""
        worker.stop()
        code = worker.process.returncode
        self._workers[self._workers.index(worker)] = self._start()
        blamed = worker.tasks.popleft() if worker.tasks else None
        for task in worker.tasks:  # these had not been begun
            self._free.append(task.slot)
            self._again.append(task.item)
        if blamed is None:
            return
        self._free.append(blamed.slot)
        if not blamed.retry:
            self._retries.appendleft(blamed.item)
            return
        limit_s = self._job.limits.timeout_s
        why = (
            f"decoding took over {limit_s:.0f} s (--timeout)"
            if reason is Reason.TIMEOUT
            else f"the decoder process died on it (exit status {code}), twice"
        )
        path = blamed.item.path
        yield Decoded(blamed.item, error=VideoError(reason, f"{path}: {why}"))

    def _give_retries(self) -> None:
        for worker in self._workers:
            if self._retries and self._free and not worker.tasks:
                worker.give(_Task(self._retries.popleft(), self._free.pop(), retry=True))

    def _idlest(self) -> _Worker | None:
        """The worker with the fewest tasks that may take another, if any."""
        open_to = [
            w for w in self._workers if len(w.tasks) < DEPTH and not any(t.retry for t in w.tasks)
        ]
        if self._retries:  # a file on its second chance needs a worker to itself: let one run dry
            open_to = [w for w in open_to if w.tasks]
            open_to = open_to[1:] if len(open_to) == len(self._workers) else open_to
        return min(open_to, key=lambda w: len(w.tasks), default=None)

    def _start(self) -> _Worker:
        return _Worker(self._job, self._file, len(self._slots))


def worker_count(requested: int | None) -> int:
    """How many decoder processes to start: as asked, or one for each core we may use."""
    if requested is not None:
        return max(1, requested)
    if hasattr(os, "sched_getaffinity"):
        return min(16, len(os.sched_getaffinity(0)))
    return min(16, os.cpu_count() or 1)


def _room(folder: Path) -> int:
    space = os.statvfs(folder)
    return space.f_bavail * space.f_frsize


def _serve(connection: Connection, slots: mmap.mmap, job: DecodeJob) -> None:
    connection.send(("ready", None))
    while True:
        try:
            path, slot = connection.recv()
        except EOFError:  # the parent is done, or gone
            return
        try:
            data = job.read(path)
        except VideoError as error:
            connection.send(("error", (str(error.reason), error.detail)))
            continue
        except Exception as error:  # noqa: BLE001  (a bug of ours costs one row, with its name)
            detail = f"{path}: {type(error).__name__}: {error}"
            connection.send(("error", (str(Reason.READ_ERROR), detail)))
            continue
        start = slot * job.slot_bytes
        target = np.frombuffer(slots, dtype=np.uint8, count=data.clips.size, offset=start)
        np.copyto(target.reshape(data.clips.shape), data.clips)
        values = {
            "duration_s": data.duration_s,
            "frames_used": data.frames_used,
            "padded": data.padded,
            "damaged": data.damaged,
        }
        connection.send(("clips", (data.clips.shape, values)))


def main() -> None:
    """Run a worker on the two inherited file descriptors named on the command line."""
    channel, memory = int(sys.argv[1]), int(sys.argv[2])
    with Connection(channel) as connection:
        job, size = connection.recv()
        _serve(connection, mmap.mmap(memory, size), job)


if __name__ == "__main__":
    main()
