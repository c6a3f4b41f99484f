"""A run that labels segments: the scores of windows go into the ledger part by part, so that it can
be stopped and resumed inside a video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from vidlabel.predict.progress import VideoTimeProgress
from vidlabel.predict.spec import PredictSpec
from vidlabel.results.ledger import Ledger
from vidlabel.signals import StopAsked
from vidlabel.spans import TimelineSpec
from vidlabel.specs import Prediction, VideoItem

if TYPE_CHECKING:
    from vidlabel.predict.labeller import Labeller


def record_parts(
    labeller: Labeller, ledger: Ledger, items: Sequence[VideoItem], spec: PredictSpec,
    progress: VideoTimeProgress, stop: StopAsked,
) -> Iterator[Prediction]:  # fmt: skip
    """Score what is left of the videos, and record it in the ledger; gives the row of each video,
    without a label, when it is finished."""
    windows = labeller.windows(spec.timeline or TimelineSpec())
    left = [part for item in items for part in ledger.missing_parts(item)]
    begun: set[int] = set()
    for part in labeller.score_windows(left, spec, stop=stop):
        row, done_s = part.row, len(part.scores) * windows.stride_s
        if part.index not in begun:
            begun.add(part.index)
            length_s = row.end_s - row.start_s if row.ok and row.end_s > row.start_s else 0.0
            before_s = ledger.parts_done(row.path) * windows.per_part * windows.stride_s
            progress.begin(part.index, length_s, min(before_s, length_s))
        finished = ledger.record_part(part)
        progress.advance(done_s)
        if finished is not None:
            yield finished
