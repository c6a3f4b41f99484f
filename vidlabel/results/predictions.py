"""Predictions as they come, for programs that use vidlabel from Python."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from vidlabel.results.record import TableInfo
from vidlabel.specs import Prediction

if TYPE_CHECKING:
    import pandas as pd


class Predictions(Iterator[Prediction]):
    """An iterator of predictions by a model, with `top_k` classes, each given as soon as it is
    ready."""

    def __init__(self, rows: Iterator[Prediction], model: str, top_k: int) -> None:
        self._rows, self._info = rows, TableInfo(model, top_k)

    def __next__(self) -> Prediction:
        return next(self._rows)

    def to_dataframe(self) -> pd.DataFrame:
        """The predictions that have not been taken yet, one row per video.

        The columns are those of the CSV table: confidences (0..1) and times (seconds) are float64,
        `frames_used` is int64, the others are text. Missing values are NaN or None, so
        `table[table.label.isna()]` are the videos that failed.
        """
        from vidlabel.results.tables import data_frame  # pandas takes half a second to import

        return data_frame(self, self._info)
