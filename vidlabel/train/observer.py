"""Observers of a training: they show how it goes, and never change it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vidlabel.console import Counting, Progress


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


class TrainObserver:
    """Is told how a training goes; this one ignores it."""

    def fold(self, told: str, later: int) -> None:
        """A fold of a protocol, such as `fold 2 of 7`, comes next, and `later` more after it."""

    def decoding(self, total: int) -> Counting:
        """This number of videos will be decoded; `advance` counts them."""
        return Progress(total, quiet=True)

    def describing(self, total: int) -> Counting:
        """A frozen CNN will compute the features of this number of videos; `advance` counts."""
        return Progress(total, quiet=True)

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
