"""A training as people see it: a line for each epoch, and below them what goes on now."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from rich.progress import BarColumn, ProgressColumn, Task
from rich.progress import Progress as RichProgress
from rich.table import Column
from rich.text import Text

from vidlabel import console
from vidlabel.console import Counting
from vidlabel.train.observer import Epoch, TrainObserver

_LEAST_BAR = 10
"""Characters that figures leave to the bar."""


class Pace:
    """How far a training is, and how fast.

    Args:
        epochs, steps: of the whole training, and of each epoch.
        done: epochs that an earlier start has done; they count as done, but not for the speed.
        clock: seconds since any moment.
    """

    def __init__(
        self, epochs: int, steps: int, done: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.epochs = epochs
        self.total = epochs * steps
        self.done = self._before = done * steps
        self._steps = steps
        self._clock = clock
        self._started = clock()
        self._clips = 0
        self._loss = 0.0
        self._since = 0  # steps since the epoch began

    def step(self, loss: float, clips: int) -> None:
        """Count a step."""
        self.done += 1
        self._since += 1
        self._loss += loss
        self._clips += clips

    def epoch(self, number: int) -> None:
        """An epoch has ended; the next one has a mean loss of its own."""
        self.done = number * self._steps
        self._since, self._loss = 0, 0.0

    @property
    def place(self) -> str:
        """The epoch that is under way, of all."""
        return f"epoch {min(self.done // self._steps + 1, self.epochs)}/{self.epochs}"

    @property
    def left(self) -> str:
        """Time left, as text; empty as long as it cannot be known, and at the end."""
        now, to_come = self.done - self._before, self.total - self.done
        if not now or not to_come:
            return ""
        return f"{_clock_time(self._elapsed / now * to_come)} left"

    def figures(self, room: int) -> str:
        """Steps, mean loss of the epoch, speed and time, as far as they fit in `room` characters.

        The least important one gives way first.
        """
        parts = {
            "steps": f"{self.done}/{self.total}",
            "loss": f"loss {self._loss / self._since:.3f}" if self._since else "",
            "speed": f"{self._clips / max(self._elapsed, 1e-3):.1f} clips/s",
            "elapsed": _clock_time(self._elapsed),
            "left": self.left,
        }
        for name in ("elapsed", "speed", "steps", "loss"):
            if len(_joined(parts.values())) <= room:
                break
            del parts[name]
        return _joined(parts.values())

    @property
    def _elapsed(self) -> float:
        return self._clock() - self._started


class TrainView(TrainObserver):
    """Tells people on stderr: on a terminal a growing table over a bar, else a line per epoch."""

    def __init__(self, quiet: bool = False) -> None:
        self._quiet = quiet
        self._pace = Pace(1, 1, 0)
        self._bar: RichProgress | None = None
        self._rates = True
        """Whether the table has a column for the learning rate."""
        self._noted: set[str] = set()

    def decoding(self, total: int) -> Counting:
        return console.Progress(total, quiet=self._quiet, doing="decoding")

    def describing(self, total: int) -> Counting:
        return console.Progress(total, quiet=self._quiet, doing="describing")

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        self._pace = Pace(epochs, steps, len(log))
        if log:
            self.note(f"goes on after epoch {len(log)}")
        if self._quiet or not console.watched() or len(log) == epochs:
            return
        self._rates = console.width() >= _full_width(
            epochs
        )  # once: a terminal can be made narrower
        for header in _header(epochs, self._rates):
            console.line(Text(header, style="bold"))
        self._bar = console.bar(_Place(), BarColumn(bar_width=None), _Figures(self._pace))
        self._bar.add_task(self._pace.place, total=self._pace.total, completed=self._pace.done)
        with suppress(OSError):  # a terminal that was closed must not end a training
            self._bar.start()

    def step(self, loss: float, clips: int) -> None:
        self._pace.step(loss, clips)
        self._update()

    def epoch(self, line: Epoch, best: bool) -> None:
        self._pace.epoch(line.epoch)
        if self._bar is not None:
            console.line(_row(line, self._pace.epochs, best, self._rates))
            self._update()
        elif not self._quiet:
            console.note(_sentence(line, self._pace))

    def end(self) -> None:
        if self._bar is not None:
            with suppress(OSError):
                self._bar.stop()
            self._bar = None

    def note(self, line: str) -> None:
        if not self._quiet and line not in self._noted:  # the folds of a protocol say the same
            self._noted.add(line)
            console.note(line)

    def _update(self) -> None:
        if self._bar is not None:
            (task,) = self._bar.task_ids
            self._bar.update(task, completed=self._pace.done, description=self._pace.place)


class _Place(ProgressColumn):
    """The epoch."""

    def __init__(self) -> None:
        super().__init__(Column(no_wrap=True))

    def render(self, task: Task) -> Text:
        return Text(task.description)


class _Figures(ProgressColumn):
    """What the bar's place and the width of the terminal leave room for."""

    def __init__(self, pace: Pace) -> None:
        super().__init__(Column(no_wrap=True))
        self._pace = pace

    def render(self, task: Task) -> Text:
        room = console.width() - len(task.description) - _LEAST_BAR - 2  # two spaces between
        return Text(self._pace.figures(room))


def _sentence(line: Epoch, pace: Pace) -> str:
    """An epoch as a line of a log."""
    left = f", {pace.left}" if pace.left else ""
    return (
        f"epoch {line.epoch}/{pace.epochs}  loss {line.train_loss:.3f}  held out: loss "
        f"{line.val_loss:.3f}, top-1 {line.val_top1:.1%}  {line.seconds:.0f} s{left}"
    )


def _header(epochs: int, rates: bool) -> tuple[str, str]:
    """Two lines above the table."""
    gap, rate = " " * _place_width(epochs), _rate_column("lr", rates)
    return (
        f"{gap}{' ' * len(rate)}      training       held out",
        f"{'epoch':>{len(gap)}}{rate}   loss   top-1    loss   top-1    time",
    )


def _row(line: Epoch, epochs: int, best: bool, rates: bool) -> Text:
    """An epoch as a line of the table."""
    text = (
        f"{f'{line.epoch}/{epochs}':>{_place_width(epochs)}}"
        f"{_rate_column(f'{line.lr:.1e}', rates)}"
        f"  {line.train_loss:5.3f}  {line.train_top1:6.1%}"
        f"   {line.val_loss:5.3f}  {line.val_top1:6.1%}  {_clock_time(line.seconds):>6}"
    )
    return Text(f"{text}  best", style="green") if best else Text(text)


def _rate_column(text: str, shown: bool) -> str:
    """The learning rate's, which gives way in a narrow terminal."""
    return f"  {text:>7}" if shown else ""


def _full_width(epochs: int) -> int:
    """Characters of the longest row, with the learning rate."""
    longest = "  1.0e-03  0.123  100.0%   0.123  100.0%  123:45  best"
    return _place_width(epochs) + len(longest)


def _place_width(epochs: int) -> int:
    return max(len("epoch"), len(f"{epochs}/{epochs}"))


def _joined(parts: Iterable[str]) -> str:
    return "  ".join(filter(None, parts))


def _clock_time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
