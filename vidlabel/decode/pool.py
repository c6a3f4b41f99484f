"""Decoder processes: they read ahead of the model, and if one dies, only its current file fails.

Each process is a new Python that never imports torch, connected by a socket of its own, so that
killing one leaves nothing locked for the others. Pixels come back through slots of one shared,
unnamed file (in memory if the system has /dev/shm). The system deletes it with its last user, even
after a kill -9. The number of slots limits how much is decoded ahead.

The processes are started as plain programs and not by multiprocessing, which would fork a process
that has threads, or import the caller's main script again in each.
"""

from __future__ import annotations

import math
import mmap
import os
import tempfile
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import wait
from shutil import disk_usage
from typing import Any, BinaryIO, Self, cast

import numpy as np

from vidlabel.clips.read import ClipData
from vidlabel.decode import worker as decoder
from vidlabel.decode.worker import PULSE, DecodeJob, DecoderSetup
from vidlabel.errors import Reason, RunError, VideoError
from vidlabel.machine import SHARED_MEMORY, open_missing_streams, start_module
from vidlabel.signals import StopAsked, never
from vidlabel.specs import VideoItem

DEPTH = 4
"""Files given to a process at a time: enough that it need not wait while the model computes."""

SHARED_BYTES = 2**30
"""Limit of the shared memory, except that each process always has one slot."""

START_S = 120.0
"""Longest time a process may take to start."""

MAX_BAD_STARTS = 3
"""After so many processes in a row that end during their start, the pool gives up."""

_POLL_S = 0.25
"""How often the pool stops waiting, to look for a stop and for processes without progress."""


@dataclass(frozen=True)
class Decoded:
    """The outcome of one file: `data`, or the `error` that says why there is none."""

    item: VideoItem
    data: ClipData | None = None
    error: VideoError | None = None


@dataclass
class _Task:
    item: VideoItem
    slot: int
    retry: bool = False


