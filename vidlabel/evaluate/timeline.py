"""Figures of timelines: predicted segments of videos against the true ones.

* Mean average precision (mAP) at overlaps (temporal IoU) of 0.1 to 0.7, as ActivityNet's evaluation
  has it (Caba Heilbron et al. 2015; github.com/activitynet/ActivityNet, `Evaluation`).
* F1 of segments at overlaps of 10, 25 and 50 %, and the edit score, as Lea et al. 2017 (arXiv
  1611.05267) define them and MS-TCN (Farha and Gall 2019) computes them.
* Accuracy per frame. It is a share of time here, which does not depend on the frame rate.

The first takes all segments, with their confidences. The others need one label at a time: where
segments of a video overlap, the most confident one counts, and among equals the one that begins
later; neighbours with one label are one segment. Seconds without a segment are background, which is
right where both have it, and is no segment.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

OVERLAPS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
"""Of mAP, as for THUMOS14."""

F1_OVERLAPS = (0.10, 0.25, 0.50)

BACKGROUND = ""
"""The label of seconds without a segment."""


class Segment(NamedTuple):
    """A labelled stretch of a video, seconds; `start_s` < `end_s`."""

    start_s: float
    end_s: float
    label: str
    confidence: float = 1.0

    def overlap(self, other: Segment) -> float:
        """Temporal intersection over union, 0 to 1."""
        shared_s = min(self.end_s, other.end_s) - max(self.start_s, other.start_s)
        if shared_s <= 0:
            return 0.0
        return shared_s / (max(self.end_s, other.end_s) - min(self.start_s, other.start_s))


@dataclass(frozen=True)
class Timeline:
    """The true and the predicted segments of one video, in any order."""

    name: str
    true: tuple[Segment, ...]
    predicted: tuple[Segment, ...]
    duration_s: float
    """At least the end of every segment."""


@dataclass(frozen=True)
class Counts:
    """Segments that were found, false ones, and missed ones."""

    found: int
    false: int
    missed: int

    @property
    def f1(self) -> float:
        """0 to 1; nan if there are no segments at all."""
        total = 2 * self.found + self.false + self.missed
        return 2 * self.found / total if total else math.nan


def average_precision(timelines: Sequence[Timeline], label: str, overlap: float) -> float:
    """The average precision of a class, 0 to 1: the area below its precision, made monotonic, over
    its recall.

    The predictions of all videos are taken by descending confidence. One is right if it overlaps a
    true segment of the class, in its video, at least so much, and no earlier prediction has taken
    that segment; of several it takes the one that it overlaps most. nan without a true segment.
    """
    true = {each.name: [s for s in each.true if s.label == label] for each in timelines}
    count = sum(map(len, true.values()))
    if not count:
        return math.nan
    predicted = [(s, each.name) for each in timelines for s in each.predicted if s.label == label]
    taken: set[tuple[str, int]] = set()
    right = np.zeros(len(predicted), dtype=bool)
    for rank, (segment, name) in enumerate(sorted(predicted, key=lambda p: -p[0].confidence)):
        overlaps = [segment.overlap(other) for other in true[name]]
        for number in sorted(range(len(overlaps)), key=lambda n: -overlaps[n]):
            if overlaps[number] < overlap:
                break
            if (name, number) not in taken:
                taken.add((name, number))
                right[rank] = True
                break
    found = right.cumsum()
    precision = found / np.arange(1, len(right) + 1)
    best_from = np.maximum.accumulate(precision[::-1])[::-1]
    return float(best_from[right].sum() / count)


def runs(segments: Sequence[Segment], duration_s: float) -> list[Segment]:
    """What is labelled when: runs that follow each other from 0 to `duration_s`, with background
    between the segments."""
    times = sorted({0.0, duration_s, *(t for s in segments for t in (s.start_s, s.end_s))})
    by_rank = sorted(segments, key=lambda s: (s.confidence, s.start_s))
    inside = np.zeros(len(times) - 1, dtype=int)  # 0 is background, n the segment n - 1
    for number, segment in enumerate(by_rank, 1):
        first, end = np.searchsorted(times, (segment.start_s, segment.end_s))
        inside[first:end] = number
    found: list[Segment] = []
    for (start_s, end_s), number in zip(pairwise(times), inside.tolist(), strict=True):
        label = by_rank[number - 1].label if number else BACKGROUND
        if found and found[-1].label == label:
            found[-1] = found[-1]._replace(end_s=end_s)
        else:
            found.append(Segment(start_s, end_s, label))
    return found


def count_segments(true: Sequence[Segment], predicted: Sequence[Segment], overlap: float) -> Counts:
    """The counts for F1 at an overlap, 0 to 1, of the runs of one video. Each predicted segment can
    find one true one, of its label: the one that it overlaps most, if that has not been found."""
    true, predicted = labelled(true), labelled(predicted)
    found: set[int] = set()
    for segment in predicted:
        overlaps = [segment.overlap(s) if s.label == segment.label else 0.0 for s in true]
        best = int(np.argmax(overlaps)) if overlaps else -1
        if overlaps and overlaps[best] >= overlap:
            found.add(best)
    return Counts(len(found), len(predicted) - len(found), len(true) - len(found))


def edit_score(true: Sequence[Segment], predicted: Sequence[Segment]) -> float:
    """1 - the Levenshtein distance between the labels of the runs, over the larger number of them:
    0 to 1, whatever the times. 1 if there are none."""
    first, second = ([s.label for s in labelled(each)] for each in (true, predicted))
    row = list(range(len(second) + 1))
    for i, label in enumerate(first, 1):
        before, row = row, [i]
        for j, other in enumerate(second, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (label != other)))
    longest = max(len(first), len(second))
    return 1 - row[-1] / longest if longest else 1.0


def seconds_right(true: Sequence[Segment], predicted: Sequence[Segment]) -> dict[str, list[float]]:
    """For each true label, background too, the seconds of it that are predicted so, and all
    seconds of it, from the runs of one video."""
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for segment in true:
        seconds[segment.label][1] += segment.end_s - segment.start_s
        for other in predicted:
            if other.label == segment.label:
                shared_s = min(segment.end_s, other.end_s) - max(segment.start_s, other.start_s)
                seconds[segment.label][0] += max(0.0, shared_s)
    return dict(seconds)


def labelled(found: Sequence[Segment]) -> list[Segment]:
    """Those of the runs that are no background."""
    return [segment for segment in found if segment.label != BACKGROUND]


@dataclass(frozen=True)
class TimelineFigures:
    """All figures of some videos, 0 to 1; nan where there is nothing to measure."""

    mean_ap: Mapping[float, float]
    """By overlap: the mean of the average precisions of the classes that have true segments."""
    f1: Mapping[float, float]
    """By overlap, over the segments of all videos."""
    edit: float
    """Mean of the videos."""
    frame_accuracy: float
    """The share of time that is labelled right; background is a label."""
    labelled_accuracy: float
    """The same of the time that has a true label."""
    precisions: Mapping[str, Sequence[float]]
    """The average precision of each class, at each of OVERLAPS."""
    class_accuracy: Mapping[str, float]
    """The share of each class's time that is labelled right."""


