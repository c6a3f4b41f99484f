"""From the scores of overlapping windows to labelled segments.

Neighbouring windows mostly show the same action, and a window across the border of two actions may
be taken for a third one. So the labels are those of the most probable sequence of a hidden Markov
model that stays in its class with a high probability (a sticky one: Fox et al. 2011, "A sticky
HDP-HMM with application to speaker diarization", arXiv 0905.2592), found by Viterbi's algorithm
(Rabiner 1989, "A tutorial on hidden Markov models", section III.B), with the model's probabilities
in place of likelihoods (Bourlard and Morgan 1994, "Connectionist speech recognition"). Within a
stretch of one label, a segment begins where the probability, averaged over the windows that see the
moment, reaches the least confidence, and lasts while it is at least half of that: a threshold with
hysteresis (Canny 1986, section VI).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from vidlabel.errors import Reason
from vidlabel.results.topk import ranked, shown
from vidlabel.results.window_scores import ScoredVideo, Scores
from vidlabel.spans import TimelineSpec
from vidlabel.specs import UNCERTAIN, Prediction, Status

SWITCH = 1.5
"""Cost of another label, as a log-likelihood: a window that fits another label by this factor of e
outweighs it. On joined real clips, 1 to 2 are about equally good (tests/benchmarks)."""

FLOOR = 1e-4
"""Smallest probability of a class, so that no window rules it out."""

LEAVE = 0.5
"""A segment lasts while its probability is at least this share of that at which it may begin."""

OTHER = "other"
"""A class of this name is what none of the other classes is: a gap."""


def to_segments(
    video: ScoredVideo, classes: Sequence[str], spec: TimelineSpec, top_k: int,
    min_confidence: float, shown: Sequence[str] = (),
) -> list[Prediction]:  # fmt: skip
    """The rows of a video: one per segment, in the order of time, or a single one that says why
    there is none.

    Probabilities are means over the windows that lie within a segment. What lies between segments,
    and is at least as long as the shortest one, gets rows with the status `uncertain` if
    `spec.gaps`.

    Args:
        classes: the K class names.
        top_k: classes that a row shows.
        min_confidence: the probability at which a segment may begin, 0..1; below it on average, it
            is no segment.
        shown: the classes that labels are restricted to; empty for all.
    """
    if shown:
        video, classes = video.among([classes.index(name) for name in shown]), shown
    scores, edges_s = video.scores, video.edges_s
    known = np.asarray(np.isfinite(scores).all(1), np.bool_)
    if not video.row.ok or not known.any():
        return [video.row]
    labels, inside = label_windows(scores, video.window_s / video.stride_s, min_confidence)
    inside &= known & np.array([name != OTHER for name in classes])[labels]
    shortest_s = video.window_s / 2 if spec.min_length_s is None else spec.min_length_s
    marks = np.where(inside, labels, -1)
    runs = _runs(marks)
    if len(runs) > 1:  # a video that is shorter than all that is a segment nevertheless
        for first, end in runs:
            if edges_s[end] - edges_s[first] < shortest_s - 1e-6:
                marks[first:end] = -1
    rows = []
    margin = round((video.window_s / video.stride_s - 1) / 2)  # windows across an end of a segment
    for first, end in _runs(marks):
        # Windows that lie within the segment; for a short one, those in its middle.
        less = min(margin, (end - first - 1) // 2)
        own = slice(first + less, end - less)
        if not known[own].any():
            continue
        mean = scores[own][known[own]].astype(np.float64).mean(0).astype(np.float32)
        row = replace(video.row, start_s=float(edges_s[first]), end_s=float(edges_s[end]))
        if marks[first] >= 0 and mean[marks[first]] >= min_confidence:
            rows.append(_segment(row, classes, int(marks[first]), mean, top_k))
        elif spec.gaps and row.end_s - row.start_s >= shortest_s - 1e-6:
            rows.append(_gap(row, classes, mean, top_k))
    if rows:
        return rows
    mean = scores[known].astype(np.float64).mean(0).astype(np.float32)
    none = replace(video.row, detail=video.row.detail or "no segment is sure enough")
    return [_gap(none, classes, mean, top_k)]


def label_windows(
    scores: Scores, overlap: float, min_confidence: float
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The label of each window (N,) as a class index, and whether it is sure enough.

    Args:
        scores: (N, K), at least one row that is not nan.
        overlap: windows that see one moment: `window_s` / `stride_s`.
        min_confidence: probability at which a window is sure enough, 0..1.
    """
    known = np.asarray(np.isfinite(scores).all(1), np.bool_)
    logs = np.log(np.maximum(np.where(known[:, None], scores, 1.0), FLOOR))
    # Windows that overlap are no independent witnesses: together they count as one.
    labels = most_probable(logs / overlap, SWITCH)
    sure = np.zeros(len(labels), bool)
    for first, end in _runs(labels):
        own = scores[first:end, labels[first]].astype(np.float64)
        smooth = _moving_mean(np.nan_to_num(own), min(round(overlap), end - first))
        for start, stop in _runs(smooth >= LEAVE * min_confidence):
            part = smooth[start:stop]
            sure[first + start : first + stop] = part.max() >= min_confidence
    return labels, sure


def most_probable(logs: NDArray[np.floating], switch: float) -> NDArray[np.int64]:
    """The sequence of classes (N,) with the largest sum of log-likelihoods (N, K), less `switch`
    for each change: Viterbi's algorithm."""
    count, classes = logs.shape
    stay = np.arange(classes)
    before = np.zeros((count, classes), np.int16 if classes < 2**15 else np.int64)
    total = logs[0].astype(np.float64)
    for step in range(1, count):
        best = int(total.argmax())
        switched = total[best] - switch
        before[step] = np.where(total >= switched, stay, best)
        total = np.maximum(total, switched) + logs[step]
    path = np.empty(count, np.int64)
    path[-1] = total.argmax()
    for step in range(count - 1, 0, -1):
        path[step - 1] = before[step, path[step]]
    return path


def _moving_mean(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means over `width` values around each; fewer at the ends."""
    kernel = np.ones(width)
    # `same` gives as many values as there are, since the kernel is not longer.
    count = np.convolve(np.ones(len(values)), kernel, "same")
    return np.asarray(np.convolve(values, kernel, "same") / count, np.float64)


def _runs(values: NDArray[np.generic]) -> list[tuple[int, int]]:
    """First place and end of each stretch of equal values."""
    changes = np.flatnonzero(values[1:] != values[:-1]) + 1
    return list(pairwise([0, *changes.tolist(), len(values)]))


def _segment(
    row: Prediction, classes: Sequence[str], label: int, mean: NDArray[np.float32], top_k: int
) -> Prediction:
    """The row of a segment; its label comes first among the classes, whatever their means."""
    top = ranked(classes, mean)
    own = (classes[label], float(mean[label]))
    top = (own, *(each for each in top if each != own))
    return shown(replace(row, top=top), top_k, 0.0)


def _gap(
    row: Prediction, classes: Sequence[str], mean: NDArray[np.float32], top_k: int
) -> Prediction:
    """The row of a stretch without a sure label."""
    top = ranked(classes, mean)
    return replace(
        row,
        status=Status.UNCERTAIN,
        label=UNCERTAIN,
        confidence=top[0][1],
        top=top[:top_k],
        reason=row.reason or Reason.LOW_CONFIDENCE,
        detail=row.detail or f"best guess {top[0][0]}",
    )
