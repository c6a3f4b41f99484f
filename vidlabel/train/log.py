"""The tables and the picture of a run folder: log.csv, split.csv and curves.png."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from vidlabel.datasets.samples import Sample
from vidlabel.evaluate.plots import plot_curves
from vidlabel.files.write import write_bytes
from vidlabel.text import seconds_text
from vidlabel.train.observer import Epoch


def write_log(path: Path, log: Sequence[Epoch]) -> None:
    """Replace a CSV file: a row for each epoch, six significant digits. Raises OutputError."""
    _write(path, pd.DataFrame(log))


def write_split(path: Path, samples: Sequence[Sample]) -> None:
    """Replace a CSV file: which video is in which part. `vidlabel` can read it as DATA, from any
    working folder. Raises OutputError."""
    # As objects: paths that are not UTF-8 hold surrogates, which pandas' own strings refuse.
    columns = ["path", "label", "group", "split", "start_s", "end_s"]
    table = pd.DataFrame(rows_of(samples), columns=columns, dtype=object)
    _write(path, table if any(s.is_segment for s in samples) else table[columns[:4]])


def rows_of(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """Absolute path, label, group, split, and of a segment start and end (seconds), of each; links
    are not followed."""
    return [
        (os.path.abspath(s.path), s.label, s.group, s.split, *_ends(s))  # noqa: PTH100
        for s in samples
    ]


def _ends(sample: Sample) -> tuple[str, str]:
    if not sample.is_segment:
        return "", ""
    end = "" if sample.end_s == math.inf else seconds_text(sample.end_s)
    return seconds_text(sample.start_s), end


def write_curves(path: Path, log: Sequence[Epoch], best: int) -> None:
    """Draw loss and accuracy of all epochs; `best` is the index of the one that was kept. Raises
    OutputError."""
    panels = {
        "loss": {
            "training": [each.train_loss for each in log],
            "validation": [each.val_loss for each in log],
        },
        "top-1": {
            "training": [each.train_top1 for each in log],
            "validation": [each.val_top1 for each in log],
        },
    }
    plot_curves(path, panels, best + 1)


def _write(path: Path, table: pd.DataFrame) -> None:
    text = table.to_csv(index=False, lineterminator="\n", float_format="%.6g")
    write_bytes(path, [text.encode("utf-8", "surrogateescape")])
