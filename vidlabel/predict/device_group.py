"""Several devices that label the videos of one run: a process for each.

One process could drive several GPUs only with threads that wait for each other, and a GPU that is
lost would take it along. So each device has a process with a model and decoders of its own. They
take videos from one list, one by one, and send back rows: the run, its ledger and its table are
those of a single device, whatever the number of devices, and any number can resume it.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from itertools import chain
from multiprocessing.connection import Connection, wait
from typing import Any, Self

import torch

from vidlabel.clips.windows import Windows
from vidlabel.device import pick_device
from vidlabel.errors import DeviceError, UsageError, VidlabelError
from vidlabel.machine import MAX_WORKERS, start_module, usable_cores
from vidlabel.models.checkpoint import Checkpoint, load_checkpoint
from vidlabel.models.fusion import take_stream
from vidlabel.predict import device_process
from vidlabel.predict.inputs import in_order
from vidlabel.predict.labeller import Labeller, load_labeller
from vidlabel.predict.spec import ModelChoice, PredictSpec
from vidlabel.results.predictions import Predictions
from vidlabel.results.topk import choose_classes, model_name
from vidlabel.signals import StopAsked, never
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Prediction, VideoItem
from vidlabel.text import plural

_POLL_S = 0.25
"""How often the group stops waiting, to look for a stop."""

_END_S = 10.0
"""Longest time a process may take to end by itself."""


class DeviceProcess:
    """A process that labels on one device.

    Attributes:
        name: of the device, as given.
        connection: to the process; it ends when this is closed.
    """

    def __init__(self, choice: ModelChoice) -> None:
        self.name = choice.device
        self._process, self.connection = start_module(device_process.__name__)
        self.connection.send(choice)

    def stop(self) -> None:
        """Ask the process to end after its current batch."""
        self._process.terminate()

    def close(self) -> str:
        """End the process; returns how it ended."""
        self.connection.close()
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
        return f"signal {-code}" if code < 0 else f"exit status {code}"


class DeviceGroup:
    """A model on several devices, which labels videos like a `Labeller`; a context manager.

    Args:
        checkpoint: the model.
        processes: which have been told to load it, one or more.

    Raises:
        UsageError: they compute in different precisions.
        DeviceError: a process ended before it was ready.
        VidlabelError: what `load_labeller` raised in one of them.
    """

    def __init__(self, checkpoint: Checkpoint, processes: Sequence[DeviceProcess]) -> None:
        self.checkpoint = checkpoint
        self.classes = checkpoint.header.classes
        self._processes = processes
        self._warnings: list[str] = []
        try:
            found = {process.name: self._ready(process) for process in processes}
            if len(set(found.values())) > 1:
                told = ", ".join(f"{name} in {precision}" for name, precision in found.items())
                raise UsageError(f"--device: computes on {told}; name one of them by --precision")
        except BaseException:
            self.close()
            raise
        self.precision = next(iter(found.values()))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    @property
    def device(self) -> str:
        """Devices and precision, such as `cuda:0 + cuda:1 bf16`."""
        return f"{' + '.join(process.name for process in self._processes)} {self.precision}"

    def close(self) -> None:
        """End all processes."""
        for process in self._processes:
            process.connection.close()  # all of them end at the same time
        for process in self._processes:
            process.close()

    def warnings(self) -> list[str]:
        """As `Labeller.warnings`."""
        return self._warnings

    def min_confidence(self, spec: PredictSpec) -> float:
        """As `Labeller.min_confidence`."""
        asked = spec.min_confidence
        return self.checkpoint.header.min_confidence if asked is None else asked

    def chosen(self, spec: PredictSpec) -> tuple[str, ...]:
        """As `Labeller.chosen`."""
        return choose_classes(spec.classes, self.classes, self.checkpoint.id)

    def windows(self, timeline: TimelineSpec) -> Windows:
        """Raises UsageError: a group labels whole videos only."""
        raise UsageError(
            f"--timeline: cannot be shared by {plural(len(self._processes), 'device')}; name one, "
            "and let each label another --shard"
        )

    def predict(
        self,
        videos: Sequence[VideoItem],
        spec: PredictSpec,
        *,
        ordered: bool = True,
        stop: StopAsked = never,
    ) -> Predictions:
        """As `Labeller.predict`, of items and once only.

        When a process ends early, the others go on; the videos that it had begun have no row.

        Raises:
            DeviceError: after the last row, if a process ended early.
        """
        numbered = self._label(videos, spec, stop)
        rows: Iterator[Prediction]
        if ordered:
            rows = chain.from_iterable(in_order((i, [row]) for i, row in numbered))
        else:
            rows = (row for _, row in numbered)
        chosen = self.chosen(spec)
        count = len(chosen or self.classes)
        return Predictions(rows, model_name(self.checkpoint.id, chosen), min(spec.top_k, count))

    def _label(
        self, items: Sequence[VideoItem], spec: PredictSpec, stop: StopAsked
    ) -> Iterator[tuple[int, Prediction]]:
        source = iter(items)
        busy = {process.connection: process for process in self._processes}
        begun: dict[Connection, set[int]] = {connection: set() for connection in busy}
        lost: list[str] = []
        stopping = False
        for process, workers in zip(busy.values(), self._shares(spec.workers), strict=True):
            _send(process, replace(spec, workers=workers))
        while busy:
            if not stopping and stop():
                stopping = True
                source = iter(())
                for process in busy.values():
                    process.stop()
            for connection in wait(list(busy), timeout=_POLL_S):
                assert isinstance(connection, Connection)
                kind, content = _received(connection)
                if kind == "next":
                    item = next(source, None)
                    if item is not None:
                        begun[connection].add(item.index)
                    _send(busy[connection], item)
                elif kind == "row":
                    begun[connection].discard(content[0])
                    yield content
                elif kind == "end":
                    name = busy.pop(connection).name
                    begun[connection].clear()
                    self._warnings += [f"{name}: {line}" for line in content]
                elif isinstance(content, UsageError):  # all of them say the same
                    raise content
                else:
                    lost.append(_why(busy.pop(connection), content))
        if lost and not stopping:
            count = sum(map(len, begun.values())) + sum(1 for _ in source)
            raise DeviceError(
                f"{'; '.join(lost)}; {plural(count, 'video')} not labelled: run the same command "
                "to resume"
            )

    def _ready(self, process: DeviceProcess) -> str:
        """The precision that a process has chosen, when it has loaded the model."""
        kind, content = _received(process.connection)
        if kind == "ready":
            return str(content)
        if isinstance(content, VidlabelError):
            raise content
        raise DeviceError(f"while it started: {_why(process, content)}")

    def _shares(self, workers: int | None) -> list[int]:
        """Decoder processes for each device, of `workers` or of one per core."""
        count = len(self._processes)
        total = usable_cores() if workers is None else workers
        most = MAX_WORKERS if workers is None else total
        return [min(most, max(1, (total + i) // count)) for i in range(count)]


def read_devices(text: str) -> list[str]:
    """The devices that --device names: one, or several with commas between; `all` is every CUDA
    device, or what `auto` picks if there is none. A device may be named twice.

    Raises:
        UsageError: a name is not that of a device.
        DeviceError: this machine has no such device.
    """
    if text == "all":
        return [f"cuda:{i}" for i in range(torch.cuda.device_count())] or ["auto"]
    names = [name.strip() for name in text.split(",")]
    for name in names:
        pick_device(name)
    return names


@contextmanager
def loaded(
    choice: ModelChoice, start: Callable[[ModelChoice], DeviceProcess] = DeviceProcess
) -> Iterator[Labeller | DeviceGroup]:
    """Load a model on one device or several, as `read_devices` takes them; `start` starts the
    process of a device.

    Raises as `read_devices`, `load_labeller` and `DeviceGroup`.
    """
    devices = [replace(choice, device=name) for name in read_devices(choice.device)]
    if len(devices) == 1:
        yield load_labeller(**vars(devices[0]))
        return
    # Before all others, since it may download weights.
    checkpoint = load_checkpoint(choice.model, choice.classes)
    if choice.stream is not None:
        checkpoint = take_stream(checkpoint, choice.stream)
    with ExitStack() as stack:
        processes = []
        for each in devices:
            processes.append(start(each))
            stack.callback(processes[-1].close)
        yield stack.enter_context(DeviceGroup(checkpoint, processes))


def _received(connection: Connection) -> tuple[str, Any]:
    """A message of a process; `("lost", None)` if it has ended."""
    try:
        kind, content = connection.recv()
    except (EOFError, OSError):
        return "lost", None
    return kind, content


def _why(process: DeviceProcess, error: object) -> str:
    """How a process was lost: by an error that it sent, or else by how it ended."""
    if error is None:
        return f"{process.name}: its process ended ({process.close()})"
    return str(error).partition("; run the same command")[0]


def _send(process: DeviceProcess, message: object) -> None:
    with suppress(OSError):  # it died; the next wait() finds its connection closed
        process.connection.send(message)
