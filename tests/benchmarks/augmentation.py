"""Training clips made one by one against made in batches, on this machine's CPU.

    python tests/benchmarks/augmentation.py [--rounds 30] [--threads 2]

Both ways take turns on the same frames with the same draws. Printed: the median time of a batch of
16 clips each way, and the median of the ratios of neighbouring rounds.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from vidlabel.specs import ClipSpec
from vidlabel.train.augment import Augmentation
from vidlabel.train.recipes import TrainSpec
from vidlabel.train.training_clips import Batched, ClipByClip
from vidlabel.train.training_frames import Gathered

BATCH = 16


class HeldFrames:
    """Random frames in memory, one piece for all videos."""

    def __init__(self, clip: ClipSpec, steps: int) -> None:
        shape = (BATCH, steps, clip.channels, clip.resize_px, round(clip.resize_px * 4 / 3))
        self._frames = torch.randint(0, 256, shape, dtype=torch.uint8)

    def take(self, number: int, moments: Tensor) -> Tensor:
        return self._frames[number][moments]

    def gather(self, numbers: Sequence[int], moments: Tensor) -> Gathered:
        _, steps, *shape = self._frames.shape
        starts = (torch.tensor(numbers)[:, None] * steps + moments) * self._frames[0, 0].numel()
        sizes = torch.tensor(shape[1:]).expand(len(numbers), 2)
        return Gathered(self._frames.flatten(), starts, sizes)


def compare(clip: ClipSpec, spec: TrainSpec, rounds: int) -> str:
    steps, cpu = 2 * clip.frames, torch.device("cpu")
    frames = HeldFrames(clip, steps)
    ways = [way(clip, spec, cpu) for way in (ClipByClip, Batched)]
    random = torch.Generator().manual_seed(0)
    times: list[list[float]] = [[], []]
    for number in range(rounds):
        draw = Augmentation(clip, spec).draw(BATCH, steps, random)
        for way in (0, 1) if number % 2 else (1, 0):
            began = time.perf_counter()
            ways[way].augmented(frames, range(BATCH), draw)  # type: ignore[arg-type]
            times[way].append(time.perf_counter() - began)
    ratio = statistics.median(b / a for a, b in zip(*times, strict=True))
    one, batched = (1000 * statistics.median(each) for each in times)
    return f"one by one {one:7.1f} ms, batched {batched:7.1f} ms, ratio {ratio:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    mixed = TrainSpec(mixup=0.2, cutmix=0.5)
    for name, clip, spec in (
        ("rgb", ClipSpec(), TrainSpec()),
        ("rgb, mixed", ClipSpec(), mixed),
        ("motion", ClipSpec(input="motion"), TrainSpec()),
        ("flow", replace(ClipSpec(), frames=4, input="flow", pairs=10, step_s=0.0), TrainSpec()),
    ):
        print(f"{name:12}", compare(clip, spec, options.rounds), flush=True)


if __name__ == "__main__":
    main()
