"""A training's figures for TensorBoard, in the folder `tensorboard` of its run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vidlabel.errors import OutputError, UsageError
from vidlabel.train.observer import Epoch, TrainObserver

FOLDER = "tensorboard"


class TrainBoard(TrainObserver):
    """Writes each epoch's figures as it ends.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            self._make = import_module("torch.utils.tensorboard").SummaryWriter
        except ImportError as error:
            raise UsageError(
                "--tensorboard needs the package of that name, which is not installed; install "
                "vidlabel[tensorboard]"
            ) from error
        self._writer: Any = None

    def begin(self, out: Path, epochs: int, steps: int, log: Sequence[Epoch]) -> None:
        """Raises OutputError where the folder cannot be written."""
        try:
            self._writer = self._make(str(out / FOLDER), purge_step=1)  # hides what is there
        except OSError as error:
            raise OutputError(f"{out / FOLDER}: cannot be written: {error.strerror}") from error
        for line in log:  # again: a kill may have come before the last one was written here
            self.epoch(line, best=False)

    def epoch(self, line: Epoch, best: bool) -> None:
        for name, value in (
            ("loss/train", line.train_loss),
            ("loss/held_out", line.val_loss),
            ("top1/train", line.train_top1),
            ("top1/held_out", line.val_top1),
            ("lr", line.lr),
        ):
            self._writer.add_scalar(name, value, line.epoch)
        self._writer.flush()

    def end(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
