"""What the streams of a two-stream model say, moment by moment, as bars below a video."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.clips.read import cut, read_steps
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Checkpoint
from vidlabel.models.fusion import take_stream
from vidlabel.predict.runner import Runner
from vidlabel.render.captions import BELOW, Caption, Line, draw_caption
from vidlabel.specs import Limits, Precision
from vidlabel.video.reader import open_video
from vidlabel.video.write import Pixels

MOMENTS_PER_S = 4.0
"""Steps that are classified for each second of a video."""

MOST_MOMENTS = 1024
"""Steps of a video at most, however long it is."""

CLASSES_SHOWN = 5

COLUMN_GAP_PX = 4


@dataclass(frozen=True)
class Answers:
    """What a stream says of each moment of a video."""

    title: str
    probabilities: NDArray[np.float32]
    """(M, K), each row summing to 1."""


class StreamPanel:
    """Asks a two-stream model, stream by stream.

    Args:
        checkpoint: of the model.
        device: where it computes.
        precision: auto, fp32 or bf16.

    Raises:
        UsageError: the model has no streams.
    """

    def __init__(
        self, checkpoint: Checkpoint, device: torch.device, precision: Precision = "auto"
    ) -> None:
        if checkpoint.header.model.arch != "two-stream":
            raise UsageError(
                f"--panel: {checkpoint.name} is {checkpoint.header.model.arch}; only a two-stream "
                "model has streams to show"
            )
        self.key = checkpoint.digest
        self._clip = checkpoint.header.clip
        self._classes = checkpoint.header.classes
        self._device = device
        self._lock = Lock()  # a runner takes one batch after another
        parts = [take_stream(checkpoint, "spatial"), take_stream(checkpoint, "temporal")]
        self._runners = [
            Runner(each.network, each.header.temperature, device, precision)
            for each in (*parts, checkpoint)
        ]

    def bars(self, path: str, until_s: float, width: int) -> Bars:
        """The bars of a video's first seconds, to be drawn in a width, px. Raises VideoError."""
        times_s, answers = self.answers(path, until_s)
        return Bars(times_s, answers, self._classes, width)

    def answers(self, path: str, until_s: float) -> tuple[list[float], list[Answers]]:
        """Times (M,) of moments of a video, ascending, s, and what is said of them: by the spatial
        stream, by the temporal one, and by both. Raises VideoError."""
        clip = self._clip
        with open_video(path) as video:
            duration_s = video.duration_s
            frames = MOST_MOMENTS if video.frame_times_s is None else len(video.frame_times_s)
        count = max(1, min(MOST_MOMENTS, frames, math.ceil(duration_s * MOMENTS_PER_S)))
        data = read_steps(path, replace(clip, frames=count, fps=0.0), 1, Limits())
        times_s = [(number + 0.5) * duration_s / count for number in range(count)]
        times_s = [time_s for time_s in times_s if time_s < until_s] or times_s[:1]
        steps = torch.from_numpy(data.clips[0][: len(times_s)])
        with self._lock:
            seen = with_flow(steps, clip, self._device)[:, None].numpy()
            clips = cut(seen, clip, 1)
            parts = clips[:, :, :3], clips[:, :, 3:], clips
            titles = "spatial stream", "temporal stream", "both"
            answers = []
            for runner, part, title in zip(self._runners, parts, titles, strict=True):
                runner.submit(np.ascontiguousarray(part))
                answers.append(Answers(title, runner.collect().probabilities))
        return times_s, answers


class Bars:
    """Draws a column of bars for each stream: always the classes that it finds likeliest in all of
    the video, so that they stay where they are.

    Args:
        times_s: (M,) moments, ascending.
        answers: what is said of them, by each stream.
        classes: K names.
        width: of all columns together, px.
    """

    def __init__(
        self, times_s: Sequence[float], answers: Sequence[Answers], classes: Sequence[str],
        width: int,
    ) -> None:  # fmt: skip
        self._middles = [(a + b) / 2 for a, b in pairwise(times_s)]
        self._answers, self._classes, self._width = answers, classes, width
        self._shown = [
            np.argsort(-each.probabilities.mean(0), kind="stable")[:CLASSES_SHOWN]
            for each in answers
        ]
        self._drawn = cache(self._draw)

    def below(self, pictures: Iterable[Pixels], times_s: Iterable[float]) -> Iterator[Pixels]:
        """The pictures with the bars of the moment that is nearest to their time below them."""
        for picture, time_s in zip(pictures, times_s, strict=False):
            yield np.vstack([picture, self._drawn(bisect_left(self._middles, time_s))])

    def _draw(self, moment: int) -> Pixels:
        """The bars (h, width, 3) of a moment, by its number."""
        count = len(self._answers)
        column = (self._width - (count - 1) * COLUMN_GAP_PX) // count
        columns = []
        for answers, shown in zip(self._answers, self._shown, strict=True):
            lines = [Line(answers.title)] + [
                Line(self._classes[k].replace("_", " "), float(answers.probabilities[moment, k]))
                for k in shown
            ]
            columns.append(draw_caption(Caption(tuple(lines)), column, 1, below=True).rgba)
        # Scripts differ in height, and so may columns.
        page = np.empty((max(map(len, columns)), self._width, 3), dtype=np.uint8)
        page[...] = BELOW[:3]
        for number, each in enumerate(columns):
            left = number * (column + COLUMN_GAP_PX)
            page[: len(each), left : left + column] = each[..., :3]
        return page
