"""Batches of clips from many videos, and videos that are decoded in parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from vidlabel.clips.read import ClipData
from vidlabel.decode.pool import Decoded
from vidlabel.errors import Reason
from vidlabel.predict.runner import ClipOutput, Runner
from vidlabel.specs import Prediction, Status, VideoItem


@dataclass(frozen=True)
class VideoOutput:
    """A video, or a part of one, and what the model says of its clips; its row has no label yet."""

    item: VideoItem
    row: Prediction
    parts: int = 1
    """Parts of the video; known only with its first part."""
    output: ClipOutput | None = None
    """None before the model, and if the video could not be read."""


Member = tuple[VideoOutput, NDArray[np.uint8]]
"""A video in a batch, without its output, and its clips, which are views into the batch."""


def unread(decoded: Decoded) -> VideoOutput:
    """A video that could not be read; or a part of one, which makes the video's row `partial`."""
    assert decoded.error is not None  # the caller has looked
    item, error = decoded.item, decoded.error
    if item.part == 0:
        row = Prediction(item.path, Status.FAILED, reason=error.reason, detail=error.detail)
    else:
        row = Prediction(item.path, Status.PARTIAL, reason=Reason.DAMAGED, detail=error.detail)
    return VideoOutput(item, row)


def row_of(item: VideoItem, data: ClipData) -> Prediction:
    """The row of a video, or of a part of one, before the model has seen it."""
    return Prediction(
        path=item.path,
        status=Status.PARTIAL if data.damaged else Status.OK,
        start_s=item.start_s,
        end_s=min(item.end_s, data.duration_s),
        duration_s=data.duration_s,
        frames_used=data.frames_used,
        reason=Reason.DAMAGED if data.damaged else Reason.PADDED if data.padded else "",
        detail=data.damaged,
    )


def join_parts(outputs: Iterable[VideoOutput]) -> Iterator[VideoOutput]:
    """One output for each video, as soon as all its parts are there."""
    started: dict[int, dict[int, VideoOutput]] = {}
    for output in outputs:
        if output.item.part == 0 and output.parts == 1:
            yield output
            continue
        parts = started.setdefault(output.item.index, {})
        parts[output.item.part] = _with_sum(output)
        if 0 in parts and len(parts) == parts[0].parts:
            del started[output.item.index]
            # In the order of the parts, whatever the order in which they came.
            yield _joined([part for _, part in sorted(parts.items())])


def _with_sum(part: VideoOutput) -> VideoOutput:
    """The part with the sum of its embeddings (1, F) float64 in their place: they are large."""
    if part.output is None:
        return part
    total = part.output.embeddings.sum(0, dtype=np.float64, keepdims=True)
    return replace(part, output=ClipOutput(part.output.probabilities, total))


def _joined(parts: list[VideoOutput]) -> VideoOutput:
    """One row, with the probabilities of all parts and their mean embedding (1, F)."""
    rows = [part.row for part in parts]
    partial = next((row for row in rows if row.status is Status.PARTIAL), rows[0])
    row = replace(
        rows[0],
        status=partial.status,
        reason=partial.reason,
        detail=partial.detail,
        frames_used=sum(row.frames_used for row in rows),
    )
    outputs = [part.output for part in parts if part.output]
    probabilities = np.concatenate([each.probabilities for each in outputs])
    total = np.concatenate([each.embeddings for each in outputs]).sum(0, keepdims=True)
    mean = (total / len(probabilities)).astype(np.float32)
    return replace(parts[0], row=row, output=ClipOutput(probabilities, mean))


class ClipBatch:
    """Clips of many videos, each of the `shape` (T, C, S, S), in one array, filled in place.

    `size` clips make it full; at most `most` are added at once.
    """

    def __init__(self, size: int, most: int, shape: tuple[int, ...]) -> None:
        self._size = size
        self._shape = (size + most - 1, *shape)
        self._start()

    def _start(self) -> None:
        self._clips = np.empty(self._shape, dtype=np.uint8)
        self._used = 0
        self.members: list[Member] = []

    @property
    def full(self) -> bool:
        """Whether it must be submitted before anything is added."""
        return self._used >= self._size

    def add(self, decoded: Decoded, found: NDArray[np.uint8]) -> None:
        """Copy the clips (V, T, C, S, S) of a video, or of a part of one, into the batch."""
        item, data = decoded.item, decoded.data
        assert data is not None  # the caller has looked
        clips = self._clips[self._used : self._used + len(found)]
        clips[...] = found
        self._used += len(found)
        self.members.append((VideoOutput(item, row_of(item, data), data.parts), clips))

    def submit(self, runner: Runner) -> list[Member]:
        """Give the batch to the runner, start a new one, and return the members of the old one."""
        members = self.members
        runner.submit(self._clips[: self._used])
        self._start()
        return members
