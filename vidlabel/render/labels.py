"""Labels and captions of videos, from a table or from a model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vidlabel import console
from vidlabel.datasets.folder import read_folder
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError
from vidlabel.files.spelling import Spellings, path_from_text
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.render.captions import Caption, caption_of
from vidlabel.results.record import Record
from vidlabel.results.tables import read_labels
from vidlabel.specs import Prediction, Status, VideoItem
from vidlabel.text import text_path


class TableLabels:
    """Labels from a table that `vidlabel predict` has written, or from its ledger.

    Raises:
        UsageError: it cannot be read, or is not such a table.
        OutputError: the ledger cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._rows: dict[str, Prediction] = {}
        spellings = Spellings()
        for row in map(_prediction, read_labels(path).rows):
            there = spellings.find(path_from_text(row.path))
            for key in (*_names(row.path), *(_names(text_path(there)) if there else ())):
                self._rows.setdefault(key, row)  # the first of several is for the whole video
        if told := spellings.told():
            console.warn(f"{path}: {told}")

    def key(self, item: VideoItem) -> str:
        """Text that stays the same as long as the video's label does."""
        row = self._row(item)
        return repr(row and (row.status, row.label, row.confidence, row.top, row.reason))

    def rows(self, items: Sequence[VideoItem]) -> Iterator[Prediction | None]:
        """A row for each video, in order; None where there is none."""
        return map(self._row, items)

    def knows(self, items: Iterable[VideoItem]) -> bool:
        """Whether there is a row for any of the videos."""
        return any(map(self._row, items))

    def _row(self, item: VideoItem) -> Prediction | None:
        return next((self._rows[k] for k in _names(text_path(item.path)) if k in self._rows), None)


class ModelLabels:
    """Labels from a model; a row has `top_k` classes."""

    def __init__(self, labeller: Labeller, top_k: int) -> None:
        self._labeller, self._spec = labeller, PredictSpec(top_k=top_k)

    def key(self, item: VideoItem) -> str:
        """Text that stays the same as long as the video's label does."""
        return f"{self._labeller.checkpoint.digest} {self._labeller.precision}"

    def rows(self, items: Sequence[VideoItem]) -> Iterator[Prediction]:
        """A row for each video, in order."""
        numbered = (VideoItem(i, x.path, x.problem, x.detail) for i, x in enumerate(items))
        return self._labeller.predict(numbered, self._spec)


class Captions:
    """The captions of videos.

    Args:
        labels: where labels come from.
        truth: true classes, as `read_truth` returns them.
        top_k: number of classes in a caption, at least 1.
    """

    def __init__(
        self, labels: TableLabels | ModelLabels, truth: dict[str, str] | None, top_k: int
    ) -> None:
        if top_k < 1:
            raise UsageError(f"--top-k must be at least 1, got {top_k}")
        self._labels, self._truth, self._top_k = labels, truth or {}, top_k

    def key(self, item: VideoItem) -> str:
        """Text that stays the same as long as the caption does."""
        return f"{self._labels.key(item)} {self._truth_of(item)!r} {self._top_k}"

    def of(self, items: Sequence[VideoItem]) -> Iterator[Caption]:
        """The caption of each video, in order."""
        for item, row in zip(items, self._labels.rows(items), strict=False):
            yield caption_of(row, self._truth_of(item), self._top_k)

    def _truth_of(self, item: VideoItem) -> str | None:
        return self._truth.get(_absolute(item.path))


def read_truth(path: Path, items: Iterable[VideoItem]) -> dict[str, str]:
    """The true classes of videos, by absolute path, from a folder with one sub-folder per class or
    a table `path,label`.

    Raises:
        UsageError: it is neither, or has none of the videos.
    """
    remarks: list[str] = []
    samples = read_folder(path) if path.is_dir() else read_table(path, remarks)
    for remark in remarks:
        console.warn(remark)
    truth = {_absolute(s.path): s.label for s in samples if not s.is_segment}
    if not any(_absolute(item.path) in truth for item in items):
        raise UsageError(f"--truth {path}: has none of these videos")
    return truth


def _absolute(path: str) -> str:
    return os.path.abspath(path)  # noqa: PTH100  (links are not followed)


def _names(path: str) -> list[str]:
    """The names of a video: as it is written, and absolute."""
    return [path, _absolute(path)]


def _prediction(row: Record) -> Prediction:
    return Prediction(
        path=row["path"],
        status=Status(row["status"]),
        label=row["label"] or "",
        confidence=_number(row["confidence"]),
        top=tuple((top["label"], _number(top["confidence"])) for top in row["top"]),
        reason=row["reason"] or "",
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
