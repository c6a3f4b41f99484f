"""The tables of a run folder keep every name as it is."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict
from pathlib import Path

from vidlabel.datasets.samples import Sample
from vidlabel.datasets.table import read_table
from vidlabel.train.log import write_log, write_split
from vidlabel.train.observer import Epoch


def test_names_that_look_like_numbers_or_nothing_are_read_back_the_same(tmp_path: Path) -> None:
    samples = [
        Sample("/a b,c.mp4", "NA", "007", "train"),
        Sample('/"x"\ny.mp4', "nan", "None", "val"),
        Sample(os.fsdecode(b"/caf\xe9.mp4"), "1.50", "g", "val"),
    ]
    write_split(tmp_path / "split.csv", samples)
    assert read_table(tmp_path / "split.csv") == samples


def test_the_log_has_six_digits_of_every_figure(tmp_path: Path) -> None:
    epochs = [Epoch(1, 1e-13, 2.123456789, 1 / 3, 123456789.0, 1.0, 0.25)]
    write_log(tmp_path / "log.csv", epochs)
    with (tmp_path / "log.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert list(row) == list(asdict(epochs[0]))
    assert list(row.values()) == ["1", "1e-13", "2.12346", "0.333333", "1.23457e+08", "1", "0.25"]