class _Worker:
    """One decoder process and its tasks, in the order in which it does them."""

    def __init__(self, shared: BinaryIO, setup: DecoderSetup) -> None:
        # Otherwise numpy starts a thread for each core, which nothing here uses.
        env = {"OPENBLAS_NUM_THREADS": "1"}
        self.process, self.connection = start_module(decoder.__name__, shared.fileno(), env=env)
        self.pulse_at = setup.pulse_at
        self.tasks: deque[_Task] = deque()
        self.ready = False  # has it reported that it has started?
        self.begun = self.alive = time.monotonic()  # start of its file; its last progress
        self.pulse = 0
        self.send(setup)

    def send(self, message: object) -> None:
        with suppress(OSError):  # it died; the next wait() finds its connection closed
            self.connection.send(message)

    def give(self, task: _Task) -> None:
        if not self.tasks:
            self.begin()
        self.tasks.append(task)
        self.send((task.item, task.slot))

    def begin(self) -> None:
        """The time limit of the next file starts now."""
        self.begun = self.alive = time.monotonic()

    def stop(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class DecoderPool:
    """Decodes many files in `workers` processes (at least 1); a context manager.

    Raises:
        RunError: there is no room for the shared file, or no process can be started.
    """

    def __init__(self, job: DecodeJob, workers: int) -> None:
        self._job = job
        self._free = list(range(slot_count(job, workers)))
        self._slots_at = workers * PULSE.size
        open_missing_streams()
        size = self._slots_at + len(self._free) * job.slot_bytes
        self._file = _shared_file(size)
        self._shared = mmap.mmap(self._file.fileno(), size)
        # Added during the run, or lost with a process before they were begun.
        self._again: deque[VideoItem] = deque()
        self._retries: deque[VideoItem] = deque()  # their process died or hung
        self._bad_starts = 0
        self._workers: list[_Worker] = []
        try:
            for place in range(workers):
                self._workers.append(self._start(place * PULSE.size))
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def add(self, item: VideoItem) -> None:
        """Decode an item in addition to those given to `run`; only while it runs."""
        self._again.append(item)

    def close(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.stop()
        self._file.close()

    def run(self, items: Iterable[VideoItem], stop: StopAsked = never) -> Iterator[Decoded]:
        """Decode the items; outcomes come as soon as they are ready, one for each item.

        The arrays of an outcome are valid until the next one is asked for: copy what you keep.
        When `stop` returns True, no more outcomes come, and what is being decoded is abandoned.

        Raises:
            RunError: decoder processes end during their start.
        """
        source = iter(items)
        more = True
        while not stop():
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
        """Wait shortly for replies, dead processes and timeouts, and give their outcomes."""
        ready = wait([w.connection for w in busy], timeout=_POLL_S)
        for worker in busy:
            if worker.connection in ready:
                try:
                    reply = worker.connection.recv()
                except (EOFError, OSError):
                    yield from self._bury(worker, Reason.CRASHED, "")
                    continue
                worker.begin()
                if not worker.ready:
                    worker.ready = True
                    self._bad_starts = 0
                    continue
                task = worker.tasks.popleft()
                yield self._outcome(task, reply)
                self._free.append(task.slot)
            elif (why := self._overdue(worker)) and not worker.connection.poll():
                yield from self._bury(worker, Reason.TIMEOUT, why)

    def _overdue(self, worker: _Worker) -> str:
        """Why a process must be given up; "" while it makes progress in time."""
        now = time.monotonic()
        limits = self._job.limits
        if not worker.ready:  # its start does not count for the file
            return "it did not start" if now > worker.begun + START_S else ""
        (pulse,) = PULSE.unpack_from(self._shared, worker.pulse_at)
        if pulse != worker.pulse:
            worker.pulse, worker.alive = pulse, now
        if now > worker.begun + limits.timeout_s:
            return f"decoding took over {limits.timeout_s:g} s (--timeout)"
        if now > worker.alive + limits.stall_s:
            return f"no progress within {limits.stall_s:g} s"
        return ""

    def _outcome(self, task: _Task, reply: tuple[str, Any]) -> Decoded:
        kind, content = reply
        if kind == "error":
            return Decoded(task.item, error=VideoError(*content))
        shape, data = content
        start = self._slots_at + task.slot * self._job.slot_bytes
        clips = np.frombuffer(self._shared, np.uint8, math.prod(shape), start)
        return Decoded(task.item, data=replace(data, clips=clips.reshape(shape)))

    def _bury(self, worker: _Worker, reason: Reason, why: str) -> Iterator[Decoded]:
        """Replace a dead or hanging process. Its current file is tried once more, alone."""
        worker.stop()
        code = worker.process.returncode
        if not worker.ready:
            self._bad_starts += 1
            if self._bad_starts >= MAX_BAD_STARTS:
                raise RunError(
                    f"decoder processes end during their start (exit status {code}); "
                    "run `vidlabel doctor`"
                )
        self._workers[self._workers.index(worker)] = self._start(worker.pulse_at)
        blamed = worker.tasks.popleft() if worker.tasks and worker.ready else None
        for task in worker.tasks:  # these had not been begun
            self._free.append(task.slot)
            (self._retries if task.retry else self._again).append(task.item)
        if blamed is None:
            return
        self._free.append(blamed.slot)
        if not blamed.retry:
            self._retries.appendleft(blamed.item)
            return
        path = blamed.item.path
        why = why or f"the decoder process died on it (exit status {code})"
        yield Decoded(blamed.item, error=VideoError(reason, f"{path}: {why}, twice"))

    def _give_retries(self) -> None:
        for worker in self._workers:
            if self._retries and self._free and not worker.tasks:
                worker.give(_Task(self._retries.popleft(), self._free.pop(), retry=True))

    def _idlest(self) -> _Worker | None:
        """The process with the fewest tasks that may take another, if any."""
        open_to = [
            w for w in self._workers if len(w.tasks) < DEPTH and not any(t.retry for t in w.tasks)
        ]
        if self._retries:  # a file that is retried needs a process of its own: let one become idle
            open_to = [w for w in open_to if w.tasks]
            open_to = open_to[1:] if len(open_to) == len(self._workers) else open_to
        return min(open_to, key=lambda w: len(w.tasks), default=None)

    def _start(self, pulse_at: int) -> _Worker:
        PULSE.pack_into(self._shared, pulse_at, 0)
        setup = DecoderSetup(self._job, len(self._shared), pulse_at, self._slots_at)
        try:
            return _Worker(self._file, setup)
        except OSError as error:
            raise RunError(f"no decoder process can be started: {error.strerror}") from error


def slot_count(job: DecodeJob, workers: int, shared_bytes: int = SHARED_BYTES) -> int:
    """Slots of the shared file: up to DEPTH per process in `shared_bytes`, at least one."""
    return workers * max(1, min(DEPTH, shared_bytes // (workers * job.slot_bytes)))


def _shared_file(size: int) -> BinaryIO:
    """An unnamed file of `size` bytes, in memory if there is room for twice as much.

    Its space is allocated now: later, a page without space would end the process (SIGBUS).
    """
    memory = SHARED_MEMORY
    usable = memory.is_dir() and os.access(memory, os.W_OK) and disk_usage(memory).free > 2 * size
    try:
        with ExitStack() as stack:
            file = stack.enter_context(tempfile.TemporaryFile(dir=memory if usable else None))
            file.truncate(size)
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            stack.pop_all()
    except OSError as error:
        raise RunError(
            f"no room for {size // 2**20 + 1} MiB shared with the decoders: {error.strerror}; "
            "free space in the temporary folder, or use fewer --workers"
        ) from error
    return cast(BinaryIO, file)
