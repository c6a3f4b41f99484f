"""A TensorBoard log of a training, in the folder `tensorboard` of its run."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from vidlabel.errors import OutputError, UsageError
from vidlabel.train.observer import Epoch, TrainObserver

FOLDER = "tensorboard"


class TrainBoard(TrainObserver):
    """Writes the figures of each epoch.

    Raises:
        UsageError: the package tensorboard is not installed.
    """

    def __init__(self) -> None:
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
        try:
            self._writer = self._make(str(out / FOLDER), purge_step=1)  # hides older logs
        except OSError as error:
            raise OutputError(f"{out / FOLDER}: cannot be written: {error.strerror}") from error
        for line in log:  # again: a killed run may not have written the last one
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