def measure(timelines: Sequence[Timeline]) -> TimelineFigures:
    """The figures of one or more videos."""
    labels = sorted({segment.label for each in timelines for segment in each.true})
    precisions = {
        label: [average_precision(timelines, label, overlap) for overlap in OVERLAPS]
        for label in labels
    }
    pairs = [
        (runs(each.true, each.duration_s), runs(each.predicted, each.duration_s))
        for each in timelines
    ]
    f1 = {}
    for overlap in F1_OVERLAPS:
        counts = [count_segments(*pair, overlap) for pair in pairs]
        total = Counts(
            sum(c.found for c in counts), sum(c.false for c in counts),
            sum(c.missed for c in counts),
        )  # fmt: skip
        f1[overlap] = total.f1
    seconds: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for pair in pairs:
        for label, (right_s, all_s) in seconds_right(*pair).items():
            seconds[label][0] += right_s
            seconds[label][1] += all_s
    return TimelineFigures(
        mean_ap={
            overlap: float(np.mean([each[i] for each in precisions.values()]))
            for i, overlap in enumerate(OVERLAPS)
        },
        f1=f1,
        edit=float(np.mean([edit_score(*pair) for pair in pairs])),
        frame_accuracy=_share(list(seconds.values())),
        labelled_accuracy=_share([seconds[label] for label in labels]),
        precisions=precisions,
        class_accuracy={label: _share([seconds[label]]) for label in labels},
    )


def _share(seconds: Sequence[Sequence[float]]) -> float:
    right_s, all_s = (sum(column) for column in zip(*seconds, strict=True))
    return right_s / all_s if all_s else math.nan
