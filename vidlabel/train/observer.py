"""Observers of a training: they show how it goes, and never change it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vidlabel.console import Counting


@dataclass(frozen=True)
class Epoch:
    """One line of the log. Accuracies are 0 to 1; `val_` is measured on the validation set."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    seconds: float

    @property
    def score(self) -> tuple[float, float]:
        """The best epoch has the largest: accuracy on the validation set, then lower loss."""
        return self.val_top1, -self.val_loss


class _Counters:
    """Several counters that count together, or none."""

    def __init__(self, counters: Sequence[Counting] = ()) -> None:
        self._counters = counters
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        for each in self._counters:
            self._entered.enter_context(each)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)

    def advance(self) -> None:
        for each in self._counters:
            each.advance()


class TrainObserver:
    """Is told how a training goes; this one ignores it."""

    def decoding(self, total: int) -> Counting:
        """This number of videos will be decoded; `advance` counts them."""
        return _Counters()

    def describing(self, total: int) -> Counting:
        """A frozen CNN will compute the features of this number of videos; `advance` counts."""
        return _Counters()

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """Training in the folder `out` starts: `epochs` of `steps` optimizer steps each, of which
        those in `log` are done."""

    def step(self, loss: float, clips: int) -> None:
        """An optimizer step is done: its mean loss, and how many clips it saw."""

    def epoch(self, line: Epoch, best: bool) -> None:
        """An epoch is done and saved; `best`: it is the best so far."""

    def end(self) -> None:
        """The last call, also if the training fails."""

    def note(self, line: str) -> None:
        """A message for the user."""


class Observers(TrainObserver):
    """Several observers, called in their order."""

    def __init__(self, *observers: TrainObserver) -> None:
        self._observers = observers

    def decoding(self, total: int) -> Counting:
        return _Counters([each.decoding(total) for each in self._observers])

    def describing(self, total: int) -> Counting:
        return _Counters([each.describing(total) for each in self._observers])

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        for each in self._observers:
            each.begin(out, epochs, steps, log)

    def step(self, loss: float, clips: int) -> None:
        for each in self._observers:
            each.step(loss, clips)

    def epoch(self, line: Epoch, best: bool) -> None:
        for each in self._observers:
            each.epoch(line, best)

    def end(self) -> None:
        for each in self._observers:
            each.end()

    def note(self, line: str) -> None:
        for each in self._observers:
            each.note(line)
