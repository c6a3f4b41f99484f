"""The probabilities of each stream of a two-stream model over time, as bars below a video."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray

from vidlabel.clips.flow_stacks import with_flow
from vidlabel.clips.read import cut, read_time_steps
from vidlabel.errors import UsageError
from vidlabel.models.checkpoint import Checkpoint
from vidlabel.models.fusion import take_stream
from vidlabel.predict.runner import Runner
from vidlabel.render.captions import Caption, Line, draw_caption, name
from vidlabel.render.layout import STRIP
from vidlabel.specs import Limits, Precision
from vidlabel.video.reader import open_video
from vidlabel.video.scale import Pixels

MOMENTS_PER_S = 4.0
"""Moments that are classified for each second of a video."""

MOST_MOMENTS = 1024
"""Most moments of a video, however long it is."""

CLASSES_SHOWN = 5

COLUMN_GAP_PX = 4

Streams = dict[str, NDArray[np.float32]]
"""What each stream predicts: by title, probabilities (M, K) of moments of a video; each row sums to
1."""


class StreamPanel:
    """Runs each stream of a two-stream model.

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
        """The bars for the first seconds of a video, `width` px wide. Raises VideoError."""
        times_s, streams = self.probabilities(path, until_s)
        return Bars(times_s, streams, self._classes, width)

    def probabilities(self, path: str, until_s: float) -> tuple[list[float], Streams]:
        """Times (M,) of moments of a video in seconds, ascending, and the probabilities there: of
        the spatial stream, of the temporal one, and of both. Raises VideoError."""
        clip = self._clip
        with open_video(path) as video:
            duration_s = video.duration_s
            frames = MOST_MOMENTS if video.frame_times_s is None else len(video.frame_times_s)
        count = max(1, min(MOST_MOMENTS, frames, math.ceil(duration_s * MOMENTS_PER_S)))
        data = read_time_steps(path, replace(clip, frames=count, fps=0.0), 1, Limits())
        times_s = [(number + 0.5) * duration_s / count for number in range(count)]
        times_s = [time_s for time_s in times_s if time_s < until_s] or times_s[:1]
        steps = torch.from_numpy(data.clips[0][: len(times_s)])
        with self._lock:
            seen = with_flow(steps, clip, self._device)[:, None].numpy()
            clips = cut(seen, clip, 1)
            parts = clips[:, :, :3], clips[:, :, 3:], clips
            titles = "spatial stream", "temporal stream", "both"
            streams = {}
            for runner, part, title in zip(self._runners, parts, titles, strict=True):
                runner.submit(np.ascontiguousarray(part))
                streams[title] = runner.collect().probabilities
        return times_s, streams


class Bars:
    """Draws a column of bars for each stream, `width` px wide together, for moments (M,) `times_s`,
    ascending. A column shows the classes that are most likely over the whole video, so that they
    stay in place."""

    def __init__(
        self, times_s: Sequence[float], streams: Streams, classes: Sequence[str], width: int
    ) -> None:
        self._middles = [(a + b) / 2 for a, b in pairwise(times_s)]
        self._streams, self._classes, self._width = streams, classes, width
        self._shown = [
            np.argsort(-each.mean(0), kind="stable")[:CLASSES_SHOWN] for each in streams.values()
        ]
        self._drawn = cache(self._draw)

    def below(self, pictures: Iterable[Pixels], times_s: Iterable[float]) -> Iterator[Pixels]:
        """The pictures with the bars of the nearest moment below them."""
        for picture, time_s in zip(pictures, times_s, strict=False):
            yield np.vstack([picture, self._drawn(bisect_left(self._middles, time_s))])

    def _draw(self, moment: int) -> Pixels:
        """The bars (h, width, 3) of a moment, given by its number."""
        count = len(self._streams)
        column = (self._width - (count - 1) * COLUMN_GAP_PX) // count
        columns = []
        for (title, stream), shown in zip(self._streams.items(), self._shown, strict=True):
            bars = (Line(name(self._classes[k]), float(stream[moment, k])) for k in shown)
            caption = Caption((Line(title), *bars))
            columns.append(draw_caption(caption, column, 1, below=True).rgba)
        # Scripts differ in height, and so may columns.
        page = np.full((max(map(len, columns)), self._width, 3), STRIP, dtype=np.uint8)
        for number, each in enumerate(columns):
            left = number * (column + COLUMN_GAP_PX)
            page[: len(each), left : left + column] = each[..., :3]
        return page
