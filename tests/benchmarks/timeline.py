"""Timelines: how right they are, and what they cost.

    python tests/benchmarks/timeline.py accuracy [--model RUN] [--held-out TABLE] [--clips N]
    python tests/benchmarks/timeline.py cost [--minutes M] [--device cpu]

`accuracy` joins clips to one video: real ones that the model has not seen, of a table with the
columns `path` and `label` (or `truth`, as in the report of a fold), and generated ones. It compares
the share of time that is labelled correctly with that of the same clips labelled one by one, and
prints the distance from each true border to the nearest found one. On the same scores it compares
the segments with those of the likeliest class per window, and of the mean of 15 windows. A segment
counts as found if it has the label of a true one and overlaps it by half (F1@50). Two clips of one
class never follow each other. Probabilities are not thresholded.

`cost` labels one generated video of 320x240 as a timeline, and a sample of its windows one by one
as clips; both start from a loaded model. It prints how much faster than real time each is, and the
most memory of the program and its decoders for a video of that length and for one half as long.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from vidlabel import PredictSpec, TimelineSpec, VideoItem, load_labeller
from vidlabel.evaluate.timeline import Segment, Timeline, measure, runs
from vidlabel.predict.labeller import Labeller
from vidlabel.predict.timeline import exact
from vidlabel.results.segments import to_segments
from vidlabel.results.window_scores import Collector, ScoredVideo
from vidlabel.synthetic.clips import ACTIONS, describe_clip, render_clip
from vidlabel.video.reader import open_video
from vidlabel.video.write import write_video

WIDTH, HEIGHT, FPS = 320, 240, 25
LONGEST_S = 8.0
"""Of a joined clip; those of KTH last 20 s."""
FIRST_SEED = 100_000
"""Of generated clips, above those that models were trained on."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Clip:
    """A clip to join: a file, or a generated one."""

    label: str
    path: str = ""
    seed: int = 0

    def frames(self) -> Iterator[tuple[float, Pixels]]:
        """Time and pixels (H, W, 3) of each frame."""
        if self.path:
            with open_video(self.path) as video:
                yield from video.frames(HEIGHT)
            return
        made = describe_clip(self.label, self.seed)
        for number, pixels in enumerate(render_clip(made)):
            yield number / made.fps, pixels


