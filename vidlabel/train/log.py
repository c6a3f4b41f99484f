"""What the epochs of a training came to, as a table and a picture."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from vidlabel.evaluate.plots import plot_curves
from vidlabel.files.write import write_bytes
from vidlabel.train.observer import Epoch


def write_log(path: Path, log: Sequence[Epoch]) -> None:
    """Replace a CSV file by one line for each epoch. Raises OutputError."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(asdict(log[0])), lineterminator="\n")
    writer.writeheader()
    for line in log:
        writer.writerow(
            {k: v if isinstance(v, int) else f"{v:.6g}" for k, v in asdict(line).items()}
        )
    write_bytes(path, [text.getvalue().encode()])


def write_curves(path: Path, log: Sequence[Epoch], best: int) -> None:
    """Draw loss and accuracy of all epochs; `best` is the place of the one that was kept.

    Raises:
        OutputError: it cannot be written.
    """
    panels = {
        "loss": {
            "training": [each.train_loss for each in log],
            "held out": [each.val_loss for each in log],
        },
        "top-1": {
            "training": [each.train_top1 for each in log],
            "held out": [each.val_top1 for each in log],
        },
    }
    plot_curves(path, panels, best + 1)
