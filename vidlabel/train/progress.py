"""The progress of a training on stderr, and in a TensorBoard log.

On a terminal there is a bar below the rows of the epochs. The rows are printed one by one, not as a
table of rich's in a Live display: that one cannot be longer than the terminal is high, and leaves
nothing to scroll back to.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from vidlabel import console
from vidlabel.console import Counting
from vidlabel.errors import OutputError, UsageError
from vidlabel.text import clock_time, time_left
from vidlabel.train.observer import Epoch, TrainObserver


class TrainView(TrainObserver):
    """Shows a training: on a terminal a table that grows above a bar, else a line per epoch.

    Args:
        quiet: show nothing.
        clock: seconds since any moment.
    """

    def __init__(self, quiet: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._quiet = quiet
        self._clock = clock
        self._bar: Progress | None = None
        self._noted: set[str] = set()
        self._fold, self._later = "", 0

    def fold(self, told: str, later: int) -> None:
        self._fold, self._later = told, later

    def decoding(self, total: int) -> Counting:
        return console.Progress(total, quiet=self._quiet, doing="decoding")

    def describing(self, total: int) -> Counting:
        return console.Progress(total, quiet=self._quiet, doing="computing features")

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        self._epochs, self._steps = epochs, steps
        self._before = self._done = len(log) * steps  # optimizer steps
        self._started = self._clock()
        self._clips = 0
        self._losses: list[float] = []  # of the epoch under way
        if log:
            self.note(f"resuming after epoch {len(log)}")
        if self._quiet or not console.watched() or len(log) == epochs:
            return
        for header in _header(epochs):
            console.line(Text(header, style="bold"))
        self._bar = self._new_bar(console.stderr.width)
        with suppress(OSError):  # a terminal that was closed must not end a training
            self._bar.start()

    def step(self, loss: float, clips: int) -> None:
        self._done += 1
        self._clips += clips
        self._losses.append(loss)
        self._update()

    def epoch(self, line: Epoch, best: bool) -> None:
        self._done = line.epoch * self._steps
        self._losses.clear()
        if self._bar is not None:
            console.line(_row(line, self._epochs, best))
            self._update()
        elif not self._quiet:
            left = self._left()
            console.note(_sentence(line, self._epochs) + (f", {left}" if left else ""))

    def end(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()
            self._bar = None

    def note(self, line: str) -> None:
        if not self._quiet and line not in self._noted:  # the folds of a protocol repeat it
            self._noted.add(line)
            console.note(line)

    def _new_bar(self, width: int) -> Progress:
        """A bar with the columns that a terminal of this width has room for."""
        columns = {
            TextColumn("{task.description}"): 0,
            BarColumn(bar_width=None): 0,
            MofNCompleteColumn(): 60,
            TextColumn("{task.fields[loss]}"): 50,
            TextColumn("{task.fields[speed]}"): 80,
            TimeElapsedColumn(): 90,
            TextColumn("{task.fields[left]}"): 0,
        }
        bar = console.bar(*(column for column, least in columns.items() if width >= least))
        bar.add_task(total=self._epochs * self._steps, **self._figures())
        return bar

    def _update(self) -> None:
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], **self._figures())

    def _figures(self) -> dict[str, Any]:
        number = min(self._done // self._steps + 1, self._epochs)
        mean = sum(self._losses) / max(1, len(self._losses))
        return {
            "description": ", ".join(filter(None, (self._fold, f"epoch {number}/{self._epochs}"))),
            "completed": self._done,
            "loss": f"loss {mean:.3f}" if self._losses else "",
            "speed": f"{self._clips / max(self._elapsed(), 1e-3):.1f} clips/s",
            "left": self._left(),
        }

    def _left(self) -> str:
        """Time left for this training and for all later folds, which take as many steps.

        Rich's own estimate forgets what is 30 seconds old, and an epoch ends with a validation."""
        whole = self._epochs * self._steps
        to_come = whole * (1 + self._later) - self._done
        left = time_left(self._elapsed(), self._done - self._before, to_come)
        return f"{left} for all folds" if left and self._fold else left

    def _elapsed(self) -> float:
        return self._clock() - self._started


class TrainBoard(TrainView):
    """A view that also writes the figures of each epoch to a TensorBoard log in the run folder.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self, quiet: bool = False) -> None:
        super().__init__(quiet)
        try:
            self._make = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the package tensorboard, which is not installed; install "
                "vidlabel[tensorboard]"
            ) from error
        self._writer: Any = None

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """Raises OutputError if the folder cannot be written."""
        super().begin(out, epochs, steps, log)
        place = out / "tensorboard"
        try:
            self._writer = self._make(str(place), purge_step=1)  # hides older logs
        except OSError as error:
            raise OutputError(f"{place}: cannot be written: {error.strerror}") from error
        for line in log:  # again: a killed run may not have written the last one
            self._write(line)

    def epoch(self, line: Epoch, best: bool) -> None:
        super().epoch(line, best)
        self._write(line)

    def end(self) -> None:
        super().end()
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _write(self, line: Epoch) -> None:
        for name, value in (
            ("loss/train", line.train_loss),
            ("loss/held_out", line.val_loss),
            ("top1/train", line.train_top1),
            ("top1/held_out", line.val_top1),
            ("lr", line.lr),
        ):
            self._writer.add_scalar(name, value, line.epoch)
        self._writer.flush()


def _sentence(line: Epoch, epochs: int) -> str:
    """An epoch as a line of a log."""
    return (
        f"epoch {line.epoch}/{epochs}  loss {line.train_loss:.3f}  validation: loss "
        f"{line.val_loss:.3f}, top-1 {line.val_top1:.1%}  {line.seconds:.0f} s"
    )


def _header(epochs: int) -> tuple[str, str]:
    """Two lines above the table."""
    width = _place_width(epochs)
    return (
        f"{'':{width}}      training     validation",
        f"{'epoch':>{width}}   loss   top-1    loss   top-1     time             lr",
    )


def _row(line: Epoch, epochs: int, best: bool) -> Text:
    """An epoch as a row of the table; what matters least is last, where narrow terminals cut."""
    text = (
        f"{f'{line.epoch}/{epochs}':>{_place_width(epochs)}}"
        f"  {line.train_loss:5.3f}  {line.train_top1:6.1%}   {line.val_loss:5.3f}"
        f"  {line.val_top1:6.1%}  {clock_time(line.seconds):>7}  {'best' if best else '':4}"
        f"  {line.lr:7.1e}"
    )
    return Text(text, style="green" if best else "")


def _place_width(epochs: int) -> int:
    return max(len("epoch"), len(f"{epochs}/{epochs}"))
