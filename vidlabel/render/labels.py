"""Labels and captions of videos, from a table or from a model."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from vidlabel import console
from vidlabel.datasets.folder import read_folder
from vidlabel.datasets.table import read_table
from vidlabel.errors import UsageError
from vidlabel.files.spelling import Spellings, path_from_text
from vidlabel.predict.labeller import Labeller, PredictSpec
from vidlabel.render.captions import Caption, caption_of
from vidlabel.render.class_colours import UNCERTAIN_PAINT, Paint, paints
from vidlabel.render.timeline import Segment, Timeline
from vidlabel.results.record import from_record
from vidlabel.results.tables import read_labels
from vidlabel.results.topk import choice_told
from vidlabel.specs import Prediction, Status, VideoItem
from vidlabel.text import plural, text_path


class TableLabels:
    """Labels from a table that `vidlabel predict` has written, or from its ledger.

    Raises:
        UsageError: it cannot be read, or is not such a table.
        OutputError: the ledger cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self._rows: dict[str, list[Prediction]] = {}
        spellings = Spellings()
        wrong = 0
        for row in map(from_record, read_labels(path).rows):
            if row.end_s < row.start_s or (row.end_s == row.start_s and row.start_s > 0):
                wrong += 1
                continue
            there = spellings.find(path_from_text(row.path))
            keys = {*_names(row.path), *(_names(text_path(there)) if there else ())}
            for key in keys:
                self._rows.setdefault(key, []).append(row)
        if told := spellings.told():
            console.warn(f"{path}: {told}")
        if wrong:
            told = f"{plural(wrong, 'segment')} left out, as end_s is not after start_s"
            console.warn(f"{path}: {told}")
        segments = [x for rows in self._rows.values() for x in rows if x.ok and not _unsure(x)]
        self.classes = sorted({row.label for row in segments})
        self._paints = paints(self.classes)

    def key(self, item: VideoItem) -> str:
        """Text that stays the same as long as the video's label does, or its segments and their
        colours do."""
        if segments := self.segments(item):
            times = [(row.start_s, row.end_s) for row in segments]
            return repr((times, [*map(_shown, segments)], [*map(self.paint, segments)]))
        return repr(_shown(self._row(item)))

    def rows(self, items: Sequence[VideoItem]) -> Iterator[Prediction | None]:
        """A row for each video, in order; None where there is none."""
        return map(self._row, items)

    def knows(self, items: Iterable[VideoItem]) -> bool:
        """Whether there is a row for any of the videos."""
        return any(map(self._row, items))

    def segments(self, item: VideoItem) -> list[Prediction]:
        """The rows of a video's segments; empty if the table has a label for all of it."""
        rows = self._all(item)
        if not any(map(_is_part, rows)):
            return []
        return [row for row in rows if row.ok and not math.isnan(row.start_s + row.end_s)]

    def whole(self, item: VideoItem) -> list[Prediction]:
        """The rows of a video's segments; of a video with one label, its row as a segment."""
        row = self._row(item)
        return self.segments(item) or ([row] if row and row.ok else [])

    def paint(self, row: Prediction) -> Paint:
        """What the class of a segment is drawn with."""
        return UNCERTAIN_PAINT if _unsure(row) else self._paints[row.label]

    def _row(self, item: VideoItem) -> Prediction | None:
        # The first of several is for the whole video.
        return next(iter(self._all(item)), None)

    def _all(self, item: VideoItem) -> list[Prediction]:
        return next((self._rows[k] for k in _names(text_path(item.path)) if k in self._rows), [])


class ModelLabels:
    """Labels from a model; a row has `top_k` classes, of `classes` if there are any.

    Raises:
        UsageError: the model does not know one of the classes.
    """

    def __init__(self, labeller: Labeller, top_k: int, classes: tuple[str, ...] = ()) -> None:
        self._labeller, self._spec = labeller, PredictSpec(top_k=top_k, classes=classes)
        self._chosen = labeller.chosen(self._spec)
        self.told = choice_told(self._chosen, labeller.classes)
        """A line on the classes that were chosen; "" for all."""

    def key(self, item: VideoItem) -> str:
        """Text that stays the same as long as the video's label does."""
        among = f" {self._chosen}" if self._chosen else ""
        return f"{self._labeller.checkpoint.digest} {self._labeller.precision}{among}"

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

    def of(self, items: Sequence[VideoItem]) -> Iterator[Caption | Timeline]:
        """The caption of each video, in order, or its segments with theirs."""
        for item, row in zip(items, self._labels.rows(items), strict=False):
            if isinstance(self._labels, TableLabels) and (some := self._labels.segments(item)):
                yield self.timeline(item, some)
            else:
                yield caption_of(row, self._truth_of(item), self._top_k)

    def timeline(self, item: VideoItem, rows: Iterable[Prediction]) -> Timeline:
        """Rows of a video in a table, as segments."""
        assert isinstance(self._labels, TableLabels)
        segments = []
        for row in rows:
            caption = caption_of(row, self._truth_of(item), self._top_k)
            paint = self._labels.paint(row)
            first = replace(caption.lines[0], paint=paint)
            caption = replace(caption, lines=(first, *caption.lines[1:]))
            start_s = 0.0 if math.isnan(row.start_s) else row.start_s
            end_s = math.inf if math.isnan(row.end_s) else row.end_s
            segments.append(Segment(start_s, end_s, row.label, caption, paint))
        return Timeline.of(segments)

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


def _is_part(row: Prediction) -> bool:
    """Whether a row is for a part of its video."""
    if math.isnan(row.start_s) or math.isnan(row.end_s):
        return False
    to_end = math.isnan(row.duration_s) or row.end_s >= row.duration_s - 1e-3
    return row.start_s > 0 or not to_end


def _unsure(row: Prediction) -> bool:
    return row.status is Status.UNCERTAIN


def _shown(row: Prediction | None) -> object:
    """What a caption shows of a row."""
    return row and (row.status, row.label, row.confidence, row.top, row.reason)
