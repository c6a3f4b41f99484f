"""Batches of clips from many videos, and videos that come in parts."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.decode.pool import Decoded
from vidlabel.errors import Reason
from vidlabel.predict.runner import Output, Runner
from vidlabel.specs import Prediction, Status, VideoItem


@dataclass(frozen=True)
class Labelled:
    """A video, or a part of one, in a batch: its clips (views into the batch) and its row, still
    without a label."""

    item: VideoItem
    row: Prediction
    clips: NDArray[np.uint8]


class Parts:
    """What is known of a video that is looked at part by part.

    Args:
        count: how many parts it has.
    """

    def __init__(self, count: int) -> None:
        self.missing = count
        self._rows: dict[int, Prediction] = {}
        self._probabilities: dict[int, NDArray[np.float32]] = {}
        self._sums: dict[int, NDArray[np.float64]] = {}  # of embeddings, which are large

    def add(self, part: int, row: Prediction, output: Output | None) -> None:
        """A part is done; one that could not be read has no output."""
        self.missing -= 1
        self._rows[part] = row
        if output is not None:
            self._probabilities[part] = output.probabilities
            self._sums[part] = output.embeddings.sum(0, dtype=np.float64)

    def together(self) -> tuple[Prediction, Output]:
        """One row, and the probabilities of all parts with their mean embedding (1, F)."""
        first = self._rows[0]
        rows = [self._rows[part] for part in sorted(self._rows)]
        partial = next((row for row in rows if row.status is Status.PARTIAL), first)
        row = replace(
            first,
            status=partial.status,
            reason=partial.reason,
            detail=partial.detail,
            frames_used=sum(row.frames_used for row in rows),
        )
        # In the order of the parts, whatever the order in which they came.
        probabilities = np.concatenate([each for _, each in sorted(self._probabilities.items())])
        total = np.stack([each for _, each in sorted(self._sums.items())]).sum(0)
        embedding = (total / len(probabilities)).astype(np.float32)
        return row, Output(probabilities, embedding[None])


class Batch:
    """Clips of many videos in one array, filled in place.

    Args:
        size: how many clips make it full.
        most: how many can come at once.
        shape: of a clip.
    """

    def __init__(self, size: int, most: int, shape: tuple[int, ...]) -> None:
        self._size = size
        self._shape = (size + most - 1, *shape)
        self._start()

    def _start(self) -> None:
        self._clips = np.empty(self._shape, dtype=np.uint8)
        self._used = 0
        self.members: list[Labelled] = []

    @property
    def full(self) -> bool:
        """Whether it should be submitted before anything is added."""
        return self._used >= self._size

    def add(self, decoded: Decoded, found: NDArray[np.uint8]) -> None:
        """Copy a video's, or a part's, clips (V, T, C, S, S) into the batch."""
        data = decoded.data
        assert data is not None  # the caller has looked
        clips = self._clips[self._used : self._used + len(found)]
        clips[...] = found
        self._used += len(found)
        row = Prediction(
            path=decoded.item.path,
            status=Status.PARTIAL if data.damaged else Status.OK,
            start_s=0.0,
            end_s=data.duration_s,
            duration_s=data.duration_s,
            frames_used=data.frames_used,
            reason=Reason.DAMAGED if data.damaged else Reason.PADDED if data.padded else "",
            detail=data.damaged,
        )
        self.members.append(Labelled(decoded.item, row, clips))

    def submit(self, runner: Runner) -> list[Labelled]:
        """Hand the batch to the runner and start a new one."""
        members = self.members
        runner.submit(self._clips[: self._used])
        self._start()
        return members