def choose(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Some of the clips, each class as often as another, and none twice in a row."""
    draw = random.Random(0)
    found: list[Clip] = []
    while len(found) < count:
        label = draw.choice(sorted({c.label for c in clips} - {c.label for c in found[-1:]}))
        found.append(draw.choice([clip for clip in clips if clip.label == label]))
    return found


def joined(clips: Sequence[Clip], true: list[Segment]) -> Iterator[Pixels]:
    """The frames of all clips at FPS, at one size; `true` is filled with what is when."""
    total = 0
    for clip in clips:
        first, shown = total, None
        for time_s, pixels in clip.frames():
            while shown is not None and (total - first + 0.5) / FPS < min(time_s, LONGEST_S):
                yield shown
                total += 1
            image = torch.from_numpy(pixels.copy()).permute(2, 0, 1)[None].float()
            shown = (
                F.interpolate(image, (HEIGHT, WIDTH), mode="area").byte()[0].permute(1, 2, 0)
            ).numpy()
        true.append(Segment(first / FPS, total / FPS, clip.label))


def scored(labeller: Labeller, path: Path, timeline: TimelineSpec) -> ScoredVideo:
    """All window scores of a video."""
    collector = Collector(timeline.window_s or 0.0, timeline.stride_s or 0.0)
    items = [VideoItem(0, str(path))]
    parts = labeller.score_windows(items, PredictSpec(timeline=timeline))
    return next(filter(None, map(collector.add, parts)))


def plain(
    video: ScoredVideo, classes: Sequence[str], scores: NDArray[np.floating]
) -> list[Segment]:
    """Segments of the likeliest class per window."""
    edges = video.edges_s.tolist()
    return [
        Segment(edges[i], edges[i + 1], classes[best]) for i, best in enumerate(scores.argmax(1))
    ]


def moving_mean(scores: NDArray[np.floating], width: int) -> NDArray[np.floating]:
    half = width // 2
    padded = np.pad(scores, ((half, half), (0, 0)), mode="edge")
    return np.lib.stride_tricks.sliding_window_view(padded, width, axis=0).mean(-1)


def accuracy(options: argparse.Namespace) -> None:
    labeller = load_labeller(options.model, options.device)
    timeline = exact(TimelineSpec(options.window, options.stride), labeller.windows(
        TimelineSpec(options.window, options.stride)))  # fmt: skip
    kinds = {"generated": [Clip(a, seed=FIRST_SEED + i) for a in ACTIONS for i in range(20)]}
    if options.held_out:
        rows = csv.DictReader(Path(options.held_out).read_text().splitlines())
        kinds["real"] = [Clip(row.get("truth") or row["label"], row["path"]) for row in rows]
    for kind, clips in kinds.items():
        known = [clip for clip in clips if clip.label in labeller.classes]
        with tempfile.TemporaryDirectory() as folder:
            path, true = Path(folder) / "joined.mp4", []
            write_video(path, joined(choose(known, options.clips), true), FPS)
            report(kind, labeller, path, true, timeline)


def report(
    kind: str, labeller: Labeller, path: Path, true: list[Segment], timeline: TimelineSpec
) -> None:
    video, classes = scored(labeller, path, timeline), labeller.classes
    length_s = video.row.duration_s
    items = [VideoItem(i, str(path), start_s=s.start_s, end_s=s.end_s) for i, s in enumerate(true)]
    alone = list(labeller.predict(items, PredictSpec(min_confidence=0.0)))
    rows = to_segments(video, classes, timeline, 1, 0.0)
    ways = {
        "clips one by one": [Segment(s.start_s, s.end_s, r.label)
                             for s, r in zip(true, alone, strict=True)],
        "likeliest per window": plain(video, classes, video.scores),
        "mean of 15 windows": plain(video, classes, moving_mean(video.scores, 15)),
        "timeline": [Segment(row.start_s, row.end_s, row.label) for row in rows],
    }  # fmt: skip
    print(f"{kind}: {len(true)} clips, {length_s:.0f} s, windows of {timeline.window_s:g} s every "
          f"{timeline.stride_s:g} s, {labeller.checkpoint.id}")  # fmt: skip
    whole = runs(true, length_s)
    for name, segments in ways.items():
        found = runs(segments, length_s)
        borders = np.array([s.start_s for s in found])
        far = np.median([np.abs(borders - s.start_s).min() for s in whole[1:]])
        figures = measure([Timeline(name, tuple(true), tuple(segments), length_s)])
        right, f1 = figures.frame_accuracy, figures.f1[0.5]
        print(f"  {name:22} {right:6.1%} of the time  F1@50 {f1:6.1%}  "
              f"borders {far:.2f} s off  {len(found)} segments")  # fmt: skip


class Memory:
    """The most memory of this process and its children, in a `with` block, MiB."""

    def __enter__(self) -> Memory:
        self.most, self._end = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        own = psutil.Process()
        while not self._end.wait(0.1):
            total = 0
            for process in [own, *own.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.most = max(self.most, total / 2**20)


def write_long(path: Path, minutes: float) -> None:
    """A generated video: a clip of each action, again and again."""
    kept = list(joined([Clip(action, seed=FIRST_SEED) for action in ACTIONS], []))
    frames = (kept[n % len(kept)] for n in range(round(minutes * 60 * FPS)))
    write_video(path, frames, FPS, options={"preset": "veryfast"})


def cost(options: argparse.Namespace) -> None:
    labeller = load_labeller(options.model, options.device)
    timeline = exact(TimelineSpec(options.window, options.stride), labeller.windows(
        TimelineSpec(options.window, options.stride)))  # fmt: skip
    print(f"{labeller.checkpoint.id} on {labeller.device}, windows of {timeline.window_s:g} s "
          f"every {timeline.stride_s:g} s")  # fmt: skip
    for minutes in (options.minutes / 2, options.minutes):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "long.mp4"
            write_long(path, minutes)
            with Memory() as memory:
                begun = time.monotonic()
                video = scored(labeller, path, timeline)
                took_s = time.monotonic() - begun
            draw = random.Random(0)
            count = len(video.scores)
            chosen = sorted(draw.sample(range(count), min(count, options.sample)))
            starts = [n * (timeline.stride_s or 0.0) for n in chosen]
            items = [
                VideoItem(i, str(path), start_s=s, end_s=s + (timeline.window_s or 0.0))
                for i, s in enumerate(starts)
            ]
            begun = time.monotonic()
            found = sum(1 for _ in labeller.predict(items, PredictSpec()))
            alone_s = (time.monotonic() - begun) * count / found
            print(
                f"{minutes:g} minutes, {count} windows: timeline {took_s:.1f} s "
                f"({minutes * 60 / took_s:.0f} times real time), {memory.most:.0f} MiB; one by one "
                f"{alone_s:.1f} s by {found} of them: {took_s / alone_s:.3f} of the cost"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=("accuracy", "cost"))
    parser.add_argument("--model", default="starter")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--held-out", help="table of real clips that the model has not seen")
    parser.add_argument("--clips", type=int, default=100)
    parser.add_argument("--window", type=float)
    parser.add_argument("--stride", type=float)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--sample", type=int, default=400, help="windows labelled one by one")
    options = parser.parse_args()
    {"accuracy": accuracy, "cost": cost}[options.what](options)


if __name__ == "__main__":
    main()
