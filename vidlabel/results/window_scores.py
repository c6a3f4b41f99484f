"""The scores of the windows of a long video, which come part by part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.clips.windows import window_count
from vidlabel.results.topk import scaled
from vidlabel.specs import Prediction, Status

Scores = NDArray[np.float32]
"""Probabilities (N, K) of K classes in N windows; rows are nan where a window is lost."""


@dataclass(frozen=True)
class PartScores:
    """The scores of the windows of one part of a video."""

    index: int
    """Of the video in the run."""
    row: Prediction
    """Without a label: what is known of the video and of this part. `start_s` and `end_s` are those
    of what is labelled of the video."""
    scores: Scores
    """(0, K) if the part could not be read."""
    part: int = 0
    parts: int = 1
    """Parts of the video; known only with its first part."""


@dataclass(frozen=True)
class ScoredVideo:
    """The scores of all windows of a video; its row has no label yet."""

    row: Prediction
    scores: Scores
    window_s: float
    stride_s: float

    @property
    def edges_s(self) -> NDArray[np.float64]:
        """The times (N + 1,) between which each window is the nearest one."""
        row, count = self.row, len(self.scores)
        first_s = row.start_s + (self.window_s - self.stride_s) / 2
        between = first_s + np.arange(1, count) * self.stride_s
        return np.concatenate([[row.start_s], between, [row.end_s]])

    def among(self, columns: Sequence[int]) -> ScoredVideo:
        """The scores of some of the classes, scaled to a sum of 1."""
        scores = scaled(self.scores[:, list(columns)])
        scores[~np.isfinite(self.scores).all(1)] = np.nan
        return replace(self, scores=scores)


class Collector:
    """Puts the parts of videos together as they come; windows as in `ScoredVideo`."""

    def __init__(self, window_s: float, stride_s: float) -> None:
        self._window_s, self._stride_s = window_s, stride_s
        self._started: dict[int, dict[int, PartScores]] = {}

    def add(self, part: PartScores) -> ScoredVideo | None:
        """The video, if this is the last of its parts."""
        parts = self._started.setdefault(part.index, {})
        parts[part.part] = part
        if 0 not in parts or len(parts) < parts[0].parts:
            return None
        del self._started[part.index]
        return self._join([parts[number] for number in sorted(parts)])

    def _join(self, parts: Sequence[PartScores]) -> ScoredVideo:
        """A part of which nothing could be read makes the video `partial`, unless it is the first
        one, or there is no other."""
        first = parts[0]
        row = first.row
        if not row.ok:
            return ScoredVideo(row, first.scores, self._window_s, self._stride_s)
        count = window_count(row.end_s - row.start_s, self._window_s, self._stride_s)
        scores = np.full((count, first.scores.shape[1]), np.nan, np.float32)
        for each in parts:
            start = each.part * len(first.scores)
            scores[start : start + len(each.scores)] = each.scores
        problems = [each.row for each in parts if each.row.status is not Status.OK]
        if problems:
            told = dict.fromkeys(each.detail for each in problems if each.detail)
            status = Status.PARTIAL if np.isfinite(scores).any() else Status.FAILED
            row = replace(row, status=status, reason=problems[0].reason, detail="; ".join(told))
        row = replace(row, frames_used=sum(each.row.frames_used for each in parts))
        return ScoredVideo(row, scores, self._window_s, self._stride_s)
