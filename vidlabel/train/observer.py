"""Whom a training tells how it goes, and what."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from vidlabel.console import Counting


@dataclass(frozen=True)
class Epoch:
    """One line of the log."""

    epoch: int
    lr: float
    train_loss: float
    train_top1: float
    val_loss: float
    val_top1: float
    seconds: float

    @property
    def score(self) -> tuple[float, float]:
        """What makes an epoch the best: its accuracy on the held-out part, then its loss."""
        return self.val_top1, -self.val_loss


class _Silent:
    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: Any) -> None: ...

    def advance(self) -> None: ...


class Watch:
    """Who is told how a training goes; this one does nothing with it."""

    def decoding(self, total: int) -> Counting:
        """So many videos are about to be decoded, each counted by `advance`."""
        return _Silent()

    def describing(self, total: int) -> Counting:
        """A frozen trunk is about to see so many videos, each counted by `advance`."""
        return _Silent()

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """Training in the folder `out` starts: `epochs` of `steps` each, after those in `log`."""

    def step(self, loss: float, clips: int) -> None:
        """A step is done: its loss, and how many clips it saw."""

    def epoch(self, line: Epoch, best: bool) -> None:
        """An epoch is done, and kept; `best`: it is the best so far."""

    def end(self) -> None:
        """The last call, also when the training fails."""

    def note(self, line: str) -> None:
        """Something to know, once."""


class Together(Watch):
    """Several who are told the same, in their order."""

    def __init__(self, *watches: Watch) -> None:
        self._watches = watches

    def decoding(self, total: int) -> Counting:
        return _Jointly([each.decoding(total) for each in self._watches])

    def describing(self, total: int) -> Counting:
        return _Jointly([each.describing(total) for each in self._watches])

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        for each in self._watches:
            each.begin(out, epochs, steps, log)

    def step(self, loss: float, clips: int) -> None:
        for each in self._watches:
            each.step(loss, clips)

    def epoch(self, line: Epoch, best: bool) -> None:
        for each in self._watches:
            each.epoch(line, best)

    def end(self) -> None:
        for each in self._watches:
            each.end()

    def note(self, line: str) -> None:
        for each in self._watches:
            each.note(line)


class _Jointly:
    def __init__(self, countings: Sequence[Counting]) -> None:
        self._countings = countings
        self._entered = ExitStack()

    def __enter__(self) -> Self:
        for each in self._countings:
            self._entered.enter_context(each)
        return self

    def __exit__(self, *error: Any) -> None:
        self._entered.__exit__(*error)

    def advance(self) -> None:
        for each in self._countings:
            each.advance()
